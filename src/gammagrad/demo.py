"""A first result within seconds: a simulated field with its sources found again, or real data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from gammagrad.dataset import MapDataset
from gammagrad.estimators.ts_map import TSMapEstimator
from gammagrad.flux_maps import FluxMaps
from gammagrad.io import file_sha256, write_peaks
from gammagrad.maps import Map
from gammagrad.models import GaussianSpatialModel, PowerLawSpectralModel, SkyModel
from gammagrad.plot import plot_overview, save_figure
from gammagrad.simulate import SimulatedField, simulate_field

THRESHOLD, DISTANCE = 5.0, "0.3 deg"
GALACTIC_CENTRE = SkyCoord("17h45m40.04s", "-29d00m28.1s")
"""Sagittarius A*."""

Say = Callable[[str], None]

_FERMI_FILE = Path("fermi-3fhl-gc") / "fermi-3fhl-gc.fits.gz"


def _silent(text: str) -> None:
    """Ignore a text."""


@dataclass(frozen=True)
class Run:
    """A map, and the time to make it."""

    maps: FluxMaps  # the result
    pixels: int  # number of pixels fitted
    seconds: float  # time of a run with everything compiled
    compile_seconds: float  # extra time of the first run

    def __str__(self) -> str:
        each = 1e6 * self.seconds / max(self.pixels, 1)
        return (
            f"{self.pixels} pixels in {self.seconds:.2f} s ({each:.0f} microseconds each), "
            f"compiling before it {self.compile_seconds:.1f} s"
        )


@dataclass(frozen=True)
class Demo:
    """The result of a demonstration."""

    dataset: MapDataset  # what was fitted
    run: Run  # the map of point sources
    peaks: QTable  # sources found in it
    field: SimulatedField | None = None  # what was put into a simulated field
    extended: Run | None = None  # the map about the extended source, with a kernel of its shape
    # each true source with what was found: ``name``, ``kind``, ``glon``, ``glat``, ``flux_true``,
    # ``flux``, ``flux_err``, ``pull`` (found less true, in errors), ``sqrt_ts``, ``expected`` (the
    # significance to expect) and ``offset`` (deg); NaN where nothing was found
    comparison: QTable | None = None
    spurious: int = 0  # number of peaks that belong to no source


def timed_run(estimator: TSMapEstimator, dataset: MapDataset) -> Run:
    """Run an estimator twice, to time compilation and fit separately."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        maps = estimator.run(dataset)
        times.append(time.perf_counter() - start)
    assert isinstance(maps, FluxMaps)  # of one model
    pixels = int(np.isfinite(maps["ts"].data).sum())
    return Run(maps, pixels, times[1], max(times[0] - times[1], 0.0))


def simulated_demo(
    seed: int = 0, npix: int = 200, show_progress: bool | None = None, say: Say = _silent
) -> Demo:
    """Simulate a field, make its maps, and compare fitted and true sources."""
    field = simulate_field(seed, npix)
    say(f"{field.dataset}\n")
    estimator = TSMapEstimator(sum_over_energy_groups=False, show_progress=show_progress)
    run = timed_run(estimator, field.dataset)
    peaks = run.maps.find_peaks(THRESHOLD, DISTANCE)
    say(f"Map for point sources: {run}")
    nebula = field.sources[field.sources["kind"] == "gauss"][0]
    sigma, position = nebula["sigma"], SkyCoord(nebula["ra"], nebula["dec"])
    model = SkyModel(PowerLawSpectralModel(), GaussianSpatialModel(sigma=sigma), name="gauss")
    # five sigma each way, of the kernel and of the pixels that matter to it
    estimator = TSMapEstimator(
        model, 10 * sigma, sum_over_energy_groups=False, show_progress=show_progress
    )
    extended = timed_run(estimator, field.dataset.cutout(position, 10 * sigma))
    say(f"Map for the extended source: {extended}\n")
    comparison, spurious = compare(field.sources, peaks, extended.maps.find_peaks(THRESHOLD))
    return Demo(field.dataset, run, peaks, field, extended, comparison, spurious)


