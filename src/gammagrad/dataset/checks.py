"""What the maps of a dataset must be, and the errors that say what is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad._arrays import LARGEST_COUNT
from gammagrad.dataset.masks import as_mask, check_weights, first_index
from gammagrad.dataset.response_checks import check_edisp_values, check_psf_values
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import (
    INTERNAL_UNITS,
    EDispKernelMap,
    EDispMap,
    Map,
    MapAxis,
    PSFMap,
    RegionGeom,
    WcsGeom,
    without_count_units,
)

MAP_NAMES = ("counts", "exposure", "background", "mask_safe", "mask_fit")

# squares of norms must stay within double precision
_LARGEST_EXPOSURE = 1e100

_AXIS = {"exposure": "energy_true"}


def check_map(value: Any, name: str) -> Map:
    """Return a map as a dataset holds it: counts without unit, masks true or false."""
    if not isinstance(value, Map):
        raise InputTypeError(
            f"{name}: expected a gammagrad Map or None, got {type(value).__name__}; "
            "make one with Map.from_geom(geom, data) or Map.read(filename)."
        )
    if isinstance(value.geom, RegionGeom):
        raise InputError(
            f"{name}: it has a region and no sky pixels (a spectrum, not a map); "
            "a MapDataset needs maps with a WCS."
        )
    _check_axes(value.geom, name)
    if name.startswith("mask"):
        return as_mask(value, name)
    if name == "exposure":
        _check_exposure_unit(value.unit)
        return value
    unit = without_count_units(value.unit)
    if unit != u.dimensionless_unscaled:
        raise InputError(
            f"{name}: unit {value.unit.to_string()!r}; expected counts per pixel and energy bin, "
            "without a unit. Multiply by what is missing (time, solid angle, ...) first."
        )
    if value.unit == u.dimensionless_unscaled:
        return value
    return Map(value.geom, value.data, unit="", meta=value.meta)


def _check_axes(geom: WcsGeom, name: str) -> None:
    wanted = _AXIS.get(name, "energy")
    names = geom.axes.names
    if names == [wanted]:
        return
    if not names:
        raise InputError(
            f"{name}: an image without energy axis; expected one axis named {wanted!r}. "
            "MapDataset.from_maps(..., energy_edges=...) takes images."
        )
    hint = ""
    if wanted == "energy_true" and names == ["energy"]:
        hint = " MapDataset.from_maps takes an exposure in reconstructed energy."
    raise InputError(
        f"{name}: axes {', '.join(names)}; expected one axis besides the sky, {wanted!r}.{hint}"
    )


def _check_exposure_unit(unit: u.UnitBase) -> None:
    wanted = INTERNAL_UNITS["exposure"]
    if unit.is_equivalent(wanted):
        return
    if unit == u.dimensionless_unscaled:
        raise InputError(
            f"exposure: it has no unit; expected area times time, such as {wanted!r}. "
            "Set it: Map(exposure.geom, exposure.data, unit='cm2 s'), or exposure_unit='cm2 s' "
            "in MapDataset.from_maps and from_files."
        )
    raise InputError(
        f"exposure: unit {unit.to_string()!r} cannot be converted to {wanted!r}; "
        "expected effective area times observation time."
    )


def _axis_text(axis: MapAxis) -> str:
    edges = axis.edges
    return f"{axis.nbin} bins from {edges[0]:.6g} to {edges[-1]:.6g}"


def check_same_geometry(maps: Mapping[str, Map | None]) -> None:
    """Check that the maps of a dataset lie on the same pixels and energy bins."""
    present = {name: m for name, m in maps.items() if m is not None}
    if not present:
        return
    reference = next(iter(present))
    first = present[reference]
    for name, m in present.items():
        difference = first.geom.to_image().difference(m.geom.to_image())
        if difference:
            raise InputError(
                f"{name} does not have the pixels of {reference}: {difference}. "
                f"Reproject or cut out {name} so that both are the same."
            )
    in_reco = {name: m for name, m in present.items() if name != "exposure"}
    for name, m in in_reco.items():
        start = next(iter(in_reco))
        axis, wanted = m.geom.axes["energy"], in_reco[start].geom.axes["energy"]
        if not same_bins(axis, wanted):
            raise InputError(
                f"{name} and {start} have different energy bins: {_axis_text(axis)} against "
                f"{_axis_text(wanted)}; expected the same bins."
            )


def same_bins(one: MapAxis, other: MapAxis) -> bool:
    """Return whether two axes have the same edges, whatever their names and scales."""
    if one.nbin != other.nbin:
        return False
    mine = one.edges.to_value(other.edges.unit)
    return bool(np.allclose(mine, other.edges.value, rtol=1e-5, atol=1e-9 * abs(mine).max()))


def check_psf(psf: Any, energy_axis: MapAxis | None) -> PSFMap | None:
    """Check the point spread function of a dataset."""
    if psf is None:
        return None
    if not isinstance(psf, PSFMap):
        raise InputTypeError(
            f"psf: expected a PSFMap or None, got {type(psf).__name__}; PSFMap.from_gauss makes "
            "one from a width, and MapDataset.from_maps takes psf_sigma or psf_table."
        )
    if psf.energy_name == "energy" and energy_axis is not None:
        axis = psf.psf_map.geom.axes["energy"]
        if not same_bins(axis, energy_axis):
            raise InputError(
                f"psf and counts have different energy bins: {_axis_text(axis)} against "
                f"{_axis_text(energy_axis)}; a PSF in reconstructed energy needs the same bins."
            )
    check_psf_values(psf)
    return psf


def check_edisp(
    edisp: Any, energy_axis: MapAxis | None, energy_axis_true: MapAxis | None
) -> EDispKernelMap | EDispMap | None:
    """Check the energy dispersion of a dataset."""
    if edisp is None:
        return None
    if not isinstance(edisp, EDispKernelMap | EDispMap):
        raise InputTypeError(
            f"edisp: expected an EDispKernelMap, an EDispMap or None, got {type(edisp).__name__}."
        )
    axes = edisp.edisp_map.geom.axes
    pairs = (("energy", energy_axis, "counts"), ("energy_true", energy_axis_true, "exposure"))
    for name, axis, other in pairs:
        if axis is not None and name in axes.names and not same_bins(axes[name], axis):
            raise InputError(
                f"edisp and {other} have different bins on axis {name!r}: "
                f"{_axis_text(axes[name])} against {_axis_text(axis)}; expected the same bins."
            )
    check_edisp_values(edisp)
    return edisp


def _is_fine(values: NDArray[Any], above: float = -1.0, below: float = np.inf) -> bool:
    """Return whether all values are finite and not negative, and one is larger; NaN is neither."""
    return bool(values.min(initial=0) >= 0 and above < values.max(initial=0) < below)


def check_fit(maps: Mapping[str, Map], mask: Map | None, for_fit: bool) -> None:
    """Check that the values of a dataset's maps can be used."""
    for name in ("mask_safe", "mask_fit"):
        if name in maps and not maps[name].is_mask:
            check_weights(name, maps[name].data)
    used = None if mask is None else mask.data
    if for_fit and used is not None and not used.any():
        raise InputError("mask_safe and mask_fit leave no bin to fit; expected some that are true.")
    for name in ("counts", "background"):
        if name in maps:
            _check_counts(name, maps[name].data, used)
    if "exposure" in maps:
        _check_exposure(maps["exposure"].data)


