"""Few photons: does every fit end well, and how often do its limits and intervals hold the truth?

python docs/studies/coverage.py [--windows N]

Windows of a point spread function are drawn, and fitted by the engine of the estimators. Beside
each figure stands that of the exact likelihood, which shares no code with it: the best norm of a
window comes from a scan of the statistic, and a norm is inside an interval if the statistic there
has risen by no more than the number of standard deviations squared. Windows of a single bin need
no dice: all their outcomes are listed. Takes some minutes, and needs the group `test`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from report import write
from scipy.optimize import brentq
from scipy.stats import poisson

from gammagrad import fit_norm
from gammagrad.core.norm import FitOptions, NormFit, Status
from gammagrad.core.ts_map import cube_bins, fit_occupied

Floats = NDArray[np.float64]
Fits = Mapping[str, np.ndarray]

BACKGROUNDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
SOURCES = (0.0, 1.0, 3.0)
SIDE = 9
PITCH = 12
WINDOWS_A_SIDE = 100
BRUTE_FORCE = 300


class Claim(NamedTuple):
    """What is claimed of the true norm: that it lies below a limit, or in an interval."""

    level: float
    norm_min: float
    is_limit: bool

    @property
    def name(self) -> str:
        """Return its name in the tables."""
        if not self.is_limit:
            return "norm_errn, norm_errp: 1"
        start = "" if self.norm_min < 0 else ", norm_min=0"
        return f"norm_ul: {self.level:g}{start}"


CLAIMS = (
    Claim(2.0, -math.inf, True),
    Claim(2.0, 0.0, True),
    Claim(1.645, -math.inf, True),
    Claim(1.645, 0.0, True),
    Claim(1.0, -math.inf, False),
)
NOMINAL = (0.9772, 0.9772, 0.95, 0.95, 0.6827)


def psf() -> Floats:
    """Return a Gaussian of 1.5 pixels, of sum 1."""
    offset = np.arange(SIDE) - SIDE // 2
    kernel = np.exp(-0.5 * (offset[:, None] ** 2 + offset[None, :] ** 2) / 1.5**2)
    return kernel / kernel.sum()


# -- the fits --------------------------------------------------------------------------------------


def fit_windows(counts: Floats, background: float) -> Iterator[Fits]:
    """Fit windows of shape (windows, SIDE, SIDE), laid out on maps, once for each claim."""
    n_map = WINDOWS_A_SIDE**2
    padded = np.pad(counts, ((0, -len(counts) % n_map), (0, PITCH - SIDE), (0, PITCH - SIDE)))
    inside = np.pad(np.ones((SIDE, SIDE)), (0, PITCH - SIDE))
    mask = np.tile(inside, (WINDOWS_A_SIDE, WINDOWS_A_SIDE))[None]
    fitted = np.zeros(mask.shape[1:], bool)
    centres = (slice(SIDE // 2, None, PITCH),) * 2
    fitted[centres] = True
    flat = np.full(mask.shape, background / SIDE**2)
    for claim in CLAIMS:
        fits = []
        for part in padded.reshape(-1, n_map, PITCH, PITCH):
            grid = part.reshape(WINDOWS_A_SIDE, WINDOWS_A_SIDE, PITCH, PITCH).swapaxes(1, 2)
            image = grid.reshape(mask.shape)
            arrays = (image, flat, np.ones(mask.shape), psf()[None], mask)
            images = cube_bins(*(jnp.asarray(a) for a in arrays))
            options = FitOptions(n_sigma=1, n_sigma_ul=claim.level, norm_min=claim.norm_min)
            fit = fit_occupied([images], fitted, options=options, selection=("errn-errp", "ul"))
            fits.append({k: v[centres].ravel() for k, v in vars(fit).items() if v is not None})
        yield {k: np.concatenate([f[k] for f in fits])[: len(counts)] for k in fits[0]}


def holds(fits: Fits, claim: Claim, truth: float) -> NDArray[np.bool_]:
    """Tell for which fits a claim holds the true norm."""
    if claim.is_limit:
        return np.asarray(truth <= fits["norm_ul"])
    norm = fits["norm"]
    return (norm - fits["norm_errn"] <= truth) & (truth <= norm + fits["norm_errp"])


# -- the exact likelihood --------------------------------------------------------------------------


class Profiles:
    """The statistic of many windows as a function of the norm, and its minimum by a scan."""

    def __init__(self, counts: Floats, background: Floats, model: Floats) -> None:
        flat = counts.reshape(len(counts), -1)
        ratio = (background / model).ravel()
        self.model_sum = float(model.sum())
        self.bound = -float(ratio.min())
        # the bins with counts of each window, filled up with bins that have none
        order = np.argsort(-flat, axis=1)[:, : max(1, int((flat > 0).sum(axis=1).max()))]
        self.counts = np.take_along_axis(flat, order, axis=1)
        self.ratio = ratio[order]
        self.best = self._minimum()

    def statistic(self, norm: Floats) -> Floats:
        """Return C(x) - C(0) at one norm for each window."""
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = self.counts * np.log1p(norm[:, None] / self.ratio)
        logs = np.where(self.counts > 0, logs, 0.0)
        return 2 * (norm * self.model_sum - logs.sum(axis=1))

    def _minimum(self) -> Floats:
        """Scan from the bound up to where all counts are the source's, then golden sections."""
        top = np.maximum(self.counts.sum(axis=1) / self.model_sum, 0) + 1e-3
        grid = [self.bound + (top - self.bound) * (i / 60) ** 2 for i in range(61)]
        lowest = np.argmin([self.statistic(norm) for norm in grid], axis=0)
        at = np.array(grid)[
            np.clip([lowest - 1, lowest + 1], 0, 60), np.arange(len(lowest))[None, :]
        ]
        low, high = at
        golden = (math.sqrt(5) - 1) / 2
        for _ in range(60):
            width = golden * (high - low)
            left, right = high - width, low + width
            falls = self.statistic(left) > self.statistic(right)
            low, high = np.where(falls, left, low), np.where(falls, high, right)
        middle = 0.5 * (low + high)
        at_bound = self.statistic(np.full_like(middle, self.bound)) <= self.statistic(middle)
        return np.where(at_bound, self.bound, middle)

    def holds(self, claim: Claim, truth: float) -> NDArray[np.bool_]:
        """Tell for which windows a true norm is inside the likelihood's own interval."""
        base = np.maximum(self.best, claim.norm_min) if claim.is_limit else self.best
        risen = self.statistic(np.full_like(base, truth)) - self.statistic(base)
        inside = risen <= claim.level**2
        return inside | (truth <= base) if claim.is_limit else inside

    def ends(self, which: int, claim: Claim) -> tuple[float, float]:
        """Find the lower and upper end of one window's interval with scipy."""
        one = Profiles.__new__(Profiles)
        one.counts, one.ratio = self.counts[which : which + 1], self.ratio[which : which + 1]
        one.model_sum = self.model_sum
        best = self.best[which]
        base = max(best, claim.norm_min) if claim.is_limit else best

        def over(norm: float, start: float) -> float:
            risen = one.statistic(np.array([norm])) - one.statistic(np.array([start]))
            return min(float(risen[0]) - claim.level**2, 1e9)

        upper = brentq(over, base, base + 1e3, (base,), xtol=1e-13, rtol=1e-13)
        if best <= self.bound or over(self.bound, best) <= 0:
            return self.bound, upper
        return brentq(over, self.bound, best, (best,), xtol=1e-13, rtol=1e-13), upper


