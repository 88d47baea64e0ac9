"""The pixels that a point spread function is integrated over."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.maps.geom import WcsGeom, grid_around, odd_shape, reach

Floats = NDArray[np.float64]


def kernel_grid(
    image: WcsGeom, place: tuple[float, float], radii: Floats
) -> tuple[WcsGeom, NDArray[np.int64]]:
    """Return the pixels around a place for circles, and rows and columns that each one needs."""
    # where the sky is squeezed, as at a pole, the map is the limit
    most = np.maximum(2 * np.array(image.shape_image) + 1, image.odd_npix(radii)[:, None])
    sizes = np.minimum(odd_shape(reach(image, place, radii)), most)
    rows, cols = (int(n) for n in sizes.max(axis=0))
    return grid_around(image, place, (rows, cols)), sizes


def square_grid(image: WcsGeom, radii: Floats) -> tuple[WcsGeom, NDArray[np.int64]]:
    """Return the square pixels that gammapy makes a kernel on, and how many each circle needs."""
    sizes = image.odd_npix(radii)
    return image.to_odd_npix(u.Quantity(radii.max(), "deg")), np.stack([sizes, sizes], axis=1)
