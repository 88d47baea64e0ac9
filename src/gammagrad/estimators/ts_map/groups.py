"""Energy groups of a map estimator, and the fit of one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import astropy.units as u
import jax
import numpy as np

from gammagrad.core.norm import BACKGROUND_MAPS, FitOptions, NormFit, Status
from gammagrad.core.ts_map import IndexRange, fit_index_occupied, fit_occupied
from gammagrad.derive import reference_values
from gammagrad.errors import InputError
from gammagrad.estimators.ts_map.background_norms import (
    BackgroundSettings,
    norms_axis,
    stacked,
)
from gammagrad.estimators.ts_map.guess import guess_norm
from gammagrad.estimators.ts_map.inputs import FitInputs
from gammagrad.maps import Map, MapAxis, WcsGeom
from gammagrad.output_quantities import QUANTITIES
from gammagrad.parallel import Jobs, run_jobs

log = logging.getLogger(__name__)

FITTED_MAPS = ("ts", "norm", "niter", "norm_err", "npred", "npred_excess", "stat", "stat_null")
"""Maps that come out of a fit, in gammapy's order."""

OPTIONAL_MAPS = {
    "stat_scan": ("stat_scan",),
    "errn-errp": ("norm_errp", "norm_errn"),
    "ul": ("norm_ul",),
    "sensitivity": ("norm_sensitivity",),
}
"""Maps that each optional output adds, in gammapy's order."""

INDEX_MAPS = ("index", "index_err", "norm_index_corr", "ts_index")
"""Maps that a free index adds."""

# known at a fitted position even if the model cannot be seen there
_OF_POSITION = ("ts", "ts_index", "npred", "npred_excess", "stat", "stat_null")

Share = tuple[FitInputs, slice]
"""Arrays of a dataset, and the energy bins that it gives to a group."""


class NoPositionError(InputError):
    """An energy group has no position to fit."""


