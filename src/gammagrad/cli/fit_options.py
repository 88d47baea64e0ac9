"""The options of `gammagrad ts-map` that are settings of the estimator."""

from __future__ import annotations

import argparse
from typing import Any

from gammagrad.cli.parser import angle, numbers, setting, texts
from gammagrad.cli.words import OPTIONS_OF_SETTINGS
from gammagrad.errors import InputError
from gammagrad.estimators.config import read_config, read_model
from gammagrad.estimators.ts_map import TSMapEstimator
from gammagrad.models import (
    DiskSpatialModel,
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from gammagrad.parallel import BACKENDS

# settings that matter only where an optional output is computed
_NEEDS = {
    "n_sigma_ul": "ul",
    "norm_min": "ul",
    "n_sigma_sensitivity": "sensitivity",
    "gamma_min": "sensitivity",
    "bkg_syst_fraction": "sensitivity",
    "norm": "stat_scan",
}
# of a model made here
_NAME = "ts-kernel"
_SETTINGS = tuple(name for name in OPTIONS_OF_SETTINGS if name not in ("model", "positions"))


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that become settings of the estimator."""
    _add_source_options(parser.add_argument_group("source and kernel"))
    _add_data_options(parser.add_argument_group("what is fitted"))
    _add_output_options(parser.add_argument_group("errors, limits, sensitivity"))
    _add_process_options(parser.add_argument_group("processes"))


def _add_source_options(group: Any) -> None:
    group.add_argument(
        "--config",
        metavar="FILE",
        help="YAML or JSON file of settings, as written by this command; other options override it",
    )
    group.add_argument(
        "--model",
        metavar="SHAPE",
        action="append",
        help="shape of the source: point (default), gauss:SIGMA, disk:RADIUS (such as gauss:0.2 or "
        '"gauss:12 arcmin"), or a YAML file with one SkyModel; repeated: several, of which each '
        "pixel gets the best",
    )
    group.add_argument(
        "--index",
        type=float,
        action="append",
        help="index of the source's power law (default: 2), as in E^-2; repeated: several, each "
        "with every shape",
    )
    size = group.add_mutually_exclusive_group()
    size.add_argument(
        "--kernel-width",
        type=setting("kernel_width", "'1 deg'"),
        metavar="ANGLE",
        help='full width of the kernel, such as "1 deg" (default: 99.9 %% of the source)',
    )
    size.add_argument(
        "--kernel-containment",
        type=setting("kernel_containment", "0.95", float),
        metavar="PART",
        help="part of a source that the kernel is to hold, such as 0.95, in place of its width",
    )
    group.add_argument(
        "--renormalise",
        action=argparse.BooleanOptionalAction,
        help="give a kernel that is cut off the sum 1, as gammapy does: fluxes are low by what is "
        "cut off (default); --no-renormalise keeps them right",
    )
    group.add_argument(
        "--kernel-weighting",
        choices=("counts", "equal"),
        help="how kernels are averaged when summing: by expected counts (default), or equally",
    )


def _add_data_options(group: Any) -> None:
    group.add_argument(
        "--energy-edges",
        type=setting("energy_edges", "'10 GeV, 500 GeV', or all"),
        metavar="EDGES",
        help='energy groups, such as "10 GeV, 50 GeV, 500 GeV", moved to the edges of the data; '
        "all: a map for each bin (default: one group)",
    )
    group.add_argument(
        "--sum-over-energy",
        dest="sum_over_energy_groups",
        action=argparse.BooleanOptionalAction,
        help="fit one image per group, summed over its energies (default: fit the cube)",
    )
    group.add_argument(
        "--around",
        dest="positions",
        nargs=3,
        type=float,
        metavar=("RA", "DEC", "WIDTH"),
        help="fit only the positions in a box of the sky, in deg, and write maps of it; the data "
        "around it are used all the same",
    )
    group.add_argument(
        "--downsampling-factor",
        type=setting("downsampling_factor", "2", int),
        metavar="N",
        help="fit on pixels merged N by N, an even number, and interpolate (default: every pixel)",
    )
    group.add_argument(
        "--threshold",
        type=setting("threshold", "4", float),
        metavar="TS",
        help="keep the matched filter's guess where its TS is below this (default: fit everywhere)",
    )
    group.add_argument(
        "--background-floor",
        type=setting("background_floor", "1e-6", float),
        metavar="B",
        help="raise the background of every bin to at least this many counts (default: leave it)",
    )
    group.add_argument(
        "--rtol",
        type=setting("rtol", "0.01", float),
        metavar="R",
        help="last step, in errors, above which a fit counts as not converged (default: 0.01)",
    )


def _add_process_options(group: Any) -> None:
    group.add_argument(
        "--jobs",
        dest="n_jobs",
        type=setting("n_jobs", "2", int),
        metavar="N",
        help="number of processes that share the fit (default: 1, which uses every core)",
    )
    group.add_argument(
        "--parallel-backend",
        choices=BACKENDS,
        help="where they run: on this machine (multiprocessing, the default), or on a cluster of "
        "ray",
    )
    group.add_argument(
        "--memory",
        type=setting("memory", "500 MB"),
        metavar="M",
        help='working memory of the fit, such as "500 MB" (default: 256 MB on a processor)',
    )


def _add_output_options(group: Any) -> None:
    group.add_argument(
        "--selection",
        dest="selection_optional",
        type=setting("selection_optional", "ul, errn-errp", _selection),
        metavar="MAPS",
        help="further maps: errn-errp (errors down and up), ul (upper limits), stat_scan "
        '(likelihood profiles), sensitivity; several as "ul, errn-errp", or all (default: none)',
    )
    group.add_argument(
        "--n-sigma",
        type=setting("n_sigma", "1", float),
        metavar="N",
        help="standard deviations of the errors (default: 1)",
    )
    group.add_argument(
        "--n-sigma-ul",
        type=setting("n_sigma_ul", "2", float),
        metavar="N",
        help="standard deviations of the upper limits (default: 2, which is 97.7 %% one-sided; "
        "1.645 is 95 %%)",
    )
    group.add_argument(
        "--n-sigma-sensitivity",
        type=setting("n_sigma_sensitivity", "5", float),
        metavar="N",
        help="significance that the sensitivity is for (default: 5)",
    )
    group.add_argument(
        "--norm-min",
        type=setting("norm_min", "0", float),
        metavar="NORM",
        help="0: limits start at a best fit of at least 0, and are never negative (default: at the "
        "best fit, which may be negative)",
    )
    group.add_argument(
        "--gamma-min",
        type=setting("gamma_min", "10", float),
        metavar="COUNTS",
        help="least number of source counts that the sensitivity asks for (default: 0)",
    )
    group.add_argument(
        "--bkg-syst-fraction",
        type=setting("bkg_syst_fraction", "0.05", float),
        metavar="PART",
        help="part of the background that the sensitivity takes to be uncertain (default: 0)",
    )
    group.add_argument(
        "--scan-values",
        dest="norm",
        type=setting("norm", "'0, 0.5, 1'", _scan),
        metavar="NORMS",
        help='norms of the likelihood profiles, such as "0, 0.5, 1" (default: 195 from -100 to '
        "100, close to each other about 0)",
    )


def _selection(text: str) -> list[str] | str:
    return "all" if text.strip() == "all" else texts(text)


def _scan(text: str) -> dict[str, list[float]]:
    return {"scan_values": numbers(text)}


def make_estimator(args: argparse.Namespace) -> TSMapEstimator:
    """Return the estimator that options and a file of settings describe."""
    if args.config is None:
        estimator = TSMapEstimator(sum_over_energy_groups=False)
    else:
        estimator = read_config(args.config, sum_over_energy_groups=False)
    given = [name for name in _SETTINGS if getattr(args, name) is not None]
    # either says how large the kernel is, so one of them takes the place of both
    sizes = ("kernel_width", "kernel_containment")
    if any(name in given for name in sizes):
        for name in sizes:
            setattr(estimator, name, None)
    for name in given:
        setattr(estimator, name, getattr(args, name))
    for name in given:
        if name in _NEEDS and _NEEDS[name] not in estimator.selection_optional:
            raise InputError(
                f"{OPTIONS_OF_SETTINGS[name]} goes with --selection {_NEEDS[name]}: it is about "
                "maps that are not computed otherwise."
            )
    if args.model or args.index:
        chosen: Any = _models(estimator.model, args.model, args.index)
        estimator.model = chosen
    return estimator


def _models(
    model: SkyModel | Models, shapes: list[str] | None, indices: list[float] | None
) -> SkyModel | list[SkyModel]:
    """Return a model with another shape or spectrum, or one for each of these."""
    if isinstance(model, Models) and not (shapes and indices):
        raise InputError(
            "--config has several models; give --model and --index both, or none of them."
        )
    base: SkyModel = model[0] if isinstance(model, Models) else model
    every: list[str | None] = [*shapes] if shapes else [None]
    slopes: list[float | None] = [*indices] if indices else [None]
    found = [_model(base, shape, index) for shape in every for index in slopes]
    if len(found) == 1:
        return found[0]
    # models of the same name, that which they have here, are named by what tells them apart
    return [
        SkyModel(one.spectral_model, one.spatial_model) if one.name == _NAME else one
        for one in found
    ]


def _model(model: SkyModel, shape: str | None, index: float | None) -> SkyModel:
    """Return a model with another shape or spectrum, where these are given."""
    spectrum, spatial = model.spectral_model, model.spatial_model
    if shape is not None and shape.lower().endswith((".yaml", ".yml", ".json")):
        read = read_model(shape)
        if index is None:
            return read
        spatial = read.spatial_model
    elif shape is not None:
        spatial = _shape(shape)
    if index is not None:
        spectrum = PowerLawSpectralModel(index)
    return SkyModel(spectrum, spatial, name=_NAME)


def _shape(text: str) -> Any:
    """Return the spatial model of a text such as "gauss:0.2 deg"."""
    kind, _, size = text.partition(":")
    kind = kind.strip().lower()
    shapes = {"gauss": ("sigma", GaussianSpatialModel), "disk": ("r_0", DiskSpatialModel)}
    if kind == "point" and not size:
        return PointSpatialModel()
    if kind not in shapes or not size:
        raise InputError(
            f"--model {text!r}: expected point, gauss:SIGMA or disk:RADIUS, such as gauss:0.2, or "
            "a YAML file with a model."
        )
    name, shape = shapes[kind]
    try:
        return shape(**{name: angle(size)})
    except argparse.ArgumentTypeError as error:
        raise InputError(f"--model {text!r}: {error}.") from error
