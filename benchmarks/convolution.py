"""Time FFT and direct convolution by size of the kernel: which one `method="auto"` should take.

python benchmarks/convolution.py

Writes benchmarks/results/convolution.json. The choice is `DIRECT_MAX_PIXELS` of
`gammagrad.core.images.convolve`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from summary import write

from gammagrad.core.images import DIRECT_MAX_PIXELS, convolve_stack

SHAPES = ((1, 200, 400), (11, 200, 400), (1, 1000, 1000))
SIZES = (3, 5, 7, 9, 11, 15, 21, 41, 61, 101)
RUNS = 9
TOO_LONG = 0.3
"""A method that took more seconds than this is not tried with larger kernels."""


def seconds_of(run: Callable[[], jax.Array]) -> float:
    """Return the time of a call."""
    start = time.perf_counter()
    run().block_until_ready()
    return time.perf_counter() - start


def times_of(shape: tuple[int, ...], size: int, dtype: str, methods: list[str]) -> dict[str, float]:
    """Return the median seconds of each method, run in turns."""
    rng = np.random.default_rng(0)
    images = jax.numpy.asarray(rng.poisson(0.3, shape).astype(dtype))
    kernels = jax.numpy.asarray(rng.random((shape[0], size, size)).astype(dtype))
    runs = {}
    for method in methods:
        function = jax.jit(partial(convolve_stack, method=method))
        runs[method] = partial(function, images, kernels)
        seconds_of(runs[method])  # compiles
    found: dict[str, list[float]] = {method: [] for method in methods}
    for _ in range(RUNS):
        for method, run in runs.items():
            found[method].append(seconds_of(run))
    return {method: statistics.median(times) for method, times in found.items()}


def main() -> None:
    """Time all sizes, print, write."""
    rows = []
    for dtype in ("float64", "float32"):
        for shape in SHAPES:
            methods = ["direct", "fft"]
            for size in SIZES:
                times = times_of(shape, size, dtype, methods)
                if times.get("direct", 0.0) > TOO_LONG:
                    methods = ["fft"]
                taken = "direct" if size * size <= DIRECT_MAX_PIXELS else "fft"
                cells = [f"{1e3 * times[m]:.2g}" if m in times else "" for m in ("direct", "fft")]
                best = min(times, key=lambda method: times[method])
                rows.append([" x ".join(map(str, shape)), f"{size} x {size}", dtype, *cells, taken])
                print(*rows[-1], "" if best == taken else f"({best} is faster)", flush=True)
    columns = ["images", "kernel", "dtype", "direct (ms)", "FFT (ms)", "auto takes"]
    write("convolution", {"convolution": {"columns": columns, "rows": rows}})


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
