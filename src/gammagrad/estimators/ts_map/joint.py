"""Several datasets fitted together: what they must share, and what each gives."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gammagrad._upper import kind_of, ours
from gammagrad.dataset import AnyMapDataset, nice_energy
from gammagrad.errors import InputError, InputTypeError
from gammagrad.estimators.ts_map.groups import Share
from gammagrad.estimators.ts_map.inputs import FitInputs
from gammagrad.estimators.ts_map.off_counts import (
    FEW,
    OffBins,
    mean_off,
    warn_of_few,
    warn_of_shared,
)
from gammagrad.maps import MapAxis

log = logging.getLogger(__name__)

# edges that went through single precision are still the same
_ROUNDING = 1e-5

# kernels that hold less than this part of a source are warned of
_CONTAINMENT = 0.95


@dataclass(frozen=True)
class JointInputs:
    """Arrays of all datasets of a fit, and the energy bins that each gives to each group."""

    inputs: list[FitInputs]  # arrays of each dataset
    # for each group, the bins of each dataset; None where it has none
    bins: list[list[slice | None]]
    axis: MapAxis  # the groups as an axis

    @cached_property
    def groups(self) -> list[list[Share]]:
        """For each group, the datasets that have bins in it, with these bins."""
        return [
            [(i, b) for i, b in zip(self.inputs, bins, strict=True) if b is not None]
            for bins in self.bins
        ]

    @cached_property
    def containment(self) -> list[list[float | None]]:
        """For each group, what each dataset's kernel holds of a source; None without bins."""
        return [
            [None if b is None else i.contained(b) for i, b in zip(self.inputs, bins, strict=True)]
            for bins in self.bins
        ]

    def meta(self, sum_energies: bool) -> dict[str, Any]:
        """Return what a result says about the datasets and their kernels."""
        names = [i.name for i in self.inputs]
        shapes = [list(i.kernel.data.shape[-2:]) for i in self.inputs]
        per_group = [[c if c is None else round(c, 6) for c in row] for row in self.containment]
        return {
            "dataset": ", ".join(names),
            "datasets": names,
            "datasets_per_group": [[i.name for i, _ in shares] for shares in self.groups],
            "energy_edges": [f"{edge:.6g}" for edge in self.axis.edges],
            "kernel_shape": [max(sizes) for sizes in zip(*shapes, strict=True)],
            "kernel_shapes": shapes,
            "containment": [round(float(c), 6) for i in self.inputs for c in i.containment],
            "containment_per_group": per_group,
            "kernel_radius_per_group": self._radii(),
            **self._kernels(),
            **self._statistics(sum_energies),
        }

    def _radii(self) -> list[list[float | None]]:
        """Return, for each group, the radius in deg of 68 % of each dataset's kernel."""
        return [
            [
                None if b is None else rounded(i.radius(b))
                for i, b in zip(self.inputs, bins, strict=True)
            ]
            for bins in self.bins
        ]

    def _statistics(self, sum_energies: bool) -> dict[str, Any]:
        """Return what a result says about datasets with OFF counts."""
        if all(i.off is None for i in self.inputs):
            return {}
        return {
            "statistics": ["cash" if i.off is None else "wstat" for i in self.inputs],
            "counts_off_per_bin": [
                [None if m is None else rounded(m) for m in row] for row in self._off(sum_energies)
            ],
        }

    def _off(self, sum_energies: bool) -> list[list[float | None]]:
        """Return, for each group, the mean OFF counts in a bin of each dataset."""
        return [
            [
                None
                if b is None or i.off is None
                else mean_off(OffBins(*(a[b] for a in i.off)), i.weights[b], sum_energies)
                for i, b in zip(self.inputs, bins, strict=True)
            ]
            for bins in self.bins
        ]

    def warn_of_off_counts(self, sum_energies: bool) -> None:
        """Warn of datasets with few OFF counts in a bin, or with counts that bins share."""
        for i, means in zip(self.inputs, zip(*self._off(sum_energies), strict=True), strict=True):
            if i.off is not None:
                few = [(m, g) for g, m in enumerate(means) if m is not None and m < FEW]
                warn_of_few(i.name, [(m, _range(self.axis, g)) for m, g in few])
                warn_of_shared(i.name, i.off, i.weights)

    def _kernels(self) -> dict[str, Any]:
        """Return what a result says about kernels that differ from position to position."""
        if all(i.field is None for i in self.inputs):
            return {}
        records = [
            [
                None if b is None or i.field is None else i.field.records.get((b.start, b.stop))
                for i, b in zip(self.inputs, bins, strict=True)
            ]
            for bins in self.bins
        ]

        def each(name: str) -> list[list[Any]]:
            return [
                [None if r is None else rounded(getattr(r, name)) for r in row] for row in records
            ]

        return {
            "kernel_positions_per_group": each("way"),
            "kernels_per_group": each("kernels"),
            "kernel_error_per_group": each("error"),
            "one_kernel_error_per_group": each("one_kernel"),
        }

    def warn_of_cut_kernels(self, renormalised: bool, model: str = "a source") -> None:
        """Log a warning if a kernel holds less than 95 % of a source."""
        cut = [
            f"dataset {i.name!r}, {_range(self.axis, group)}: {100 * c:.3g} %"
            for group, row in enumerate(self.containment)
            for i, c in zip(self.inputs, row, strict=True)
            if c is not None and c < _CONTAINMENT
        ]
        if not cut:
            return
        effect = (
            "norm and flux are low by the rest; a wider kernel avoids that, and a kernel that is "
            "not renormalised corrects it"
            if renormalised
            else "the counts outside are not used; a wider kernel uses them"
        )
        where = "; ".join(cut)
        log.warning("kernels hold less than 95 %% of %s (%s): %s", model, where, effect)