class FitSettings(NamedTuple):
    """What the fit of an energy group depends on, frozen when a run begins."""

    sum_energies: bool  # whether the energies of a group are summed into one image
    kernel_weighting: str  # how, as for `gammagrad.core.ts_map.summed_bins`
    n_sweeps: int  # number of Newton sweeps
    options: FitOptions  # numbers that steer the fit
    selection: tuple[str, ...] = ()  # optional outputs
    scan_values: np.ndarray | None = None  # norms at which the statistic is scanned, or None
    threshold: float | None = None  # TS of the guess below which it is kept, or None
    jobs: Jobs = Jobs()  # how the work is shared out among processes
    memory: int | None = None  # working memory to aim at, in bytes; None for what suits the device
    background: BackgroundSettings | None = None  # norms of the background; None where it is known
    indices: IndexRange | None = None  # of a model whose index is fitted too

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps that a fit gives."""
        optional = (OPTIONAL_MAPS[name] for name in OPTIONAL_MAPS if name in self.selection)
        free = INDEX_MAPS if self.indices is not None else ()
        own = () if self.background is None else self.background.maps
        return (*FITTED_MAPS, *free, *(name for names in optional for name in names), *own)


def energy_groups(
    axis: MapAxis, edges: u.Quantity | str | None
) -> tuple[list[tuple[int, int]], MapAxis]:
    """Snap energy edges to an axis."""
    if edges is None:
        groups = [(0, axis.nbin)]
    elif isinstance(edges, str):
        groups = [(i, i + 1) for i in range(axis.nbin)]
    else:
        groups = axis.group(edges)
        if len(groups) < len(edges) - 1:
            log.warning(
                "%d energy groups asked for, %d come out: the data's bins are wider, or end before",
                len(edges) - 1,
                len(groups),
            )
    snapped = axis.edges[[groups[0][0], *(stop for _, stop in groups)]]
    if edges is not None:
        log.info("energy edges, snapped: %s", ", ".join(f"{edge:.4g}" for edge in snapped))
    return groups, MapAxis.from_energy_edges(snapped)


def fit_groups(
    groups: Sequence[Sequence[Share]], settings: FitSettings, wanted: np.ndarray | None, bar: Any
) -> dict[str, np.ndarray]:
    """Fit every energy group; one without a position, such as below threshold, stays unfitted."""
    results: list[dict[str, np.ndarray]] = []
    problem: NoPositionError | None = None
    for index, shares in enumerate(groups):
        moved = 0.0

        def advance(fraction: float) -> None:
            nonlocal moved
            bar.update(fraction - moved)
            moved = fraction

        try:
            fitted = _positions(shares, wanted)
        except NoPositionError as error:
            problem = error
            bins = shares[0][1]
            log.warning("energy bins %d to %d are not fitted: %s", bins.start, bins.stop - 1, error)
            results.append(_unfitted(shares[0][0].shape, settings))
        else:
            windows = _windows(shares, settings)
            with jax.enable_x64(True):
                images = [
                    i.images(b, settings.sum_energies, settings.kernel_weighting) for i, b in shares
                ]
                free = settings.background and settings.background.norms_of(images, windows, index)
                engine: Callable[..., NormFit] = fit_occupied
                if settings.indices is not None:
                    engine = partial(fit_index_occupied, indices=settings.indices)
                    images = [i.with_family(m, b) for m, (i, b) in zip(images, shares, strict=True)]
                fit = engine(
                    images,
                    fitted,
                    window=tuple(np.max([i.window(b) for i, b in shares], axis=0).tolist()),
                    options=settings.options,
                    selection=settings.selection,
                    scan_values=settings.scan_values,
                    guess=None if settings.threshold is None else guess_norm(shares, images),
                    threshold=settings.threshold,
                    n_sweeps=settings.n_sweeps,
                    memory=settings.memory,
                    progress=advance,
                    processes=settings.jobs.n_jobs,
                    run=None if settings.jobs.n_jobs == 1 else partial(run_jobs, settings.jobs),
                    free=free,
                )
            arrays = _with_offsets(fit, shares, windows, settings)
            results.append(_painted(arrays, settings.maps, fitted))
        advance(1)
    if problem is not None and not any(result["success"].any() for result in results):
        raise problem
    if len(results) == 1:
        return {name: array[None] for name, array in results[0].items()}
    return {name: stacked([result[name] for result in results]) for name in results[0]}


def _windows(shares: Sequence[Share], settings: FitSettings) -> list[tuple[int, int]]:
    """Return the sides of the windows whose statistic a fit has."""
    own = [inputs.group_window(bins) for inputs, bins in shares]
    if settings.background is None:
        return own
    return [settings.background.window(i, w) for (i, _), w in zip(shares, own, strict=True)]


def _positions(shares: Sequence[Share], wanted: np.ndarray | None) -> np.ndarray:
    """Return the positions to fit, of which there must be one."""
    valid = np.any([inputs.fitted(bins) for inputs, bins in shares], axis=0)
    fitted: np.ndarray = valid if wanted is None else valid & wanted
    if not fitted.any():
        raise NoPositionError(_no_position(shares, bool(valid.any())))
    return fitted


def _with_offsets(
    fit: NormFit,
    shares: Sequence[Share],
    windows: Sequence[tuple[int, int]],
    settings: FitSettings,
) -> dict[str, np.ndarray]:
    """Return the maps of a fit, with what weights add to the statistic."""
    arrays = {name: _writable(getattr(fit, name)) for name in (*settings.maps, "status")}
    for (inputs, bins), window in zip(shares, windows, strict=True):
        offset = inputs.stat_offset(bins, settings.sum_energies, window)
        if offset is not None:
            arrays["stat"] += offset
            arrays["stat_null"] += offset
    return arrays


def _writable(array: np.ndarray) -> np.ndarray:
    """Return an array that may be written to: itself, unless it is locked."""
    return array if array.flags.writeable else array.copy()


def _painted(
    arrays: dict[str, np.ndarray], names: Sequence[str], fitted: np.ndarray
) -> dict[str, np.ndarray]:
    """Put NaN on the maps of a fit where there is none, and success beside them."""
    unfitted, elsewhere = np.isin(arrays["status"], _UNFITTED), ~fitted
    for name in names:
        if name != "niter":
            np.copyto(arrays[name], np.nan, where=elsewhere if name in _OF_POSITION else unfitted)
    lost = ~unfitted & ~elsewhere & ~_finite(arrays, names)
    if lost.any():
        arrays["status"] = np.where(
            lost, arrays["status"].dtype.type(Status.OUT_OF_RANGE), arrays["status"]
        )
    failed = (*_UNFITTED, Status.NOT_CONVERGED, Status.OUT_OF_RANGE)
    arrays["success"] = ~np.isin(arrays["status"], failed)
    return arrays


_UNFITTED = (Status.NOT_FITTED, Status.BACKGROUND_UNDETERMINED)

# infinite where there are no counts, or no background
_MAY_BE_INFINITE = (
    *("norm_err", "norm_errp", "norm_errn", "norm_sensitivity", "stat_scan"),
    *BACKGROUND_MAPS,
)


def _finite(arrays: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    """Return where all results are numbers, and those finite that must be."""
    # one sum has the NaN and infinities of all its terms
    total = np.zeros(arrays["status"].shape)
    for name in names:
        if name not in _MAY_BE_INFINITE and name not in INDEX_MAPS:
            total = total + arrays[name]
    fine: np.ndarray = np.isfinite(total)
    for name in set(names).intersection(_MAY_BE_INFINITE) - {"stat_scan"}:
        missing = np.isnan(arrays[name])
        fine &= ~(missing if missing.ndim == fine.ndim else missing.any(axis=0))
    return fine


def _unfitted(shape: tuple[int, ...], settings: FitSettings) -> dict[str, np.ndarray]:
    """Return the maps of a group that has no position to fit."""
    arrays = {name: np.full(shape, np.nan) for name in settings.maps}
    arrays["niter"] = np.zeros(shape, np.int32)
    arrays["status"] = np.full(shape, Status.NOT_FITTED, np.int8)
    arrays["success"] = np.zeros(shape, bool)
    if settings.scan_values is not None and "stat_scan" in arrays:
        arrays["stat_scan"] = np.full((len(settings.scan_values), *shape), np.nan)
    return arrays


def only_at(wanted: np.ndarray | None, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Keep the results at some positions; the others become unfitted."""
    if wanted is None:
        return arrays
    other = {"niter": 0, "status": int(Status.NOT_FITTED), "success": False}
    return {
        name: np.where(wanted, array, np.asarray(other.get(name, np.nan), array.dtype))
        for name, array in arrays.items()
    }


