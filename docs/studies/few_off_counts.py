"""ON and OFF counts: how much is a norm biased where OFF counts are few?

python docs/studies/few_off_counts.py [--windows N]

Windows of a point spread function with one background count per bin are drawn, with and without a
source of 10 counts, and their background is measured with a mean number of OFF counts per bin from
0.1 to 100. Each bin has a background of its own, so that few OFF counts leave it to the ON counts
to say what is background: a source is then taken for it, or the other way round. Given are the bias
of the norm, in standard deviations of the norms found and in their mean error; how often the
interval of one standard deviation and the limit of two hold the truth; and, without a source, how
often the significance is above 3. Takes a few minutes.
"""

from __future__ import annotations

import argparse
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from report import write

from gammagrad import fit_norm
from gammagrad.core.norm import NormFit, Status

OFF = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
SIDE = 9
WIDTH = 1.5
BACKGROUND = 1.0
SOURCE = 10.0
EMPTY = 10
"""Times as many windows without a source: what is counted there is rare."""

ABOVE_3 = 0.00135
"""Part of the windows above 3 standard deviations if the significance were a normal variable."""


def psf() -> np.ndarray:
    """Return a Gaussian point spread function of sum 1."""
    grid = np.arange(SIDE) - SIDE // 2
    image = np.exp(-0.5 * np.add.outer(grid**2, grid**2) / WIDTH**2)
    return (image / image.sum()).ravel()


@jax.jit
def fit_windows(counts: jax.Array, off: jax.Array, alpha: jax.Array, model: jax.Array) -> NormFit:
    """Fit each window."""

    def fit(n: jax.Array, k: jax.Array) -> NormFit:
        return fit_norm(
            n,
            jnp.zeros_like(n),
            model,
            counts_off=k,
            alpha=jnp.broadcast_to(alpha, n.shape),
            selection_optional=("errn-errp", "ul"),
        )

    return jax.vmap(fit)(counts, off)


def fitted(off: float, source: float, n_windows: int, seed: int) -> dict[str, np.ndarray]:
    """Draw and fit windows."""
    rng = np.random.default_rng([OFF.index(off), seed])
    model = psf()
    found: list[dict[str, np.ndarray]] = []
    for begin in range(0, n_windows, 1000):
        shape = (min(1000, n_windows - begin), model.size)
        counts = rng.poisson(BACKGROUND + source * model, shape).astype(float)
        measured = rng.poisson(off, shape).astype(float)
        fit = fit_windows(counts, measured, jnp.asarray(BACKGROUND / off), model)
        names = ("norm", "norm_errp", "norm_errn", "norm_ul", "ts", "status")
        found.append({name: np.asarray(getattr(fit, name)) for name in names})
    return {name: np.concatenate([one[name] for one in found]) for name in found[0]}


def study(off: float, n_windows: int) -> list[Any]:
    """Return a row of the table."""
    fits = fitted(off, SOURCE, n_windows, 0)
    miss = fits["norm"] - SOURCE
    inside = (miss <= fits["norm_errn"]) & (-miss <= fits["norm_errp"])
    empty = fitted(off, 0.0, EMPTY * n_windows, 1)
    above = float((np.sign(empty["ts"]) * np.sqrt(np.abs(empty["ts"])) > 3).mean())
    every = np.concatenate([fits["status"], empty["status"]])
    row = [
        off,
        float(miss.mean() / fits["norm"].std()),
        float(miss.mean() / (0.5 * (fits["norm_errp"] + fits["norm_errn"])).mean()),
        float(inside.mean()),
        float((fits["norm_ul"] >= SOURCE).mean()),
        above / ABOVE_3,
        float((fits["status"] == Status.AT_KINK).mean()),
        int(np.isin(every, (Status.NOT_CONVERGED, Status.OUT_OF_RANGE)).sum()),
    ]
    print(*row, flush=True)
    return row


def main() -> None:
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=10_000, help="windows with a source")
    n_windows = parser.parse_args().windows
    with jax.enable_x64(True):
        rows = [study(off, n_windows) for off in OFF]
    columns = ["OFF counts", "bias / spread", "bias / error", "errn, errp: 1", "ul: 2"]
    columns += ["above 3, over nominal", "at a kink", "failures"]
    formats = dict.fromkeys(columns[1:-1], ".3f") | {"above 3, over nominal": ".2f"}
    table = {"columns": columns, "rows": rows, "formats": formats}
    write("few_off_counts", {"few OFF counts": table}, ("gammagrad", "jax", "numpy"))


if __name__ == "__main__":
    main()
