"""How long the gradient of a map takes, as a multiple of the map itself, and its parts.

python benchmarks/gradients.py [--runs N]

The forward run is the sum of `ts` of `gammagrad.ts_map` under `jit`, in double precision: an image
of 200 x 200 pixels, and a cube of 5 energies with 48 x 48 pixels, kernels of 21 x 21. Gradients in
the background alone and in all five arrays are compiled, and all run in turns; the fastest run of
each counts. Where the time goes follows from runs of the same tiles that leave something out: the
Newton sweeps, the fit, or the way of the derivatives from each pixel's bins back to the maps; and
from gradients in some of the arrays. Writes benchmarks/results/gradients.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from contender import timed
from jax import Array
from summary import milliseconds, rounded, write

import gammagrad
from gammagrad.core.norm import fixed_bins, make_options
from gammagrad.core.norm.solve import Root
from gammagrad.core.ts_map.bins import TilePlan, cube_bins
from gammagrad.core.ts_map.dense import map_tiles

SHAPES = ((1, 200, 200), (5, 48, 48))
SIDE = 21
GOAL = 3.0
"""How many forward runs a gradient may take."""

Arrays = tuple[Array, ...]
BACKGROUND, ALL = (1,), (0, 1, 2, 3, 4)
SOME = {"the kernel": (3,), "all but the kernel": (0, 1, 2, 4)}
"""Further sets of arrays that gradients are taken in."""


def arrays_of(shape: tuple[int, int, int]) -> Arrays:
    """Return counts, background, exposure, kernel and weights of a field without sources."""
    rng = np.random.default_rng(0)
    background = rng.uniform(0.2, 0.4, shape)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    widths = np.linspace(3.0, 2.0, shape[0])[:, None, None]
    kernel = np.exp(-(x**2 + y**2) / (2 * widths**2))
    kernel /= kernel.sum(axis=(1, 2), keepdims=True)
    arrays = (rng.poisson(background), background, np.full(shape, 10.0), kernel, np.ones(shape))
    return tuple(jnp.asarray(array, float) for array in arrays)


def forward(*arrays: Array) -> Array:
    """Return the sum of the map of TS."""
    return gammagrad.ts_map(*arrays).ts.sum()


class Own(NamedTuple):
    """Maps of what each pixel is given: a norm, and relative changes of its bins."""

    norm: Array
    counts: Array
    background: Array
    model: Array


def of_tiles(arrays: Arrays, own: Own, fits: bool, solves: bool) -> Array:
    """Return what `forward` does, from the same tiles, without its solver or its fit."""
    options = make_options(arrays[0].dtype, None)
    original = fixed_bins._solve_root

    def at_pixel(counts: Array, background: Array, model: Array, here: Own) -> Array:
        bins = counts * here.counts, background * here.background, model * here.model
        if not fits:
            return sum((part.sum() for part in bins), jnp.zeros((), counts.dtype))
        if not solves:
            zero = jnp.zeros((), jnp.int32)
            fixed_bins._solve_root = lambda *_: Root(here.norm, zero, here.norm * 0)
        return fixed_bins.fit_bins(*bins, options).ts

    images = cube_bins(*arrays)
    plan = TilePlan.create(images.counts.shape, images.kernel.shape)
    try:
        tiles = jnp.arange(plan.n_tiles, dtype=jnp.int32)
        return map_tiles(at_pixel, [images], tiles, 2**27, None, own).sum()
    finally:
        fixed_bins._solve_root = original


def programs_of(arrays: Arrays, own: Own) -> dict[str, Callable[[], Any]]:
    """Return calls of all compiled programs."""

    def call(function: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
        program = jax.jit(function).lower(*arguments).compile()
        return lambda: jax.block_until_ready(program(*arguments))

    def tiles(fits: bool, solves: bool) -> Callable[[], Any]:
        return call(lambda a, o: of_tiles(a, o, fits, solves), arrays, own)

    def of_bins(names: tuple[str, ...]) -> Callable[[], Any]:
        def total(some: dict[str, Array], arrays: Arrays, own: Own) -> Array:
            return of_tiles(arrays, own._replace(**some), True, True)

        return call(jax.grad(total), {name: getattr(own, name) for name in names}, arrays, own)

    return {
        "forward": call(forward, *arrays),
        "background": call(jax.grad(forward, BACKGROUND), *arrays),
        "all": call(jax.grad(forward, ALL), *arrays),
        "bins": tiles(False, False),
        "without solver": tiles(True, False),
        "of bins, background": of_bins(("background",)),
        "of bins, all": of_bins(("counts", "background", "model")),
        **{name: call(jax.grad(forward, some), *arrays) for name, some in SOME.items()},
    }


def times_of(shape: tuple[int, int, int], runs: int) -> dict[str, list[float]]:
    """Return the seconds of all programs, run in turns."""
    arrays = arrays_of(shape)
    norm = gammagrad.ts_map(*arrays).norm
    programs = programs_of(arrays, Own(norm, *(jnp.ones_like(norm) for _ in range(3))))
    times: dict[str, list[float]] = {name: [] for name in programs}
    for turn in range(runs + 1):
        for name, program in programs.items():
            seconds = timed(program)[1]
            if turn:
                times[name].append(seconds)
    return times


def rows_of(times: dict[str, list[float]]) -> list[tuple[str, float, float]]:
    """Return labels, seconds and multiples of the forward run."""

    def row(label: str, plus: str, minus: str | None = None) -> tuple[str, float, float]:
        seconds = min(times[plus]) - (min(times[minus]) if minus else 0.0)
        return label, seconds, seconds / min(times["forward"])

    return [
        row("forward", "forward"),
        row("... bins and models of the tiles", "bins"),
        row("... Newton sweeps", "forward", "without solver"),
        row("... TS at the norm", "without solver", "bins"),
        row("gradient in the background", "background"),
        row("... forward again", "forward"),
        row("... derivatives of the fit", "of bins, background", "forward"),
        row("... from bins to maps", "background", "of bins, background"),
        row("gradient in all five arrays", "all"),
        row("... forward again", "forward"),
        row("... derivatives of the fit", "of bins, all", "forward"),
        row("... from bins to maps", "all", "of bins, all"),
        *(row(f"gradient in {name}", name) for name in SOME),
    ]


def main() -> None:
    """Time all shapes, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    columns = ["what"]
    cells: list[list[str]] = []
    for shape in SHAPES:
        title = " x ".join(map(str, shape))
        columns += [f"{title} (ms)", "in forward runs"]
        rows = rows_of(times_of(shape, runs))
        print(title, "done", flush=True)
        cells = cells or [[label] for label, *_ in rows]
        for cell, (label, seconds, ratio) in zip(cells, rows, strict=True):
            cell += [milliseconds(seconds), rounded(ratio)]
            if label.startswith("gradient") and ratio > GOAL:
                print(f"{title}: {label} takes {ratio:.2f} forward runs, not {GOAL:g}", flush=True)
    write("gradients", {"gradients": {"columns": columns, "rows": cells}})


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