# -- the tables ------------------------------------------------------------------------------------


def study_windows(background: float, source: float, n_windows: int) -> tuple[list[Any], list[Any]]:
    """Draw and fit the windows of one background and source; return a row of either table."""
    kernel = psf()
    flat = np.full(kernel.shape, background / SIDE**2)
    seed = [BACKGROUNDS.index(background), SOURCES.index(source)]
    rng = np.random.default_rng(seed)
    counts = rng.poisson(flat + source * kernel, (n_windows, SIDE, SIDE)).astype(float)
    exact = Profiles(counts, flat, kernel)
    found, ends, failed = [], 0.0, 0
    off = np.zeros(1)
    for claim, fits in zip(CLAIMS, fit_windows(counts, background), strict=True):
        numbers = [fits[name] for name in ("norm", "norm_errn", "norm_errp", "norm_ul", "ts")]
        failed += int(sum((~np.isfinite(a)).sum() for a in numbers))
        failed += int(np.isin(fits["status"], (Status.NOT_FITTED, Status.NOT_CONVERGED)).sum())
        norm, lower, upper, limit, _ = numbers
        off = np.abs(norm - exact.best) / upper
        inside, truly = holds(fits, claim, source), exact.holds(claim, source)
        found.append((inside.mean(), truly.mean(), int((inside != truly).sum())))
        for which in range(min(BRUTE_FORCE, n_windows)):
            low, high = exact.ends(which, claim)
            if claim.is_limit:
                worst = abs(limit[which] - high)
            else:
                worst = abs(norm[which] + upper[which] - high)
                worst = max(worst, abs(norm[which] - lower[which] - low))
            ends = max(ends, float(worst / upper[which]))
    differing = max(count for _, _, count in found)
    solved = [background, source, n_windows, failed, float(off.max()), ends, differing]
    covered = [background, source, *(f"{ours:.4f}, {exact:.4f}" for ours, exact, _ in found)]
    print(*solved, flush=True)
    return solved, covered


