"""How far are the derivatives of every output from finite differences, on real data?

python docs/studies/gradients.py [CASE ...]

On a part of each field, 20 x 20 pixels with the brightest one among them, every output of
`gammagrad.ts_map` is differentiated in a random direction of every input: of the arrays (all values
change by random factors at once) and, through the fold, of the parameters of models and instrument.
The result is compared at 200 random pixels with central differences, extrapolated; counts of empty
bins can only grow, so there the differences are one-sided. They are taken on several scales, and
for each pixel and output those count that agree best with the next scale: near a bound short steps
are needed, elsewhere long ones are rounded less. Derivatives in reverse are compared with forward
ones. Some places are made special before: no exposure, no background and no counts, no weight, a
weight of 0.3. Needs the environment variable GAMMAPY_DATA; takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from report import write

from gammagrad import MapDataset, ts_map
from gammagrad._pytree import replace
from gammagrad.core.fold import broaden_psf, gaussian_edisp
from gammagrad.core.norm import Status
from gammagrad.models import (
    ExpCutoffPowerLawSpectralModel,
    FoVBackgroundModel,
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawNormSpectralModel,
    PowerLawSpectralModel,
    SkyModel,
)

OUTPUTS = (
    *("norm", "norm_err", "norm_errp", "norm_errn", "norm_ul", "norm_sensitivity"),
    *("ts", "stat", "stat_null", "stat_scan", "npred", "npred_excess"),
)
ARRAYS = ("counts", "background", "exposure", "kernel", "weights")
PARAMETERS = (
    *("index", "lambda_", "sigma", "psf_width", "edisp_bias"),
    *("source_lon", "source_lat", "source_index", "bkg_norm", "bkg_tilt"),
)
SIZE, N_PIXELS = 20, 200
SCALES = (1e-3, 1e-4, 1e-5)
# a count in a bin with next to no background is felt at once
ONE_SIDED_SCALES = (*SCALES, 1e-6, 1e-7)
AT_BOUND = (Status.AT_BOUND, Status.NO_COUNTS, Status.ZERO_BACKGROUND_BOUND)
INSIDE = (Status.FITTED, Status.LOWER_ERROR_AT_BOUND)


class Field(NamedTuple):
    """A case: the datasets, the kernel's width and size, and a source that is modelled."""

    title: str
    files: str
    width: str
    sigma: float
    frame: str
    lon: float
    lat: float
    amplitude: float
    scan: tuple[float, ...]


FIELDS = {
    "fermi": Field(
        *("Fermi cube", "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", "1 deg", 0.08),
        *("galactic", 0.0, 0.0, 2e-13, (-1e-2, 1.0, 30.0)),
    ),
    "crab": Field(
        *("HESS Crab cube", "reduced/hess-crab.fits.gz", "0.5 deg", 0.03),
        *("icrs", 83.63, 22.01, 2e-13, (-1e-2, 1.0, 30.0)),
    ),
    "hawc": Field(
        *("HAWC joint", "hawc/DL4/nHit-*.fits.gz", "2 deg", 0.2),
        *("icrs", 83.63, 22.01, 1e-11, (-1e-2, 1.0, 30.0)),
    ),
}


def searched(field: Field) -> SkyModel:
    """Return the source that is looked for."""
    spectrum = ExpCutoffPowerLawSpectralModel(index=2.1, amplitude=1e-12, lambda_=0.02)
    return SkyModel(spectrum, GaussianSpatialModel(sigma=field.sigma, frame=field.frame))


def known_position(field: Field) -> tuple[float, float]:
    """Return where a source is modelled: some pixels from where one is looked for."""
    return field.lon + 4 * field.sigma, field.lat + 2.2 * field.sigma


def modelled(field: Field, names: list[str]) -> Models:
    """Return a weak source that counts as background already, and the norms of the backgrounds."""
    known = SkyModel(
        PowerLawSpectralModel(index=2.3, amplitude=field.amplitude),
        PointSpatialModel(*known_position(field), frame=field.frame),
        name="known",
    )
    return Models([known, *(FoVBackgroundModel(name) for name in names)])


