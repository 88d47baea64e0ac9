"""`gammagrad ts-map` with several models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gammagrad import FluxMaps, HypothesisMaps
from gammagrad.cli.command import make_parser
from gammagrad.cli.fit_options import make_estimator
from gammagrad.estimators.config import read_config

Run = Callable[..., tuple[int, str, str]]


def models_of(*options: str) -> list[str]:
    args = make_parser().parse_args(["ts-map", "x.fits", "-o", "out", *options])
    return make_estimator(args).settings["model"]


def test_every_shape_with_every_index() -> None:
    shapes = ("--model", "point", "--model", "gauss:0.1")
    assert models_of(*shapes) == ["point", "gauss"]
    assert models_of(*shapes, "--index", "2", "--index", "3") == [
        *("point index=2", "point index=3", "gauss index=2", "gauss index=3"),
    ]
    assert models_of("--model", "gauss:0.1", "--index", "3") == "ts-kernel"


def test_the_best_of_two_sizes_and_the_maps_of_each(folder: Path, run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--model", "point", "--model", "gauss:0.1", "--kernel-width", "0.4 deg")
    code, text, errors = run(
        "ts-map", str(folder / "dataset.fits.gz"), *options, "--no-pictures", "-o", str(out)
    )
    assert code == 0, errors
    assert "hypotheses.fits" in text
    assert "of gauss" in text
    best, each = FluxMaps.read(out / "ts-map.fits"), HypothesisMaps.read(out / "hypotheses.fits")
    assert each.names == ["point", "gauss"]
    np.testing.assert_allclose(best["ts"].data, each.best()["ts"].data)
    config = out / "config.yaml"
    assert read_config(config).model.names == ["point", "gauss"]
    assert models_of("--config", str(config)) == ["point", "gauss"]
    with pytest.raises(ValueError, match="--config has several models"):
        models_of("--config", str(config), "--index", "3")
