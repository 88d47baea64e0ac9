"""Refine simulated sources: do positions, fluxes, indices and sizes spread as their errors say?

python docs/studies/refine.py [--fields 75] [--json]

Fields of 16 sources each on a flat background are searched with a TS map, and the peaks refined:
point sources, and Gaussians of 0.1 to 0.2 deg searched with one of 0.15 deg. Indices are between
1.8 and 2.8, the search takes 2. Fluxes are such that the expected sqrt(TS) at the true parameters
lies between 6 and 20. Pulls are deviations from the truth over the errors. ``--json`` writes the
tables to ``docs/studies/refine.json``.
"""

from __future__ import annotations

import argparse
import time
from typing import Any, NamedTuple

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable, vstack
from numpy.typing import NDArray
from report import lines, write

from gammagrad import Map, MapDataset, TSMapEstimator
from gammagrad.maps import MapAxis, PSFMap, WcsGeom
from gammagrad.models import (
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)

Floats = NDArray[np.float64]

SIDE, SPACING, BINSZ = 4, 1.2, 0.05
THRESHOLD, SEARCH_RADIUS = 4.0, 0.4
EXPOSURE, ENERGY = 1e14, ("1 TeV", "30 TeV")
CENTRE = (83.6, 22.0)


class Kind(NamedTuple):
    """A kind of sources, the model they are searched with, and what is fitted."""

    name: str
    kernel: SkyModel
    free: tuple[str, ...]
    pulls: tuple[str, ...]


def _kernel(spatial: Any) -> SkyModel:
    return SkyModel(PowerLawSpectralModel(2.0, 1e-12), spatial)


KINDS = (
    Kind(
        "point",
        _kernel(PointSpatialModel()),
        ("position", "index"),
        ("ra", "dec", "flux", "index"),
    ),
    Kind(
        "Gaussian",
        _kernel(GaussianSpatialModel(0, 0, sigma=0.15)),
        ("position", "index", "size"),
        ("ra", "dec", "flux", "index", "sigma"),
    ),
)


def empty_field() -> MapDataset:
    """Return a field without sources or counts."""
    axis = MapAxis.from_energy_bounds(*ENERGY, nbin=5)
    true = axis.rename("energy_true")
    npix = round((SIDE + 1) * SPACING / BINSZ)
    geom = WcsGeom.create(npix, BINSZ, skydir=CENTRE, frame="icrs", proj="TAN", axes=[axis])
    background = Map.from_geom(geom)
    background.data += 3.0 * np.array([1, 0.3, 0.1, 0.03, 0.01])[:, None, None]
    exposure = Map.from_geom(geom.to_image().to_cube([true]), unit="cm2 s")
    exposure.data += EXPOSURE
    psf = PSFMap.from_gauss(true, 0.08 * true.center_in("TeV") ** -0.2)
    return MapDataset(background=background, exposure=exposure, psf=psf, name="field")


def amplitude_for(dataset: MapDataset, model: SkyModel, sqrt_ts: float) -> float:
    """Return the factor on a source that makes its expected sqrt(TS) a number."""
    signal = dataset.npred_signal(model).data
    background = dataset.background.data
    factors = np.geomspace(0.01, 100, 60)
    found = []
    for factor in factors:
        ratio = np.log1p(factor * signal / background)
        found.append(2 * np.sum((background + factor * signal) * ratio - factor * signal))
    return float(np.exp(np.interp(np.log(sqrt_ts**2), np.log(found), np.log(factors))))


