"""The positions of a result on the pixels of a dataset that has a grid of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.dataset import AnyMapDataset
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import WcsGeom

Floats = NDArray[np.float64]
Integers = NDArray[np.int32]

# Places within a pixel that differ by less, in pixels, are the same.
_SAME = 1e-3
# Different places along a side of a pixel up to which each has its own kernels.
_FEW = 8
# Part of a PSF's width (sigma) between the places that kernels are made for, and their number.
_STEP, _MOST = 0.06, 16


class OwnPlaces(NamedTuple):
    """Where sources at the positions of a result are on a dataset's pixels."""

    sky: SkyCoord  # the positions, shape (rows, cols)
    # y, x: pixel coordinates; far outside for positions off the projection
    y: Floats
    x: Floats
    # row, column: the pixel that a position is in
    row: Integers
    column: Integers
    phase: Integers  # which of the shifts
    shifts: list[tuple[float, float]]  # rows and columns of a source off the middle of its pixel
    off: float  # furthest that a source is from the place its kernels are made for, in pixels


def has_own_grid(dataset: AnyMapDataset, target: WcsGeom) -> bool:
    """Return whether a dataset has other pixels than a result."""
    return bool(dataset.geom.to_image().difference(target))


def result_grid(datasets: Sequence[AnyMapDataset], geom: Any) -> WcsGeom:
    """Return the pixels of a result: the given ones, or the first dataset's."""
    if geom is not None and not isinstance(geom, WcsGeom):
        raise InputTypeError(
            f": got {type(geom).__name__}; expected the pixels of a map, such as dataset.geom or "
            "WcsGeom.create(...), or None for the pixels of the first dataset.",
            "geom",
        )
    target = datasets[0].geom.to_image() if geom is None else geom.to_image()
    for dataset in datasets:
        if has_own_grid(dataset, target) and not _overlap(dataset.geom, target):
            raise InputError(
                f": dataset {dataset.name!r} has no pixel on the map of the result; expected maps "
                "that overlap.",
                "datasets" if geom is None else "geom",
            )
    return target


def _overlap(geom: WcsGeom, target: WcsGeom) -> bool:
    """Return whether any position of a result is on a dataset's map."""
    (nx, ny), (x, y) = geom.npix, geom.to_image().sky_to_pix(target.get_skycoord())
    with np.errstate(invalid="ignore"):
        return bool(((x > -0.5) & (x < nx - 0.5) & (y > -0.5) & (y < ny - 0.5)).any())


def own_places(geom: WcsGeom, target: WcsGeom, sigma: float) -> OwnPlaces:
    """Find the positions of a result on the pixels of a dataset."""
    # sigma: width of the dataset's PSF in its pixels
    sky = target.to_image().get_skycoord()
    x, y = geom.to_image().sky_to_pix(sky)
    lost = ~(np.isfinite(x) & np.isfinite(y))
    far = 10.0 * max(geom.npix)
    x, y = (np.clip(np.where(lost, -far, c), -far, far) for c in (x, y))
    row, column = (np.floor(c + 0.5).astype(np.int32) for c in (y, x))
    sides = [_sides(c - whole, sigma) for c, whole in ((y, row), (x, column))]
    (rows, of_row), (cols, of_column) = sides
    pair = of_row * cols.size + of_column
    used, phase = np.unique(pair, return_inverse=True)
    shifts = [(float(rows[p // cols.size]), float(cols[p % cols.size])) for p in used.tolist()]
    off = [
        np.abs(c - whole - values[which]).max()
        for c, whole, (values, which) in ((y, row, sides[0]), (x, column, sides[1]))
    ]
    return OwnPlaces(
        *(sky, y, x, row, column, phase.reshape(y.shape).astype(np.int32), shifts),
        float(np.hypot(*off)),
    )


def _sides(part: Floats, sigma: float) -> tuple[Floats, NDArray[np.int64]]:
    """Return places along a side of a pixel, and the place that stands for each of many."""
    rounded = np.round(part / _SAME) * _SAME
    values, which = np.unique(rounded, return_inverse=True)
    # grids with a whole-number ratio have few places, up to rounding; of others, many places
    # close to each other fill the pixel
    groups = np.concatenate([[0], np.cumsum(np.diff(values) > 1.5 * _SAME)])
    last = np.searchsorted(groups, np.arange(groups[-1] + 1), side="right") - 1
    first = np.searchsorted(groups, np.arange(groups[-1] + 1))
    if groups[-1] < _FEW and np.all(values[last] - values[first] < 4.5 * _SAME):
        own = groups[which.reshape(part.shape)]
        total = np.bincount(own.ravel(), part.ravel())
        return total / np.bincount(own.ravel()), own
    number = int(np.clip(np.ceil(1 / (_STEP * sigma)), 2, _MOST))
    places = (np.arange(number) + 0.5) / number - 0.5
    return places, np.clip(((part + 0.5) * number).astype(np.int64), 0, number - 1)


def phase_error(off: float, sigma: float) -> float:
    """Return the largest error of a norm for sources that are so far off, in pixels, relative."""
    # Of a Gaussian that is moved by s, a matched filter finds exp(-s^2 / (4 sigma^2)).
    return float(-np.expm1(-(off**2) / (4 * sigma**2)))
