"""A background that is not known: free and constrained norms of it, held to what they should give.

python docs/studies/uncertain_background.py [--quick] [--only agree extremes fields] [--windows N]

Three parts. *agree*: windows of real and simulated maps, fitted by the engine of the estimators,
beside a plain two-dimensional likelihood that shares no code with it (tests/oracles.py). It needs
GAMMAGRAD_REFERENCE and the group `test`. *extremes*: random windows over many decades, and how the
solver ends. *fields*: windows of simulated fields whose background is not what the fit takes it
for, each independent of the others. The picture needs the group `plot`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray
from report import FOLDER, write
from scipy.stats import norm as normal

from gammagrad.core.norm import (
    FitOptions,
    Status,
    Window,
    check_background,
    fit_bins,
    fit_free_bins,
)
from gammagrad.core.ts_map import Backgrounds, cube_bins, fit_occupied, wide_window, wide_windows

Floats = NDArray[np.float64]

SIGMAS = (np.inf, 0.3, 0.05, 0.01)
PICTURES = FOLDER.parent / "images"

# -- against the plain likelihood ------------------------------------------------------------------


class Cube(NamedTuple):
    """Counts, background, exposure, kernel and mask of a map."""

    counts: Floats
    background: Floats
    exposure: Floats
    kernel: Floats
    mask: Floats


def stored(case: str) -> Cube:
    """Return the arrays of a stored case, cleaned."""
    folder = Path(os.environ["GAMMAGRAD_REFERENCE"]) / "ts"
    data = np.load(folder / f"{case}.npz")
    names = ("counts", "background", "exposure", "mask")
    n, b, e, w = (np.nan_to_num(data[f"in__g0_d0__{name}"]).astype(float) for name in names)
    kernel = np.maximum(data["in__g0_d0__kernel"].astype(float), 0)
    return Cube(*(np.where(w > 0, a, 0) for a in (n, b, e)), kernel, (w > 0) * 1.0)


def few_photons() -> Cube:
    """Return a tenth of Fermi's background, with counts for a fifth more of it."""
    real = stored("fermicut_energy_nosum")
    background = 0.1 * real.background
    counts = np.random.default_rng(0).poisson(1.2 * background).astype(float)
    return real._replace(counts=counts, background=background, exposure=0.1 * real.exposure)


CUBES: dict[str, Callable[[], Cube]] = {
    "H.E.S.S., Crab": partial(stored, "hesscrab_point_all_nosum"),
    "Fermi, 3FHL": partial(stored, "fermicut_energy_nosum"),
    "few photons": few_photons,
}


def fit_map(cube: Cube, fitted: NDArray[np.bool_], sigma: float) -> tuple[dict[str, Floats], Any]:
    """Fit some positions of a map; return the fits, and the sums over the wide windows."""
    images = jax.tree.map(np.asarray, cube_bins(*(jnp.asarray(a) for a in cube)))
    how = check_background("constrained", "gamma")
    assert how is not None
    member = np.zeros(len(cube.counts), np.int32)
    sides = [wide_window(cube.kernel.shape, None)]
    windows = wide_windows([images], sides, member, np.asarray(sigma**-2.0))
    fit = fit_occupied(
        [images], fitted, selection=("errn-errp", "ul"), free=Backgrounds(windows, member, how)
    )
    return {name: np.asarray(a)[fitted] for name, a in vars(fit).items() if a is not None}, windows