def compare(sources: QTable, points: QTable, extended: QTable) -> tuple[QTable, int]:
    """Match the sources found to the true ones."""
    true = SkyCoord(sources["ra"], sources["dec"])
    reach = np.maximum(3 * sources["sigma"], 0.15 * u.deg)
    table = QTable(sources["name", "kind", "glon", "glat"])
    table["flux_true"] = sources["flux"]
    columns = {"flux": "cm-2 s-1", "flux_err": "cm-2 s-1", "sqrt_ts": ""}
    found = {name: np.full(len(sources), np.nan) for name in columns}
    offset = np.full(len(sources), np.nan)
    for i, kind in enumerate(sources["kind"]):
        peaks = extended if kind == "gauss" else points
        if not len(peaks):
            continue
        apart = true[i].separation(SkyCoord(peaks["ra"], peaks["dec"]))
        nearest = int(np.argmin(apart))
        if apart[nearest] <= reach[i]:
            offset[i] = apart[nearest].deg
            for name, unit in columns.items():
                found[name][i] = u.Quantity(peaks[name][nearest]).to_value(unit)
    for name, unit in columns.items():
        table[name] = found[name] * u.Unit(unit) if unit else found[name]
    table["pull"] = ((table["flux"] - table["flux_true"]) / table["flux_err"]).to_value("")
    table["expected"] = sources["sqrt_ts"]
    table["offset"] = offset * u.deg
    spurious = 0
    if len(points):
        apart = SkyCoord(points["ra"], points["dec"])[:, None].separation(true[None, :])
        spurious = int(np.sum(np.all(apart > reach[None, :], axis=1)))
    return table, spurious


def fermi_file() -> Path:
    """Return the path of Fermi-LAT's Galactic centre among gammapy's public data sets."""
    folder = os.environ.get("GAMMAPY_DATA")
    get_it = (
        "it belongs to gammapy's public data sets (https://github.com/gammapy/gammapy-data): run "
        "`gammapy download datasets --src fermi-3fhl-gc`, or clone that repository, and set the "
        "environment variable GAMMAPY_DATA to the folder that holds fermi-3fhl-gc/."
    )
    if not folder:
        raise FileNotFoundError(f"GAMMAPY_DATA is not set, so {_FERMI_FILE} is not found; {get_it}")
    path = Path(folder) / _FERMI_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; {get_it}")
    return path


def fermi_demo(show_progress: bool | None = None, say: Say = _silent) -> Demo:
    """Make the map of the Galactic centre above 10 GeV, from Fermi-LAT's data."""
    path = fermi_file()
    say(f"Reading {path}\n")
    dataset = MapDataset.read(path)
    say(f"{dataset}\n")
    estimator = TSMapEstimator(
        kernel_width="1 deg", sum_over_energy_groups=False, show_progress=show_progress
    )
    run = timed_run(estimator, dataset)
    say(f"Map for point sources: {run}\n")
    run.maps.meta |= {"input": path.name, "input_sha256": file_sha256(path)}
    return Demo(dataset, run, run.maps.find_peaks(THRESHOLD, DISTANCE))


def off_source(demo: Demo) -> Map | None:
    """Return where a simulated field has no source nearby."""
    if demo.field is None:
        return None
    geom = demo.run.maps.geom.to_image()
    keep = np.ones(geom.shape_image, dtype=bool)
    sources = demo.field.sources
    reach = 0.25 * u.deg + 3 * sources["sigma"]
    for position, radius in zip(SkyCoord(sources["ra"], sources["dec"]), reach, strict=True):
        keep &= geom.separation(position) > radius
    return Map(geom, keep)


def write_demo(demo: Demo, folder: str | os.PathLike[str], pictures: bool = True) -> list[Path]:
    """Write maps, sources and a figure into a folder, replacing files of the same names."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / name for name in ("ts-map.fits", "sources.ecsv", "sources.reg")]
    demo.run.maps.write(files[0], overwrite=True)
    for file in files[1:]:
        write_peaks(demo.peaks, file, overwrite=True)
    if demo.field is not None:
        files.append(folder / "dataset.fits.gz")
        demo.dataset.write(files[-1], overwrite=True)
    if pictures:
        files.append(save_figure(_figure(demo), folder / "overview.png", overwrite=True))
    return files


def _figure(demo: Demo) -> Any:
    if demo.field is None:
        title = "Fermi-LAT, Galactic centre, above 10 GeV"
        return plot_overview(demo.run.maps, demo.peaks, title=title)
    return plot_overview(
        demo.run.maps,
        demo.peaks,
        truth=demo.field.sources,
        exclusion=off_source(demo),
        title="Simulated field: sources put in (crosses) and found (circles)",
    )
