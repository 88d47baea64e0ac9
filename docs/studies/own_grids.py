"""Joint fits of data on different grids: two instruments, and event types with pixels of their own.

python docs/studies/own_grids.py

Needs the environment variable GAMMAPY_DATA and the groups `test` and `plot`. The Crab nebula in
H.E.S.S. and HAWC data (TAN pixels of 0.02 deg, CAR pixels of 0.05 deg); two event types of a Fermi
field, of which one has a point spread function a third as wide, with a source as expected counts.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray
from report import write

from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.maps import MapAxis, PSFMap, WcsGeom
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

Floats = NDArray[np.float64]

CRAB = SkyCoord(83.633, 22.014, unit="deg", frame="icrs")
CRAB_MODEL = SkyModel(PowerLawSpectralModel(index=2.6, amplitude=3.5e-11), PointSpatialModel())
PICTURES = Path(__file__).parents[1] / "images"


def fitted(datasets: Any, model: SkyModel, geom: WcsGeom | None, width: float) -> FluxMaps:
    """Fit a box around the Crab, all energies as a cube."""
    estimator = TSMapEstimator(
        model, sum_over_energy_groups=False, selection_optional=["ul"], show_progress=False
    )
    return estimator.run(datasets, positions=(CRAB, f"{width} deg"), geom=geom)


def instruments() -> tuple[list[list[Any]], dict[str, FluxMaps]]:
    """Fit the Crab with each instrument and with both, on the pixels of H.E.S.S."""
    folder = Path(os.environ["GAMMAPY_DATA"])
    # the lowest energy bin is below the threshold, and below HAWC's energies
    hess = MapDataset.read(folder / "reduced/hess-crab.fits.gz")
    hess = hess.slice_by_idx({"energy": slice(1, None)})
    hawc = [MapDataset.read(folder / f"hawc/DL4/nHit-{bin}.fits.gz") for bin in (8, 9)]
    cases: dict[str, Any] = {
        "H.E.S.S.": [hess],
        "HAWC, two bins": hawc,
        "both": [*hawc, hess],
    }
    rows, maps = [], {}
    for name, datasets in cases.items():
        found = fitted(datasets, CRAB_MODEL, hess.geom.to_image(), 1.2)
        image = found["sqrt_ts"].data[0]
        row, column = np.unravel_index(np.nanargmax(image), image.shape)
        position = found["sqrt_ts"].geom.to_image().pix_to_sky(column, row)
        rows.append(
            [
                name,
                float(image[row, column]),
                float(found["norm"].data[0][row, column]),
                float(found["norm_err"].data[0][row, column]),
                float(position.separation(CRAB).deg),
                max(e for e in found.meta["kernel_error_per_group"][0] if e is not None),
            ]
        )
        maps[name] = found
        print(*rows[-1])
    return rows, maps


def event_types() -> list[list[Any]]:
    """Compare event types on pixels of their own with the same events on one grid, and summed."""
    rows = []
    reco = MapAxis.from_energy_bounds("10 GeV", "100 GeV", nbin=3)
    true = MapAxis.from_energy_bounds("10 GeV", "100 GeV", nbin=3, name="energy_true")
    widths, sides = {"narrow": 0.05, "wide": 0.15}, {"narrow": 0.025, "wide": 0.1}
    model = SkyModel(PowerLawSpectralModel(index=2, amplitude=6e-12), PointSpatialModel())
    source = SkyModel(
        PowerLawSpectralModel(index=2, amplitude=6e-12), PointSpatialModel(CRAB.ra, CRAB.dec)
    )

    def made(name: str, side: float, sigma: float) -> MapDataset:
        geom = WcsGeom.create(
            round(4 / side), side, skydir=CRAB, proj="TAN", frame="icrs", axes=[reco]
        )
        flat = np.full(geom.data_shape, 40.0 * side**2)
        dataset = MapDataset(
            Map(geom, flat),
            exposure=Map(geom.to_image().to_cube([true]), 4e10, unit="cm2 s"),
            background=Map(geom, flat),
            psf=PSFMap.from_gauss(true, sigma),
            name=name,
        )
        dataset.counts = Map(geom, flat + dataset.npred_signal([source]).data)
        return dataset

    one_side = 0.1
    result = WcsGeom.create(160, 0.025, skydir=CRAB, proj="TAN", frame="icrs")
    own = [made(name, sides[name], widths[name]) for name in widths]
    one = [made(name, one_side, widths[name]) for name in widths]
    stacked = one[0].copy()
    stacked.counts = Map(one[0].geom, one[0].counts.data + one[1].counts.data)
    stacked.background = Map(one[0].geom, one[0].background.data + one[1].background.data)
    stacked.exposure = Map(one[0].exposure.geom, 2 * one[0].exposure.data, "cm2 s")
    stacked.psf = _mean_psf(own)
    cases: dict[str, Any] = {
        "each type on its own pixels": own,
        "both types on pixels of 0.1 deg": one,
        "both types added up": [stacked],
    }
    for name, datasets in cases.items():
        found = fitted(datasets, model, result, 0.5)
        x, y = (round(float(c)) for c in result.sky_to_pix(CRAB))
        image = found["sqrt_ts"].data[0]
        at = np.unravel_index(np.nanargmax(image), image.shape)
        norm, limit = (float(found[q].data[0][at]) for q in ("norm", "norm_ul"))
        rows.append([name, float(image[at]), norm, float(found["norm_err"].data[0][at]), limit])
        print(*rows[-1], at, (y, x))
    return rows


def _mean_psf(datasets: list[MapDataset]) -> PSFMap:
    """Return the mean of two point spread functions with equal exposure."""
    axis = datasets[0].psf.energy_axis
    rad = np.linspace(0, 0.9, 400)
    tables = []
    for dataset in datasets:
        own = dataset.psf.psf_map.geom.axes["rad"].center_in("deg")
        tables.append([np.interp(rad, own, row, right=0) for row in dataset.psf.profile()])
    return PSFMap.from_table(rad, axis, np.mean(tables, axis=0))


def picture(maps: dict[str, FluxMaps]) -> None:
    """Draw the significance with each instrument and with both."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained")
    for axis, (name, found) in zip(axes, maps.items(), strict=True):
        image = found["sqrt_ts"].data[0]
        rows, columns = np.nonzero(np.isfinite(image))
        part = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        shown = axis.imshow(part, origin="lower", extent=(0.6, -0.6, -0.6, 0.6), cmap="viridis")
        axis.set_title(f"{name}: at most {np.nanmax(part):.1f}", fontsize=10)
        axis.set_xlabel("deg from the Crab")
        figure.colorbar(shown, ax=axis, label="sqrt(ts)", shrink=0.85)
    PICTURES.mkdir(exist_ok=True)
    figure.savefig(PICTURES / "own_grids.png", dpi=110)


def main() -> None:
    """Run all, print, write."""
    logging.getLogger("gammagrad").setLevel(logging.ERROR)
    types = event_types()
    rows, maps = instruments()
    picture(maps)
    write(
        "own_grids",
        {
            "instruments": {
                "columns": ["data", "sqrt_ts", "norm", "norm_err", "off (deg)", "kernels off by"],
                "formats": {
                    "sqrt_ts": ".2f",
                    **dict.fromkeys(("norm", "norm_err", "off (deg)"), ".3f"),
                    "kernels off by": ".2%",
                },
                "rows": rows,
            },
            "event types": {
                "columns": ["data", "sqrt_ts", "norm", "norm_err", "norm_ul"],
                "formats": {
                    "sqrt_ts": ".2f",
                    **dict.fromkeys(("norm", "norm_err", "norm_ul"), ".4f"),
                },
                "rows": types,
            },
        },
        ("gammagrad", "jax", "numpy", "astropy"),
    )


if __name__ == "__main__":
    main()
