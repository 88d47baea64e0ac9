"""Norms of the background that `gammagrad ts-map` fits, by its options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gammagrad import FluxMaps, MapDataset, TSMapEstimator
from gammagrad.cli.command import make_parser
from gammagrad.cli.fit_options import make_estimator
from gammagrad.core.norm import BACKGROUND_MAPS
from gammagrad.estimators.config import write_config

KERNEL = ("--kernel-width", "0.4 deg", "--no-pictures", "-q")
CONSTRAINED = ("--background-norm", "constrained", "--background-uncertainty", "0.1")

Run = Callable[..., tuple[int, str, str]]


def parsed(*words: str) -> TSMapEstimator:
    return make_estimator(make_parser().parse_args(["ts-map", "file", "-o", "out", *words]))


def test_every_option_reaches_the_estimator(tmp_path: Path) -> None:
    words = [
        *("--background-norm", "constrained", "--background-uncertainty", "0.03, 0.1"),
        *("--background-prior", "gaussian", "--background-width", "2 deg"),
        *("--background-norms", "per energy"),
    ]
    estimator = parsed(*words)
    assert estimator.background == "constrained"
    assert estimator.background_uncertainty == [0.03, 0.1]
    assert estimator.background_prior == "gaussian"
    assert estimator.background_width.to_value("deg") == 2
    assert estimator.background_norms == "per energy"
    write_config(estimator, tmp_path / "config.json")
    again = ("--config", str(tmp_path / "config.json"))
    assert parsed(*again).settings == estimator.settings
    # options are about the background of the file, and replace it
    assert parsed(*again, "--background-uncertainty", "0.2").background_uncertainty == 0.2
    assert parsed(*again, "--background-norm", "fixed").background == "fixed"


@pytest.mark.parametrize("options", [("--background-norm", "free"), CONSTRAINED])
def test_the_maps_are_those_of_the_estimator(
    options: tuple[str, ...], folder: Path, run: Run, tmp_path: Path
) -> None:
    data, out = folder / "dataset.fits.gz", tmp_path / "out"
    code, _, errors = run("ts-map", data, "-o", out, *KERNEL, *options)
    assert (code, errors) == (0, "")
    found = FluxMaps.read(out / "ts-map.fits")
    estimator = TSMapEstimator(
        kernel_width="0.4 deg",
        sum_over_energy_groups=False,
        background=options[1],
        background_uncertainty=0.1,
    )
    expected = estimator.run(MapDataset.read(data))
    for name in ("ts", "norm_err", *BACKGROUND_MAPS):
        mine, theirs = found[name].data, expected[name].data
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-6, err_msg=name)
    assert found.meta["background"] == options[1]
    text = run("info", out / "ts-map.fits")[1]
    assert "background_norm_pull" in text


def test_a_file_of_a_background_is_something_else(folder: Path, run: Run, tmp_path: Path) -> None:
    files = [f"--{name}={folder / name}.fits" for name in ("counts", "background", "exposure")]
    options = (*KERNEL, "--psf-sigma", "0.06 deg", "--background-norm", "free")
    code, _, errors = run("ts-map", *files, "-o", tmp_path, *options)
    assert (code, errors) == (0, "")
    assert FluxMaps.read(tmp_path / "ts-map.fits").meta["background"] == "free"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--background-norm", "loose"), "--background-norm: invalid choice: 'loose'"),
        (("--background-uncertainty", "0"), "--background-uncertainty is 0.0; expected a relative"),
        (("--background-uncertainty", "0.1, -1"), "--background-uncertainty is [0.1, -1.0]"),
        (("--background-uncertainty", "5 %"), "--background-uncertainty: cannot read '5 %'"),
        (
            ("--background-width", "0.4 m"),
            "--background-width is '0.4 m'; expected one positive angle",
        ),
        (("--background-prior", "flat"), "--background-prior: invalid choice"),
        (("--background-norms", "two"), "--background-norms: invalid choice"),
        (
            ("--background-uncertainty", "0.1"),
            "--background-uncertainty goes with --background-norm constrained; with fixed",
        ),
        (
            ("--background-norm", "free", "--background-prior", "gaussian"),
            "--background-prior goes with --background-norm constrained; with free",
        ),
        (
            ("--background-width", "2 deg"),
            "--background-width goes with --background-norm free or constrained",
        ),
        ((*CONSTRAINED[:3], "0.1, 0.1"), "--background-uncertainty has 2 numbers, and the map 1"),
        (
            ("--background-norm", "free", "--free", "index"),
            "--free has the index, and background is 'free'",
        ),
    ],
)
def test_a_wrong_value_is_told_by_its_option(
    options: tuple[str, ...], text: str, folder: Path, run: Run, tmp_path: Path
) -> None:
    code, _, errors = run("ts-map", folder / "dataset.fits.gz", "-o", tmp_path, *options)
    assert code == 2
    assert text in " ".join(errors.split())
