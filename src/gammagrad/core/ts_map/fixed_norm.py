"""The fit of a strip where the background is known."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np
from jax import Array

from gammagrad.core.norm import N_SWEEPS, FitOptions, Lost, Status, fit_status
from gammagrad.core.ts_map.bins import TILE, TilePlan, from_tiles, to_tiles
from gammagrad.core.ts_map.chunk import TileInputs, fit_chunk
from gammagrad.core.ts_map.flat import FlatBins
from gammagrad.core.ts_map.listed import Chunk, Workspace
from gammagrad.core.ts_map.sensitivity import listed_sensitivity, sensitivity_chunk
from gammagrad.core.ts_map.strips import Strip
from gammagrad.core.ts_map.whole_map import WholeMap

OPTIONAL = ("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity", "stat_scan")
"""Fields of a fit that are there if they are asked for."""


_TOGETHER = 2**13
"""Pixels whose quantities are made together."""


class Asked(NamedTuple):
    """What the fit of a map is asked for."""

    options: FitOptions
    selection: tuple[str, ...] = ()
    scan_values: np.ndarray | None = None
    threshold: float | None = None  # TS of the guess up to which it is kept
    n_sweeps: int = N_SWEEPS
    window: tuple[int, int] | None = None  # size of the largest kernel of several fits

    @property
    def passes(self) -> int:
        """How often the tiles are gone through."""
        return 1 + ("sensitivity" in self.selection)


class BinsOfStrip(Protocol):
    """The bins of a strip, as the fit of its chunks needs them."""

    whole: WholeMap
    plan: TilePlan
    blend: Any
    model_sum: np.ndarray
    dtype: Any

    def inputs(self, all_tiles: TileInputs, chunk: Chunk) -> TileInputs:
        """Return what a chunk needs to know of its tiles."""
        ...

    def flat_of(self, chunk: Chunk) -> FlatBins:
        """Return the bins in a row that a chunk refers to."""
        ...

    def blend_of(self, chunk: Chunk) -> Any:
        """Return the kernels of a chunk's positions, where they differ."""
        ...

    def workspace(self, chunk: Chunk, space: Workspace | None) -> Workspace | None:
        """Return the memory for a chunk of lists."""
        ...


Worked = tuple[Workspace | None, dict[str, Array]]


