"""Extreme arrays through the map estimator, drawn by a seed, against bisection at every pixel.

    python tests/fuzz_arrays.py --number 2000 --seed 1

Counts, background, exposure and masks of any type, order and size, with values that no instrument
gives. Each must end in a clear error, or in the numbers of a twin that shares nothing with the fit.
"""

from __future__ import annotations

import argparse
import collections
import sys
import time
import warnings
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
from numpy.typing import NDArray

from gammagrad import Map, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.errors import GammagradError
from gammagrad.maps import MapAxis, WcsGeom
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from oracles import slow_fit

Floats = NDArray[np.float64]

AMPLITUDE = 1e-12
TYPES = (
    "?",
    "i1",
    "u1",
    "i2",
    ">i2",
    "i4",
    ">i4",
    "u4",
    "i8",
    "u8",
    "f2",
    "f4",
    ">f4",
    "f8",
    ">f8",
)
STRANGE: dict[str, tuple[float, ...]] = {
    "counts": (np.nan, np.inf, -1.0, 1e30, 3.4e38, 2.0**53, 1e9, 0.5),
    "background": (np.nan, np.inf, -1.0, 0.0, 1e-300, 1e-30, 1e15, 1e300),
    "exposure": (np.nan, np.inf, -1.0, 0.0, 1e-290, 1e-30, 1e20, 1e200),
    "weights": (np.nan, np.inf, -1.0, 0.0, 0.5, 1e-300, 1e10),
}


class Drawn(NamedTuple):
    """Arrays of a dataset, as they are handed over."""

    geom: WcsGeom
    counts: Any
    background: Any
    exposure: Any
    weights: Any


def draw(rng: np.random.Generator) -> Drawn:
    """Draw a dataset."""
    shape = (int(rng.integers(1, 4)), *rng.choice((1, 2, 5, 8), 2).tolist())
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=shape[0])
    geom = WcsGeom.create((shape[2], shape[1]), 0.1, skydir=(83.63, 22.01), proj="TAN", axes=[axis])
    mean = 10 ** rng.uniform(-2, 2)
    values = {
        "counts": rng.poisson(mean, shape).astype(float),
        "background": mean * rng.uniform(0.5, 2, shape),
        "exposure": 10 ** rng.uniform(8, 16) * rng.uniform(0.5, 1, shape),
        "weights": (rng.random(shape) < 0.8).astype(float),
    }
    if rng.random() < 0.1:
        values["weights"][:] = 0
    made = {}
    for name, array in values.items():
        if rng.random() < 0.25:
            bad = rng.random(shape) < rng.choice((0.05, 0.3, 1.0))
            array = np.where(bad, rng.choice(STRANGE[name]), array)
        kind = rng.choice(TYPES) if rng.random() < 0.5 else "f8"
        with np.errstate(all="ignore"):
            array = array.astype(kind)
        made[name] = _laid_out(array, rng)
    return Drawn(geom, **made)


def _laid_out(array: Any, rng: np.random.Generator) -> Any:
    """Return an array with strides of another kind."""
    how = rng.integers(5)
    if how == 0:
        return np.asfortranarray(array)
    if how == 1:
        return np.repeat(array, 2, axis=-1)[..., ::2]
    if how == 2:
        return np.ascontiguousarray(array[:, ::-1])[:, ::-1]
    if how == 3:
        array = array.copy()
        array.flags.writeable = False
    return array


def estimate(drawn: Drawn) -> Any:
    """Return the maps of the estimator."""
    geom = drawn.geom
    true = geom.axes["energy"].rename("energy_true")
    exposure = Map(geom.to_image().to_cube([true]), drawn.exposure, unit="cm2 s")
    dataset = MapDataset(
        counts=Map(geom, drawn.counts),
        background=Map(geom, drawn.background),
        exposure=exposure,
        mask_fit=Map(geom, drawn.weights),
    )
    spectrum = PowerLawSpectralModel(index=2.0, amplitude=u.Quantity(AMPLITUDE, "cm-2 s-1 TeV-1"))
    model = SkyModel(spectrum, PointSpatialModel(), name="source")
    estimator = TSMapEstimator(model, sum_over_energy_groups=False, selection_optional="ul")
    return estimator.run(dataset)


def wrong_pixels(drawn: Drawn, maps: Any) -> list[str]:
    """Compare every pixel with bisection; without a PSF its own bins are all there is."""
    edges = drawn.geom.axes["energy"].edges_in("TeV")
    flux = AMPLITUDE * (1 / edges[:-1] - 1 / edges[1:])
    n, b, e, w = (np.asarray(a, dtype=float) for a in drawn[1:])
    used = (w > 0) & np.isfinite(b)
    least = 1e-100 * (e * flux[:, None, None]).max()
    found = []
    status = maps["status"].data[0]
    for row, col in np.ndindex(*status.shape):
        at = (used[:, row, col], row, col)
        weight = w[:, row, col][at[0]]
        counts, background = (weight * a[:, row, col][at[0]] for a in (n, b))
        model = weight * (e[:, row, col] * flux)[at[0]]
        got = {name: float(maps[name].data[0, row, col]) for name in ("norm", "norm_ul", "ts")}
        seen = e[:, row, col] * flux >= least
        model = np.where(seen[at[0]], model, 0.0)
        if not weight.size or b[at].sum() <= 0 or not model.sum() > 0:
            if status[row, col] != Status.NOT_FITTED:
                found.append(f"({row}, {col}) has nothing to fit, and status {status[row, col]}")
            continue
        if status[row, col] == Status.OUT_OF_RANGE:
            continue
        # the twin searches norms of about 1
        unit = 1 / model.sum()
        twin = slow_fit(counts, background, model * unit)
        twin = twin._replace(norm=twin.norm * unit, norm_err=twin.norm_err * unit)
        error = min(twin.norm_err, abs(twin.norm) + unit)
        if not abs(got["norm"] - twin.norm) <= 1e-5 * error + 1e-9 * abs(twin.norm):
            found.append(f"({row}, {col}): norm {got['norm']}, expected {twin.norm}")
        scale = abs(twin.ts) + 1e-9 * (1 + counts.sum() + background.sum())
        if not abs(got["ts"] - twin.ts) <= 1e-6 * scale + 1e-6:
            found.append(f"({row}, {col}): ts {got['ts']}, expected {twin.ts}")
        if not np.isfinite(got["norm_ul"]) or got["norm_ul"] < got["norm"]:
            found.append(f"({row}, {col}): limit {got['norm_ul']} of norm {got['norm']}")
    return found


def run(number: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    """Fit so many datasets; return what came of them, and what is wrong."""
    rng = np.random.default_rng(seed)
    counts: collections.Counter[str] = collections.Counter()
    wrong: list[str] = []
    for i in range(number):
        drawn = draw(rng)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            try:
                maps = estimate(drawn)
            except GammagradError:
                counts["clear error"] += 1
                continue
            except Exception as error:
                counts["other error"] += 1
                wrong.append(f"number {i}: {type(error).__name__}: {error}"[:300])
                continue
        bad = wrong_pixels(drawn, maps)
        counts["wrong numbers" if bad else "numbers of the twin"] += 1
        wrong += [f"number {i}, {text}" for text in bad[:3]]
    return counts, wrong


def main() -> int:
    """Run as a command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--number", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    start = time.perf_counter()
    counts, wrong = run(args.number, args.seed)
    print("\n".join(wrong[:50]))
    for what, many in counts.most_common():
        print(f"{many:8} {what}")
    print(f"{time.perf_counter() - start:.0f} s")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
