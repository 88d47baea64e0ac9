"""Norms of the background that a map fit fits too: how well they are known, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np

from gammagrad.core.norm import BACKGROUND_MAPS, check_background, knowledge
from gammagrad.core.ts_map import Backgrounds, BinImages, members, wide_window, wide_windows
from gammagrad.dataset import AnyMapDataset, MapDatasetOnOff
from gammagrad.errors import InputError
from gammagrad.estimators.ts_map.downsampling import CoarseGrid
from gammagrad.estimators.ts_map.inputs import FitInputs
from gammagrad.maps import Map, MapAxis, WcsGeom, middle, reach


class BackgroundSettings(NamedTuple):
    """What is asked of the background, frozen when a run begins."""

    background: str
    uncertainty: Any  # a number, one for each energy group, or a map
    prior: str
    width: u.Quantity | None  # full width of the window for a norm
    norms: str

    @property
    def one_line(self) -> bool:
        """Whether one norm without a Gaussian prior is fitted."""
        how = check_background(self.background, self.prior, self.norms != "one")
        return how is None or how.on_line

    @property
    def maps(self) -> tuple[str, ...]:
        """Names of the maps that a fit gives besides the others."""
        return () if self.background == "fixed" else BACKGROUND_MAPS

    def on_blocks(self, grid: CoarseGrid | None) -> BackgroundSettings:
        """Return the same for merged pixels."""
        if grid is None or not isinstance(self.uncertainty, np.ndarray):
            return self
        number = grid.sum(np.ones(self.uncertainty.shape[-2:]))
        mean = grid.sum(self.uncertainty) / np.maximum(number, 1)
        # blocks beyond the map are not fitted
        return self._replace(uncertainty=np.where(number > 0, mean, 1.0))

    def on(self, target: WcsGeom, n_groups: int) -> BackgroundSettings:
        """Return the same with the uncertainty as a list, or as an array on a map's pixels."""
        if self.background != "constrained":
            return self
        given = self.uncertainty
        if isinstance(given, Map):
            return self._replace(uncertainty=_on_pixels(given, target, n_groups))
        if isinstance(given, Sequence) and len(given) != n_groups:
            raise InputError(
                f" has {len(given)} numbers, and the map {n_groups} energy groups; expected one "
                "for each, or one for all.",
                "background_uncertainty",
            )
        return self

    def of_group(self, index: int) -> Any:
        """Return the uncertainty of an energy group: a number or a map."""
        given = self.uncertainty
        if isinstance(given, np.ndarray):
            return given[min(index, len(given) - 1)]
        return given[index] if isinstance(given, Sequence) else given

    def window(self, inputs: FitInputs, kernel: tuple[int, int]) -> tuple[int, int]:
        """Return rows and columns of the window for the background's norm."""
        if self.width is None:
            return wide_window(kernel, None)
        geom = inputs.kernel.geom.to_image()
        half = reach(geom, middle(geom), self.width.to_value("deg") / 2)
        # as many pixels as hold the width, one of them in the middle
        rows, cols = (2 * int(np.ceil(max(h - 0.5, 0) - 1e-6)) + 1 for h in half)
        return wide_window(kernel, (rows, cols))

    def norms_of(
        self,
        images: Sequence[BinImages],
        windows: Sequence[tuple[int, int]],
        index: int,
    ) -> Backgrounds | None:
        """Return the norms of the background to fit for an energy group."""
        how = check_background(self.background, self.prior, self.norms != "one")
        if how is None:
            return None
        member = members([len(i.counts) for i in images], self.norms)
        known = np.asarray(knowledge(self.background, self.of_group(index)))
        return Backgrounds(wide_windows(images, windows, member, known), member, how)


def refuse_off_counts(datasets: Sequence[AnyMapDataset], background: str) -> None:
    """Raise if a norm is asked for of a background that is measured in OFF regions."""
    for dataset in datasets:
        if isinstance(dataset, MapDatasetOnOff):
            raise InputError(
                f"dataset {dataset.name!r} has OFF counts, which measure its background bin by "
                f"bin: a norm of it, for which background={background!r} asks, cannot be fitted "
                "too. Leave the background fixed, or pass dataset.to_map_dataset()."
            )


def _on_pixels(given: Map, target: WcsGeom, n_groups: int) -> np.ndarray:
    """Return an uncertainty as an array with one plane, or one for each energy group."""
    values = np.asarray(given.data, dtype=float)
    planes = values.reshape(-1, *values.shape[-2:])
    if planes.shape[-2:] != target.shape_image or len(planes) not in (1, n_groups):
        raise InputError(
            f" is a map of shape {values.shape}; expected {target.shape_image}, the pixels of the "
            f"result, with one plane or {n_groups}, one for each energy group.",
            "background_uncertainty",
        )
    if not np.all((planes > 0) & np.isfinite(planes)):
        raise InputError(
            " has values that are not above 0; expected relative uncertainties such as 0.05.",
            "background_uncertainty",
        )
    return planes


def stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Stack what energy groups have; where they have several norms, the longest list counts."""
    most = max(a.shape[0] if a.ndim == 3 else 0 for a in arrays)
    if not most:
        return np.stack(arrays)
    found = np.full((len(arrays), most, *arrays[0].shape[-2:]), np.nan)
    for own, array in zip(found, arrays, strict=True):
        own[: array.shape[0] if array.ndim == 3 else most] = array
    return found


def norms_axis(number: int) -> MapAxis:
    """Return the axis of norms of several datasets or energies, counted from 0."""
    return MapAxis(np.arange(number, dtype=float), name="background", unit="", node_type="center")
