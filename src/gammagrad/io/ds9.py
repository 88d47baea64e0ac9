"""Region files of DS9: read with the package regions, which is an extra, and written without it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray

from gammagrad.errors import InputError, short
from gammagrad.io.atomic import write_text
from gammagrad.io.paths import Filename, existing_file
from gammagrad.io.reading import reads_file

_LARGEST = 5_000_000


def import_regions() -> Any:
    """Return the package regions."""
    try:
        import regions
    except ImportError as error:
        raise ImportError(
            "Regions need the package regions: install it with `pip install gammagrad[regions]`."
        ) from error
    return regions


@reads_file
def read_ds9(filename: Filename) -> list[Any]:
    """Read a region file of DS9."""
    import_regions()
    path = existing_file(filename)
    if path.stat().st_size > _LARGEST:
        raise InputError(f"expected a region file of at most {_LARGEST / 1e6:.3g} MB.")
    return _parsed(path.read_text(encoding="utf-8"))


def parse_ds9(text: str) -> list[Any]:
    """Read regions from a text in DS9's format."""
    try:
        return _parsed(text)
    except ValueError as error:
        raise InputError(f": cannot read {short(text)}: {error}", "regions") from error


def _parsed(text: str) -> list[Any]:
    """Return the regions of a text; an error if any line is not understood."""
    regions = import_regions()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = list(regions.Regions.parse(text, format="ds9"))
    # a skipped line would exclude nothing
    said = [str(w.message) for w in caught if issubclass(w.category, AstropyUserWarning)]
    if said:
        raise InputError(f"a line cannot be read ({short(said[0])}).")
    if not found:
        raise InputError("no region in it; expected a region file of DS9.")
    return found


def write_ds9_polygons(
    polygons: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    frame: str,
    filename: Filename,
    overwrite: bool = False,
) -> None:
    """Write polygons as a region file of DS9."""
    lines = ["# Region file format: DS9 version 4.1", "global color=green width=1", frame]
    for lon, lat in polygons:
        corners = np.stack([np.asarray(lon), np.asarray(lat)], axis=1).ravel()
        lines.append(f"polygon({','.join(f'{value:.9f}' for value in corners)})")
    write_text("\n".join(lines) + "\n", filename, overwrite=overwrite)
