"""Time the background loop against the same loop written with scipy, in turns.

python benchmarks/background.py [--runs N] [--quick]

One large image, run until its mask stands still, and a stack of small ones in one `vmap`. The loop
in scipy smooths by `scipy.signal.fftconvolve` and grows masks by `scipy.ndimage`. Both are in
float64, start from the same image, and must end at the same mask. Writes
benchmarks/results/background.json.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.ndimage
import scipy.signal
from numpy.typing import NDArray
from summary import write

from gammagrad import kernel_background
from gammagrad.core.background import disk_structure

Floats = NDArray[np.float64]

SAMPLE = 25
"""Number of images of the stack that the loop in scipy is timed on."""


class Scene(NamedTuple):
    """What both loops get."""

    counts: Floats
    source: Floats
    ring: Floats
    structure: NDArray[np.bool_]
    threshold: float
    niter_max: int


def annulus(inner: float, outer: int) -> Floats:
    """Return a ring of ones."""
    y, x = np.mgrid[-outer : outer + 1, -outer : outer + 1]
    r = np.hypot(x, y)
    return ((r >= inner) & (r <= outer)).astype(float)


def sky(rng: np.random.Generator, side: int, n_sources: int, level: float = 1.0) -> Floats:
    """Return Poisson counts of a flat background and of sources of many sizes."""
    mean = np.full((side, side), level)
    for _ in range(n_sources):
        row, col = rng.uniform(0, side, 2)
        sigma = rng.uniform(1.0, 8.0)
        counts = 30 * sigma * rng.pareto(1.5) + 50
        reach = int(5 * sigma) + 1
        rows = np.arange(max(int(row) - reach, 0), min(int(row) + reach, side))
        cols = np.arange(max(int(col) - reach, 0), min(int(col) + reach, side))
        y, x = rows[:, None] - row, cols[None, :] - col
        shape = np.exp(-(y**2 + x**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
        mean[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] += counts * shape
    return rng.poisson(mean).astype(float)


def scipy_loop(scene: Scene, niter_min: int = 2) -> tuple[NDArray[np.bool_], Floats, int]:
    """Run the documented loop with scipy; return mask, background and number of iterations."""

    def smooth(image: Floats, kernel: Floats) -> Floats:
        return scipy.signal.fftconvolve(image, kernel, mode="same")

    def background_outside(mask: NDArray[np.bool_], last: Floats) -> Floats:
        total = smooth(mask.astype(float), scene.ring)
        some = total > 1e-6
        mean = smooth(scene.counts * mask, scene.ring) / np.where(some, total, 1)
        return np.where(some, mean, last)

    mask = np.ones(scene.counts.shape, bool)
    background = background_outside(mask, scene.counts)
    n = smooth(scene.counts, scene.source)
    niter = 0
    for idx in range(scene.niter_max):
        mu = smooth(background, scene.source)
        ratio = np.maximum(n, 1e-9) / mu
        significance = np.sign(n - mu) * np.sqrt(np.maximum(2 * (n * np.log(ratio) - n + mu), 0))
        last, niter = mask, idx + 1
        mask = ~scipy.ndimage.binary_dilation(significance >= scene.threshold, scene.structure)
        background = background_outside(mask, background)
        if idx >= niter_min and np.array_equal(mask, last):
            break
    return mask, background, niter


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the time of a call."""
    start = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - start


def in_turns(works: dict[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Time several calls alternately."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs):
        for name, work in works.items():
            found[name].append(seconds_of(work))
    return found


def ours(scene: Scene, batch: bool = False) -> tuple[Callable[[], Any], float]:
    """Return the compiled loop on its input, and how long compiling took."""

    def run(counts: jax.Array, source: jax.Array, ring: jax.Array, structure: jax.Array) -> Any:
        return kernel_background(
            counts,
            source,
            ring,
            significance_threshold=scene.threshold,
            dilation_structure=structure,
            niter_max=scene.niter_max,
        )

    there = [jax.numpy.asarray(a) for a in scene[:4]]
    function = jax.vmap(run, in_axes=(0, None, None, None)) if batch else run
    start = time.perf_counter()
    program = jax.jit(function).lower(*there).compile()
    return lambda: program(*there), time.perf_counter() - start


def large(side: int, runs: int) -> list[str]:
    """Time one large image."""
    rng = np.random.default_rng(7)
    counts = sky(rng, side, n_sources=side * side // 8000)
    scene = Scene(counts, annulus(0, 3), annulus(20, 30), disk_structure(2), 5.0, 50)
    program, compiling = ours(scene)
    times = in_turns({"scipy": lambda: scipy_loop(scene), "jax": program}, runs)
    mask, background, niter = scipy_loop(scene)
    result = program()
    same = np.array_equal(mask, result.exclusion) and niter == int(result.niter)
    if not (same and np.allclose(background, result.background, rtol=1e-9, atol=1e-12)):
        raise SystemExit("The two loops came to different results.")
    medians = [statistics.median(times[name]) for name in ("scipy", "jax")]
    title = f"{side} x {side}, ring 61 x 61"
    return row(title, niter, int((~mask).sum()), medians, compiling)


def stack(n_images: int, runs: int) -> list[str]:
    """Time many small images; scipy does a sample of them."""
    rng = np.random.default_rng(8)
    counts = np.stack([sky(rng, 100, n_sources=3) for _ in range(n_images)])
    scene = Scene(counts, annulus(0, 3), annulus(10, 15), disk_structure(2), 5.0, 10)
    program, compiling = ours(scene, batch=True)
    sample = range(0, n_images, max(n_images // SAMPLE, 1))

    def with_scipy() -> Any:
        return [scipy_loop(scene._replace(counts=counts[i])) for i in sample]

    times = in_turns({"scipy": with_scipy, "jax": program}, runs)
    result = program()
    for i, (mask, _, niter) in zip(sample, with_scipy(), strict=True):
        if not (np.array_equal(mask, result.exclusion[i]) and niter == int(result.niter[i])):
            raise SystemExit(f"The two loops came to different results for image {i}.")
    each = statistics.median(times["scipy"]) / len(sample)
    medians = [each * n_images, statistics.median(times["jax"])]
    excluded = int((~result.exclusion).sum())
    title = f"{n_images} of 100 x 100, ring 31 x 31"
    return row(title, int(np.max(result.niter)), excluded, medians, compiling)


def row(title: str, niter: int, excluded: int, medians: list[float], compiling: float) -> list[str]:
    """Return a row of the table."""
    ratio = medians[0] / medians[1]
    times = [f"{seconds:.3g}" for seconds in medians]
    return [title, str(niter), str(excluded), *times, f"{ratio:.1f}", f"{compiling:.1f}"]


def main() -> None:
    """Time both, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small images; nothing is written")
    options = parser.parse_args()
    rows = [large(400 if options.quick else 2000, options.runs)]
    rows.append(stack(100 if options.quick else 1000, options.runs))
    columns = ["images", "iterations", "excluded", "scipy (s)", "gammagrad (s)", "ratio"]
    table = {"columns": [*columns, "compile (s)"], "rows": rows}
    if options.quick:
        print(table)
    else:
        write("background", {"background": table})


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
