"""Fit two fields with gammagrad and with gammapy: same data, same models, same start.

A point source with a log parabola on the H.E.S.S. cube of the Crab nebula, with a reference energy
in the middle of the data and with one at their lower end, where the parameters are correlated; and
three point sources with power laws in a Fermi field, each with norm and tilt or norm of the
background free. Compared
are parameters (differences in units of gammapy's errors), errors, the statistic of both sets of
parameters by one and the same code, and times.

gammagrad fits twice: with gammapy's samples of a point source, whose flux four pixels share before
the PSF acts, for a comparison of fits and nothing else; and with its own, which put the source
where it is. Errors are compared with those that gammapy reports, and with second differences of
gammapy's statistic.

Needs the environment variable GAMMAPY_DATA. gammapy runs in a process of its own, by the Python
interpreter named with ``--gammapy`` (by default the one that runs this); without gammapy there,
only gammagrad's fits are shown. ``--json`` writes the tables to ``docs/studies/fit.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

REPEAT = 3
STEP = 0.2
"""Step of the differences of gammapy's statistic, in errors."""


class Case(NamedTuple):
    """A field to fit.

    Attributes
    ----------
    title
        What it is.
    path
        The dataset, below GAMMAPY_DATA.
    cutout
        Longitude, latitude, and width and height in deg, in the frame of the map; None for all.
    sources
        Name, longitude, latitude in deg and the frame; places are off by some 0.01 deg on purpose.
    spectrum
        The spectrum that each source starts from, as in a model file.
    thaw
        Parameters to free beyond the default.
    """

    title: str
    path: str
    cutout: tuple[float, float, tuple[float, float]] | None
    sources: tuple[tuple[str, float, float, str], ...]
    spectrum: dict[str, Any]
    thaw: tuple[str, ...] = ()


def _parameters(**values: Any) -> list[dict[str, Any]]:
    units = {"amplitude": "cm-2 s-1 TeV-1", "reference": "TeV"}
    return [
        {"name": name, "value": value} | ({"unit": units[name]} if name in units else {})
        for name, value in values.items()
    ]


def _crab(title: str, amplitude: float, reference: float) -> Case:
    """Return the H.E.S.S. cube with a log parabola, its amplitude at some energy in TeV."""
    start = _parameters(amplitude=amplitude, reference=reference, alpha=2.2, beta=0.0)
    return Case(
        title,
        "reduced/hess-crab.fits.gz",
        None,
        (("crab", 83.65, 22.00, "icrs"),),
        {"type": "LogParabolaSpectralModel", "parameters": start},
        ("*-bkg.tilt",),
    )


CASES = (
    _crab("HESS Crab", 2e-12, 3.0),
    _crab("HESS Crab at 1 TeV", 2e-11, 1.0),
    Case(
        "Fermi 3FHL",
        "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz",
        (7.4, -1.0, (5.0, 5.0)),
        (
            ("J1809", 7.40, -2.00, "galactic"),
            ("J1801", 6.55, -0.30, "galactic"),
            ("J1804", 8.40, -0.20, "galactic"),
        ),
        {
            "type": "PowerLawSpectralModel",
            "parameters": _parameters(index=2.5, amplitude=1e-8, reference=0.02),
        },
    ),
)


