"""Checks of the maps and responses of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad._arrays import LARGEST_COUNT
from gammagrad.dataset.masks import as_mask, check_weights, first_index
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import (
    INTERNAL_UNITS,
    Map,
    MapAxis,
    RegionGeom,
    WcsGeom,
    cut_to,
    without_count_units,
)

MAP_NAMES = ("counts", "exposure", "background", "mask_safe", "mask_fit")
OFF_NAMES = ("counts_off", "acceptance", "acceptance_off")

# the first of these that a dataset has says its pixels
_REFERENCES = ("counts", *OFF_NAMES, "background", "mask_safe", "mask_fit", "exposure")

# squares of norms must stay within double precision
_LARGEST_EXPOSURE = 1e100

_AXIS = {"exposure": "energy_true"}


def check_sky_map(value: Any, name: str) -> Map:
    """Return a map after checking that it is one with sky pixels."""
    if not isinstance(value, Map):
        raise InputTypeError(
            f": expected a gammagrad Map or None, got {type(value).__name__}; "
            "make one with Map.from_geom(geom, data) or Map.read(filename).",
            name,
        )
    if isinstance(value.geom, RegionGeom):
        raise InputError(
            ": it has a region and no sky pixels (a spectrum, not a map); "
            "a MapDataset needs maps with a WCS.",
            name,
        )
    return value


def check_map(value: Map, name: str) -> Map:
    """Return a map as a dataset holds it: counts without unit, masks true or false."""
    _check_axes(value.geom, name)
    if name.startswith("mask"):
        return as_mask(value, name)
    if name == "exposure":
        _check_exposure_unit(value.unit)
        return value
    if name.startswith("acceptance"):
        return value
    unit = without_count_units(value.unit)
    if unit != u.dimensionless_unscaled:
        raise InputError(
            f": unit {value.unit.to_string()!r}; expected counts per pixel and energy bin, "
            "without a unit. Multiply by the missing factors (time, solid angle, ...) first.",
            name,
        )
    if value.unit == u.dimensionless_unscaled:
        return value
    return Map(value.geom, value.data, unit="", meta=value.meta)


def _check_axes(geom: WcsGeom, name: str) -> None:
    wanted = _AXIS.get(name, "energy")
    names = geom.axes.names
    if not names:
        raise InputError(
            f": an image without energy axis; expected one axis named {wanted!r}. "
            "MapDataset.from_maps(..., energy_edges=...) accepts images.",
            name,
        )
    if names != [wanted]:
        hint = " MapDataset.from_maps accepts an exposure in reconstructed energy."
        hint *= wanted == "energy_true" and names == ["energy"]
        raise InputError(
            f": axes {', '.join(names)}; expected one axis besides the sky, {wanted!r}.{hint}", name
        )


def _check_exposure_unit(unit: u.UnitBase) -> None:
    wanted = INTERNAL_UNITS["exposure"]
    if unit.is_equivalent(wanted):
        return
    if unit == u.dimensionless_unscaled:
        raise InputError(
            f": it has no unit; expected area times time, such as {wanted!r}. "
            "Set it: Map(exposure.geom, exposure.data, unit='cm2 s'), or exposure_unit='cm2 s' "
            "in MapDataset.from_maps and from_files.",
            "exposure",
        )
    raise InputError(
        f": unit {unit.to_string()!r} cannot be converted to {wanted!r}; "
        "expected effective area times observation time.",
        "exposure",
    )


def on_same_pixels(maps: Mapping[str, Map]) -> dict[str, Map]:
    """Return the maps of a dataset cut out to the pixels of the counts, or of the map for them."""
    reference = next(name for name in _REFERENCES if name in maps)
    geom = maps[reference].geom
    return {name: cut_to(m, geom, name, reference) for name, m in maps.items()}


def check_same_energies(maps: Mapping[str, Map]) -> None:
    """Check that the maps of a dataset have the same bins of reconstructed energy."""
    in_reco = [(name, m.geom.axes["energy"]) for name, m in maps.items() if name != "exposure"]
    for name, axis in in_reco[1:]:
        start, wanted = in_reco[0]
        check_same_bins(f"{name} and {start} have different energy bins", axis, wanted)


def same_bins(one: MapAxis, other: MapAxis) -> bool:
    """Return whether two axes have the same edges, whatever their names and scales."""
    if one.nbin != other.nbin:
        return False
    mine = one.edges.to_value(other.edges.unit)
    return bool(np.allclose(mine, other.edges.value, rtol=1e-5, atol=1e-9 * abs(mine).max()))


def check_same_bins(fault: str, axis: MapAxis, wanted: MapAxis) -> None:
    """Raise an error that begins with a fault if two axes have different edges."""
    if not same_bins(axis, wanted):
        mine, theirs = (
            f"{one.nbin} bins from {one.edges[0]:.6g} to {one.edges[-1]:.6g}"
            for one in (axis, wanted)
        )
        raise InputError(f"{fault}: {mine} against {theirs}; expected the same bins.")


def _is_fine(values: NDArray[Any], above: float = -1.0, below: float = np.inf) -> bool:
    """Return whether all values are from 0 to a bound, and one is above another; not for NaN."""
    # compared as Python's numbers: the bounds may be beyond those of the data's type
    return bool(values.min(initial=0) >= 0 and above < float(values.max(initial=0)) < below)


def check_fit(maps: Mapping[str, Map], mask: Map | None, for_fit: bool) -> None:
    """Check that the values of a dataset's maps can be used."""
    for name in ("mask_safe", "mask_fit"):
        if name in maps and not maps[name].is_mask:
            check_weights(name, maps[name].data)
    used = None if mask is None else mask.data
    if for_fit and used is not None and not used.any():
        raise InputError("mask_safe and mask_fit leave no bin to fit; expected some that are true.")
    for name in ("counts", "background", *OFF_NAMES):
        if name in maps:
            _check_counts(name, maps[name].data, used)
    if "exposure" in maps:
        _check_exposure(maps["exposure"].data)