def _no_position(shares: Sequence[Share], elsewhere: bool) -> str:
    """Say why an energy group has no position to fit."""
    if elsewhere:
        return (
            "No valid positions: there is data to fit, but not at the positions asked for. Check "
            "positions against mask_safe, mask_fit and the background."
        )
    if not any((inputs.weights[bins] > 0).any() for inputs, bins in shares):
        return (
            "No valid positions: the mask is False in every bin of the energy group. Check "
            "mask_safe, mask_fit and energy_edges."
        )
    return (
        "No valid positions: the background is zero in every unmasked bin of the energy group. "
        "Set a background, or models that predict one; background_floor gives it a least value."
    )


def as_maps(
    arrays: Mapping[str, np.ndarray],
    names: Iterable[str],
    image: WcsGeom,
    axis: MapAxis,
    scan_values: np.ndarray | None = None,
) -> dict[str, Map]:
    """Put geometry on the arrays of a fit."""
    cube = image.to_cube([axis])
    maps = {}
    for name in names:
        if name not in arrays:
            continue
        geom = cube
        if name == "stat_scan":
            norms = MapAxis(scan_values, name="norm", unit="", node_type="center")
            geom = image.to_cube([norms, axis])
        elif name in BACKGROUND_MAPS and arrays[name].ndim == 4:
            geom = image.to_cube([norms_axis(arrays[name].shape[1]), axis])
        maps[name] = Map(geom, arrays[name], copy=False)
    return maps


def scanned_fluxes(scan: Map, spectrum: Any) -> Map:
    """Return the differential fluxes at which a statistic was scanned."""
    norms = scan.geom.axes["norm"].center_in("")
    reference = reference_values(spectrum, scan.geom.axes["energy"], "dnde")
    values = (reference[:, None] * norms[None, :])[:, :, None, None]
    data = np.where(np.isnan(scan.data), np.nan, values)
    return Map(scan.geom, data, unit=QUANTITIES["dnde_scan_values"].unit, copy=False)
