"""Images for the background estimator: checked against each other, and taken apart to arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.core.background import disk_structure
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import Map, WcsGeom, cut_to, disc_around, on_sky, without_count_units

Floats = NDArray[np.float64]

# results carry a significance, and may be the input of the next iteration
_NAMES = ("counts", "background", "exclusion", "significance", "acceptance")


class BackgroundImages(NamedTuple):
    """Images as arrays; what has energies is summed, and kept as a cube as well."""

    counts: Floats  # counts per pixel, shape (ny, nx)
    # background, acceptance: as the counts; None if not given
    background: Floats | None
    # booleans, shape (ny, nx), true where kept; None if not given
    exclusion: NDArray[np.bool_] | None
    acceptance: Floats | None
    cube: Floats | None  # counts per energy bin, shape (n, ny, nx); None if there is only one bin
    # background_cube, acceptance_cube: background and acceptance per energy bin, shape (n, ny, nx);
    # None if not given, or without a cube
    background_cube: Floats | None
    acceptance_cube: Floats | None


def background_images(images: Mapping[str, Map]) -> BackgroundImages:
    """Check the images, and return them as arrays without units."""
    counts = _checked_counts(images)
    for name, image in images.items():
        if name != "significance":
            _check_geometry(name, image, counts)
            _check_values(name, image)
    seen = on_sky(counts.geom)
    cube = np.where(seen, _cube(counts), np.nan)
    several = len(cube) > 1
    background, acceptance = (
        np.broadcast_to(_cube(images[name]), cube.shape) if name in images else None
        for name in ("background", "acceptance")
    )
    if acceptance is not None:
        acceptance = np.where(np.isfinite(acceptance), acceptance, 0.0)
    exclusion = images.get("exclusion")
    return BackgroundImages(
        counts=cube.sum(axis=0),
        background=None if background is None else background.sum(axis=0),
        exclusion=None if exclusion is None else _cube(exclusion)[0].astype(bool),
        acceptance=None if acceptance is None else acceptance.sum(axis=0),
        cube=cube if several else None,
        background_cube=background if several else None,
        acceptance_cube=acceptance if several else None,
    )


def on_counts_pixels(images: Mapping[str, Map]) -> Mapping[str, Map]:
    """Return the images cut out to the pixels of the counts; wrong types are kept."""
    counts = images.get("counts") if isinstance(images, Mapping) else None
    if not isinstance(counts, Map) or not isinstance(counts.geom, WcsGeom):
        return images
    geom, kept = counts.geom, {"counts", "significance"}
    return {
        name: m if name in kept or not isinstance(m, Map) else cut_to(m, geom, name)
        for name, m in images.items()
    }


def _cube(image: Map) -> Floats:
    """Return the data of a map as a cube, energies first."""
    return image.data.reshape(-1, *image.geom.shape_image).astype(float)


def _checked_counts(images: Mapping[str, Map]) -> Map:
    """Check the names and types, and return the counts."""
    if not isinstance(images, Mapping) or "counts" not in images:
        got = ", ".join(map(str, images)) if isinstance(images, Mapping) else type(images).__name__
        hint = ""
        if hasattr(images, "counts"):
            hint = ' Pass {"counts": dataset.counts}.'
        elif isinstance(images, Map):
            hint = ' Pass {"counts": counts}.'
        raise InputError(
            ': expected a dict of maps with "counts" (and optionally "background", '
            f'"exclusion" and "acceptance"), got {got or "an empty one"}.{hint}',
            "images",
        )
    if unknown := sorted(set(map(str, images)) - set(_NAMES)):
        raise InputError(f": {', '.join(unknown)} unknown; expected {', '.join(_NAMES)}.", "images")
    for name, image in images.items():
        if not isinstance(image, Map):
            raise InputTypeError(
                f": {name} is a {type(image).__name__}, expected a Map; an array becomes "
                "one with Map(geom, array).",
                "images",
            )
    counts = images["counts"]
    if not isinstance(counts.geom, WcsGeom):
        raise InputError(": expected an image of the sky, got a map without sky pixels.", "counts")
    if len(counts.geom.axes) > 1:
        raise InputError(
            f": expected an image or one axis of energies, got axes "
            f"{', '.join(counts.geom.axes.names)}; sum over the others first, with "
            "counts.sum_over_axes([...]).",
            "counts",
        )
    return counts


def _check_geometry(name: str, image: Map, counts: Map) -> None:
    """Compare with the counts; a mask has no energies, and an acceptance need not have any."""
    difference = counts.geom.difference(image.geom)
    if not difference:
        if name == "exclusion" and image.data.size > np.prod(counts.geom.shape_image):
            raise InputError(
                ": expected an image, since one mask goes for all energies, got "
                f"{len(_cube(image))} bins; make one with "
                "exclusion.reduce_over_axes(np.logical_and).",
                "exclusion",
            )
        return
    if name in ("exclusion", "acceptance") and image.geom.is_image:
        difference = counts.geom.to_image().difference(image.geom)
    if difference:
        raise InputError(f": expected the geometry of counts, but {difference}.", name)


def _check_values(name: str, image: Map) -> None:
    values: NDArray[Any] = image.data
    if name == "exclusion":
        if not np.all((values == 0) | (values == 1)):
            raise InputError(
                ": expected booleans, or 1 (kept) and 0 (excluded), got "
                f"{values[(values != 0) & (values != 1)][0]}.",
                "exclusion",
            )
        return
    if name == "acceptance":
        if np.any(values < 0) or not np.any(np.isfinite(values) & (values > 0)):
            raise InputError(
                ": expected numbers >= 0, not all of them 0, got values between "
                f"{np.nanmin(values)} and {np.nanmax(values)}; where nothing is seen it is 0.",
                "acceptance",
            )
        return
    if without_count_units(image.unit) != u.dimensionless_unscaled:
        raise InputError(f": expected counts per pixel, got a map in {image.unit}.", name)
    if np.any(values < 0):
        raise InputError(
            f": expected numbers >= 0, got {np.nanmin(values)}; where it is unknown, NaN "
            "leaves a pixel out.",
            name,
        )
    if name == "counts" and not np.any(np.isfinite(values)):
        raise InputError(": expected finite numbers, got none.", "counts")


# A centre that lies on the edge of the disc but for the rounding of a quotient is inside.
_ROUNDING = 1e-9


def dilation_disc(geom: WcsGeom, radius: float) -> NDArray[np.bool_]:
    """Return the disc by which an excluded region grows."""
    offsets, side = disc_around(geom, radius)
    if side is not None:
        # whole pixels keep all their digits
        return disk_structure(min(radius / side, max(geom.shape_image)))
    middle = tuple(n // 2 for n in offsets.shape)
    disc = offsets <= radius * (1 + _ROUNDING)
    disc[middle] = True
    return disc