def simulate(kind: Kind, seed: int) -> tuple[MapDataset, QTable]:
    """Return a field of one kind of sources, and these."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    dataset = empty_field()
    centre = SkyCoord(*CENTRE, unit="deg")
    sources, models = [], []
    for i in range(SIDE**2):
        cell = np.array(divmod(i, SIDE)) - (SIDE - 1) / 2
        offset = cell * SPACING + rng.uniform(-0.2, 0.2, 2)
        place = centre.spherical_offsets_by(*(offset * u.deg))
        index, sigma = rng.uniform(1.8, 2.8), rng.uniform(0.1, 0.2)
        lonlat = float(place.ra.deg), float(place.dec.deg)
        spatial = PointSpatialModel(*lonlat)
        if kind.name == "Gaussian":
            spatial = GaussianSpatialModel(*lonlat, sigma=sigma)
        model = SkyModel(PowerLawSpectralModel(index, 1e-12), spatial, name=f"s{i}")
        wanted = float(np.exp(rng.uniform(np.log(6), np.log(20))))
        factor = amplitude_for(dataset, model, wanted)
        spectrum = PowerLawSpectralModel(index, 1e-12 * factor)
        models.append(SkyModel(spectrum, spatial, name=f"s{i}"))
        sources.append((*lonlat, index, sigma, float(spectrum.integral(1, 30)), wanted))
    expected = dataset.npred_signal(models) + dataset.background
    dataset.counts = Map(dataset.geom, rng.poisson(expected.data).astype(float))
    table = QTable(rows=sources, names=["ra", "dec", "index", "sigma", "flux", "expected"])
    return dataset, table


def search(kind: Kind, seed: int) -> tuple[QTable, dict[str, float]]:
    """Return the refined sources of a field with the truth beside them, and the times taken."""
    dataset, truth = simulate(kind, seed)
    estimator = TSMapEstimator(kind.kernel, selection_optional=[])
    begin = time.perf_counter()
    maps = estimator.run(dataset)
    searched = time.perf_counter()
    pixels = maps.find_peaks(THRESHOLD, min_distance="0.3 deg")
    listed = time.perf_counter()
    peaks = maps.find_peaks(
        THRESHOLD, min_distance="0.3 deg", refine=True, datasets=dataset, free=kind.free
    )
    times = {
        "map": searched - begin,
        "refine": time.perf_counter() - listed,
        "peaks": float(len(pixels)),
    }
    there = SkyCoord(peaks["ra"], peaks["dec"])
    at_pixels = SkyCoord(pixels["ra"], pixels["dec"])
    nearest, distance, _ = SkyCoord(truth["ra"], truth["dec"], unit="deg").match_to_catalog_sky(
        there
    )
    rows = peaks[nearest]
    for name in truth.colnames:
        rows[f"true_{name}"] = truth[name]
    rows["pixel_distance"] = at_pixels[nearest].separation(
        SkyCoord(truth["ra"], truth["dec"], unit="deg")
    )
    rows["matched"] = distance.to_value("deg") < SEARCH_RADIUS
    return rows, times


def offsets(rows: QTable) -> tuple[Floats, Floats]:
    """Return how far to the east and north of the truth the sources are, deg."""
    truth = SkyCoord(rows["true_ra"], rows["true_dec"], unit="deg")
    east, north = truth.spherical_offsets_to(SkyCoord(rows["ra"], rows["dec"]))
    return east.to_value("deg"), north.to_value("deg")


def pull(rows: QTable, name: str) -> Floats:
    """Return the deviations of a quantity from the truth, in its errors."""
    error = u.Quantity(rows[f"{name}_err"]).value
    if name in ("ra", "dec"):
        return offsets(rows)[("ra", "dec").index(name)] / error
    return (u.Quantity(rows[name]).value - rows[f"true_{name}"]) / error


def inside(rows: QTable, percent: int) -> Floats:
    """Return which sources lie in their error ellipses."""
    east, north = offsets(rows)
    angle = rows["ellipse_angle"].to_value("rad")
    along = east * np.sin(angle) + north * np.cos(angle)
    across = east * np.cos(angle) - north * np.sin(angle)
    major, minor = (
        rows[f"ellipse_{axis}_{percent}"].to_value("deg") for axis in ("major", "minor")
    )
    return ((along / major) ** 2 + (across / minor) ** 2 < 1).astype(float)


def pull_rows(kind: Kind, rows: QTable) -> list[list[Any]]:
    """Return mean and width of the pulls of each quantity, with errors."""
    found = []
    for name in kind.pulls:
        values = pull(rows, name)
        values = values[np.isfinite(values)]
        n, width = len(values), values.std(ddof=1)
        mean = values.mean()
        found.append(
            [
                *(kind.name, name, n, mean, width / n**0.5, width, width / (2 * n) ** 0.5),
                *(float(np.mean(np.abs(values) < limit)) for limit in (1, 2)),
            ]
        )
    return found


def brightness_rows(kind: Kind, rows: QTable) -> list[list[Any]]:
    """Return how pulls and ellipses of faint and bright sources fare."""
    found = []
    for low, high in ((6, 10), (10, 20)):
        some = rows[(rows["true_expected"] >= low) & (rows["true_expected"] < high)]
        place = np.concatenate([pull(some, name) for name in ("ra", "dec")])
        width = float(place.std())
        row = [kind.name, f"{low} to {high}", len(some), width, width / (2 * place.size) ** 0.5]
        row += [float(inside(some, percent).mean()) for percent in (68, 95)]
        for name in ("flux", "index", "sigma"):
            values = pull(some, name) if name in kind.pulls else np.array([np.nan])
            values = values[np.isfinite(values)]
            row += [float(values.mean()), float(values.std())] if values.size else ["", ""]
        found.append(row)
    return found


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fields", type=int, default=75, help="fields of each kind")
    parser.add_argument("--json", action="store_true", help="write the tables")
    options = parser.parse_args()
    pulls: list[Any] = []
    ellipses, bright, counts = [], [], []
    for kind in KINDS:
        tables, times = zip(*(search(kind, seed) for seed in range(options.fields)), strict=True)
        rows = vstack(tables, metadata_conflicts="silent")
        good = rows[rows["refined"] & rows["matched"]]
        pulls += pull_rows(kind, good)
        bright += brightness_rows(kind, good)
        for percent in (68, 95):
            held = inside(good, percent).mean()
            error = (held * (1 - held) / len(good)) ** 0.5
            ellipses.append([kind.name, percent / 100, len(good), held, error])
        warm = times[1:] or times
        per_source = sum(t["refine"] for t in warm) / sum(t["peaks"] for t in warm)
        distance = np.hypot(*offsets(good))
        counts.append(
            [
                *(kind.name, len(rows), int(rows["matched"].sum()), len(good)),
                float(np.median(good["pixel_distance"].to_value("deg"))),
                *(float(np.median(distance)), 1e3 * per_source),
                times[0]["refine"] - per_source * times[0]["peaks"],
                float(np.median([t["map"] for t in warm])),
            ]
        )
        for row in rows[~rows["refined"]]:
            print(kind.name, f"expected {row['true_expected']:.1f}:", row["message"])
    result = tables_of(pulls, ellipses, bright, counts)
    if options.json:
        write("refine", result, ["gammagrad", "jax", "numpy", "optax"])
        return
    for title, table in result.items():
        print("", title, "", *lines(table), sep="\n")


def tables_of(pulls: Any, ellipses: Any, bright: Any, counts: Any) -> dict[str, Any]:
    """Return the tables with their columns and formats."""
    return {
        "pulls": {
            "columns": [
                *("source", "quantity", "n", "mean", "+-", "width", "+- "),
                *("within 1 (0.683)", "within 2 (0.954)"),
            ],
            "formats": {
                "mean": "+.3f",
                **dict.fromkeys(("+-", "width", "+- "), ".3f"),
                **dict.fromkeys(("within 1 (0.683)", "within 2 (0.954)"), ".3f"),
            },
            "rows": pulls,
        },
        "sources in their error ellipses": {
            "columns": ["source", "expected", "n", "found", "+-"],
            "formats": {"expected": ".2f", "found": ".3f", "+-": ".3f"},
            "rows": ellipses,
        },
        "by significance": {
            "columns": [
                *("source", "sqrt(TS)", "n", "position: width", "+-", "in 68 %", "in 95 %"),
                *("flux: mean", "flux: width", "index: mean", "index: width"),
                *("sigma: mean", "sigma: width"),
            ],
            "formats": {
                **dict.fromkeys(("position: width", "+-", "in 68 %", "in 95 %"), ".3f"),
                **dict.fromkeys(("flux: mean", "index: mean", "sigma: mean"), "+.3f"),
                **dict.fromkeys(("flux: width", "index: width", "sigma: width"), ".3f"),
            },
            "rows": bright,
        },
        "sources and times": {
            "columns": [
                *("source", "simulated", "found", "refined", "off by (pixel) / deg"),
                *("off by (refined) / deg", "time per source / ms", "compiling / s", "map / s"),
            ],
            "formats": {
                **dict.fromkeys(("off by (pixel) / deg", "off by (refined) / deg"), ".4f"),
                **dict.fromkeys(("time per source / ms", "compiling / s"), ".1f"),
                "map / s": ".2f",
            },
            "rows": counts,
        },
    }


if __name__ == "__main__":
    main()
