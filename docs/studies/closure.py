"""A source of known flux is put into public data sets as expected counts: what comes out?

python docs/studies/closure.py

Needs the environment variable GAMMAPY_DATA and the group `test`. The source has index 2.2 and norm
1; it is searched with kernels of several widths, and with spectra of other indices. The bias of a
wrong index is predicted by a fit of one number with scipy.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from report import write
from scipy.optimize import brentq

from gammagrad import Map, MapDataset, TSMapEstimator
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

Floats = NDArray[np.float64]

INDEX = 2.2


class Field(NamedTuple):
    """A data set below $GAMMAPY_DATA, cut out, and the amplitude of the source put in."""

    name: str
    file: str
    cutout: str
    amplitude: float
    widths: tuple[str, ...]
    indices: tuple[float, ...]


FIELDS = (
    Field(
        "Fermi",
        "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz",
        "4 deg",
        1e-12,
        ("0.5 deg", "1 deg", "2 deg"),
        (1.8, 2.6),
    ),
    Field(
        "H.E.S.S. Crab",
        "reduced/hess-crab.fits.gz",
        "1.6 deg",
        1e-11,
        ("0.2 deg", "0.5 deg", "1 deg"),
        (1.8, 2.6),
    ),
    Field(
        "CTA Vela",
        "reduced/cta-1dc-vela.fits.gz",
        "1.6 deg",
        1e-12,
        ("0.2 deg", "0.5 deg", "1 deg"),
        (1.8, 2.6),
    ),
)
MODES = {"cube": False, "summed": True}


class Prepared(NamedTuple):
    """A data set whose counts are those expected of background and source."""

    dataset: MapDataset
    source: SkyModel
    pixel: tuple[int, int]
    signal: Floats


def prepare(field: Field) -> Prepared:
    """Put the source at the middle of the cutout."""
    dataset = MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / field.file)
    dataset = dataset.cutout(dataset.geom.center_skydir, field.cutout)
    row, col = (n // 2 for n in dataset.geom.shape_image)
    position = dataset.geom.pix_to_sky(col, row).icrs
    spatial = PointSpatialModel(position.ra, position.dec)
    spectrum = PowerLawSpectralModel(index=INDEX, amplitude=field.amplitude)
    source = SkyModel(spectrum, spatial, name="source")
    signal = dataset.npred_signal([source]).data
    dataset.counts = Map(dataset.geom, dataset.npred_background().data + signal)
    return Prepared(dataset, source, (row, col), signal)


def estimator(prepared: Prepared, width: str, mode: str, index: float = INDEX) -> TSMapEstimator:
    """Return an estimator whose kernel keeps the true containment."""
    spectrum = prepared.source.spectral_model
    return TSMapEstimator(
        SkyModel(
            PowerLawSpectralModel(index=index, amplitude=spectrum.amplitude),
            prepared.source.spatial_model,
        ),
        width,
        sum_over_energy_groups=MODES[mode],
        renormalise=False,
        show_progress=False,
    )


def norm_at_source(prepared: Prepared, settings: TSMapEstimator) -> float:
    """Fit the pixel of the source alone."""
    wanted = np.zeros(prepared.dataset.geom.shape_image, bool)
    wanted[prepared.pixel] = True
    maps = settings.run(prepared.dataset, positions=wanted)
    return float(maps["norm"].data[0][prepared.pixel])


def flux_ratio(prepared: Prepared, settings: TSMapEstimator) -> float:
    """Return the integral flux of the assumed spectrum at norm 1 in units of the true one."""
    low, *_, high = prepared.dataset.energy_axis.edges_in("TeV")
    models = (settings.model, prepared.source)
    assumed, true = (float(model.spectral_model.integral(low, high)) for model in models)
    return assumed / true


def predicted_norm(prepared: Prepared, settings: TSMapEstimator) -> float:
    """Solve for the norm of one pixel with scipy, from the maps that enter the fit."""
    cube = settings.copy()
    cube.sum_over_energy_groups = False
    inputs = cube.estimate_fit_input_maps(prepared.dataset)
    kernel = inputs["kernel"].data
    (row, col), (half_y, half_x) = prepared.pixel, (n // 2 for n in kernel.shape[1:])
    window = (
        slice(None),
        slice(row - half_y, row + half_y + 1),
        slice(col - half_x, col + half_x + 1),
    )
    mask = inputs["mask"].data[window]
    model = kernel * inputs["exposure"].data[window]
    background = inputs["background"].data[window]
    counts = background + prepared.signal[window] * mask
    if settings.sum_over_energy_groups:
        model, background, counts = (a.sum(axis=0) for a in (model, background, counts))
    seen = (model > 0) & (counts > 0)
    n, b, m = counts[seen], background[seen], model[seen]

    def missing(norm: float) -> float:
        return float(model.sum() - (n * m / (b + norm * m)).sum())

    return brentq(missing, 0.0, 100.0, xtol=1e-13)


def main() -> None:
    """Run all, print, write."""
    # that kernels cut the source is the point here
    logging.getLogger("gammagrad").setLevel(logging.ERROR)
    widths: list[list[Any]] = []
    indices: list[list[Any]] = []
    for field in FIELDS:
        prepared = prepare(field)
        for width in field.widths:
            whole = estimator(prepared, width, "cube")
            cut = whole.copy()
            cut.renormalise = True
            norms = [norm_at_source(prepared, estimator(prepared, width, mode)) for mode in MODES]
            row = [norm_at_source(prepared, cut), *norms]
            kernel = whole.estimate_kernel(prepared.dataset).data.sum(axis=(1, 2))
            held = kernel[kernel > 0]
            widths.append([field.name, width, f"{held.min():.3f} to {held.max():.3f}", *row])
        for index in field.indices:
            for mode in MODES:
                settings = estimator(prepared, field.widths[1], mode, index)
                scale = flux_ratio(prepared, settings)
                found = norm_at_source(prepared, settings) * scale
                expected = predicted_norm(prepared, settings) * scale
                indices.append([field.name, index, mode, found, expected, found / expected - 1])
    write(
        "closure",
        {
            "widths": {
                "columns": [
                    *("data", "kernel_width", "containment", "norm, renormalised"),
                    *("norm, cube", "norm, summed"),
                ],
                "formats": dict.fromkeys(
                    ("norm, renormalised", "norm, cube", "norm, summed"), ".4f"
                ),
                "rows": widths,
            },
            "indices": {
                "columns": ["data", "index", "fit", "flux / true", "predicted", "off"],
                "formats": {"flux / true": ".4f", "predicted": ".4f", "off": ".0e"},
                "rows": indices,
            },
        },
        ("gammagrad", "jax", "numpy", "scipy"),
    )


if __name__ == "__main__":
    main()
