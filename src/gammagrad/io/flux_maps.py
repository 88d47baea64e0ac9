"""Flux maps in FITS: the layout that gammapy reads and writes.

Every map is an image with its name in upper case and a table of its energy groups. ``TS`` is
written without the sign that it has in this library, as gammapy does, and ``SQRT_TS`` with it. The
primary header says what made the file and how (`CARDS`, and the rest of the metadata as JSON in
``META``), and holds the reference model as JSON in ``REFMODEL``; the same text goes to a file
beside it, since gammapy follows the path in ``MODEL``. Reading back needs the one file only.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from os import PathLike
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

from gammagrad.io.fits_file import read_hdus, write_hdus
from gammagrad.io.map_dataset import read_table, table_to_hdu
from gammagrad.io.map_fits import map_from_hdus, map_to_hdus
from gammagrad.io.paths import expand_path
from gammagrad.io.text_file import write_text
from gammagrad.io.yaml_file import read_yaml
from gammagrad.maps.map import Map
from gammagrad.quantities import QUANTITIES

__all__ = ["CARDS", "HYPOTHESES", "FluxMapsContent", "creator", "map_images", "model_filename"]
__all__ += ["read_flux_maps", "read_images", "to_json", "write_flux_maps"]

HYPOTHESES = "HYPOTHES"
"""Card of the primary header that files of several models have, see `io.hypothesis_maps`."""

CARDS: MappingProxyType[str, tuple[str, str]] = MappingProxyType(
    {
        "sed_type_init": ("SEDINIT", "what the fluxes were first given as"),
        "n_sigma": ("NSIGMA", "errors are this many sigma wide"),
        "n_sigma_ul": ("NSIGMAUL", "confidence of upper limits in sigma"),
        "n_sigma_sensitivity": ("NSIGSENS", "significance that sensitivities are for"),
        "norm_min": ("NORMMIN", "norm below which limits do not start"),
        "containment_per_group": ("CONTAINM", "part of a source inside the kernel"),
        "sqrt_ts_threshold_ul": ("TSULTHR", "significance below which a flux is a limit"),
        "input": ("INPUT", "file(s) that the data came from"),
        "input_sha256": ("INSHA256", "checksum of the input"),
        "settings": ("SETTINGS", "settings of the estimator, JSON"),
    }
)
"""Header card and comment of each known entry of the metadata."""


class FluxMapsContent(NamedTuple):
    """What is in a file of flux maps.

    Attributes
    ----------
    maps
        Maps by name in lower case; ``ts`` has its sign.
    sed_type
        ``"likelihood"`` if there are norms, else the kind of flux.
    model
        The reference model as a dict, or None.
    meta
        Metadata.
    gti
        Good time intervals, or None.
    """

    maps: dict[str, Map]
    sed_type: str
    model: dict[str, Any] | None
    meta: dict[str, Any]
    gti: Table | None


# -- header


def _plain(value: Any) -> Any:
    """Return a value as something JSON has: numbers, texts, lists, dicts."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if isinstance(value, bool | int | str | None):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else str(value)
    if isinstance(value, np.ndarray | np.generic) and not hasattr(value, "unit"):
        return _plain(value.tolist())
    return str(value)


def to_json(value: Any) -> str:
    """Return JSON that survives a FITS card: ASCII, without quotes and ampersands of its own.

    Parameters
    ----------
    value
        Numbers, texts, lists and dicts; what is something else becomes text.

    Returns
    -------
    str
        The JSON.
    """
    text = json.dumps(_plain(value))
    return text.replace("'", "\\u0027").replace("&", "\\u0026")


def _to_yaml(value: Any) -> str:
    """Return JSON that is YAML as well, so that writing it needs no YAML library."""
    text = json.dumps(_plain(value), indent=1) + "\n"
    # YAML takes 1e-12 for a text: numbers (which end a line) with an exponent need a point
    number = r'^( *(?:"(?:[^"\\]|\\.)*": )?-?\d+)(e[-+]\d+,?)$'
    return re.sub(number, r"\1.0\2", text, flags=re.MULTILINE)


def creator() -> str:
    """Return what writes the files: the name of the library and its version."""
    try:
        return f"gammagrad {version('gammagrad')}"
    except PackageNotFoundError:
        return "gammagrad"


