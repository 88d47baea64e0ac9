"""Datasets with OFF counts on the command line: from one file, and from plain maps."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from gammagrad import FluxMaps, Map, MapDataset, MapDatasetOnOff, TSMapEstimator, lima_maps
from gammagrad.errors import InputWarning

Run = Callable[..., tuple[int, str, str]]

KERNEL = ("--kernel-width", "0.4 deg")


@pytest.fixture(scope="module")
def on_off(folder: Path) -> MapDatasetOnOff:
    """Return the simulated dataset with ten times as many OFF counts, written to a file."""
    dataset = MapDataset.read(folder / "dataset.fits.gz", name="on-off")
    background = dataset.require("background")
    off = np.random.default_rng(1).poisson(10 * background.data).astype(float)
    counts_off = Map(dataset.geom, off)
    found = MapDatasetOnOff.from_map_dataset(dataset, 1, 10, counts_off)
    found.write(folder / "on-off.fits.gz")
    for name in ("counts_off", "acceptance", "acceptance_off"):
        found.require(name).write(folder / f"{name}.fits")
    return found


def test_a_file_and_plain_maps_give_the_maps_of_the_estimator(
    folder: Path, on_off: MapDatasetOnOff, run: Run, tmp_path: Path
) -> None:
    code, output, errors = run(
        "ts-map", folder / "on-off.fits.gz", *KERNEL, "-o", tmp_path / "one", "--no-pictures"
    )
    assert (code, errors) == (0, "")
    assert "counts_off" in output
    found = FluxMaps.read(tmp_path / "one" / "ts-map.fits")
    estimator = TSMapEstimator(kernel_width="0.4 deg", sum_over_energy_groups=False)
    expected = estimator.run(on_off)
    np.testing.assert_allclose(found["ts"].data, expected["ts"].data, rtol=1e-6, atol=1e-6)
    assert found.meta["statistics"] == ["wstat"]
    files = [f"--{n}={folder / n.replace('-', '_')}.fits" for n in ("counts", "counts-off")]
    files += [f"--exposure={folder / 'exposure.fits'}", f"--psf={folder / 'dataset.fits.gz'}"]
    files += ["--acceptance=1", f"--acceptance-off={folder / 'acceptance_off.fits'}"]
    code, _, errors = run("ts-map", *files, *KERNEL, "-o", tmp_path / "plain", "--no-pictures")
    assert (code, errors) == (0, "")
    plain = FluxMaps.read(tmp_path / "plain" / "ts-map.fits")
    np.testing.assert_allclose(plain["ts"].data, found["ts"].data, rtol=1e-6, atol=1e-6)
    assert plain.meta["input"][:3] == ["counts.fits", "counts_off.fits", "acceptance_off.fits"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--counts-off=off.fits",), "--acceptance, --acceptance-off missing"),
        (
            (
                "--counts-off=off.fits",
                "--acceptance=1",
                "--acceptance-off=2",
                "--background=b.fits",
            ),
            "--background and --counts-off: expected one of them",
        ),
    ],
)
def test_what_does_not_go_together_is_named(
    options: tuple[str, ...], text: str, run: Run, tmp_path: Path
) -> None:
    files = ("--counts=counts.fits", "--exposure=exposure.fits")
    code, _, errors = run("ts-map", *files, *options, "-o", tmp_path)
    assert code == 2
    assert text in errors


@pytest.mark.usefixtures("on_off")
def test_a_norm_of_the_background_is_for_known_backgrounds(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    file = folder / "on-off.fits.gz"
    code, _, errors = run("ts-map", file, "--exclude=83,22,1", "-o", tmp_path)
    assert code == 2
    assert "is measured, from OFF counts" in errors
    code, _, errors = run("background", file, "--write-dataset", "-o", tmp_path)
    assert code == 2
    assert "--write-dataset" in errors


@pytest.mark.usefixtures("on_off")
def test_info_says_what_off_counts_there_are(folder: Path, run: Run) -> None:
    code, output, _ = run("info", folder / "on-off.fits.gz")
    assert code == 0
    assert "on-off.fits.gz: an ON/OFF dataset" in output
    assert "alpha       : 0.1" in output


def test_lima_takes_the_off_counts_of_a_dataset(
    folder: Path, on_off: MapDatasetOnOff, run: Run, tmp_path: Path
) -> None:
    file = folder / "on-off.fits.gz"
    options = ("--radius", "0.1", "--correlate-off", "--no-pictures", "-o", tmp_path)
    code, output, errors = run("lima", file, *options)
    assert (code, errors) == (0, "")
    assert "from OFF counts summed over the disc" in output
    parts = {n: on_off.require(n) for n in ("counts_off", "acceptance", "acceptance_off")}
    expected = lima_maps(
        on_off.require("counts"), correlate_off=True, sum_over_energy=True, **parts
    )
    with fits.open(tmp_path / "lima.fits") as hdus:
        data = hdus["sqrt_ts"].data
    np.testing.assert_allclose(np.squeeze(data), np.squeeze(expected["sqrt_ts"].data), atol=1e-5)


def test_few_off_counts_are_one_line(on_off: MapDatasetOnOff, run: Run, tmp_path: Path) -> None:
    few = on_off.copy()
    off = on_off.require("counts_off")
    few.counts_off = Map(off.geom, np.random.default_rng(2).binomial(off.data.astype(int), 0.02))
    few.acceptance_off = Map(off.geom, 0.2)
    few.write(tmp_path / "few.fits")
    options = (*KERNEL, "-o", tmp_path, "--no-pictures")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, errors = run("ts-map", tmp_path / "few.fits", *options)
    assert code == 0
    assert "few OFF counts per fitted bin" in errors
    with pytest.warns(InputWarning, match="few OFF counts"):
        TSMapEstimator(kernel_width="0.4 deg", sum_over_energy_groups=False).run(few)
