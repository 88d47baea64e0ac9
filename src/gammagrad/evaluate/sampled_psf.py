"""PSF kernels for images of samples."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def psf_for_samples(kernels: Floats, sides: tuple[float, float] = (1.0, 1.0)) -> Floats:
    """Broaden kernels narrower than their pixels, for images of samples instead of integrals."""
    # A Gaussian of width p integrated over pixels has the variance :math:`p^2 + 1/12` along a side;
    # as weights at the pixel centres the integrals have, by Poisson's formula,
    # p^2 + \frac{1}{12} + \frac{1}{2 \pi^2} \sum_{k \ge 1} (-1)^k \left( 8 \pi^2 p^2 +
    # \frac{2}{k^2} \right) e^{-2 \pi^2 p^2 k^2}
    # The sum is what the image of a smooth source would be too narrow by: 1/12 for a kernel of one
    # pixel, 1e-3 at p = 0.6. Some of the kernel's second differences makes up for it. Each kernel's
    # p is that of the round Gaussian with as much in its middle pixel.
    least = min(sides)
    widths = np.concatenate([[0.0], np.geomspace(0.05, 1.5, 200) * max(sides) / least])
    ky, kx = kernels.shape[1:]
    # widths of the Gaussians in pixels, and the fraction of each in the middle pixel
    across = [widths * least / side for side in sides]
    middle = np.prod([_in_middle(p) for p in across], axis=0)
    framed = np.pad(kernels, ((0, 0), (2, 2), (2, 2)))
    total = framed.copy()
    for axis, p in enumerate(across, start=1):
        found = np.interp(kernels[:, ky // 2, kx // 2], middle[::-1], _missing(p)[::-1], left=0.0)
        second = np.roll(framed, -1, axis) + np.roll(framed, 1, axis) - 2 * framed
        total += 0.5 * found[:, None, None] * second
    return total[:, 1:-1, 1:-1]


def _in_middle(p: Floats) -> Floats:
    """Return the fraction of Gaussians of width p in their middle pixel, along one side."""
    return np.array([math.erf(math.sqrt(0.125) / w) if w > 0 else 1.0 for w in p])


def _missing(p: Floats) -> Floats:
    """Return the missing variance of the image of a smooth source; see `psf_for_samples`."""
    k = np.arange(1, 100)[:, None]
    exponent = 2 * np.pi**2 * p**2
    terms = (-1.0) ** k * np.exp(-exponent * k**2) * (4 * exponent + 2 / k**2)
    return np.asarray(-terms.sum(axis=0) / (2 * np.pi**2))
