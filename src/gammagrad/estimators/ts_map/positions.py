"""Which pixels to fit, when not all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation

from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import Map, WcsGeom, angle_pair, nearest_place, pixel_shape

# Rows and columns that lean less run along longitude and latitude.
_ALONG = 0.02
_EXPECTED = "expected a mask of shape {shape}, a Map of one, or a sky box (SkyCoord, width)"


def positions_mask(positions: Any, geom: WcsGeom) -> np.ndarray | None:
    """Return the pixels that a user wants fitted."""
    if positions is None:
        return None
    if isinstance(positions, Map):
        difference = geom.to_image().difference(positions.geom.to_image())
        if difference:
            raise InputError(
                f": the mask does not have the pixels of the dataset: {difference}. "
                "Make it on dataset.geom.to_image().",
                "positions",
            )
        mask = _any_energy(positions.data, geom)
    elif isinstance(positions, tuple):
        mask = _box(positions, geom)
    else:
        mask = _any_energy(positions, geom)
    if not mask.any():
        raise InputError(": no pixel is True; leave it None to fit all pixels.", "positions")
    return mask


def _expected(geom: WcsGeom) -> str:
    return _EXPECTED.format(shape=geom.shape_image)


def _any_energy(values: Any, geom: WcsGeom) -> np.ndarray:
    """Return a mask, any of its energies."""
    data = np.asarray(values)
    if data.dtype.kind not in "buif":
        raise InputTypeError(f": got {type(values).__name__}; {_expected(geom)}.", "positions")
    if data.shape[-2:] != geom.shape_image or data.ndim < 2:
        raise InputError(f": got an array of shape {data.shape}; {_expected(geom)}.", "positions")
    if data.dtype.kind == "f" and np.isnan(data).any():
        raise InputError(": the mask has NaN; expected True or False.", "positions")
    return np.asarray((data != 0).reshape(-1, *geom.shape_image).any(axis=0))


def _box(box: tuple[Any, ...], geom: WcsGeom) -> np.ndarray:
    """Return the pixels of a sky box."""
    if len(box) != 2 or not isinstance(box[0], SkyCoord):
        raise InputTypeError(f": got {box!r}; {_expected(geom)}.", "positions")
    try:
        _, (rows, cols) = geom.to_image().cutout_slices(*box)
        width = angle_pair(box[1], "width")
    except ValueError as error:
        raise InputError(f": {error}", "positions") from error
    matrix = pixel_shape(geom, nearest_place(geom, box[0])).matrix
    if np.abs(matrix).min(axis=0).max() > _ALONG * np.abs(matrix).max():
        return _turned_box(box[0], width, geom)
    mask = np.zeros(geom.shape_image, bool)
    mask[rows, cols] = True
    return mask


def _turned_box(centre: SkyCoord, width: tuple[float, float], geom: WcsGeom) -> np.ndarray:
    """Return the pixels of a sky box whose sides do not run along rows and columns."""
    frame = centre.transform_to(geom.frame_object).skyoffset_frame()
    offset = geom.get_skycoord().transform_to(frame).represent_as(UnitSphericalRepresentation)
    away = np.abs(offset.lon.wrap_at("180d").deg), np.abs(offset.lat.deg)
    inside = [part <= side / 2 for part, side in zip(away, width, strict=True)]
    return np.asarray(inside[0] & inside[1])