def _check_counts(name: str, values: NDArray[Any], mask: NDArray[np.bool_] | None) -> None:
    """Check that counts or a background can be fitted: no negative values, no NaN counts."""
    # a background may be NaN, as may what is measured of it: its bins have weight zero
    if _is_fine(values, below=LARGEST_COUNT):
        return
    used = np.ones(values.shape, dtype=bool) if mask is None else mask
    faults = {"negative": used & (values < 0), "infinite": used & np.isinf(values)}
    if name == "counts":
        faults["NaN"] = used & np.isnan(values)
        faults["above 2^53"] = used & (values > LARGEST_COUNT)
    advice = "Correct these bins, or exclude them with mask_safe or mask_fit."
    _check_bins(name, values, faults, int(used.sum()), advice)


def _check_exposure(values: NDArray[Any]) -> None:
    """Check that an exposure is finite, not negative and not zero everywhere."""
    if _is_fine(values, 1 / _LARGEST_EXPOSURE, _LARGEST_EXPOSURE):
        return
    faults = {
        "not finite": ~np.isfinite(values),
        "negative": values < 0,
        f"above {_LARGEST_EXPOSURE:g}": values >= _LARGEST_EXPOSURE,
    }
    advice = "Set the exposure to 0 where nothing was observed."
    _check_bins("exposure", values, faults, values.size, advice)
    raise InputError(
        ": zero everywhere, so no flux can be fitted; "
        "expected area times time > 0 where the sky was observed.",
        "exposure",
    )


def _check_bins(
    name: str, values: NDArray[Any], faults: Mapping[str, NDArray[np.bool_]], size: int, advice: str
) -> None:
    """Raise an error about the first fault that any bin has."""
    for fault, bad in faults.items():
        if np.any(bad):
            where = first_index(bad)
            value = f" ({values[where]:.4g})" if fault == "negative" else ""
            raise InputError(
                f": {fault} in {int(bad.sum())} of {size} bins, the first at "
                f"({_AXIS.get(name, 'energy')}, row, col) {where}{value}; "
                f"expected finite values >= 0. {advice}",
                name,
            )