def _primary(
    meta: Mapping[str, Any], model: Any, model_path: Path, sed_type: str
) -> fits.PrimaryHDU:
    """Return the primary extension, with all that is not a map in its header."""
    hdu = fits.PrimaryHDU()
    header = hdu.header
    header["CREATOR"] = (creator(), "what wrote this file")
    words = "norms of the reference model" if sed_type == "likelihood" else f"{sed_type}"
    header["SED_TYPE"] = (sed_type, f"maps are {words}")
    if model is not None:
        header["MODEL"] = model_path.as_posix()
        header["REFMODEL"] = to_json(model)
    rest = {}
    for name, value in meta.items():
        plain = _plain(value)
        if name in CARDS and plain is not None:
            card, comment = CARDS[name]
            text = isinstance(plain, dict | list)
            # a comment after a long text would make a card that does not fit
            header[card] = to_json(plain) if text else plain
            if not text and len(str(plain)) < 20:
                header.comments[card] = comment
        elif name not in CARDS and name != "creator":
            rest[name] = plain
    header["META"] = to_json(rest)
    return hdu


def _from_header(header: fits.Header) -> dict[str, Any]:
    """Return the metadata in a primary header."""
    meta: dict[str, Any] = {}
    for name, (card, _) in CARDS.items():
        if card in header:
            value = header[card]
            is_json = isinstance(value, str) and value[:1] in ("{", "[")
            meta[name] = json.loads(value) if is_json else value
    if "META" in header:
        meta |= json.loads(header["META"])
    if "CREATOR" in header:
        meta["creator"] = header["CREATOR"]
    return meta


# -- signs


def _for_file(name: str, m: Map, signed: bool) -> Map:
    """Return a map as it is written: test statistics without sign, integers of a type FITS has."""
    if m.data.dtype == np.int8:
        return Map.from_geom(m.geom, data=m.data.astype(np.int16), unit=m.unit)
    if name == "ts" and not signed:
        return Map.from_geom(m.geom, data=np.abs(m.data), unit=m.unit)
    return m


def _with_signs(maps: dict[str, Map]) -> dict[str, Map]:
    """Give test statistics the sign of the norm, or of the significance where there is no norm."""
    result = dict(maps)
    if "ts" in maps:
        ts = np.abs(np.asarray(maps["ts"].data, dtype=float))
        negative = np.zeros(ts.shape, dtype=bool)
        flux = next((n for n in ("norm", "dnde", "flux", "eflux", "e2dnde") if n in maps), None)
        if flux is not None:
            negative = maps[flux].data < 0
        elif "sqrt_ts" in maps:
            negative = maps["sqrt_ts"].data < 0
        result["ts"] = Map.from_geom(maps["ts"].geom, data=np.where(negative, -ts, ts))
        for name in ("sqrt_ts", "is_ul"):
            result.pop(name, None)
    return result


def _typed(name: str, m: Map) -> Map:
    """Return a map with the type of the table: FITS has no booleans."""
    entry = QUANTITIES.get(name)
    if entry is None or not np.all(np.isfinite(m.data)):
        return m
    return Map.from_geom(m.geom, data=m.data.astype(entry.dtype), unit=m.unit)


# -- files


def model_filename(filename: str | PathLike[str]) -> Path:
    """Return the name of the file beside a file of flux maps that holds the reference model.

    Parameters
    ----------
    filename : str or path
        File of flux maps.

    Returns
    -------
    Path
        For ``maps.fits.gz`` it is ``maps_model.yaml``, as an absolute path.

    Examples
    --------
    >>> model_filename("maps.fits.gz").name
    'maps_model.yaml'
    """
    path = Path(os.path.abspath(expand_path(filename)))
    name = path.name
    for suffix in (".gz", ".fits", ".fit", ".fts"):
        name = name.removesuffix(suffix)
    return path.with_name(f"{name}_model.yaml")


