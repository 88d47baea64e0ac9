"""Energy groups of a map estimator, and the fit of one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import astropy.units as u
import jax
import numpy as np

from gammagrad.core.norm import NormFit
from gammagrad.core.occupied import fit_occupied
from gammagrad.core.solve import Status
from gammagrad.dataset import MapDataset
from gammagrad.estimators.inputs import FitInputs, valid_positions
from gammagrad.maps.axes import MapAxis

__all__ = [
    "FITTED_MAPS",
    "FitSettings",
    "NoPositionError",
    "energy_groups",
    "fit_group",
    "fit_groups",
    "one_dataset",
]

log = logging.getLogger(__name__)

FITTED_MAPS = ("ts", "norm", "niter", "norm_err", "npred", "npred_excess", "stat", "stat_null")
"""Maps that come out of a fit, in gammapy's order."""

# known at a fitted position even if the model cannot be seen there
_OF_POSITION = ("ts", "npred", "npred_excess", "stat", "stat_null")


class NoPositionError(ValueError):
    """An energy group has no position to fit."""


class FitSettings(NamedTuple):
    """What the fit of an energy group depends on, frozen when a run begins."""

    sum_energies: bool
    kernel_weighting: str
    n_sigma: float
    rtol: float
    n_sweeps: int


def one_dataset(datasets: MapDataset | Sequence[MapDataset]) -> MapDataset:
    """Return a dataset, or the only one of a sequence.

    Parameters
    ----------
    datasets
        What a user passed to a run.

    Returns
    -------
    MapDataset
        The dataset.

    Raises
    ------
    TypeError
        If it is something else, or several.
    """
    if isinstance(datasets, MapDataset):
        return datasets
    found = list(datasets) if isinstance(datasets, Sequence) else [datasets]
    if len(found) != 1 or not isinstance(found[0], MapDataset):
        raise TypeError(
            f"expected a MapDataset, got {len(found)} of type "
            f"{sorted({type(d).__name__ for d in found})}; this version of gammagrad fits one "
            "dataset at a time."
        )
    return found[0]


def energy_groups(
    axis: MapAxis, edges: u.Quantity | str | None
) -> tuple[list[tuple[int, int]], MapAxis]:
    """Snap energy edges to an axis.

    Parameters
    ----------
    axis
        Energy axis of the dataset.
    edges
        The edges asked for; None for one group, "all" for one per bin.

    Returns
    -------
    list of (int, int)
        First bin of each group and the one after its last.
    MapAxis
        The groups as an axis.

    Raises
    ------
    ValueError
        If no group holds a bin.
    """
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


def fit_group(
    inputs: FitInputs, bins: slice, settings: FitSettings, bar: Any
) -> dict[str, np.ndarray]:
    """Fit one energy group at every position; paint what is not fitted.

    Parameters
    ----------
    inputs
        Arrays of the dataset.
    bins
        The group's energy bins.
    settings
        Settings of the fit.
    bar
        Progress bar, which moves by one step while the group is fitted and is left where it was.

    Returns
    -------
    dict of str to ndarray
        Maps of shape (rows, cols): `FITTED_MAPS`, "status" and "success".

    Raises
    ------
    NoPositionError
        If there is no position to fit.
    """
    done = 0.0

    def advance(batch: float, batches: int) -> None:
        nonlocal done
        bar.update(batch / batches - done)
        done = batch / batches

    with jax.enable_x64(True):
        images, fitted = inputs.images(bins, settings.sum_energies, settings.kernel_weighting)
        if not fitted.any():
            raise NoPositionError(valid_positions(inputs, bins))
        fit: NormFit = fit_occupied(
            [images],
            fitted,
            n_sigma=settings.n_sigma,
            rtol=settings.rtol,
            n_sweeps=settings.n_sweeps,
            progress=advance,
        )
    bar.update(-done)
    arrays = {name: np.array(getattr(fit, name)) for name in (*FITTED_MAPS, "status")}
    unfitted = arrays["status"] == Status.NOT_FITTED
    for name in ("norm", "norm_err"):
        arrays[name][unfitted] = np.nan
    for name in _OF_POSITION:
        arrays[name][~fitted] = np.nan
    arrays["success"] = ~unfitted & (arrays["status"] != Status.NOT_CONVERGED)
    return arrays


def fit_groups(
    inputs: FitInputs, groups: Sequence[tuple[int, int]], settings: FitSettings, bar: Any
) -> dict[str, np.ndarray]:
    """Fit every energy group; one without a position, as bins below threshold are, stays unfitted.

    Parameters
    ----------
    inputs
        Arrays of the dataset.
    groups
        First bin of each group and the one after its last.
    settings
        Settings of the fit.
    bar
        Progress bar, moved by one step a group.

    Returns
    -------
    dict of str to ndarray
        Maps of shape (groups, rows, cols).

    Raises
    ------
    NoPositionError
        If no group has a position to fit.
    """
    results: list[dict[str, np.ndarray]] = []
    problem: NoPositionError | None = None
    for start, stop in groups:
        try:
            results.append(fit_group(inputs, slice(start, stop), settings, bar))
        except NoPositionError as error:
            problem = error
            log.warning("energy bins %d to %d are not fitted: %s", start, stop - 1, error)
            results.append(_unfitted(inputs.counts.shape[1:]))
        bar.update(1)
    if problem is not None and not any(result["success"].any() for result in results):
        raise problem
    return {name: np.stack([result[name] for result in results]) for name in results[0]}


def _unfitted(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Return the maps of a group that has no position to fit."""
    arrays = {name: np.full(shape, np.nan) for name in FITTED_MAPS}
    arrays["niter"] = np.zeros(shape, np.int32)
    arrays["status"] = np.full(shape, Status.NOT_FITTED, np.int8)
    arrays["success"] = np.zeros(shape, bool)
    return arrays
