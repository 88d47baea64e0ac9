"""The options of `gammagrad ts-map` that are settings of the estimator."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

from gammagrad.cli.parser import angle, box
from gammagrad.cli.setting_options import add_setting_options, given_settings
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

# of a model made here
_NAME = "ts-kernel"

# settings that need a background that is not fixed
_OF_BACKGROUND = {
    "background_uncertainty": ("constrained",),
    "background_prior": ("constrained",),
    "background_width": ("free", "constrained"),
    "background_norms": ("free", "constrained"),
}


def add_fit_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that become settings of the estimator."""
    source = parser.add_argument_group("source and kernel")
    source.add_argument(
        "--config",
        metavar="FILE",
        help="YAML or JSON file of settings, as written by this command; other options override it",
    )
    source.add_argument(
        "--model",
        metavar="SHAPE",
        action="append",
        help="shape of the source: point (default), gauss:SIGMA, disk:RADIUS (such as gauss:0.2 or "
        '"gauss:12 arcmin"), or a YAML file with one SkyModel; repeated: several, of which each '
        "pixel gets the best",
    )
    source.add_argument(
        "--index",
        type=float,
        action="append",
        help="index of the source's power law (default: 2), as in E^-2; repeated: several, each "
        "with every shape",
    )
    fitted = parser.add_argument_group("what is fitted")
    fitted.add_argument(
        "--around",
        dest="positions",
        type=box,
        metavar="LON,LAT,WIDTH",
        help="fit only the positions in a box of the sky, in deg, and write maps of it; the data "
        "around it are used all the same. In the frame of the map, or in one that is named: "
        "icrs:LON,LAT,WIDTH, galactic:LON,LAT,WIDTH (a negative LON needs --around=LON,LAT,WIDTH)",
    )
    groups = {"source and kernel": source, "what is fitted": fitted}
    more = {"sum_over_energy_groups": " (default: fit the cube)"}
    add_setting_options(parser, TSMapEstimator, groups, more)


def make_estimator(args: argparse.Namespace) -> TSMapEstimator:
    """Return the estimator that options and a file of settings describe."""
    if args.config is None:
        estimator = TSMapEstimator(sum_over_energy_groups=False)
    else:
        estimator = read_config(args.config, sum_over_energy_groups=False)
    given = given_settings(args, TSMapEstimator)
    given.pop("model", None)
    # either says how large the kernel is, so one of them takes the place of both
    sizes = ("kernel_width", "kernel_containment")
    if any(name in given for name in sizes):
        for name in sizes:
            setattr(estimator, name, None)
    for name, value in given.items():
        setattr(estimator, name, value)
    for name in given:
        option = TSMapEstimator.table[name].option
        if option and option.needs and option.needs not in estimator.selection_optional:
            raise InputError(
                f"{option.flag} goes with --selection {option.needs}: it is about maps that are "
                "not computed otherwise."
            )
    _check_background(given, estimator.background)
    if args.model or args.index:
        chosen: Any = _models(estimator.model, args.model, args.index)
        estimator.model = chosen
    return estimator


def _check_background(given: Iterable[str], background: str) -> None:
    """Raise if an option is about a norm of the background that is not fitted."""
    table = TSMapEstimator.table
    for name in given:
        option, how = table[name].option, _OF_BACKGROUND.get(name, (background,))
        if option and background not in how:
            raise InputError(
                f"{option.flag} goes with --background-norm {' or '.join(how)}; with {background} "
                "it has no effect."
            )


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