def rounded(value: Any) -> Any:
    """Return a number to three digits, whole numbers and None as they are."""
    return float(f"{value:.3g}") if isinstance(value, float) else value


def _range(axis: MapAxis, group: int) -> str:
    """Return an energy group as text."""
    low, high = axis.edges[group], axis.edges[group + 1]
    return f"{nice_energy(low)} to {nice_energy(high)}"


def as_datasets(datasets: Any) -> list[AnyMapDataset]:
    """Return what a user passed to a run as a list, checked."""
    datasets = ours(datasets)
    if isinstance(datasets, AnyMapDataset):
        return [datasets]
    plain = isinstance(datasets, Iterable) and not isinstance(datasets, str | bytes | Mapping)
    found = [ours(d) for d in (datasets if plain else [datasets])]
    wrong = sorted({kind_of(d) for d in found if not isinstance(d, AnyMapDataset)})
    if wrong:
        raise InputTypeError(
            f": expected a MapDataset or several, got {', '.join(wrong)}; "
            "gammagrad.read_dataset(filename) reads one, MapDataset.from_maps makes one of maps.",
            "datasets",
        )
    if not found:
        raise InputError(": expected a MapDataset or several, got an empty list.", "datasets")
    return found


def bins_inside(axis: MapAxis, low: float, high: float) -> slice | None:
    """Return the bins of an axis that lie wholly between two energies."""
    edges = axis.edges_in("TeV")
    inside = (edges[:-1] >= low * (1 - _ROUNDING)) & (edges[1:] <= high * (1 + _ROUNDING))
    which = np.flatnonzero(inside)
    return slice(int(which[0]), int(which[-1]) + 1) if which.size else None


def share_groups(
    datasets: Sequence[AnyMapDataset], groups: Sequence[tuple[int, int]], axis: MapAxis
) -> list[list[slice | None]]:
    """Return the energy bins that each dataset gives to each group."""
    edges = axis.edges_in("TeV")
    shares: list[list[slice | None]] = []
    for (start, stop), low, high in zip(groups, edges[:-1], edges[1:], strict=True):
        others = [bins_inside(d.energy_axis, low, high) for d in datasets[1:]]
        shares.append([slice(start, stop), *others])
    for which, dataset in enumerate(datasets):
        absent = [group for group, share in enumerate(shares) if share[which] is None]
        if absent:
            ranges = ", ".join(_range(axis, group) for group in absent)
            log.warning(
                "dataset %r has no energy bin wholly inside %s and is left out there",
                dataset.name,
                ranges,
            )
    return shares