class Fit(Protocol):
    """What is done for the chunks of a strip."""

    alone: bool  # whether it takes arrays of the listed bins alone

    def without_counts(self) -> dict[str, np.ndarray]:
        """Return what holds where no occupied bin is seen, tile by tile."""
        ...

    def solve(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Fit the pixels of a chunk."""
        ...

    def sensitivity(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Find the sensitivity at the pixels of a chunk."""
        ...

    def assembled(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn what chunks found, tile by tile, into maps of the quantities of a fit."""
        ...


def tiled_guess(strip: Strip, asked: Asked, bins: BinsOfStrip) -> np.ndarray | None:
    """Return the norms to try first, tile by tile; None where none is tried."""
    if asked.threshold is None:
        return None
    guess = np.zeros_like(bins.whole.bound) if strip.guess is None else strip.guess
    return to_tiles(guess, bins.plan)


class FixedNorm:
    """The fit of a strip where the background is known."""

    alone = True

    def __init__(self, bins: BinsOfStrip, strip: Strip, asked: Asked) -> None:
        self.bins, self.asked = bins, asked
        bound = bins.whole.bound
        plan = bins.plan
        guess = tiled_guess(strip, asked, bins)
        self.tiles = TileInputs(to_tiles(bound, plan), bins.model_sum, guess)
        values = asked.scan_values
        self.scan_values = None if values is None else np.asarray(values, bins.dtype)
        self.threshold = np.asarray(asked.threshold or 0.0, bins.dtype)

    def without_counts(self) -> dict[str, np.ndarray]:
        """Return what holds where no occupied bin is seen, see `Fit`."""
        return without_counts(self.tiles, self.asked)

    def solve(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Fit the pixels of a chunk, see `Fit`."""
        return fit_chunk(
            self.bins.flat_of(chunk),
            chunk.bins,
            self.bins.inputs(self.tiles, chunk),
            self.asked.options,
            self.scan_values,
            self.threshold,
            self.bins.workspace(chunk, space),
            selection=self.asked.selection,
            threshold_is_set=self.asked.threshold is not None,
            n_sweeps=self.asked.n_sweeps,
        )

    def sensitivity(self, chunk: Chunk, space: Workspace | None) -> Worked:
        """Find the sensitivity at the pixels of a chunk, see `Fit`."""
        return sensitivity_of(self.bins, chunk, space, self.asked.options)

    def assembled(self, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn what chunks found into maps of the quantities of a fit, see `Fit`."""
        return assembled(found, self.bins.plan, self.bins.whole, self.asked.options)


def sensitivity_of(
    bins: BinsOfStrip,
    chunk: Chunk,
    space: Workspace | None,
    options: FitOptions,
    lost: Lost | None = None,
) -> Worked:
    """Find the sensitivity at the pixels of a chunk, from its windows or its lists."""
    space, flat = bins.workspace(chunk, space), bins.flat_of(chunk)
    total, blend = chunk.of_pixels(bins.model_sum), bins.blend_of(chunk)
    if space is None:
        return None, sensitivity_chunk(flat, chunk.bins, total, options, blend, lost)
    return listed_sensitivity(flat, chunk.bins, total, options, blend, space, lost)


def without_counts(tiles: TileInputs, asked: Asked) -> dict[str, np.ndarray]:
    """Return what holds where no occupied bin is seen: the statistic is a straight line."""
    bound, total, options = tiles.bound, tiles.model_sum, asked.options
    norm, found = bound.copy(), {}
    if asked.threshold is not None:
        guess = np.maximum(tiles.guess, bound)
        found["kept"] = -2 * guess * total <= asked.threshold
        norm = np.where(found["kept"], guess, bound)
    found["norm"] = norm
    found |= {name: np.zeros_like(bound) for name in ("s2", "gain", "last_step")}
    found["niter"] = np.zeros(bound.shape, np.int32)
    found |= {name: np.zeros(bound.shape, bool) for name in ("has_counts", "error_at_bound")}
    if "errn-errp" in asked.selection:
        found["norm_errp"] = float(options.n_sigma) ** 2 / (2 * total)
        found["norm_errn"] = norm - bound
    if "ul" in asked.selection:
        base = np.maximum(norm, float(options.norm_min))
        found["norm_ul"] = base + float(options.n_sigma_ul) ** 2 / (2 * total)
    if "stat_scan" in asked.selection and asked.scan_values is not None:
        values = np.asarray(asked.scan_values, bound.dtype)[:, None, None]
        # the one large array: no copy of it is made on the way
        found["stat_scan"] = (2 * values) * total
        found["stat_scan"][values < bound] = np.inf
    return found


def assembled(
    found: dict[str, np.ndarray], plan: TilePlan, whole: WholeMap, options: FitOptions
) -> dict[str, np.ndarray]:
    """Turn the lists' sums, tile by tile, into maps of the quantities of a fit."""
    (ny, nx), (gy, gx) = plan.shape, plan.grid
    maps: dict[str, np.ndarray] = {}
    # some rows at a time: what is made on the way then stays in a processor's cache
    some = max(1, _TOGETHER // (TILE * nx))
    for first in range(0, gy, some):
        last = min(first + some, gy)
        rows = slice(first * TILE, min(last * TILE, ny))
        part = plan._replace(shape=(rows.stop - rows.start, nx), grid=(last - first, gx))
        tiles = (array[..., first * gx : last * gx, :] for array in found.values())
        own = {n: np.asarray(from_tiles(a, part)) for n, a in zip(found, tiles, strict=True)}
        known = WholeMap(*(a[rows] for a in whole))
        for name, array in _of_rows(own, known, options).items():
            if name not in maps:
                maps[name] = np.empty((*array.shape[:-2], ny, nx), array.dtype)
            maps[name][..., rows, :] = array
    return maps | {"stat_null": whole.stat_null}


def _of_rows(
    maps: dict[str, np.ndarray], whole: WholeMap, options: FitOptions
) -> dict[str, np.ndarray]:
    """Turn the lists' sums of some rows into the quantities of a fit."""
    has_model = whole.has_model
    kept = maps["kept"] & has_model if "kept" in maps else np.zeros_like(has_model)
    norm = np.where(has_model, maps["norm"], 0.0)
    model_sum = np.where(has_model, whole.model_sum, 0.0)
    gained = 2 * (maps["gain"] - norm * model_sum) * has_model
    # the test statistic of a best fit is not negative, that of a guess may be
    gained = np.where(kept, gained, np.maximum(gained, 0.0))
    s2 = np.where(has_model, maps["s2"], 0.0)
    error = np.full_like(norm, np.inf)
    np.divide(float(options.n_sigma), np.sqrt(s2), out=error, where=s2 > 0)
    excess = norm * model_sum
    flags = {name: maps[name] for name in ("has_counts", "error_at_bound", "last_step")}
    flags |= {name: getattr(whole, name) for name in ("has_model", "counts_on_zero", "bound")}
    status = fit_status(**flags, norm=norm, rtol=float(options.rtol), xp=np)
    return {
        "norm": norm,
        "norm_err": error,
        "ts": np.where(norm < 0, -gained, gained),
        "stat": whole.stat_null - gained,
        "npred": whole.background_sum + excess,
        "npred_excess": excess,
        "niter": np.where(maps["has_counts"] & ~kept, maps["niter"], 0).astype(np.int32),
        "status": np.where(kept, Status.GUESS_KEPT, status).astype(np.int8),
        **{name: np.where(has_model, maps[name], 0) for name in OPTIONAL if name in maps},
    }
