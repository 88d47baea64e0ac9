"""How large the kernel of an energy group is, where the PSF is in reconstructed energy."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad.dataset import MapDataset
from gammagrad.evaluate.responses import is_compact
from gammagrad.evaluate.window import CUTOUT_MARGIN

__all__ = ["cut_to_size", "kernel_sizes"]

# part of the PSF that its kernel holds
_CONTAINMENT = 0.999


def kernel_sizes(dataset: MapDataset, spatial: Any, npix: int) -> np.ndarray:
    """Return the size of a kernel made for each energy bin alone.

    A point spread function in reconstructed energy is as wide as the widest of a group's bins, so
    that groups have kernels of their own size, as in gammapy. One in true energy is the same for
    all groups.

    Parameters
    ----------
    dataset
        The dataset.
    spatial
        Spatial model of the source.
    npix
        Pixels along the side of the kernel for all bins.

    Returns
    -------
    ndarray
        Odd numbers of pixels, at most `npix`, shape (energies,).
    """
    axis, psf = dataset.energy_axis, dataset.psf
    sizes = np.full(axis.nbin, npix)
    if psf is None or psf.energy_name != "energy" or not is_compact(spatial):
        return sizes
    image = dataset.geom.to_image()
    pixel = float(np.max(image.pixel_scales.to_value("deg")))
    radii = psf.containment_radius(_CONTAINMENT, image.center_skydir, axis).to_value("deg")
    extent = 2 * (float(spatial.evaluation_radius) + CUTOUT_MARGIN) / pixel
    widths = np.ceil(extent + image.odd_npix(radii) - 1e-6).astype(int)
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
