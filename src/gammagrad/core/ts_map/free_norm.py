"""The fit of a strip where a norm of the background is fitted too."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._programs import by_element, compiled
from gammagrad.core.norm import FitOptions, Status, Window, free_status, is_even, place_of
from gammagrad.core.ts_map.bins import to_tiles
from gammagrad.core.ts_map.chunk import TileInputs
from gammagrad.core.ts_map.fixed_norm import (
    OPTIONAL,
    Asked,
    StripBins,
    Worked,
    sensitivity_of,
)
from gammagrad.core.ts_map.free_chunk import FreeInputs, fit_free_chunk, without_counts
from gammagrad.core.ts_map.listed import Chunk, Workspace
from gammagrad.core.ts_map.strips import Strip
from gammagrad.core.ts_map.whole_map import WholeMap

_NORMS = (
    *("background_norm", "background_norm_err", "background_norm_pull", "background_norm_corr"),
)

_FLAGS = (
    *("at_bound", "zero_bound", "vanishes", "even", "has_model", "has_counts", "counts_on_zero"),
)

_TILES = 1024
"""Tiles without counts that are worked on together."""


class FreeNorm:
    """The fit of a strip where a norm of the background is fitted too."""

    def __init__(self, bins: StripBins, strip: Strip, asked: Asked) -> None:
        assert strip.free is not None
        self.bins, self.asked, self.window = bins, asked, strip.free
        whole, plan = bins.whole, bins.plan
        found = by_element(
            _bounds,
            ratio=whole.bound,
            background=self.window.background,
            known=self.window.known,
            model_sum=np.where(whole.has_model, whole.model_sum, 1.0),
        )
        self.bound, self.even = found["bound"], found["even"]
        guess = np.zeros_like(self.bound) if strip.guess is None else strip.guess
        self.tiles = TileInputs(to_tiles(self.bound, plan), bins.model_sum, to_tiles(guess, plan))
        window = Window(*(to_tiles(a, plan) for a in self.window))
        # pixels that tiles have beyond the map divide by something too
        known = np.where(window.expected > 0, window.known, 1.0)
        self.free = FreeInputs(self.tiles.bound, window._replace(known=known))
        values = asked.scan_values
        self.scan_values = None if values is None else np.asarray(values, bins.dtype)
        self.threshold = np.asarray(asked.threshold or 0.0, bins.dtype)

    def without_counts(self) -> dict[str, np.ndarray]:
        """Return what holds where no occupied bin is seen, see `Fit`."""
        number = len(self.tiles.bound)
        found: dict[str, np.ndarray] = {}
        for begin in range(0, number, _TILES):
            own = np.arange(begin, min(begin + _TILES, number))
            filled = np.append(own, np.repeat(own[-1:], _TILES - own.size))
            tiles = TileInputs(*(np.ascontiguousarray(a[filled].T) for a in self.tiles[:3]))
            arrays = without_counts(
                tiles,
                self._free_of(filled),
                self.asked.options,
                self.scan_values,
                self.threshold,
                selection=self.asked.selection,
                threshold_is_set=self.asked.threshold is not None,
            )
            for name, array in arrays.items():
                values = np.swapaxes(np.asarray(array)[..., : own.size], -1, -2)
                if name not in found:
                    shape = (*values.shape[:-2], number, values.shape[-1])
                    found[name] = np.zeros(shape, values.dtype)
                found[name][..., own, :] = values
        return found

    def solve(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Fit the pixels of a chunk, see `Fit`."""
        return fit_free_chunk(
            self.bins.flat,
            chunk.bins,
            self.bins.inputs(self.tiles, chunk.tiles),
            self._free_of(chunk.tiles),
            self.asked.options,
            self.scan_values,
            self.threshold,
            self.bins.workspace(chunk, space),
            selection=self.asked.selection,
            threshold_is_set=self.asked.threshold is not None,
        )

    def sensitivity(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Find the sensitivity at the pixels of a chunk, see `Fit`."""
        window = self._free_of(chunk.tiles).window
        return sensitivity_of(self.bins, chunk, space, self.asked.options, window)

    def assembled(self, maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn maps of what chunks found into the quantities of a fit, see `Fit`."""
        return _assembled(maps, self.bins.whole, self.window, self.even, self.asked.options)

    def _free_of(self, tiles: np.ndarray) -> FreeInputs:
        """Return what a chunk needs to know of the background's norm."""

        def own(array: np.ndarray) -> np.ndarray:
            return np.ascontiguousarray(array[tiles].T)

        return FreeInputs(own(self.free.bound), Window(*map(own, self.free.window)))


@compiled
def _bounds(ratio: Array, background: Array, known: Array, model_sum: Array) -> dict[str, Array]:
    """Return the places of physical bounds, and where model and background have one shape."""
    expected = background + known
    even = is_even(ratio, expected, model_sum)
    bound = place_of(ratio, jnp.where(expected > 0, expected, 1), model_sum)
    return {"bound": jnp.where(even, 0, bound), "even": even}


@compiled
def _quantities(**of: Any) -> dict[str, Array]:
    """Turn what chunks found into the quantities of a fit, elementwise."""
    window = Window(of["counts"], of["background"], of["stat"], of["known"])
    known = of["has_model"] & ~of["even"]
    norm = jnp.where(known, of["norm"], 0)
    model_sum = jnp.where(of["has_model"], of["model_sum"], 0)
    gained = jnp.where(known, of["gained"], 0)
    stat_null, excess = window.stat_null(), norm * model_sum
    status = free_status(
        open_=of["last_step"] > of["rtol"],
        error_at_bound=of["gained"] <= of["n_sigma"] ** 2,
        **{name: of[name] for name in _FLAGS},
    )
    background_norm = jnp.where(known, of["background_norm"], 1)
    return {
        "norm": norm,
        "norm_err": jnp.where(known, of["norm_err"], jnp.inf),
        "ts": jnp.where(norm < 0, -gained, gained),
        "stat": stat_null - gained,
        "stat_null": stat_null,
        "npred": of["background_sum"] * background_norm + excess,
        "npred_excess": excess,
        "status": jnp.where(of["kept"] & known, Status.GUESS_KEPT, status),
        "niter": jnp.where((window.total > 0) & ~of["kept"], of["niter"], 0),
    }


def _assembled(
    maps: dict[str, np.ndarray],
    whole: WholeMap,
    window: Window,
    even: np.ndarray,
    options: FitOptions,
) -> dict[str, np.ndarray]:
    """Turn maps of what chunks found into the quantities of a fit."""
    names = ("norm", "norm_err", "gained", "background_norm", "niter", "last_step", "kept")
    given = {name: maps[name] for name in (*names, "at_bound", "vanishes", "has_counts")}
    given |= {
        name: getattr(whole, name)
        for name in ("model_sum", "background_sum", "has_model", "counts_on_zero")
    }
    given |= {name: np.asarray(a) for name, a in zip(Window._fields, window, strict=True)}
    shape = even.shape
    given |= {"even": even, "zero_bound": whole.bound == 0}
    given |= {n: np.broadcast_to(getattr(options, n), shape) for n in ("rtol", "n_sigma")}
    found = by_element(_quantities, **given)
    known = whole.has_model & ~even
    optional = {n: maps[n] for n in (*OPTIONAL, *_NORMS) if n in maps}
    for array in optional.values():
        np.copyto(array, 0, where=~known)
    found = {**found, **optional}
    found["niter"] = found["niter"].astype(np.int32)
    found["status"] = found["status"].astype(np.int8)
    return found