def main() -> None:
    """Run the study, or gammapy's part of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gammapy", default=sys.executable, help="a Python that has gammapy")
    parser.add_argument("--json", action="store_true", help="write the tables")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run_gammapy(Path(options.worker))
    else:
        study(options.gammapy, options.json)


# ---------------------------------------------------------------- gammagrad


def study(python: str, write_json: bool) -> None:
    """Fit all cases and print the tables."""
    from report import lines, write

    tables: dict[str, Any] = {}
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            tables |= compare(case, Path(folder), python)
    if write_json:
        write("fit", tables, ["gammagrad", "jax", "numpy", "optax"])
        return
    for title, table in tables.items():
        print("", title, "", *lines(table), sep="\n")


def start_of(case: Case, dataset: Any) -> Any:
    """Return the models that both fits start from."""
    from gammagrad.models import models_from_dict

    sources = [
        {
            "name": name,
            "type": "SkyModel",
            "spectral": case.spectrum,
            "spatial": {
                "type": "PointSpatialModel",
                "frame": frame,
                "parameters": [
                    {"name": "lon_0", "value": lon, "unit": "deg"},
                    {"name": "lat_0", "value": lat, "unit": "deg"},
                ],
            },
        }
        for name, lon, lat, frame in case.sources
    ]
    background = {
        "name": f"{dataset.name}-bkg",
        "type": "FoVBackgroundModel",
        "datasets_names": [dataset.name],
        "spectral": {"type": "PowerLawNormSpectralModel"},
    }
    models = models_from_dict([*sources, background])
    return models.thaw(*case.thaw) if case.thaw else models


def compare(case: Case, folder: Path, python: str) -> dict[str, Any]:
    """Fit one case with both programs and compare."""
    from astropy.coordinates import SkyCoord

    from gammagrad import MapDataset
    from gammagrad.models import models_to_dict

    dataset = MapDataset.read(Path(os.environ["GAMMAPY_DATA"]) / case.path)
    if case.cutout:
        lon, lat, width = case.cutout
        position = SkyCoord(lon, lat, unit="deg", frame=dataset.geom.frame)
        dataset = dataset.cutout(position, width)
    dataset.write(folder / "dataset.fits.gz")
    start = start_of(case, dataset)
    fits = {sampling: timed_fit(dataset, start, sampling) for sampling in ("gammapy", "fine")}
    job = {
        "name": dataset.name,
        "start": models_to_dict(start),
        "others": [models_to_dict(found.models) for found, *_ in fits.values()],
    }
    (folder / "job.json").write_text(json.dumps(job))
    done = subprocess.run(
        [python, __file__, "--worker", str(folder)],
        capture_output=True,
        text=True,
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        check=False,
    )
    if done.returncode:
        print(f"{case.title}: no gammapy ({done.stderr.strip().splitlines()[-1:]})")
        return {f"{case.title} {key}": alone(*found) for key, found in fits.items()}
    theirs = json.loads((folder / "result.json").read_text())
    return tables_of(case.title, dataset, start, fits, theirs)


def timed_fit(dataset: Any, start: Any, sampling: str) -> tuple[Any, float, float]:
    """Return a fit, its time with compiled code, and that of the first run on top."""
    from gammagrad import fit

    times = []
    for _ in range(1 + REPEAT):
        begin = time.perf_counter()
        result = fit(dataset, start, sampling=sampling, progress=False)
        times.append(time.perf_counter() - begin)
    warm = min(times[1:])
    return result, warm, times[0] - warm


def alone(result: Any, warm: float, compiling: float) -> dict[str, Any]:
    """Return the table of one fit without another."""
    rows = [
        [name, float(value), result.errors[name]]
        for name, value in zip(result.names, result.values, strict=True)
    ]
    rows.append([f"fit in {warm:.2f} s, compiling {compiling:.1f} s", result.stat, math.nan])
    return {"columns": ["parameter", "value", "error"], "rows": rows}


def tables_of(
    title: str, dataset: Any, start: Any, fits: dict[str, Any], theirs: dict[str, Any]
) -> dict[str, Any]:
    """Return the table of the parameters and that of the fits as wholes."""
    found = start.with_parameters(theirs["values"])
    parameters, wholes = [], []
    for i, (sampling, (result, warm, compiling)) in enumerate(fits.items()):
        for name, value in zip(result.names, result.values, strict=True):
            other, error = theirs["values"][name], theirs["errors"][name]
            shift, own = (value - other) / error, result.errors[name]
            curved = theirs["errors_by_differences"][name]
            parameters.append(
                [sampling, name, value, other, error, shift, own / error - 1, own / curved - 1]
            )
        own = likelihood_stat(dataset, sampling)
        ours = own(result.models) - own(found)
        wholes.append(
            [
                *(sampling, result.success, result.edm, ours),
                theirs["stat_of_others"][i] - theirs["stat"],
                *(result.niter, theirs["n_evaluations"], warm, theirs["seconds"], compiling),
            ]
        )
    return {
        f"{title} parameters": {
            "columns": [
                *("sampling", "parameter", "gammagrad", "gammapy", "error"),
                *("shift / error", "errors", "errors by differences"),
            ],
            "formats": {
                **dict.fromkeys(("gammagrad", "gammapy"), ".6g"),
                "error": ".3g",
                "shift / error": "+.4f",
                **dict.fromkeys(("errors", "errors by differences"), "+.2%"),
            },
            "rows": parameters,
        },
        f"{title} statistic and time": {
            "columns": [
                *("sampling", "success", "distance", "stat - gammapy's (gammagrad)"),
                *("stat - gammapy's (gammapy)", "steps", "gammapy's evaluations"),
                *("time / s", "gammapy / s", "compiling / s"),
            ],
            "formats": {
                "distance": ".1e",
                **dict.fromkeys(
                    ("stat - gammapy's (gammagrad)", "stat - gammapy's (gammapy)"), "+.5f"
                ),
                **dict.fromkeys(("time / s", "gammapy / s", "compiling / s"), ".2f"),
            },
            "rows": wholes,
        },
    }


def likelihood_stat(dataset: Any, sampling: str) -> Any:
    """Return gammagrad's statistic as a function of models, prepared where they are."""
    import jax

    def stat(models: Any) -> float:
        with jax.enable_x64(True):
            return float(dataset.likelihood(models, sampling=sampling).stat_sum(models))

    return stat


