"""Options of `gammagrad ts-map`: that each reaches the fit, and what comes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.cli.command import make_parser
from gammagrad.cli.fit_options import make_estimator
from gammagrad.errors import FileContentError, InputError, InputTypeError
from gammagrad.estimators.config import write_config
from gammagrad.io import file_sha256
from gammagrad.simulate import simulate_field

KERNEL = ("--kernel-width", "0.4 deg")

Run = Callable[..., tuple[int, str, str]]


def test_every_option_reaches_the_estimator(folder: Path, tmp_path: Path) -> None:
    options = {
        "--kernel-containment": ("kernel_containment", 0.9),
        "--downsampling-factor": ("downsampling_factor", 2),
        "--threshold": ("threshold", 4.0),
        "--background-floor": ("background_floor", 1e-6),
        "--n-sigma": ("n_sigma", 1.5),
        "--n-sigma-ul": ("n_sigma_ul", 1.645),
        "--n-sigma-sensitivity": ("n_sigma_sensitivity", 3.0),
        "--norm-min": ("norm_min", 0),
        "--gamma-min": ("gamma_min", 10.0),
        "--bkg-syst-fraction": ("bkg_syst_fraction", 0.05),
        "--rtol": ("rtol", 0.1),
        "--kernel-positions": ("kernel_positions", 25),
        "--jobs": ("n_jobs", 2),
        "--parallel-backend": ("parallel_backend", "ray"),
    }
    words = [word for name, (_, value) in options.items() for word in (name, str(value))]
    words += ["--selection", "all", "--no-renormalise", "--sum-over-energy"]
    words += ["--scan-values", "0, 0.5, 1"]
    estimator = make_estimator(make_parser().parse_args(["ts-map", "file", "-o", "out", *words]))
    for name, value in options.values():
        assert getattr(estimator, name) == value
    assert set(estimator.selection_optional) == {"errn-errp", "ul", "stat_scan", "sensitivity"}
    assert estimator.renormalise is False
    assert estimator.sum_over_energy_groups is True
    assert estimator.settings["norm"] == {"scan_values": [0, 0.5, 1]}
    # a file of settings keeps them, and an option that says the size otherwise replaces it
    write_config(estimator, tmp_path / "config.json")
    words = ["ts-map", "file", "-o", "out", "--config", str(tmp_path / "config.json")]
    assert make_estimator(make_parser().parse_args(words)).settings == estimator.settings
    words += ["--kernel-width", "0.4 deg", "--renormalise", "--n-sigma-ul", "2"]
    again = make_estimator(make_parser().parse_args(words))
    assert again.kernel_width.to_value("deg") == pytest.approx(0.4)
    assert again.kernel_containment is None
    assert again.renormalise is True
    assert again.n_sigma_ul == 2
    for how in ("auto", "centre", "map"):
        args = make_parser().parse_args([*words, "--kernel-positions", how])
        assert make_estimator(args).kernel_positions == how


def test_further_maps_have_pictures_and_are_those_of_the_estimator(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    data, out = folder / "dataset.fits.gz", tmp_path / "all"
    options = ("--selection", "all", "--n-sigma-ul", "1.645", "--scan-values", "0, 1, 2, 4")
    code, _, errors = run("ts-map", data, "-o", out, *KERNEL, *options, "-q")
    assert (code, errors) == (0, "")
    pictures = {path.stem for path in out.glob("*.png")}
    assert pictures == {"sqrt_ts", "flux", "histogram", "flux_ul", "flux_sensitivity", "profile"}
    maps = FluxMaps.read(out / "ts-map.fits")
    estimator = TSMapEstimator(
        kernel_width="0.4 deg",
        sum_over_energy_groups=False,
        selection_optional="all",
        n_sigma_ul=1.645,
        norm={"scan_values": [0, 1, 2, 4]},
    )
    expected = estimator.run(MapDataset.read(data))
    assert maps.available_quantities == expected.available_quantities
    for name in ("norm_ul", "norm_errn", "norm_sensitivity", "stat_scan"):
        np.testing.assert_allclose(maps[name].data, expected[name].data, rtol=1e-6, atol=1e-9)
    assert maps.n_sigma_ul == 1.645
    text = run("info", out / "ts-map.fits")[1]
    wanted = (
        "n_sigma_ul             : 1.645",
        "n_sigma_sensitivity    : 5",
        "containment_per_group",
    )
    for words in (*wanted, "norm_ul", "meaning", "stat_scan"):
        assert words in text
    code, _, errors = run("ts-map", data, "-o", out, *options)
    assert code == 2
    assert "flux_ul.png" in errors


def test_a_box_of_the_sky_is_all_that_is_fitted(
    folder: Path, result: Path, run: Run, tmp_path: Path
) -> None:
    whole = FluxMaps.read(result / "ts-map.fits")
    centre = whole.geom.center_skydir.icrs
    box = ("--around", f"icrs:{centre.ra.deg},{centre.dec.deg},0.3")
    code, text, errors = run(
        *("ts-map", folder / "dataset.fits.gz", "-o", tmp_path, *KERNEL, *box, "--no-pictures")
    )
    assert (code, errors) == (0, "")
    assert "not fitted" not in text
    part = FluxMaps.read(tmp_path / "ts-map.fits")
    assert part.geom.data_shape == (1, 12, 12)
    expected = whole.cutout(centre, "0.3 deg")
    np.testing.assert_allclose(part.ts.data, expected.ts.data, rtol=1e-6, atol=1e-9)
    assert part.geom == expected.geom


def test_several_files_are_fitted_together(folder: Path, run: Run, tmp_path: Path) -> None:
    other = simulate_field(seed=2, npix=40, nbin=3).dataset
    other.write(tmp_path / "other.fits.gz")
    files = (folder / "dataset.fits.gz", tmp_path / "other.fits.gz")
    options = (*KERNEL, "--no-pictures")
    code, text, errors = run("ts-map", *files, "-o", tmp_path / "joint", *options)
    assert (code, errors) == (0, "")
    assert text.count("40 x 40 pixels of 0.025 x 0.025 deg") == 2
    joint = FluxMaps.read(tmp_path / "joint" / "ts-map.fits")
    assert joint.meta["input"] == ["dataset.fits.gz", "other.fits.gz"]
    assert joint.meta["input_sha256"] == [file_sha256(file) for file in files]
    one = TSMapEstimator(kernel_width="0.4 deg", sum_over_energy_groups=False)
    single = one.run(MapDataset.read(files[0]))
    row, col = (int(i) for i in np.argwhere(single.ts.data[0] == single.ts.data[0].max())[0])
    assert joint.ts.data[0, row, col] > 1.2 * single.ts.data[0, row, col]
    assert joint.norm_err.data[0, row, col] < single.norm_err.data[0, row, col]


def test_a_small_kernel_is_warned_of(folder: Path, run: Run, tmp_path: Path) -> None:
    data = folder / "dataset.fits.gz"
    options = ("--kernel-width", "0.1 deg", "--no-pictures")
    code, _, errors = run("ts-map", data, "-o", tmp_path / "a", *options)
    assert code == 0
    assert errors.startswith("gammagrad: warning: kernels hold less than 95 % of a source")
    assert errors.count("\n") == 1
    assert "a wider kernel avoids that" in errors
    _, text, errors = run("ts-map", data, "-o", tmp_path / "b", *options, "--no-renormalise")
    assert "the counts outside are not used" in errors
    assert re.search(r"kernel +: 5 x 5 pixels, which hold at least \d\d\.\d+ % of a source", text)
    errors = run("ts-map", data, "-o", tmp_path / "c", "--no-pictures", *KERNEL)[2]
    assert errors == ""


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (InputError(" is '1'; expected", "kernel_width"), "--kernel-width is '1'; expected"),
        (InputTypeError(" is 'x'; expected norms", "norm"), "--scan-values is 'x'; expected norms"),
        (InputError(": no pixel is True", "positions"), "--around: no pixel is True"),
        (
            InputError("the norm is fitted, the model is known"),
            "the norm is fitted",
        ),
        (InputError(": negative in 3 of 7 bins", "counts"), "--counts: negative in 3 of 7 bins"),
        (
            FileContentError(": the exposure has no unit", "exposure_unit", "exposure.fits: "),
            "exposure.fits: --exposure-unit: the exposure has no unit",
        ),
        (ValueError("kernel_width is 1"), "kernel_width is 1"),
    ],
)
def test_errors_speak_of_options(error: Exception, words: str) -> None:
    args = make_parser().parse_args(["ts-map", "file", "-o", "out"])
    assert args.parser.told(error).startswith(words)


def test_an_exposure_without_unit_is_put_right_by_an_option(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    exposure = Map.read(folder / "exposure.fits")
    Map(exposure.geom, exposure.data).write(tmp_path / "exposure.fits")
    files = [f"--{name}={folder / name}.fits" for name in ("counts", "background")]
    files += [f"--exposure={tmp_path / 'exposure.fits'}", "-o", str(tmp_path / "out")]
    code, _, errors = run("ts-map", *files, "-q")
    assert code == 2
    assert "exposure.fits: --exposure-unit: the exposure has no unit" in errors
    assert "Map(" not in errors
    assert "from_files" not in errors