@partial(jax.jit, static_argnames="claim")
def fit_one_bin(counts: jax.Array, background: float, claim: Claim) -> NormFit:
    """Fit each outcome of one bin."""

    def fit(n: jax.Array) -> NormFit:
        return fit_norm(
            n[None],
            jnp.asarray(background)[None],
            jnp.ones_like(n)[None],
            n_sigma=claim.level,
            n_sigma_ul=claim.level,
            norm_min=claim.norm_min,
            selection_optional=("errn-errp", "ul"),
        )

    return jax.vmap(fit)(counts)


def study_one_bin(background: float, source: float) -> list[Any]:
    """List all outcomes of one bin; return a row."""
    mean = background + source
    counts = np.arange(120.0)
    probability = poisson.pmf(counts, mean)
    best = counts - background

    def rises(start: Floats) -> Floats:
        fitted = np.where(counts > 0, start + background, 1.0)
        return 2 * (source - start - counts * np.log(mean / fitted))

    cells = []
    for claim in CLAIMS:
        base = np.maximum(best, claim.norm_min) if claim.is_limit else best
        truly = rises(base) <= claim.level**2
        if claim.is_limit:
            truly |= source <= base
        fit = fit_one_bin(jnp.asarray(counts), background, claim)
        ours = holds({k: np.asarray(v) for k, v in vars(fit).items()}, claim, source)
        cells.append(f"{probability @ ours:.4f}, {probability @ truly:.4f}")
    return [background, source, *cells]


def main() -> None:
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=100_000, help="windows of each kind")
    n_windows = parser.parse_args().windows
    kinds = [(b, s) for s in SOURCES for b in BACKGROUNDS]
    with jax.enable_x64(True):
        pairs = [study_windows(*kind, n_windows) for kind in kinds]
        listed = [study_one_bin(*kind) for kind in kinds]
    claims = ["background", "source", *(claim.name for claim in CLAIMS)]
    nominal = ["", "claimed", *(f"{part:.4f}" for part in NOMINAL)]
    solved = {
        "columns": [
            *("background", "source", "windows", "failures", "norm off", "ends off"),
            "differing",
        ],
        "formats": {"norm off": ".0e", "ends off": ".0e"},
        "rows": [row for row, _ in pairs],
    }
    write(
        "coverage",
        {
            "solved": solved,
            "psf": {"columns": claims, "rows": [nominal, *(row for _, row in pairs)]},
            "one bin": {"columns": claims, "rows": [nominal, *listed]},
        },
        ("gammagrad", "jax", "numpy", "scipy"),
    )


if __name__ == "__main__":
    main()