def write_flux_maps(
    filename: str | PathLike[str],
    maps: Mapping[str, Map],
    model: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    gti: Table | None = None,
    overwrite: bool = False,
    *,
    sed_type: str = "likelihood",
    filename_model: str | PathLike[str] | None = None,
) -> None:
    """Write flux maps, and their reference model beside them.

    Parameters
    ----------
    filename : str or path
        FITS file to write.
    maps : Mapping of str to Map
        Maps by name, as norms or as fluxes of `sed_type`; ``ts`` with its sign.
    model : Mapping, optional
        The reference model as a dict in gammapy's layout.
    meta : Mapping, optional
        Metadata that JSON can hold.
    gti : astropy.table.Table, optional
        Good time intervals.
    overwrite : bool
        Replace existing files.
    sed_type : str
        ``"likelihood"`` if the maps are norms, else the kind of flux.
    filename_model : str or path, optional
        File for the model; by default `model_filename`.

    Raises
    ------
    FileExistsError
        If a file is there and `overwrite` is false.
    """
    model_path = model_filename(filename)
    if filename_model is not None:
        model_path = Path(os.path.abspath(expand_path(filename_model)))
    for path in (expand_path(filename), *([model_path] if model is not None else [])):
        if path.exists() and not overwrite:
            raise FileExistsError(
                f"{str(path)!r} is there already; use overwrite=True to replace it."
            )
    hdus: list[Any] = [_primary(meta or {}, model, model_path, sed_type), *map_images(maps)]
    if gti is not None:
        hdus.append(table_to_hdu(gti, "GTI"))
    if model is not None:
        write_text(_to_yaml(model), model_path, overwrite=overwrite)
    write_hdus(hdus, filename, overwrite=overwrite)


def map_images(maps: Mapping[str, Map], suffix: str = "", signed: bool = False) -> list[Any]:
    """Return maps as extensions of a file: images, and tables of their axes.

    Parameters
    ----------
    maps : Mapping of str to Map
        Maps by name; ``ts`` with its sign.
    suffix : str
        What to put behind their names.
    signed : bool
        Whether to write ``ts`` with its sign, which gammapy does not.

    Returns
    -------
    list of HDU
        The extensions.
    """
    hdus: list[Any] = []
    for name, m in maps.items():
        entry = QUANTITIES.get(name)
        fits_name = entry.fits_name if entry else name.upper()
        hdus += map_to_hdus(_for_file(name, m, signed), fits_name + suffix)
    return hdus


def read_images(hdus: Any, suffix: str = "", signed: bool = False) -> dict[str, Map]:
    """Return the maps of a file.

    Parameters
    ----------
    hdus : HDUList
        Its extensions.
    suffix : str
        End of the names of the images to read, in upper case.
    signed : bool
        Whether ``ts`` has its sign there; else it is restored.

    Returns
    -------
    dict of str to Map
        Maps by name in lower case, without the suffix; ``ts`` with its sign.
    """
    names = [name for name in _image_names(hdus) if name.endswith(suffix)]
    maps = {name.removesuffix(suffix).lower(): map_from_hdus(hdus, name) for name in names}
    return {name: _typed(name, m) for name, m in (maps if signed else _with_signs(maps)).items()}


def _read_model(header: fits.Header, filename: str | PathLike[str]) -> dict[str, Any] | None:
    """Return the reference model: from the header, or from the file that it names."""
    if "REFMODEL" in header:
        content: dict[str, Any] = json.loads(header["REFMODEL"])
        return content
    named = str(header.get("MODEL", "")).strip()
    if not named:
        return None
    # the file may have been moved along with this one
    for path in (Path(named), expand_path(filename).parent / Path(named).name):
        if path.is_file():
            return dict(read_yaml(path))
    return None


def _image_names(hdus: Iterable[Any]) -> list[str]:
    return [h.name for h in hdus if h.is_image and h.name != "PRIMARY" and h.header["NAXIS"] > 0]


def read_flux_maps(filename: str | PathLike[str]) -> FluxMapsContent:
    """Read a file of flux maps written by this library or by gammapy.

    Parameters
    ----------
    filename : str or path
        FITS file to read.

    Returns
    -------
    FluxMapsContent
        What is in it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not FITS, or holds no flux maps.
    """
    hdus = read_hdus(filename)
    header = hdus[0].header
    names = _image_names(hdus)
    sed_type = str(header.get("SED_TYPE", "")).strip()
    if HYPOTHESES in header:
        raise ValueError(f"{filename}: maps of several models; HypothesisMaps.read reads them.")
    if not sed_type or not names:
        raise ValueError(
            f"{filename}: no flux maps; expected SED_TYPE in the primary header and images such "
            f"as NORM and TS, found {', '.join(names) or 'no images'}."
        )
    maps = read_images(hdus)
    gti = read_table(hdus["GTI"]) if "GTI" in hdus else None
    return FluxMapsContent(maps, sed_type, _read_model(header, filename), _from_header(header), gti)
