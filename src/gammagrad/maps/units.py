"""The internal units, and the conversion of units on the way in and out."""

from __future__ import annotations

import functools
import re
import warnings
from typing import Any

import numpy as np
from astropy import units as u

from gammagrad._arrays import unmasked
from gammagrad.errors import InputError, short

# Units of all numbers inside the package, by the meaning of the number.
INTERNAL_UNITS: dict[str, str] = {
    "energy": "TeV",
    "angle": "deg",
    "time": "s",
    "solid_angle": "sr",
    "counts": "",
    "exposure": "cm2 s",
    "effective_area": "cm2",
    "flux": "cm-2 s-1",
    "dnde": "cm-2 s-1 TeV-1",
    "eflux": "TeV cm-2 s-1",
    "e2dnde": "TeV cm-2 s-1",
    "surface_brightness": "cm-2 s-1 TeV-1 sr-1",
    "spatial_model": "sr-1",
    "psf": "sr-1",
}

# Spellings in FITS headers that astropy cannot read.
_SPELLINGS = {
    "counts": "ct",
    "cts": "ct",
    "photons": "ph",
    "pixels": "pix",
    "none": "",
    "unitless": "",
    "dimensionless": "",
}


def _parse_quantity(text: str, unit: str, name: str) -> u.Quantity:
    try:
        return u.Quantity(text)
    except (TypeError, ValueError, OverflowError) as error:
        example = f"1 {unit}".strip()
        raise InputError(
            f"{name}: cannot read {short(text)}; expected a number and a unit, such as {example!r}."
        ) from error


def to_value(value: Any, unit: str, name: str = "value") -> Any:
    """Return a value as plain numbers in a given unit."""
    if isinstance(value, str):
        value = _parse_quantity(value, unit, name)
    value = unmasked(value, name)
    if isinstance(value, u.Quantity):
        try:
            result = np.array(value.to_value(unit), dtype=float)
        except u.UnitConversionError as error:
            raise InputError(
                f"{name}: cannot convert {_unit_name(value.unit)} to {_unit_name(u.Unit(unit))}."
            ) from error
        return float(result) if result.ndim == 0 else result
    if isinstance(value, list | tuple):
        return np.array([to_value(item, unit, name) for item in value], dtype=float)
    if isinstance(value, np.ndarray):
        return np.array(value, dtype=float)
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        return float(value)
    return value


def quantity(value: Any, unit: str, name: str = "value") -> u.Quantity:
    """Return a value as a quantity in a given unit."""
    return u.Quantity(to_value(value, unit, name), unit)


def _unit_name(unit: u.UnitBase) -> str:
    text = str(unit)
    return repr(text) if text else "a dimensionless number"


@functools.lru_cache(maxsize=64)
def conversion(unit: u.UnitBase, wanted: str) -> float:
    """Return the factor from a unit to another; the results are kept."""
    return float(unit.to(wanted))


def parse_unit(unit: Any, name: str = "unit") -> u.UnitBase:
    """Return an astropy unit from a unit or a text, such as the text in a FITS header."""
    if unit is None:
        return u.dimensionless_unscaled
    if isinstance(unit, u.UnitBase):
        return unit
    found = _unit_of_text(str(unit).strip())
    if found is None:
        raise InputError(
            f"{name}: {str(unit).strip()!r} is not a unit; expected one such as 'cm2 s' or 'sr-1'."
        )
    return found


@functools.lru_cache(maxsize=256)
def _unit_of_text(text: str) -> u.UnitBase | None:
    """Return the unit of a text, or None; the results are kept because every map needs them."""
    for candidate in (text, _respell(text)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", u.UnitsWarning)  # of several slashes, or old spellings
            try:
                return u.Unit(candidate)
            except ValueError:
                continue
    return None


def _respell(text: str) -> str:
    return re.sub(r"[A-Za-z]+", lambda word: _SPELLINGS.get(word[0].lower(), word[0]), text)


def without_count_units(unit: u.UnitBase) -> u.UnitBase:
    """Return a unit without counts, photons and pixels, which are pure numbers here."""
    result = u.Unit(unit.scale) if unit.scale != 1 else u.dimensionless_unscaled
    if not any(base in (u.ct, u.ph, u.pix) for base in unit.bases):
        return unit
    for base, power in zip(unit.bases, unit.powers, strict=True):
        if base not in (u.ct, u.ph, u.pix):
            result = result * base**power
    return result


def readable_energies(energies: u.Quantity) -> u.Quantity:
    """Return energies in the largest unit in which the first of them is not below 0.1."""
    first = u.Quantity(np.ravel(energies)[0])
    for unit in ("TeV", "GeV", "MeV", "keV"):
        if first.to_value(unit) >= 0.1:
            break
    return energies.to(unit)
