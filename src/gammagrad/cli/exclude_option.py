"""The option `--exclude`: areas of the sky to leave out."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord

from gammagrad.cli.parser import angle, sky_numbers
from gammagrad.errors import InputError
from gammagrad.exclusion import exclusion_mask
from gammagrad.io import TABLE_SUFFIXES, expand_path, read_hdus, read_plain
from gammagrad.maps import Map, WcsGeom, cut_to

_WAYS = (
    "a circle LON,LAT,RADIUS in deg (in the frame of the map; icrs:LON,LAT,RADIUS and "
    "galactic:LON,LAT,RADIUS in these; a negative LON needs --exclude=LON,LAT,RADIUS), a DS9 "
    "region file, a table of sources (FITS, ECSV or CSV), or a FITS image that is 0 where pixels "
    "are excluded, such as the exclusion.fits of `gammagrad background`"
)


def add_exclude_options(parser: Any, meaning: str) -> None:
    """Add the options."""
    parser.add_argument(
        "--exclude",
        action="append",
        metavar="AREA",
        help=f"{meaning}: {_WAYS}; may be given several times",
    )
    parser.add_argument(
        "--exclude-radius",
        type=angle,
        metavar="ANGLE",
        help="radius around the sources of tables given to --exclude, and around points of region "
        "files (default: the table's column radius)",
    )


def exclusion_of(args: argparse.Namespace, geom: WcsGeom) -> Map | None:
    """Return the mask that the options describe."""
    if not args.exclude:
        if args.exclude_radius is not None:
            raise InputError("--exclude-radius goes with --exclude, of which there is none.")
        return None
    image = geom.to_image()
    keep = np.ones(image.data_shape, bool)
    for text in args.exclude:
        try:
            keep &= _keep(text, image, args.exclude_radius)
        except ValueError as error:
            words = str(error).replace("radius, an angle for all", "--exclude-radius for all")
            words = words.replace("give them a radius, such as", "give --exclude-radius, such as")
            raise InputError(f"--exclude {text}: {words}") from error
    return Map(image, keep)


def _keep(text: str, image: WcsGeom, radius: float | None) -> Any:
    """Return which pixels one area keeps."""
    circle = _circle(text)
    if circle is not None:
        frame, lon, lat, size = circle
        return exclusion_mask(image, circles=[(place(image, frame, lon, lat), size)]).data
    name = text.partition("[")[0].lower()
    if name.endswith(".reg"):
        return exclusion_mask(image, regions=text, radius=radius).data
    if not name.endswith(TABLE_SUFFIXES):
        raise InputError(
            f"expected LON,LAT,RADIUS in deg, or a file ending in one of .reg, "
            f"{', '.join(TABLE_SUFFIXES)}."
        )
    if name.endswith((".ecsv", ".csv")) or not _has_image(text):
        return exclusion_mask(image, table=text, radius=radius).data
    return _mask_of_file(text, image)


def place(geom: WcsGeom, frame: str, lon: float, lat: float) -> SkyCoord:
    """Return a position in a frame, or in that of a map if none is named."""
    return WcsGeom.create(npix=1, frame=frame or geom.frame).position((lon, lat))


def _circle(text: str) -> tuple[str, float, float, float] | None:
    """Return frame, longitude, latitude and radius, if a text says them."""
    if len(text.rpartition(":")[2].split(",")) != 3 or _is_file(text):
        return None
    try:
        frame, (lon, lat, radius) = sky_numbers(text, 3)
    except ValueError as error:
        raise InputError(f"expected LON,LAT,RADIUS, {error}") from error
    if not 0 <= radius <= 180:
        raise InputError("expected LON,LAT,RADIUS in deg, the radius from 0 to 180.")
    return frame, lon, lat, radius


def _is_file(text: str) -> bool:
    """Return whether a text is the name of a file that is there, such as "1,2,3"."""
    try:
        return expand_path(text).is_file()
    except OSError:
        return False


def _has_image(name: str) -> bool:
    """Return whether a FITS file has an image, and not a table alone."""
    if name.endswith("]"):
        return True
    return any(hdu.is_image and hdu.header.get("NAXIS", 0) > 1 for hdu in read_hdus(name))


def _mask_of_file(name: str, image: WcsGeom) -> Any:
    """Return the pixels that a FITS mask keeps at all of its energies."""
    m = cut_to(read_plain(name).map, image, "the mask", "the counts")
    planes = m.data.reshape(-1, *image.shape_image)
    return np.all(planes.astype(bool) & np.isfinite(planes), axis=0)
