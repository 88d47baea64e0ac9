"""The fit of a strip where each of several groups has a norm of the background."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jax import Array

from gammagrad._programs import compiled, room
from gammagrad.core.norm import BACKGROUND_MAPS, Window, groups_of, several_stat_null
from gammagrad.core.ts_map.bins import from_tiles, to_tiles
from gammagrad.core.ts_map.chunk import TileInputs
from gammagrad.core.ts_map.fixed_norm import Asked, BinsOfStrip, Worked, sensitivity_of
from gammagrad.core.ts_map.flat import LEAST, in_a_row
from gammagrad.core.ts_map.free_norm import by_tiles, free_assembled, taken
from gammagrad.core.ts_map.listed import Chunk, Workspace, in_a_line
from gammagrad.core.ts_map.several_chunk import (
    GroupInputs,
    fit_several_chunk,
    several_without_counts,
)
from gammagrad.core.ts_map.strips import Strip
from gammagrad.core.ts_map.whole_map import WholeMap, whole_map
from gammagrad.core.ts_map.wide import images_of


class SeveralNorms:
    """The fit of a strip where each of several groups has a norm of the background."""

    alone = False  # groups are those of all bins

    def __init__(self, bins: BinsOfStrip, strip: Strip, asked: Asked) -> None:
        assert strip.free is not None
        self.bins, self.asked, self.free = bins, asked, strip.free
        self.windows = strip.free.windows
        plan, whole, member = bins.plan, bins.whole, strip.free.member
        self.parts = [
            whole_map(images_of(strip.datasets, member, group), strip.fitted)
            for group in range(len(self.windows.counts))
        ]
        bound = to_tiles(np.zeros_like(whole.bound), plan)
        self.tiles = TileInputs(bound, bins.model_sum)
        known = np.where(self.windows.expected > 0, self.windows.known, 1.0)
        windows = self.windows._replace(known=known)
        sizes = np.concatenate([np.full(len(d.counts), d.counts[0].size) for d in strip.datasets])
        of_bin = in_a_row([np.repeat(member, sizes)], room(int(sizes.sum()), LEAST))
        self.groups = GroupInputs(
            Window(*(np.stack([to_tiles(a, plan) for a in part]) for part in windows)),
            np.stack([to_tiles(self._model_sum(p), plan) for p in self.parts]),
            np.stack([to_tiles(np.where(p.has_model, p.bound, -1.0), plan) for p in self.parts]),
            of_bin,
        )
        values = asked.scan_values
        self.scan_values = None if values is None else np.asarray(values, bins.dtype)

    @staticmethod
    def _model_sum(part: WholeMap) -> np.ndarray:
        """Return the model counts of a group, 0 where it has none."""
        return np.where(part.has_model, part.model_sum, 0.0)

    def without_counts(self) -> dict[str, np.ndarray]:
        """Return what holds where no occupied bin is seen, see `Fit`."""

        def of(tiles: TileInputs, which: np.ndarray) -> dict[str, Array]:
            return several_without_counts(
                tiles,
                self._groups_of(lambda array: in_a_line(array[:, which])),
                self.asked.options,
                self.scan_values,
                selection=self.asked.selection,
                gaussian=self.free.how.gaussian,
            )

        return by_tiles(of, self.tiles)

    def solve(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Fit the pixels of a chunk, see `Fit`."""
        return fit_several_chunk(
            self.bins.flat_of(chunk),
            chunk.bins,
            self.bins.inputs(self.tiles, chunk),
            self._groups_of(chunk.of_pixels),
            self.asked.options,
            self.scan_values,
            self.bins.workspace(chunk, space),
            selection=self.asked.selection,
            gaussian=self.free.how.gaussian,
        )

    def sensitivity(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Find the sensitivity at the pixels of a chunk, see `Fit`."""
        groups = self._groups_of(chunk.of_pixels)
        lost = taken(groups.windows, groups.model_sum)
        return sensitivity_of(self.bins, chunk, space, self.asked.options, lost)

    def assembled(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn what chunks found into maps of the quantities of a fit, see `Fit`."""
        maps = {n: np.asarray(from_tiles(a, self.bins.plan)) for n, a in found.items()}
        whole, gaussian = self.bins.whole, self.free.how.gaussian
        stat_null = np.asarray(_stat_null(self.windows, gaussian=gaussian))
        bare = np.any([p.has_model & (p.bound == 0) for p in self.parts], axis=0)
        flags = {"even": maps.pop("undetermined"), "zero_bound": bare}
        background = np.stack([p.background_sum for p in self.parts])
        own = (background * maps["background_norm"]).sum(axis=0)
        results = free_assembled(maps, whole, stat_null, flags, self.asked.options, own)
        if not self.free.how.several:
            results |= {name: results[name][0] for name in BACKGROUND_MAPS}
        return results

    def _groups_of(self, own: Callable[[np.ndarray], np.ndarray]) -> GroupInputs:
        """Return what a chunk needs to know of the groups."""
        windows, model_sum, bound, of_bin = self.groups
        return GroupInputs(Window(*map(own, windows)), own(model_sum), own(bound), of_bin)


@compiled(static=("gaussian",))
def _stat_null(windows: Window, *, gaussian: bool) -> Array:
    """Return the statistic without a source at all pixels."""
    zero = windows.known * 0
    return several_stat_null(groups_of(windows, zero, zero, zero, gaussian), windows, gaussian)