def with_parameters(models: Models, values: dict[str, Array]) -> Models:
    """Return the modelled sources and backgrounds with other parameters."""
    known, *backgrounds = models
    moved = replace(
        known,
        spatial_model=known.spatial_model.with_position(values["source_lon"], values["source_lat"]),
        spectral_model=known.spectral_model.with_parameters(index=values["source_index"]),
    )
    norm = PowerLawNormSpectralModel(norm=values["bkg_norm"], tilt=values["bkg_tilt"])
    return Models([moved, *(replace(b, spectral_model=norm) for b in backgrounds)])


class Case:
    """A field's datasets, prepared."""

    def __init__(self, field: Field) -> None:
        files = sorted(glob.glob(os.path.join(os.environ["GAMMAPY_DATA"], field.files)))
        self.field = field
        self.datasets = [MapDataset.read(file) for file in files]
        names = [dataset.name for dataset in self.datasets]
        self.models, self.source = modelled(field, names), searched(field)
        self.likelihoods = [dataset.likelihood(self.models) for dataset in self.datasets]
        responses = [d.source_response(self.source, field.width) for d in self.datasets]
        self.pixel = self.datasets[0].geom.pixel_size
        self.energies = [
            (d.exposure.geom.axes["energy_true"].edges_in("TeV"), d.energy_axis.edges_in("TeV"))
            for d in self.datasets
        ]
        self.responses = responses
        self.rows, self.cols = self._part()
        self.values = {
            "index": 2.1,
            "lambda_": 0.02,
            "sigma": field.sigma,
            "psf_width": 0.6 * self.pixel,
            "edisp_bias": 0.03,
            "source_lon": known_position(field)[0],
            "source_lat": known_position(field)[1],
            "source_index": 2.3,
            "bkg_norm": 1.02,
            "bkg_tilt": 0.02,
        }
        self.values = {name: jnp.asarray(value) for name, value in self.values.items()}
        self.arrays = self.arrays_for(self.values)

    def _part(self) -> tuple[slice, slice]:
        """Return the part of the map looked at: the brightest pixel is in it, and a corner."""
        counts = sum(d.counts.data.sum(axis=0) for d in self.datasets)
        row, col = np.unravel_index(np.argmax(counts), counts.shape)
        top, left = (
            min(max(int(i) - SIZE // 2, 0), n - SIZE)
            for i, n in zip((row, col), counts.shape, strict=True)
        )
        return slice(top, top + SIZE), slice(left, left + SIZE)

    def arrays_for(self, values: dict[str, Array]) -> dict[str, list[Array]]:
        """Return the arrays of the fit for parameters of the models and the instrument."""
        models = with_parameters(self.models, values)
        spectrum = self.source.spectral_model.with_parameters(
            index=values["index"], lambda_=values["lambda_"]
        )
        shape = self.source.spatial_model.with_parameters(sigma=values["sigma"])
        source = replace(self.source, spectral_model=spectrum, spatial_model=shape)
        found: dict[str, list[Array]] = {name: [] for name in ARRAYS}
        for likelihood, response, edges in zip(
            self.likelihoods, self.responses, self.energies, strict=True
        ):
            psf = broaden_psf(response.psf, values["psf_width"], self.pixel / response.oversampling)
            edisp = gaussian_edisp(*edges, 0.15, values["edisp_bias"])
            changed = response.with_responses(psf, edisp)
            part = (slice(None), self.rows, self.cols)
            found["counts"].append(self.special(likelihood.counts[part], "counts"))
            background = self.special(likelihood.npred(models)[part], "background")
            found["background"].append(background)
            reference = changed.reference_counts(source)[part]
            found["exposure"].append(self.special(reference, "exposure"))
            found["kernel"].append(changed.kernel(source))
            found["weights"].append(self.special(likelihood.weights[part], "weights"))
        return found

    def special(self, array: Array, name: str) -> Array:
        """Make some places special."""
        nothing = (slice(None), slice(2, 5), slice(13, 17))
        if name in ("counts", "background"):
            array = array.at[nothing].set(0.0)
        if name == "exposure":
            array = array.at[:, 8:11, 15:19].set(0.0)
        if name == "weights":
            array = array.at[:, 14:17, 2:5].set(0.0)
            array = array.at[:, 16:19, 9:13].multiply(0.3)
        return array

    def fit(self, arrays: dict[str, list[Array]], pixels: Array) -> tuple[Array, Array]:
        """Return the outputs at some pixels, shape (outputs, pixels), and the statuses."""
        fit = ts_map(
            *(arrays[name] for name in ARRAYS),
            selection_optional="all",
            scan_values=jnp.asarray(self.field.scan),
        )
        maps = [getattr(fit, name) for name in OUTPUTS]
        # the norms of a scan, one of them below most bounds, are summed up
        maps = [jnp.where(jnp.isfinite(m), m, 0).sum(axis=0) if m.ndim == 3 else m for m in maps]
        return jnp.stack([m.reshape(-1)[pixels] for m in maps]), fit.status.reshape(-1)[pixels]


def differences(
    value: Callable[[Array], tuple[Array, Array]], one_sided: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return derivatives by differences, and which pixels kept their status on the way."""
    start, status = (np.asarray(a) for a in value(jnp.asarray(0.0)))
    kept = np.ones(status.shape, bool)

    def slope(step: float) -> np.ndarray:
        nonlocal kept
        sides = (step,) if one_sided else (step, -step)
        ends = [value(jnp.asarray(side)) for side in sides]
        for _, code in ends:
            kept &= np.asarray(code) == status
        back, way = (start, step) if one_sided else (np.asarray(ends[1][0]), 2 * step)
        return (np.asarray(ends[0][0]) - back) / way

    estimates = []
    for scale in ONE_SIDED_SCALES if one_sided else SCALES:
        with np.errstate(invalid="ignore"):
            if one_sided:
                coarse, middle, fine = (slope(scale / 2**i) for i in range(3))
                estimates.append((8 * fine - 6 * middle + coarse) / 3)
            else:
                coarse, fine = slope(scale), slope(scale / 2)
                estimates.append((4 * fine - coarse) / 3)
    every = np.stack(estimates)
    with np.errstate(invalid="ignore"):
        apart = np.nan_to_num(np.abs(np.diff(every, axis=0)), nan=np.inf)
    best = np.argmin(apart, axis=0)
    return np.take_along_axis(every, best[None], axis=0)[0], kept


def deviations(derivative: np.ndarray, numeric: np.ndarray, pixels: np.ndarray) -> list[float]:
    """Return the worst deviation of each output at some pixels.

    In units of the derivative at the pixel, or of the median over all pixels where that is larger;
    of one where both are zero.
    """
    worst = []
    for ours, theirs in zip(derivative[:, pixels], numeric[:, pixels], strict=True):
        known = np.isfinite(theirs)
        if not known.any() or not np.any(theirs[known]):
            same = np.all(ours[known] == 0)
            worst.append(0.0 if same else float("inf"))
            continue
        scale = np.maximum(np.abs(theirs), np.median(np.abs(theirs[known])))
        scale = np.where(scale > 0, scale, 1)
        worst.append(float(np.max(np.abs(ours[known] - theirs[known]) / scale[known])))
    return worst


def directions(case: Case, rng: np.random.Generator) -> dict[str, tuple[Any, bool]]:
    """Return a direction for each input: of arrays or of parameters."""
    found: dict[str, tuple[Any, bool]] = {}

    def only(name: str, make: Callable[[np.ndarray], np.ndarray]) -> dict[str, list[Array]]:
        return {
            other: [
                jnp.asarray(make(np.asarray(a))) if other == name else jnp.zeros_like(a)
                for a in arrays
            ]
            for other, arrays in case.arrays.items()
        }

    for name in ARRAYS:
        found[name] = only(name, lambda a: a * rng.uniform(-1, 1, a.shape)), False
    # without background a first count changes what a fit is: there no derivative says how
    empty = only("counts", lambda a: (a == 0) * rng.random(a.shape))
    positive = [b > 0 for b in case.arrays["background"]]
    empty["counts"] = [a * b for a, b in zip(empty["counts"], positive, strict=True)]
    found["counts, empty bins"] = empty, True
    for name in PARAMETERS:
        found[name] = {k: jnp.asarray(float(k == name)) for k in PARAMETERS}, False
    return found


def study(name: str) -> dict[str, dict[str, Any]]:
    """Return the tables of one case."""
    case, rng = Case(FIELDS[name]), np.random.default_rng(1)
    every = jnp.arange(SIZE * SIZE, dtype=jnp.int32)
    fit = jax.jit(case.fit)
    status = np.asarray(fit(case.arrays, every)[1])
    fitted = np.flatnonzero(np.isin(status, (*INSIDE, *AT_BOUND)))
    pixels = np.sort(rng.choice(fitted, N_PIXELS, replace=False))
    chosen, status = jnp.asarray(pixels, jnp.int32), status[pixels]
    at_bound, inside = np.isin(status, AT_BOUND), np.isin(status, INSIDE)

    @jax.jit
    def moved(step: Array, along: dict[str, list[Array]]) -> tuple[Array, Array]:
        arrays = jax.tree.map(lambda a, d: a + step * d, case.arrays, along)
        return case.fit(arrays, chosen)

    @jax.jit
    def folded(step: Array, along: dict[str, Array]) -> tuple[Array, Array]:
        scale = {"source_lon": 0.01, "source_lat": 0.01, "psf_width": 0.01, "sigma": 0.1}
        values = {k: v + step * along[k] * scale.get(k, 0.1) for k, v in case.values.items()}
        return case.fit(case.arrays_for(values), chosen)

    def slope_of(function: Any) -> Any:
        @jax.jit
        def slope(along: Any) -> Array:
            zero, one = jnp.asarray(0.0), jnp.asarray(1.0)
            return jax.jvp(lambda step: function(step, along)[0], (zero,), (one,))[1]

        return slope

    values = np.asarray(fit(case.arrays, chosen)[0])
    size = np.median(np.abs(np.where(np.isfinite(values), values, 0)), axis=1, keepdims=True)
    shares = jnp.asarray(rng.normal(size=values.shape) / np.where(size > 0, size, 1))

    def reversed_(function: Any, along: Any) -> Any:
        """Return the derivatives in all inputs of the outputs' sum with random shares."""

        def total(inputs: Any) -> Array:
            return (shares * function(jnp.asarray(1.0), inputs)[0]).sum()

        return jax.jit(jax.grad(total))(jax.tree.map(jnp.zeros_like, along))

    chosen_directions = directions(case, rng)
    functions = {False: moved, True: folded}
    slopes = {kind: slope_of(function) for kind, function in functions.items()}
    back = {
        kind: reversed_(functions[kind], chosen_directions[label][0])
        for kind, label in ((False, "counts"), (True, "index"))
    }
    rows: dict[str, dict[str, Any]] = {}
    bounds: dict[str, dict[str, Any]] = {}
    for label, (along, one_sided) in chosen_directions.items():
        kind = label in PARAMETERS
        derivative = np.asarray(slopes[kind](along))
        assert np.all(np.isfinite(derivative)), (label, "a derivative is not finite")
        numeric, kept = differences(partial(functions[kind], along=along), one_sided)
        found = zip(OUTPUTS, deviations(derivative, numeric, inside & kept), strict=True)
        rows[label] = {"input": label} | dict(found)
        rows[label]["reverse"] = agreement(back[kind], along, np.asarray(shares) * derivative)
        rows[label]["left out"] = int((inside & ~kept).sum())
        if "counts" not in label:
            found = zip(OUTPUTS, deviations(derivative, numeric, at_bound & kept), strict=True)
            bounds[label] = {"input": label} | dict(found)
        worst = max(rows[label][output] for output in OUTPUTS)
        print(name, label, f"{worst:.1e}", rows[label]["reverse"], flush=True)
    return {
        case.field.title: as_table(rows),
        f"{case.field.title} at the bound": as_table(bounds),
    }


def agreement(back: Any, along: Any, forward: np.ndarray) -> float:
    """Return how far derivatives in reverse are from those forward, along one direction."""
    products = jax.tree.map(lambda slope, way: float((slope * way).sum()), back, along)
    size = float(np.sqrt((forward**2).sum()))
    return abs(sum(jax.tree.leaves(products)) - float(forward.sum())) / (size if size > 0 else 1)


def as_table(rows: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return rows as a table for the report."""
    columns = list(next(iter(rows.values())))
    body = [
        [v if isinstance(v, (str, int)) else f"{v:.0e}" if v else "0" for v in row.values()]
        for row in rows.values()
    ]
    return {"columns": columns, "rows": body}


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", choices=[*FIELDS, []], help="by default all")
    chosen = parser.parse_args().cases or list(FIELDS)
    tables: dict[str, dict[str, Any]] = {}
    with jax.enable_x64(True):
        for name in chosen:
            tables |= study(name)
            write("gradients", tables, ("gammagrad", "jax", "numpy"))


if __name__ == "__main__":
    main()
