"""The fit of a strip where a norm of the background is fitted too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._programs import by_element, compiled
from gammagrad.core.norm import (
    BACKGROUND_MAPS,
    FitOptions,
    Status,
    Window,
    free_status,
    is_even,
    lost_of,
    place_of,
)
from gammagrad.core.ts_map.bins import from_tiles, to_tiles
from gammagrad.core.ts_map.chunk import TileInputs
from gammagrad.core.ts_map.fixed_norm import (
    OPTIONAL,
    Asked,
    BinsOfStrip,
    Worked,
    sensitivity_of,
    tiled_guess,
)
from gammagrad.core.ts_map.free_chunk import FreeInputs, fit_free_chunk, without_counts
from gammagrad.core.ts_map.listed import Chunk, Workspace, in_a_line
from gammagrad.core.ts_map.strips import Strip
from gammagrad.core.ts_map.whole_map import WholeMap

_FLAGS = (
    *("at_bound", "zero_bound", "vanishes", "even", "has_model", "has_counts", "counts_on_zero"),
)

_TILES = 1024
"""Tiles without counts that are worked on together."""


class FreeNorm:
    """The fit of a strip where a norm of the background is fitted too."""

    alone = True

    def __init__(self, bins: BinsOfStrip, strip: Strip, asked: Asked) -> None:
        assert strip.free is not None
        self.bins, self.asked = bins, asked
        self.window = Window(*(a[0] for a in strip.free.windows))
        whole, plan = bins.whole, bins.plan
        found = by_element(
            _bounds,
            ratio=whole.bound,
            background=self.window.background,
            known=self.window.known,
            model_sum=np.where(whole.has_model, whole.model_sum, 1.0),
        )
        self.bound, self.even = found["bound"], found["even"]
        guess = tiled_guess(strip, asked, bins)
        self.tiles = TileInputs(to_tiles(self.bound, plan), bins.model_sum, guess)
        window = Window(*(to_tiles(a, plan) for a in self.window))
        # pixels that tiles have beyond the map divide by something too
        known = np.where(window.expected > 0, window.known, 1.0)
        self.free = FreeInputs(self.tiles.bound, window._replace(known=known))
        values = asked.scan_values
        self.scan_values = None if values is None else np.asarray(values, bins.dtype)
        self.threshold = np.asarray(asked.threshold or 0.0, bins.dtype)

    def without_counts(self) -> dict[str, np.ndarray]:
        """Return what holds where no occupied bin is seen, see `Fit`."""

        def of(tiles: TileInputs, which: np.ndarray) -> dict[str, Array]:
            return without_counts(
                tiles,
                self._free_of(lambda array: in_a_line(array[which])),
                self.asked.options,
                self.scan_values,
                self.threshold,
                selection=self.asked.selection,
                threshold_is_set=self.asked.threshold is not None,
            )

        return by_tiles(of, self.tiles)

    def solve(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Fit the pixels of a chunk, see `Fit`."""
        return fit_free_chunk(
            self.bins.flat_of(chunk),
            chunk.bins,
            self.bins.inputs(self.tiles, chunk),
            self._free_of(chunk.of_pixels),
            self.asked.options,
            self.scan_values,
            self.threshold,
            self.bins.workspace(chunk, space),
            selection=self.asked.selection,
            threshold_is_set=self.asked.threshold is not None,
        )

    def sensitivity(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Find the sensitivity at the pixels of a chunk, see `Fit`."""
        window = self._free_of(chunk.of_pixels).window
        total = chunk.of_pixels(self.bins.model_sum)
        one = Window(*(a[None] for a in window))
        lost = taken(one, total[None])
        return sensitivity_of(self.bins, chunk, space, self.asked.options, lost)

    def assembled(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn what chunks found into maps of the quantities of a fit, see `Fit`."""
        maps = {n: np.asarray(from_tiles(a, self.bins.plan)) for n, a in found.items()}
        stat_null = by_element(_stat_null, **self.window._asdict())
        flags = {"even": self.even, "zero_bound": self.bins.whole.bound == 0}
        return free_assembled(maps, self.bins.whole, stat_null, flags, self.asked.options)

    def _free_of(self, own: Callable[[np.ndarray], np.ndarray]) -> FreeInputs:
        """Return what a chunk needs to know of the background's norm."""
        return FreeInputs(own(self.free.bound), Window(*map(own, self.free.window)))


def by_tiles(
    function: Callable[[TileInputs, np.ndarray], dict[str, Array]], tiles: TileInputs
) -> dict[str, np.ndarray]:
    """Apply a function to all tiles, some at a time."""
    number = len(tiles.bound)
    found: dict[str, np.ndarray] = {}
    for begin in range(0, number, _TILES):
        own = np.arange(begin, min(begin + _TILES, number))
        filled = np.append(own, np.repeat(own[-1:], _TILES - own.size))
        some = jax.tree.map(lambda a, own=filled: in_a_line(a[own]), tiles)
        for name, array in function(some, filled).items():
            values = np.asarray(array)
            values = values.reshape(*values.shape[:-2], _TILES, -1)[..., : own.size, :]
            if name not in found:
                shape = (*values.shape[:-2], number, values.shape[-1])
                found[name] = np.zeros(shape, values.dtype)
            found[name][..., own, :] = values
    return found


taken = compiled(lost_of)


@compiled
def _bounds(ratio: Array, background: Array, known: Array, model_sum: Array) -> dict[str, Array]:
    """Return the places of physical bounds, and where model and background have one shape."""
    expected = background + known
    even = is_even(ratio, expected, model_sum)
    bound = place_of(ratio, jnp.where(expected > 0, expected, 1), model_sum)
    return {"bound": jnp.where(even, 0, bound), "even": even}


@compiled
def _stat_null(counts: Array, background: Array, stat: Array, known: Array) -> Array:
    """Return the statistic without a source, elementwise."""
    return Window(counts, background, stat, known).stat_null()


@compiled
def _quantities(**of: Any) -> dict[str, Array]:
    """Turn what chunks found into the quantities of a fit, elementwise."""
    known = of["has_model"] & ~of["even"]
    norm = jnp.where(known, of["norm"], 0)
    model_sum = jnp.where(of["has_model"], of["model_sum"], 0)
    gained = jnp.where(known, of["gained"], 0)
    excess = norm * model_sum
    status = free_status(
        open_=of["last_step"] > of["rtol"],
        error_at_bound=of["gained"] <= of["n_sigma"] ** 2,
        **{name: of[name] for name in _FLAGS},
    )
    return {
        "norm": norm,
        "norm_err": jnp.where(known, of["norm_err"], jnp.inf),
        "ts": jnp.where(norm < 0, -gained, gained),
        "stat": of["stat_null"] - gained,
        "stat_null": of["stat_null"],
        "npred": of["own"] + excess,
        "npred_excess": excess,
        "status": jnp.where(of["kept"] & known, Status.GUESS_KEPT, status),
        "niter": jnp.where(of["kept"], 0, of["niter"]),
    }


def free_assembled(
    maps: dict[str, np.ndarray],
    whole: WholeMap,
    stat_null: np.ndarray,
    flags: dict[str, np.ndarray],
    options: FitOptions,
    own: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Turn maps of what chunks found into the quantities of a fit."""
    # own: counts of the background, if they are not its norm times those of the window
    names = ("norm", "norm_err", "gained", "niter", "last_step", "kept")
    given = {name: maps[name] for name in (*names, "at_bound", "vanishes", "has_counts")}
    given |= {n: getattr(whole, n) for n in ("model_sum", "has_model", "counts_on_zero")}
    known = whole.has_model & ~flags["even"]
    if own is None:
        own = whole.background_sum * np.where(known, maps["background_norm"], 1.0)
    given |= {"own": own, "stat_null": stat_null, **flags}
    shape = stat_null.shape
    given |= {n: np.broadcast_to(getattr(options, n), shape) for n in ("rtol", "n_sigma")}
    found = by_element(_quantities, **given)
    optional = {n: maps[n] for n in (*OPTIONAL, *BACKGROUND_MAPS) if n in maps}
    for array in optional.values():
        np.copyto(array, 0, where=~known)
    found = {**found, **optional}
    found["niter"] = found["niter"].astype(np.int32)
    found["status"] = found["status"].astype(np.int8)
    return found