# ---------------------------------------------------------------- gammapy


def run_gammapy(folder: Path) -> None:
    """Fit with gammapy, and evaluate other parameters with its statistic."""
    import logging

    import yaml
    from gammapy.datasets import MapDataset
    from gammapy.modeling import Fit
    from gammapy.modeling.models import Models

    logging.disable(logging.WARNING)
    job = json.loads((folder / "job.json").read_text())
    dataset = MapDataset.read(folder / "dataset.fits.gz", name=job["name"])
    times = []
    for _ in range(2):
        dataset.models = Models.from_yaml(yaml.safe_dump(job["start"]))
        begin = time.perf_counter()
        fit = Fit()
        found = fit.run([dataset])
        times.append(time.perf_counter() - begin)
    pairs = [(m.name, p) for m in dataset.models for p in m.parameters.free_parameters]
    free = [parameter for _, parameter in pairs]
    names = [f"{name}.{parameter.name}" for name, parameter in pairs]
    units = {"amplitude": "cm-2 s-1 TeV-1", "lon_0": "deg", "lat_0": "deg"}
    units_of = {
        name: parameter.unit.to(units.get(parameter.name, ""))
        for name, parameter in zip(names, free, strict=True)
    }
    values = {name: p.value * units_of[name] for name, p in zip(names, free, strict=True)}
    errors = {name: p.error * units_of[name] for name, p in zip(names, free, strict=True)}
    curved = errors_by_differences(dataset, free)
    # once more from the best parameters, where responses are taken anew
    dataset.models = Models.from_yaml(dataset.models.to_yaml())
    stat = dataset.stat_sum()
    others = []
    for models in job["others"]:
        dataset.models = Models.from_yaml(yaml.safe_dump(models))
        others.append(dataset.stat_sum())
    result = {
        "values": values,
        "errors": errors,
        "errors_by_differences": {
            name: error * units_of[name] for name, error in zip(names, curved, strict=True)
        },
        "stat": stat,
        "stat_of_others": others,
        "success": bool(found.success),
        "n_evaluations": int(found.nfev),
        "seconds": min(times),
    }
    (folder / "result.json").write_text(json.dumps(result))


def errors_by_differences(dataset: Any, free: Any) -> Any:
    """Return errors from second differences of gammapy's statistic, in its parameters' units."""
    import numpy as np

    values = np.array([parameter.value for parameter in free])
    step = STEP * np.array([parameter.error for parameter in free])

    def stat(x: Any) -> float:
        for parameter, value in zip(free, x, strict=True):
            parameter.value = value
        return dataset.stat_sum()

    n = len(values)
    curvature = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            up, across = step * np.eye(n)[i], step * np.eye(n)[j]
            total = stat(values + up + across) - stat(values + up - across)
            total += stat(values - up - across) - stat(values - up + across)
            curvature[i, j] = curvature[j, i] = total / 4
    stat(values)
    # in units of the steps
    return step * np.sqrt(np.diag(2 * np.linalg.inv(curvature)))


if __name__ == "__main__":
    main()
