"""Where the numbers stop being right: few counts, wrong sizes, single precision.

python docs/studies/limits.py [--windows N]

*Empty* windows of a Gaussian point spread function of 1.5 pixels, 9 by 9 of them, have a flat
background and no source: what is the distribution of the significance? *Size*: a Gaussian source,
as expected counts on a flat background, is fitted with a Gaussian of another width. *Single*:
windows are fitted in single and in double precision, with more and more counts. Takes a minute.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from report import write
from scipy.stats import norm as normal

from gammagrad import fit_norm

Floats = NDArray[np.float64]

BACKGROUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
RATIOS = (0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.5, 2.0, 3.0)
COUNTS = tuple(10.0**n for n in range(1, 10))
ABOVE = (2, 3, 4, 5)
BATCH = 20_000


def gaussian(width: float, side: int) -> Floats:
    """Return a Gaussian of sum 1."""
    offset = np.arange(side) - side // 2
    image = np.exp(-0.5 * np.add.outer(offset**2, offset**2) / width**2)
    return (image / image.sum()).ravel()


@partial(jax.jit, static_argnames="precision")
def fitted(counts: Any, background: Any, model: Any, precision: str = "float64") -> Any:
    """Fit windows of counts."""
    arrays = [jnp.asarray(a, precision) for a in (counts, background, model)]
    return jax.vmap(lambda n: fit_norm(n, *arrays[1:]))(arrays[0])


def significance(fit: Any) -> Floats:
    """Return the root of TS with its sign."""
    ts = np.asarray(fit.ts, float)
    return np.sign(ts) * np.sqrt(np.abs(ts))


def empty(number: int) -> dict[str, Any]:
    """Return mean and width of the significance, and how often it is above 2 to 5."""
    model = gaussian(1.5, 9)
    rows = []
    for level in BACKGROUNDS:
        flat = np.full(model.shape, level / model.size)
        found, _ = drawn(level, flat, 0 * model, number)
        above = []
        for n_sigma in ABOVE:
            # what is rare is drawn from windows with a source, with weights that undo it
            fit = fit_norm(
                *(jnp.asarray(a) for a in (flat, flat, model)),
                n_sigma_sensitivity=n_sigma,
                selection_optional="sensitivity",
            )
            rare, weights = drawn(level, flat, float(fit.norm_sensitivity) * model, number)
            above.append(float((weights * (rare > n_sigma)).mean() / normal.sf(n_sigma)))
        under = level / model.size * 4 * np.pi * 1.5**2
        rows.append([level, under, found.size, float(found.mean()), float(found.std()), *above])
        print(*rows[-1], flush=True)
    columns = ["background", "under the kernel", "windows", "mean", "width"]
    formats = {"background": "g", "under the kernel": ".2g", "mean": ".3f", "width": ".3f"}
    names = [f"> {n}" for n in ABOVE]
    formats |= dict.fromkeys(names, ".2f")
    return {"columns": [*columns, *names], "rows": rows, "formats": formats}


def drawn(level: float, flat: Floats, source: Floats, number: int) -> tuple[Floats, Floats]:
    """Return significances of windows with a source, and weights that make them empty ones."""
    rng = np.random.default_rng([int(1e3 * level), int(1e3 * source.sum())])
    model = gaussian(1.5, 9)
    found, weights = [], []
    for _ in range(number // BATCH):
        counts = rng.poisson(flat + source, (BATCH, flat.size))
        found.append(significance(fitted(counts, flat, model)))
        weights.append(np.exp(source.sum() - counts @ np.log1p(source / flat)))
    return np.concatenate(found), np.concatenate(weights)


def size() -> dict[str, Any]:
    """Return the norm of a source of another width, faint and bright, as expected counts."""
    side, width = 81, 4.0
    model = gaussian(width, side)
    flat = np.full(model.shape, 1.0)
    rows = []
    for ratio in RATIOS:
        source = gaussian(width * ratio, side)
        norms = [
            float(fitted(flat[None] + total * source, flat, total * model).norm[0])
            for total in (1e-2, 1e6)
        ]
        rows.append([ratio, *norms, 2 / (1 + ratio**2)])
        print(*rows[-1], flush=True)
    names = ["norm, faint", "norm, bright", "2 / (1 + ratio^2)"]
    formats = {"width / kernel's": "g"} | dict.fromkeys(names, ".3f")
    return {"columns": ["width / kernel's", *names], "rows": rows, "formats": formats}


def single(number: int) -> dict[str, Any]:
    """Return how far single precision is from double: norms in errors, TS in its own unit."""
    model = gaussian(1.5, 9)
    rows = []
    for total in COUNTS:
        rng = np.random.default_rng([int(np.log10(total))])
        flat = np.full(model.shape, total / model.size)
        source = np.sqrt(total) * rng.choice([0.0, 1.0, 10.0], (number, 1))
        # both precisions are given the same numbers, as far as single precision can hold them
        counts = rng.poisson(flat + source * model).astype(np.float32).astype(float)
        flat, kernel = (a.astype(np.float32).astype(float) for a in (flat, model))
        double = fitted(counts, flat, kernel)
        rough = fitted(counts, flat, kernel, "float32")
        off = np.abs(np.asarray(rough.norm, float) - np.asarray(double.norm))
        off = (off / np.asarray(double.norm_err))[np.isfinite(np.asarray(double.norm_err))]
        ts = np.abs(np.asarray(rough.ts, float) - np.asarray(double.ts))
        ts /= np.sqrt(1 + np.abs(np.asarray(double.ts)))
        rows.append([total, number, float(np.median(off)), float(off.max()), float(ts.max())])
        print(*rows[-1], flush=True)
    columns = ["counts", "windows", "norm off, median", "norm off, worst", "ts off, worst"]
    formats = {"counts": ".0e"} | dict.fromkeys(columns[2:], ".0e")
    return {"columns": columns, "rows": rows, "formats": formats}


def main() -> None:
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=100_000, help="empty windows of each kind")
    number = parser.parse_args().windows
    with jax.enable_x64(True):
        tables = {"size": size(), "single": single(10_000), "empty": empty(number)}
    write("limits", tables, ("gammagrad", "jax", "numpy", "scipy"))


if __name__ == "__main__":
    main()