def _check_counts(name: str, values: NDArray[Any], mask: NDArray[np.bool_] | None) -> None:
    """Check that counts or a background can be fitted: no negative values, no NaN counts."""
    # A background that is NaN is no error: its bins have weight zero.
    if _is_fine(values, below=LARGEST_COUNT):
        return
    used = np.ones(values.shape, dtype=bool) if mask is None else mask
    faults = {"negative": used & (values < 0), "infinite": used & np.isinf(values)}
    if name == "counts":
        faults["NaN"] = used & np.isnan(values)
        faults["above 2^53, which no counts are,"] = used & (values > LARGEST_COUNT)
    for fault, bad in faults.items():
        if np.any(bad):
            where = first_index(bad)
            value = f" ({values[where]:.4g})" if fault == "negative" else ""
            raise InputError(
                f"{name}: {fault} in {int(bad.sum())} of {used.sum()} bins, the first at "
                f"(energy, row, col) {where}{value}; expected finite values >= 0. "
                "Correct these bins, or leave them out with mask_safe or mask_fit."
            )


def _check_exposure(values: NDArray[Any]) -> None:
    """Check that an exposure is finite, not negative and not zero everywhere."""
    if _is_fine(values, 1 / _LARGEST_EXPOSURE, _LARGEST_EXPOSURE):
        return
    if not _is_fine(values, below=_LARGEST_EXPOSURE):
        faults = {
            "not finite": ~np.isfinite(values),
            "negative": values < 0,
            f"above {_LARGEST_EXPOSURE:g}": values >= _LARGEST_EXPOSURE,
        }
        fault, bad = next((name, bad) for name, bad in faults.items() if np.any(bad))
        raise InputError(
            f"exposure: {fault} in {int(bad.sum())} of {values.size} bins, the first at "
            f"(energy_true, row, col) {first_index(bad)}; expected finite values >= 0. "
            "Set the exposure to 0 where nothing was observed."
        )
    if not np.any(values >= 1 / _LARGEST_EXPOSURE):
        raise InputError(
            "exposure: zero everywhere, so no flux can be fitted; "
            "expected area times time > 0 where the sky was observed."
        )
