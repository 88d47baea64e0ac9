"""How large the kernel of an energy group is, where the PSF is in reconstructed energy."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad.evaluate import KernelEstimate
from gammagrad.evaluate.responses import is_compact
from gammagrad.evaluate.window import CUTOUT_MARGIN
from gammagrad.maps.pixels import middle, reach

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
        Odd numbers of rows and columns, at most those of the kernel, shape (energies, 2).
    """
    n_energy, *shape = kernel.kernel.data.shape
    if kernel.psf_shape is None or not is_compact(spatial):
        return np.tile(shape, (n_energy, 1))
    geom = kernel.kernel.geom.to_image()
    extent = reach(geom, middle(geom), float(spatial.evaluation_radius) + CUTOUT_MARGIN)
    widths = np.ceil(2 * extent + kernel.psf_shape - 1e-6).astype(int)
    return np.minimum(shape, 2 * (widths // 2) + 1)


def cut_to_size(kernel: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Take what is outside a centred rectangle off a kernel.

    Parameters
    ----------
    kernel
        Shape (energies, kernel rows, kernel cols), odd sizes.
    shape
        Odd numbers of rows and columns.

    Returns
    -------
    ndarray
        Shape (energies, *shape), or less where the kernel has less.
    """
    ny, nx = kernel.shape[-2:]
    cut_y, cut_x = (max(n - m, 0) // 2 for n, m in zip((ny, nx), shape, strict=True))
    return kernel[:, cut_y : ny - cut_y, cut_x : nx - cut_x]
