"""Flux maps in FITS: the layout that gammapy reads and writes.

Every map is an image with its name in upper case and a table of its energy groups. ``TS`` is
written without the sign that it has in this library, as gammapy does, and ``SQRT_TS`` with it. The
primary header has the metadata (`CARDS`, and the rest as JSON in ``META``) and the reference model
as JSON in ``REFMODEL``. The model is also written to a file next to it, since gammapy follows the
path in ``MODEL``; ``MODELREL`` is that path relative to the FITS file. Reading back needs only the
one file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

from gammagrad.errors import InputError, short
from gammagrad.io.atomic import Content, text_content, write_files
from gammagrad.io.bands_fits import check_bands
from gammagrad.io.fits_file import card_json, card_text, fits_content, read_hdus
from gammagrad.io.flux_header import meta_of_header, model_cards, primary_hdu, to_yaml
from gammagrad.io.map_dataset import read_table, table_to_hdu
from gammagrad.io.map_fits import map_from_hdus, map_to_hdus
from gammagrad.io.paths import Filename, expand_path, stem
from gammagrad.io.reading import reads_file
from gammagrad.io.yaml_file import read_yaml
from gammagrad.maps import Map
from gammagrad.output_quantities import QUANTITIES

HYPOTHESES = "HYPOTHES"
"""Card of the primary header that files of several models have, see `io.hypothesis_maps`."""

SED_TYPES = ("likelihood", "dnde", "flux", "eflux", "e2dnde")
"""The kinds of maps in a file."""


class FluxMapsContent(NamedTuple):
    """The content of a file of flux maps."""

    maps: dict[str, Map]  # maps by name in lower case; ``ts`` has its sign
    sed_type: str  # ``"likelihood"`` if there are norms, else the kind of flux
    model: dict[str, Any] | None  # the reference model as a dict, or None
    meta: dict[str, Any]  # metadata
    gti: Table | None  # good time intervals, or None


# -- signs


def _for_file(name: str, m: Map, signed: bool) -> Map:
    """Return a map as written: test statistics without sign, integers of a FITS type."""
    if m.data.dtype == np.int8:
        return Map.from_geom(m.geom, data=m.data.astype(np.int16), unit=m.unit)
    if name == "ts" and not signed:
        return Map.from_geom(m.geom, data=np.abs(m.data), unit=m.unit)
    return m


def _with_signs(maps: dict[str, Map]) -> dict[str, Map]:
    """Give test statistics the sign of the norm, or of the significance where there is no norm."""
    if "ts" not in maps:
        return maps
    ts = np.abs(np.asarray(maps["ts"].data, dtype=float))
    signed = next((n for n in ("norm", *SED_TYPES[1:], "sqrt_ts") if n in maps), None)
    negative = False if signed is None else maps[signed].data < 0
    kept = {name: m for name, m in maps.items() if name not in ("sqrt_ts", "is_ul")}
    return {**kept, "ts": Map.from_geom(maps["ts"].geom, data=np.where(negative, -ts, ts))}


def _typed(name: str, m: Map) -> Map:
    """Return a map with the type of the table: FITS has no booleans."""
    entry = QUANTITIES.get(name)
    if entry is None or not np.all(np.isfinite(m.data)):
        return m
    return Map.from_geom(m.geom, data=m.data.astype(entry.dtype), unit=m.unit)


# -- files


def model_filename(filename: Filename) -> Path:
    """Return the name of the reference model's file next to a file of flux maps."""
    path = Path(os.path.abspath(expand_path(filename)))
    return path.with_name(f"{stem(path)}_model.yaml")


def write_flux_maps(
    filename: Filename,
    maps: Mapping[str, Map],
    model: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    gti: Table | None = None,
    overwrite: bool = False,
    *,
    sed_type: str = "likelihood",
    filename_model: Filename | None = None,
    relative_model: bool = False,
    checksum: bool = False,
) -> None:
    """Write flux maps and the file of their reference model: both or neither."""
    model_path = model_filename(filename)
    if filename_model is not None:
        model_path = Path(os.path.abspath(expand_path(filename_model)))
    cards = model_cards(model_path, model_filename(filename).parent, relative_model)
    hdus: list[Any] = [primary_hdu(meta or {}, model, cards, sed_type), *map_images(maps)]
    if gti is not None:
        hdus.append(table_to_hdu(gti, "GTI"))
    files: list[tuple[Any, Content]] = [(filename, fits_content(hdus, filename, checksum))]
    if model is not None:
        files.append((model_path, text_content(to_yaml(model))))
    # together: norms of one model beside another model would give wrong fluxes
    write_files(files, overwrite)


def map_images(maps: Mapping[str, Map], suffix: str = "", signed: bool = False) -> list[Any]:
    """Return maps as extensions of a file: images, and tables of their axes."""
    hdus: list[Any] = []
    for name, m in maps.items():
        entry = QUANTITIES.get(name)
        fits_name = entry.fits_name if entry else name.upper()
        hdus += map_to_hdus(_for_file(name, m, signed), fits_name + suffix)
    return hdus


def read_images(hdus: Any, suffix: str = "", signed: bool = False) -> dict[str, Map]:
    """Return the maps of a file."""
    names = [name for name in _image_names(hdus) if name.endswith(suffix)]
    maps = {name.removesuffix(suffix).lower(): map_from_hdus(hdus, name) for name in names}
    return {name: _typed(name, m) for name, m in (maps if signed else _with_signs(maps)).items()}


def _read_model(header: fits.Header, filename: Filename) -> dict[str, Any] | None:
    """Return the reference model: from the header, or from the file that it names."""
    content, origin = card_json(header, "REFMODEL"), "REFMODEL"
    if content is None:
        folder, named = expand_path(filename).parent, card_text(header, "MODEL")
        # the file may have been moved with this one: the original is looked for last
        beside = (card_text(header, "MODELREL"), Path(named).name)
        paths = [folder / name for name in beside if name]
        paths += [Path(named)] if Path(named).is_absolute() else []
        for path in paths:
            if path.is_file():
                content, origin = read_yaml(path), str(path)
                break
    if content is not None and not isinstance(content, dict):
        raise InputError(f"{origin}: expected a model, got {short(content)}.")
    return content


def _image_names(hdus: Iterable[Any]) -> list[str]:
    return [h.name for h in hdus if h.is_image and h.name != "PRIMARY" and h.header["NAXIS"] > 0]


@reads_file
def read_flux_maps(filename: Filename, checksum: bool = True) -> FluxMapsContent:
    """Read a file of flux maps written by this library or by gammapy."""
    hdus = read_hdus(filename, checksum)
    header = hdus[0].header
    names = _image_names(hdus)
    sed_type = card_text(header, "SED_TYPE")
    if HYPOTHESES in header:
        raise InputError("maps of several models; HypothesisMaps.read reads them.")
    if not sed_type or not names:
        raise InputError(
            f"no flux maps; expected SED_TYPE in the primary header and images such "
            f"as NORM and TS, found {', '.join(names) or 'no images'}."
        )
    if sed_type not in SED_TYPES:
        raise InputError(f"SED_TYPE is {short(sed_type)}; expected one of {', '.join(SED_TYPES)}.")
    check_bands(hdus)
    maps = read_images(hdus)
    gti = read_table(hdus["GTI"]) if "GTI" in hdus else None
    return FluxMapsContent(
        maps, sed_type, _read_model(header, filename), meta_of_header(header), gti
    )
