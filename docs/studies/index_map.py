"""Maps of the spectral index: pulls and coverage of norm and index, and what they look like.

python docs/studies/index_map.py [--sources N] [--seed N]

Sources with indices of 1.5 to 4 are put on a grid, far enough apart not to see each other, and
counts are drawn. At each of them norm and index are fitted together. The expected test statistic
is that of the expected counts. Writes `index_map.json` and the picture `images/index_map.png`, with
the Crab nebula if GAMMAPY_DATA is set. Takes a minute or two.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from report import write

from gammagrad import FluxMaps, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.maps import Map, MapAxis, PSFMap, WcsGeom
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

Floats = NDArray[np.float64]

PICTURES = Path(__file__).parent.parent / "images"
PITCH = 14
EXPOSURE = 2e13
BINS = ((9, 25), (25, 100), (100, 400))
SETTINGS: dict[str, Any] = {
    "free": ("norm", "index"),
    "kernel_width": "0.22 deg",
    "sum_over_energy_groups": False,
    "kernel_positions": "centre",
}


def spectrum(index: float) -> PowerLawSpectralModel:
    """Return a power law of norm 1."""
    return PowerLawSpectralModel(index=index, amplitude=1e-12, reference=1.0)


def empty(rows: int, cols: int) -> MapDataset:
    """Return a field without sources: 0.5 to 50 TeV, a soft background, a PSF that narrows."""
    axis = MapAxis.from_energy_bounds("0.5 TeV", "50 TeV", nbin=8)
    true = axis.rename("energy_true")
    geom = WcsGeom.create(npix=(cols, rows), binsz=0.02, axes=[axis])
    energy = axis.center_in("TeV")
    background = 1.5 * (energy / 0.67) ** -1.4
    planes = np.broadcast_to(background[:, None, None], geom.data_shape).copy()
    exposure = EXPOSURE * (energy / 1.0) ** 0.5
    cube = np.broadcast_to(exposure[:, None, None], geom.data_shape).copy()
    return MapDataset(
        counts=Map(geom, planes.copy()),
        background=Map(geom, planes),
        exposure=Map(geom.to_image().to_cube([true]), cube, "cm2 s"),
        psf=PSFMap.from_gauss(true, 0.024),
        name="index",
    )


def add_sources(dataset: MapDataset, rows: Any, cols: Any, norms: Floats, indices: Floats) -> None:
    """Add sources to the expected counts."""
    model = SkyModel(spectrum(2.0), PointSpatialModel())
    kernel = TSMapEstimator(model, **SETTINGS).estimate_kernel(dataset).data
    edges = dataset.energy_axis.edges_in("TeV")
    exposure = dataset.exposure.data[:, 0, 0]
    half = kernel.shape[-1] // 2
    for row, col, norm, index in zip(rows, cols, norms, indices, strict=True):
        flux = np.asarray(spectrum(float(index)).integral(edges[:-1], edges[1:]))
        there = np.s_[:, row - half : row + half + 1, col - half : col + half + 1]
        dataset.counts.data[there] += (norm * flux * exposure)[:, None, None] * kernel


def simulated(number: int, seed: int) -> tuple[FluxMaps, FluxMaps, Floats, Floats, NDArray[Any]]:
    """Fit sources on a grid; return the maps, those of expected counts, and the truth."""
    rng = np.random.default_rng(seed)
    side = int(np.ceil(number**0.5))
    dataset = empty(side * PITCH, side * PITCH)
    rows, cols = (a.ravel() * PITCH + PITCH // 2 for a in np.mgrid[:side, :side])
    indices = rng.uniform(1.5, 4.0, rows.size)
    # about as significant whatever the index, faint ones as often as bright ones
    norms = 10 ** rng.uniform(-0.9, 0.5, rows.size) * (indices / 2.5) ** -0.8
    add_sources(dataset, rows, cols, norms, indices)
    wanted = np.zeros(dataset.geom.shape_image, bool)
    wanted[rows, cols] = True
    estimator = TSMapEstimator(**SETTINGS)
    expected = estimator.run(dataset, positions=wanted)
    dataset.counts = Map(dataset.geom, rng.poisson(dataset.counts.data).astype(float))
    return estimator.run(dataset, positions=wanted), expected, norms, indices, wanted


def table(number: int, seed: int) -> dict[str, Any]:
    """Return pulls and coverage by expected test statistic."""
    maps, expected, norms, indices, wanted = simulated(number, seed)

    def at(found: FluxMaps, name: str) -> Floats:
        return np.asarray(found[name].data[0][wanted])

    level, status = at(expected, "ts"), at(maps, "status")
    rows = []
    for low, high in BINS:
        some = (level >= low) & (level < high)
        fitted = some & np.isin(status, (Status.FITTED, Status.COUNTS_WITHOUT_BACKGROUND))
        cells: list[Any] = [f"{low} to {high}", int(some.sum()), int(fitted.sum())]
        for code in (Status.INDEX_UNDETERMINED, Status.INDEX_AT_LIMIT, Status.NOT_CONVERGED):
            cells.append(int((some & (status == code)).sum()))
        for name, truth in (("norm", norms), ("index", indices)):
            pull = ((at(maps, name) - truth) / at(maps, f"{name}_err"))[fitted]
            inside = [100 * float((np.abs(pull) < width).mean()) for width in (1, 2)]
            cells += [float(pull.mean()), float(pull.std()), *inside]
        rows.append(cells)
    columns = ["expected TS", "sources", "fitted", "undetermined", "at a limit", "not converged"]
    formats = {}
    for name in ("norm", "index"):
        for what, spec in (
            ("mean", ".2f"),
            ("sd", ".2f"),
            ("1 sigma %", ".1f"),
            ("2 sigma %", ".1f"),
        ):
            columns.append(f"{name} {what}")
            formats[columns[-1]] = spec
    return {"columns": columns, "rows": rows, "formats": formats}


FIELD = (
    *((25, 25, 1.2, 1.6), (25, 65, 2.5, 2.2), (60, 30, 2.5, 2.8)),
    *((60, 75, 3.5, 3.4), (90, 50, 4.0, 4.0), (95, 92, 1.6, 1.9)),
)
"""Row, column, norm and index of sources, hard and soft."""


def picture(seed: int) -> None:
    """Draw the index of a simulated field, and of the Crab nebula."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    dataset = empty(120, 120)
    rows, cols, norms, indices = (np.array(a) for a in zip(*FIELD, strict=True))
    add_sources(dataset, rows, cols, norms, indices)
    rng = np.random.default_rng(seed)
    dataset.counts = Map(dataset.geom, rng.poisson(dataset.counts.data).astype(float))
    shown = [("simulated: index of each source beside it", TSMapEstimator(**SETTINGS).run(dataset))]
    if "GAMMAPY_DATA" in os.environ:
        crab = MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / "reduced/hess-crab.fits.gz")
        estimator = TSMapEstimator(**{**SETTINGS, "kernel_width": "0.6 deg"})
        found = estimator.run(crab).cutout(crab.geom.center_skydir, "2 deg")
        shown.append(("Crab nebula, H.E.S.S.", found))
    figure, axes = plt.subplots(1, 2 * len(shown), figsize=(7.5 * len(shown), 3.6))
    for place, (title, maps) in enumerate(shown):
        left, right = axes[2 * place : 2 * place + 2]
        root, index = maps["sqrt_ts"].data[0], maps["index"].data[0]
        known = np.where((root > 4) & np.isfinite(maps["index_err"].data[0]), index, np.nan)
        first = left.imshow(root, origin="lower", cmap="inferno", vmin=-3, vmax=15)
        second = right.imshow(known, origin="lower", cmap="coolwarm_r", vmin=1.5, vmax=4.0)
        figure.colorbar(first, ax=left, label=r"significance $\sqrt{\mathrm{TS}}$", shrink=0.8)
        figure.colorbar(second, ax=right, label="index, where above 4", shrink=0.8)
        left.set_title(title, fontsize=9)
        if place == 0:
            for row, col, truth in zip(rows, cols, indices, strict=True):
                for panel, colour in ((left, "white"), (right, "black")):
                    panel.text(col + 7, row, f"{truth:.1f}", color=colour, fontsize=8)
        for panel in (left, right):
            panel.set_xticks([])
            panel.set_yticks([])
    figure.tight_layout()
    figure.savefig(PICTURES / "index_map.png", dpi=110)


def crab_row() -> dict[str, Any]:
    """Return what the fit says at the brightest pixel of the Crab nebula."""
    crab = MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / "reduced/hess-crab.fits.gz")
    maps = TSMapEstimator(**{**SETTINGS, "kernel_width": "0.6 deg"}).run(crab)
    at = np.unravel_index(int(np.nanargmax(maps["ts"].data)), maps["ts"].data.shape)
    names = ["sqrt_ts", "index", "index_err", "norm", "norm_err", "norm_index_corr", "ts_index"]
    row = [float(maps[name].data[at]) for name in names]
    return {"columns": names, "rows": [row], "formats": dict.fromkeys(names, ".3g")}


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=int, default=3700)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    tables = {"pulls": table(args.sources, args.seed)}
    if "GAMMAPY_DATA" in os.environ:
        tables["crab"] = crab_row()
    write("index_map", tables, ("numpy", "jax"))
    picture(args.seed)


if __name__ == "__main__":
    main()
