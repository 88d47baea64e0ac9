"""The primary header of flux maps: program, settings and input."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from astropy.io import fits

from gammagrad.errors import InputError, short
from gammagrad.io.fits_file import card_json

CARDS: MappingProxyType[str, tuple[str, str]] = MappingProxyType(
    {
        "sed_type_init": ("SEDINIT", "what the fluxes were first given as"),
        "n_sigma": ("NSIGMA", "errors are this many sigma wide"),
        "n_sigma_ul": ("NSIGMAUL", "confidence of upper limits in sigma"),
        "n_sigma_sensitivity": ("NSIGSENS", "significance that sensitivities are for"),
        "norm_min": ("NORMMIN", "norm below which limits do not start"),
        "containment_per_group": ("CONTAINM", "part of a source inside the kernel"),
        "kernel_radius_per_group": ("KERNR68", "radius in deg of 68 % of the kernel"),
        "sqrt_ts_threshold_ul": ("TSULTHR", "significance below which a flux is a limit"),
        "input": ("INPUT", "file(s) that the data came from"),
        "input_sha256": ("INSHA256", "checksum of the input"),
        "settings": ("SETTINGS", "settings of the estimator, JSON"),
    }
)
"""Header card and comment of each known entry of the metadata."""


_POSITIVE = dict.fromkeys(("n_sigma", "n_sigma_ul", "n_sigma_sensitivity"), "positive ")
_NUMBERS = (*_POSITIVE, "norm_min", "sqrt_ts_threshold_ul")


def _plain(value: Any) -> Any:
    """Return a value as JSON types: numbers, texts, lists, dicts."""
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
    """Return JSON that survives a FITS card: ASCII, without quotes and ampersands of its own."""
    text = json.dumps(_plain(value))
    return text.replace("'", "\\u0027").replace("&", "\\u0026")


def to_yaml(value: Any) -> str:
    """Return JSON that is YAML as well, so that writing it needs no YAML library."""
    text = json.dumps(_plain(value), indent=1) + "\n"
    # YAML takes 1e-12 for a text: numbers (which end a line) with an exponent need a point
    number = r'^( *(?:"(?:[^"\\]|\\.)*": )?-?\d+)(e[-+]\d+,?)$'
    return re.sub(number, r"\1.0\2", text, flags=re.MULTILINE)


def creator() -> str:
    """Return the creator of the files: library name and version."""
    try:
        return f"gammagrad {version('gammagrad')}"
    except PackageNotFoundError:
        return "gammagrad"


def model_cards(model_path: Path, folder: Path, relative: bool) -> dict[str, str]:
    """Return the cards with the name of the model's file: for gammapy, and relative to the FITS."""
    try:
        beside = Path(os.path.relpath(model_path, folder)).as_posix()
    except ValueError:  # another drive of Windows
        beside = model_path.as_posix()
    # gammapy looks for a relative name in the folder where Python was started, so that only a whole
    # path is found from everywhere
    return {"MODEL": beside if relative else model_path.as_posix(), "MODELREL": beside}


def primary_hdu(
    meta: Mapping[str, Any], model: Any, cards: Mapping[str, str], sed_type: str
) -> fits.PrimaryHDU:
    """Return the primary extension, with everything but the maps in its header."""
    hdu = fits.PrimaryHDU()
    header = hdu.header
    header["CREATOR"] = (creator(), "what wrote this file")
    words = "norms of the reference model" if sed_type == "likelihood" else f"{sed_type}"
    header["SED_TYPE"] = (sed_type, f"maps are {words}")
    if model is not None:
        header.update(cards)
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


def meta_of_header(header: fits.Header) -> dict[str, Any]:
    """Return the metadata in a primary header."""
    meta: dict[str, Any] = {}
    for name, (card, _) in CARDS.items():
        if card in header:
            value = header[card]
            is_json = isinstance(value, str) and value[:1] in ("{", "[")
            meta[name] = card_json(header, card) if is_json else _number(name, card, value)
    rest = card_json(header, "META")
    if rest is not None:
        if not isinstance(rest, dict):
            raise InputError(f"META is {short(rest)}; expected names and values.")
        meta |= rest
    if "CREATOR" in header:
        meta["creator"] = header["CREATOR"]
    return meta


def _number(name: str, card: str, value: Any) -> Any:
    """Return the value of a card, if it has the right type."""
    if name not in _NUMBERS:
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or (name in _POSITIVE and value <= 0):
        raise InputError(f"{card} is {short(value)}; expected a {_POSITIVE.get(name, '')}number.")
    return value
