"""The exposure that a source sees, at many positions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.core.images import fast_length
from gammagrad.evaluate.kernel import estimate_kernel
from gammagrad.evaluate.local_responses import finite
from gammagrad.evaluate.sampling import kind_of
from gammagrad.maps import Map, conversion

Floats = NDArray[np.float64]


def source_exposure(model: Any, exposure: Map, rows: Floats, columns: Floats) -> Floats:
    """Return the exposure of sources at some pixel coordinates in cm2 s, shape (energies, n)."""
    # Between the middles of pixels it is interpolated, as that of a source is. Beyond the edge of
    # the map there is none.
    ny, nx = exposure.geom.shape_image
    if not model.apply_irf["exposure"]:
        return np.ones((exposure.data.shape[0], rows.size))
    cube = finite(exposure.data) * conversion(exposure.unit, "cm2 s")
    if kind_of(model.spatial_model) != "point":
        cube = _averaged(model, exposure, cube)
    inside = (rows >= -0.5) & (rows <= ny - 0.5) & (columns >= -0.5) & (columns <= nx - 0.5)
    y, x = (np.clip(c, 0, n - 1) for c, n in ((rows, ny), (columns, nx)))
    row, column = np.floor(y).astype(int), np.floor(x).astype(int)
    if np.array_equal(y, row) and np.array_equal(x, column):
        return np.where(inside, cube[:, row, column], 0.0)
    fy, fx = y - row, x - column
    below, right = np.minimum(row + 1, ny - 1), np.minimum(column + 1, nx - 1)
    upper = (1 - fx) * cube[:, row, column] + fx * cube[:, row, right]
    lower = (1 - fx) * cube[:, below, column] + fx * cube[:, below, right]
    return np.where(inside, (1 - fy) * upper + fy * lower, 0.0)


def _averaged(model: Any, exposure: Map, cube: Floats) -> Floats:
    """Average an exposure over the extent of a source at every pixel."""
    geom = exposure.geom
    axis = geom.axes["energy_true"]
    flat = Map(geom, np.ones(geom.data_shape), "cm2 s")
    reco = geom.to_image().to_cube([axis.rename("energy")])
    images = estimate_kernel(model, flat, None, None, reco).kernel.data
    ky, kx = images.shape[1:]
    # beyond the map's edge the exposure is that of the nearest pixel, as in a prediction
    edges = ((ky // 2, ky // 2), (kx // 2, kx // 2))
    found = np.empty_like(cube)
    for energy, (plane, image) in enumerate(zip(cube, images, strict=True)):
        if not plane.any():
            found[energy] = 0.0
            continue
        padded = np.pad(plane, edges, mode="edge")
        lengths = [fast_length(n) for n in padded.shape]
        spectrum = np.fft.rfft2(padded, lengths) * np.conj(np.fft.rfft2(image, lengths))
        mean = np.fft.irfft2(spectrum, lengths)[: plane.shape[0], : plane.shape[1]]
        # a transform leaves rounding where the mean is zero
        found[energy] = np.where(mean > 1e-12 * plane.max(), mean, 0.0)
    return found
