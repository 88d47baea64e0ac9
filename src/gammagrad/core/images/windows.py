"""Sums over the window of every pixel of large stacks of images, on the host."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gammagrad.core.images.convolve import fast_length

Floats = NDArray[np.float64]


def window_sums(planes: Floats, kernels: Floats, workers: int = 1) -> Floats:
    """Sum planes, or one plane, over windows with the weights of kernels; zero outside."""
    from scipy.fft import irfft2, rfft2

    (ny, nx), (ky, kx) = planes.shape[-2:], kernels.shape[-2:]
    lengths = fast_length(ny + ky - 1), fast_length(nx + kx - 1)
    spectra = rfft2(planes, lengths, workers=workers)
    spectra = spectra * rfft2(kernels[:, ::-1, ::-1], lengths, workers=workers)
    total = irfft2(spectra, lengths, workers=workers)
    row, col = ky // 2, kx // 2
    found: Floats = total[:, row : row + ny, col : col + nx]
    return found
