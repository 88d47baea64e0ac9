"""How large the kernel of an energy group is, where the PSF is in reconstructed energy."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad.evaluate import KernelEstimate
from gammagrad.evaluate.responses import is_compact
from gammagrad.evaluate.window import CUTOUT_MARGIN

__all__ = ["cut_to_size", "kernel_sizes"]


def kernel_sizes(kernel: KernelEstimate, spatial: Any) -> np.ndarray:
    """Return the size of a kernel made for each energy bin alone.

    A point spread function in reconstructed energy is as wide as the widest of a group's bins, so
    that groups have kernels of their own size, as in gammapy. One in true energy is the same for
    all groups.

    Parameters
    ----------
    kernel
        The kernel for all bins.
    spatial
        Spatial model of the source.

    Returns
    -------
    ndarray
        Odd numbers of pixels, at most those of the kernel, shape (energies,).
    """
    n_energy, _, npix = kernel.kernel.data.shape
    if kernel.psf_npix is None or not is_compact(spatial):
        return np.full(n_energy, npix)
    extent = 2 * (float(spatial.evaluation_radius) + CUTOUT_MARGIN) / kernel.kernel.geom.pixel_size
    widths = np.ceil(extent + kernel.psf_npix - 1e-6).astype(int)
    return np.minimum(npix, 2 * (widths // 2) + 1)


def cut_to_size(kernel: np.ndarray, size: int) -> np.ndarray:
    """Take what is outside a centred square off a kernel.

    Parameters
    ----------
    kernel
        Shape (energies, kernel rows, kernel cols), odd sizes.
    size
        Odd number of pixels along the side of the square.

    Returns
    -------
    ndarray
        Shape (energies, size, size), or less where the kernel has less.
    """
    cut_y, cut_x = (max(n - size, 0) // 2 for n in kernel.shape[-2:])
    ny, nx = kernel.shape[-2:]
    return kernel[:, cut_y : ny - cut_y, cut_x : nx - cut_x]
