"""What ON/OFF datasets measure of the background, merged and widened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.dataset import transforms
from gammagrad.dataset.checks import OFF_NAMES
from gammagrad.dataset.masks import used_bins
from gammagrad.errors import InputError
from gammagrad.maps import Map, disc_kernel, disc_sum

Floats = NDArray[np.float64]


def ratio(acceptance: Map, acceptance_off: Map) -> Floats:
    """Return the acceptance over that of the OFF region; 0 where nothing is known of that."""
    try:
        factor = acceptance.unit.to(acceptance_off.unit)
    except u.UnitConversionError as error:
        raise InputError(
            f": unit {acceptance_off.unit.to_string()!r}, and the acceptance has "
            f"{acceptance.unit.to_string()!r}; expected both on one scale.",
            "acceptance_off",
        ) from error
    on, off = acceptance.data * factor, acceptance_off.data.astype(float)
    known = np.isfinite(on) & np.isfinite(off) & (off > 0)
    return np.divide(on, off, out=np.zeros(np.shape(off)), where=known)


def is_measured(dataset: Any) -> NDArray[np.bool_]:
    """Return the bins whose background is measured: OFF counts with an acceptance."""
    known = np.isfinite(dataset.counts_off.data) & np.isfinite(dataset.acceptance.data)
    return np.asarray(known & (dataset.acceptance_off.data > 0))


def merged_off(dataset: Any, used: Any, total: Callable[[Floats], Floats]) -> dict[str, Floats]:
    """Sum OFF counts and acceptances of used bins, so that the background is the sum as well."""
    # With one ratio in all bins this is exact: what is summed are then Poisson numbers of one
    # ratio. With several, that of the sum is their mean weighted by OFF counts, as in gammapy, or
    # by the acceptances where there are no OFF counts.
    factor = dataset.acceptance_off.unit.to(dataset.acceptance.unit)
    values = [dataset.counts_off.data, dataset.acceptance.data, dataset.acceptance_off.data]
    off, on, accepted = (total(np.where(used, v, 0.0)) for v in values)
    background = total(np.where(used, dataset.alpha.data * values[0], 0.0))
    some = (background > 0) & (off > 0)
    weighted = np.divide(on * off, background * factor, out=np.zeros_like(off), where=some)
    return dict(zip(OFF_NAMES, (off, on, np.where(some, weighted, accepted)), strict=True))


def measured_bins(dataset: Any) -> Any:
    """Return the bins in `mask_safe` whose background is measured."""
    safe: Any = True if dataset.mask_safe is None else used_bins(dataset.mask_safe)
    return safe & is_measured(dataset)


def on_off_downsampled(dataset: Any, factor: int) -> dict[str, Any]:
    """Return the parts of an ON/OFF dataset with blocks of pixels merged."""
    used = measured_bins(dataset)
    geom = dataset.geom

    def total(values: Floats) -> Floats:
        return np.asarray(Map(geom, values).downsample(factor).data)

    arrays = merged_off(dataset, used, total)
    coarse = geom.downsample(factor)
    off = {
        name: Map(coarse, arrays[name], getattr(dataset, name).unit, getattr(dataset, name).meta)
        for name in OFF_NAMES
    }
    return transforms.downsampled(dataset, factor, used) | off


def widened(dataset: Any, radius: Any) -> dict[str, Any]:
    """Return the parts of an ON/OFF dataset with OFF counts summed around every pixel."""
    used = measured_bins(dataset)
    disc = disc_kernel(dataset.geom, radius, name="radius")
    wide = {}
    for name in ("counts_off", "acceptance_off"):
        m = getattr(dataset, name)
        wide[name] = Map(m.geom, disc_sum(np.where(used, m.data, 0.0), disc), m.unit, m.meta)
    return dataset.parts | wide