def cut(cube: Cube, fitted: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Return counts, background and model of the kernel's windows, shape (windows, bins)."""
    half = [side // 2 for side in cube.kernel.shape[1:]]
    pads = ((0, 0), *((h, h) for h in half))
    n, b, e = (np.pad(a, pads) for a in (cube.counts, cube.background, cube.exposure))
    rows = []
    for row, col in np.argwhere(fitted):
        part = np.s_[:, row : row + cube.kernel.shape[1], col : col + cube.kernel.shape[2]]
        rows.append([a[part].ravel() for a in (n, b, e)])
    counts, background, exposure = np.array(rows).swapaxes(0, 1)
    return counts, background, cube.kernel.ravel() * exposure


def agree(number: int) -> dict[str, Any]:
    """Compare fits at random positions with the plain likelihood."""
    sys.path.append(str(FOLDER.parents[1] / "tests"))
    from oracles import SlowPlane, slow_plane_fit

    rows = []
    for name, make in CUBES.items():
        cube = make()
        seen = np.argwhere((cube.exposure * cube.mask).sum(axis=0) > 0)
        chosen = np.random.default_rng(1).choice(len(seen), min(number, len(seen)), replace=False)
        fitted = np.zeros(cube.counts.shape[1:], bool)
        fitted[tuple(seen[chosen].T)] = True
        bins = cut(cube, fitted)
        for sigma in SIGMAS:
            fit, windows = fit_map(cube, fitted, sigma)
            # what has no model is one bin more
            sums = windows.counts[0][fitted], windows.background[0][fitted]
            rest = [np.maximum(s - a.sum(axis=1), 0) for s, a in zip(sums, bins, strict=False)]
            # sums of whole numbers, taken by differences
            rest[0] = np.round(rest[0])
            extra = (*rest, np.zeros(len(rest[0])))
            full = [np.c_[a, more] for a, more in zip(bins, extra, strict=True)]
            slow = slow_plane_fit(SlowPlane(*full, tau=sigma**-2.0))
            rows.append([name, float(sigma), *_largest(fit, slow)])
            print(*rows[-1], flush=True)
    numbers = ("norm", "beta", "norm_err", "beta_err", "errp", "errn", "ul", "ts")
    columns = ["data", "sigma", "windows", "at a bound", *numbers]
    return {"columns": columns, "formats": dict.fromkeys(numbers, ".0e"), "rows": rows}


def _largest(fit: dict[str, Floats], slow: Any) -> list[Any]:
    """Return the largest deviations: of norms in errors, of errors in parts of them, of ts."""
    inside = np.isfinite(slow.norm_err) & np.isfinite(fit["norm_err"])
    # at a bound there is no second difference
    error = np.where(inside, slow.norm_err, slow.norm_errp)
    other = slow.background_norm_err[0]
    found: list[Any] = [len(inside), int((~inside).sum())]
    found.append(np.abs(fit["norm"] - slow.norm) / error)
    found.append((np.abs(fit["background_norm"] - slow.background_norm[0]) / other)[inside])
    found.append((np.abs(fit["norm_err"] - slow.norm_err) / error)[inside])
    found.append((np.abs(fit["background_norm_err"] - other) / other)[inside])
    for name in ("norm_errp", "norm_errn", "norm_ul"):
        found.append(np.abs(fit[name] - getattr(slow, name)) / error)
    found.append(np.abs(fit["ts"] - slow.ts) / np.maximum(1, np.abs(slow.ts)))
    return [*found[:2], *(float(a.max(initial=0)) for a in found[2:])]


# -- extremes --------------------------------------------------------------------------------------

BATCH, BINS = 10_000, 32


def extreme_windows(number: int) -> Iterator[tuple[Floats, ...]]:
    """Draw windows over many decades: counts, background, model, tau, and counts elsewhere."""
    rng = np.random.default_rng(7)
    for _ in range(number // BATCH):
        shape = (BATCH, 1)
        spread = rng.choice([0.0, 0.5, 2.0, 6.0], shape)
        b = 10 ** (rng.uniform(-6, 6, shape) + spread * rng.uniform(-1, 1, (BATCH, BINS)))
        tail = rng.choice([0.5, 4.0, 60.0], shape)
        m = 10 ** (rng.uniform(-2, 5, shape) - tail * rng.uniform(0, 1, (BATCH, BINS)))
        m *= rng.uniform(0, 1, (BATCH, BINS)) < rng.choice([0.3, 1.0], shape)
        true = rng.choice([0.1, 1.0, 1.05, 10.0], shape) * b + rng.choice([0, 0.1, 1], shape) * m
        n = rng.poisson(np.minimum(true, 1e6)).astype(float)
        wild = np.floor(10 ** rng.uniform(-1, 6, n.shape)) * (rng.uniform(size=n.shape) < 0.3)
        n = np.where(rng.uniform(size=shape) < 0.3, wild, n)
        tau = np.where(rng.uniform(size=BATCH) < 0.4, 0, 10 ** rng.uniform(0, 12, BATCH))
        elsewhere = rng.choice([0.0, 1.0, 10.0], BATCH) * b.sum(axis=1)
        yield n, b, m, tau, elsewhere


def extremes(number: int) -> dict[str, Any]:
    """Fit random windows; count sweeps, brackets that are not closed, and what is not a number."""
    asked = ("errn-errp", "ul")
    fit = jax.jit(jax.vmap(lambda *a: fit_free_bins(*a, FitOptions(), selection=asked)))
    sweeps = np.zeros(100, int)
    codes = np.zeros(32, int)
    lost = total = 0
    rng = np.random.default_rng(8)
    for n, b, m, tau, more in extreme_windows(number):
        also = rng.poisson(np.minimum(more, 1e9)).astype(float)
        sums = Window(n.sum(axis=1) + also, b.sum(axis=1) + more, np.zeros(len(n)), tau)
        found = jax.tree.map(np.asarray, fit(n, b, m, Window(*(jnp.asarray(a) for a in sums))))
        names = ("norm", "ts", "norm_err", "norm_errp", "norm_errn", "norm_ul", "background_norm")
        fine = ~np.any([np.isnan(getattr(found, name)) for name in names], axis=0)
        lost += int((~fine).sum())
        total += len(fine)
        codes += np.bincount(found.status, minlength=32)
        sweeps += np.bincount(found.niter, minlength=100)
        print(total, lost, codes[codes > 0], flush=True)
    share = np.cumsum(sweeps) / total
    ends = [int(np.searchsorted(share, part)) for part in (0.5, 0.99, 0.9999)]
    most = int(np.flatnonzero(sweeps).max())
    row = [total, *ends, most, int(codes[Status.NOT_CONVERGED]), int(codes[Status.OUT_OF_RANGE])]
    columns = ["windows", "median", "99 %", "99.99 %", "most", "not closed", "out of range", "NaN"]
    return {"columns": columns, "rows": [[*row, lost]]}


# -- fields ----------------------------------------------------------------------------------------

SIDE, WIDE = 11, 33
WRONG = (0.0, 0.03, 0.1, 0.3)


def psf() -> Floats:
    """Return a Gaussian of 1.6 pixels, of sum 1."""
    offset = np.arange(SIDE) - SIDE // 2
    kernel = np.exp(-0.5 * (offset[:, None] ** 2 + offset[None, :] ** 2) / 1.6**2)
    return kernel / kernel.sum()


def ways(wrong: float) -> dict[str, float | None]:
    """Return the ways to fit, with tau: None for a fixed background."""
    tau = {"fixed": None, "constrained to 3 %": 0.03**-2.0}
    if wrong not in (0.0, 0.03):
        tau[f"constrained to {wrong:.0%}".replace("%", " %")] = wrong**-2.0
    return tau | {"free": 0.0}


@partial(jax.jit, static_argnames=("free", "selection"))
def fit_windows(
    counts: jax.Array,
    also: jax.Array,
    level: jax.Array,
    more: jax.Array,
    tau: jax.Array,
    n_sigma: jax.Array,
    *,
    free: bool,
    selection: tuple[str, ...] = (),
) -> Any:
    """Fit windows, of counts in reach of the kernel and elsewhere, for a flat background."""
    model = jnp.asarray(psf().ravel())
    background = jnp.full_like(model, 1.0) * level
    options = FitOptions(n_sigma_ul=n_sigma)

    def fit(n: jax.Array, other: jax.Array) -> Any:
        if not free:
            return fit_bins(n, background, model, options, selection=selection)
        sums = Window(n.sum() + other, background.sum() + more, jnp.zeros_like(more), tau)
        return fit_free_bins(n, background, model, sums, options, selection=selection)

    found = jax.vmap(fit)(counts, also)
    return {name: getattr(found, name) for name in ("norm", "norm_err", "ts", "norm_ul")}


class Truth(NamedTuple):
    """What windows are drawn from, in units of the background that the fit is given."""

    name: str
    background: Floats  # shape (WIDE, WIDE); 0 where the window is cut off


def flat(wrong: float) -> Truth:
    """Return a background that is a part more than what is taken for it."""
    return Truth(f"{wrong:.0%}".replace("%", " %"), np.full((WIDE, WIDE), 1 + wrong))


def shapes() -> list[Truth]:
    """Return backgrounds of a shape that is not that which the fit is given."""
    x = np.linspace(-1, 1, WIDE)[None] * np.ones((WIDE, 1))
    bowl = (x**2 + x.T**2) / 2
    slope = 1 + 0.3 * x
    half = np.where(np.arange(WIDE)[None] >= (WIDE - SIDE) // 2, slope, 0)
    return [
        Truth("gradient, from -30 % to 30 %", slope),
        Truth("the same at the edge of a map", half),
        Truth("bowl, 30 % deeper in the middle", 1 + 0.3 * (bowl - 1)),
    ]


def simulate(
    truth: Truth, level: float, source: float, tau: float | None, number: int, **asked: Any
) -> dict[str, Floats]:
    """Draw and fit independent windows around a source; the counts are the same in all ways."""
    rng = np.random.default_rng([int(1e3 * level), int(source)])
    inner = np.s_[(WIDE - SIDE) // 2 : (WIDE + SIDE) // 2, (WIDE - SIDE) // 2 : (WIDE + SIDE) // 2]
    near = level * truth.background[inner] + source * psf()
    far = level * (truth.background.sum() - truth.background[inner].sum())
    more = level * float((truth.background > 0).sum() - SIDE**2)
    parts = []
    for _ in range(number // BATCH):
        counts = rng.poisson(near.ravel(), (BATCH, SIDE**2)).astype(float)
        also = rng.poisson(far, BATCH).astype(float)
        numbers = (jnp.asarray(float(a)) for a in (level, more, tau or 0.0))
        sigma = jnp.asarray(float(asked.get("n_sigma", 2.0)))
        selection = ("ul",) if "n_sigma" in asked else ()
        fit = fit_windows(
            *(jnp.asarray(counts), jnp.asarray(also)),
            *numbers,
            sigma,
            free=tau is not None,
            selection=selection,
        )
        parts.append({k: np.asarray(v) for k, v in fit.items() if v is not None})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def significance(fit: dict[str, Floats]) -> Floats:
    """Return signed square roots of the test statistic."""
    return np.sign(fit["ts"]) * np.sqrt(np.abs(fit["ts"]))


BACKGROUND_LEVELS = (1.0, 10.0)
STRONG = {1.0: 60.0, 10.0: 180.0}


def empty(number: int) -> dict[str, Any]:
    """Return mean and width of significances without a source, and how often they are exceeded."""
    rows = []
    for level in BACKGROUND_LEVELS:
        for truth, wrong in [*((flat(w), w) for w in WRONG), *((t, 0.1) for t in shapes())]:
            for way, tau in ways(wrong).items():
                found = significance(simulate(truth, level, 0.0, tau, number))
                rates = [float((found > s).mean() / normal.sf(s)) for s in (3, 4, 5)]
                rows.append([level, truth.name, way, len(found), found.mean(), found.std(), *rates])
                print(*rows[-1], flush=True)
    numbers = {"mean": ".3f", "width": ".3f", "> 3": ".3g", "> 4": ".3g", "> 5": ".3g"}
    columns = ["background", "true background is off by", "way", "windows", *numbers]
    return {"columns": columns, "formats": {"background": "g", **numbers}, "rows": rows}


def sources(number: int) -> dict[str, Any]:
    """Return the bias of norms, in per cent and in errors, and how often limits hold the truth."""
    rows = []
    for level in BACKGROUND_LEVELS:
        true = STRONG[level]
        for truth, wrong in [*((flat(w), w) for w in WRONG), *((t, 0.1) for t in shapes())]:
            for way, tau in ways(wrong).items():
                one = simulate(truth, level, true, tau, number, n_sigma=1.0)
                two = simulate(truth, level, true, tau, number, n_sigma=2.0)
                off = one["norm"] / true - 1
                pull = (one["norm"] - true) / one["norm_err"]
                holds = [float((true <= fit["norm_ul"]).mean()) for fit in (one, two)]
                bias = 100 * off.mean(), pull.mean(), pull.std()
                rows.append([level, true, truth.name, way, *bias, *holds])
                print(*rows[-1], flush=True)
    numbers = {"bias [%]": ".2f", "pull": ".3f", "its width": ".3f", "1 sigma": ".4f"}
    numbers |= {"2 sigma": ".4f"}
    columns = ["background", "source", "true background is off by", "way", *numbers]
    return {
        "columns": columns,
        "formats": {"background": "g", "source": "g"} | numbers,
        "rows": rows,
    }


def picture(biases: list[list[Any]], number: int) -> None:
    """Draw significances without a source, and biases by how wrong a background is."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    x = np.linspace(-5, 8, 131)
    for axis, wrong in zip(axes, (0.03, 0.1), strict=False):
        for way, tau in ways(wrong).items():
            found = significance(simulate(flat(wrong), 10.0, 0.0, tau, number))
            axis.hist(found, x[::2], density=True, histtype="step", label=way)
        axis.plot(x, normal.pdf(x), "k:", lw=1, label="normal")
        axis.set(yscale="log", ylim=(2e-5, 1), xlabel="significance", xlim=(-5, 7))
        axis.set_title(f"no source, {wrong:.0%} more background".replace("%", " %"), fontsize=10)
        axis.legend(fontsize=7)
    for way in ("fixed", "constrained to 3 %", "free"):
        names = [flat(w).name for w in WRONG]
        own = [r[4] for r in biases if r[0] == 10.0 and r[3] == way and r[2] in names]
        axes[2].plot(100 * np.array(WRONG), own, "o-", label=way)
    axes[2].set(
        xlabel="the background is off by [%]", ylabel="bias of the flux [%]", yscale="symlog"
    )
    axes[2].set_title("a source of 180 counts", fontsize=10)
    axes[2].legend(fontsize=7)
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / "uncertain_background.png", dpi=110)


PARTS = ("agree", "extremes", "fields")


def main() -> None:
    """Run all, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few windows; nothing is written")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    parser.add_argument("--windows", type=int, default=1_000_000, help="windows of the extremes")
    arguments = parser.parse_args()
    small = arguments.quick
    tables: dict[str, Any] = {}
    with jax.enable_x64(True):
        if "agree" in arguments.only:
            tables["agree"] = agree(20 if small else 1000)
        if "extremes" in arguments.only:
            tables["extremes"] = extremes(BATCH if small else arguments.windows)
        if "fields" in arguments.only:
            tables["empty"] = empty(BATCH if small else 10 * BATCH)
            tables["sources"] = sources(BATCH if small else 2 * BATCH)
            if not small:
                picture(tables["sources"]["rows"], 10 * BATCH)
    if small:
        return
    # parts that were not run stay as they are
    earlier = FOLDER / "uncertain_background.json"
    if earlier.exists():
        tables = json.loads(earlier.read_text(encoding="utf-8"))["tables"] | tables
    write("uncertain_background", tables, ("gammagrad", "jax", "numpy", "scipy"))


if __name__ == "__main__":
    main()
