"""The command line: what it writes, what it prints, and one clear line for every wrong input."""

from __future__ import annotations

import json
import logging
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import QTable

from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.cli import main
from gammagrad.cli.command import make_parser
from gammagrad.cli.fit_options import make_estimator
from gammagrad.cli.load import load_datasets
from gammagrad.demo import GALACTIC_CENTRE
from gammagrad.io import file_sha256
from gammagrad.simulate import simulate_field

COMMANDS = ("ts-map", "background", "lima", "info", "demo")
KERNEL = ("--kernel-width", "0.4 deg")

Run = Callable[..., tuple[int, str, str]]


# ---------------------------------------------------------------- ts-map


def test_a_run_writes_maps_pictures_sources_and_settings(folder: Path, result: Path) -> None:
    assert {path.name for path in result.iterdir()} == {
        *("ts-map.fits", "ts-map_model.yaml", "config.yaml", "sources.ecsv", "sources.reg"),
        *("flux.fits", "sqrt_ts.png", "flux.png", "histogram.png"),
    }
    for path in result.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")
    sources = QTable.read(result / "sources.ecsv", format="ascii.ecsv")
    true = simulate_field(seed=1, npix=40, nbin=2).sources[0]
    brightest = SkyCoord(sources["ra"][0], sources["dec"][0])
    assert brightest.separation(SkyCoord(true["ra"], true["dec"])).deg < 0.03
    assert abs(sources["flux"][0] - true["flux"]) < 4 * sources["flux_err"][0]
    assert "icrs" in (result / "sources.reg").read_text()


def test_the_header_says_where_the_maps_come_from(folder: Path, result: Path) -> None:
    maps = FluxMaps.read(result / "ts-map.fits")
    assert maps.meta["input"] == "dataset.fits.gz"
    assert maps.meta["input_sha256"] == file_sha256(folder / "dataset.fits.gz")
    assert maps.meta["settings"]["sum_over_energy_groups"] is False
    with fits.open(result / "ts-map.fits") as hdus:
        assert hdus[0].header["INPUT"] == "dataset.fits.gz"


def test_the_maps_are_those_of_the_estimator(folder: Path, result: Path) -> None:
    estimator = TSMapEstimator(kernel_width="0.4 deg", sum_over_energy_groups=False)
    expected = estimator.run(MapDataset.read(folder / "dataset.fits.gz"))
    maps = FluxMaps.read(result / "ts-map.fits")
    np.testing.assert_allclose(maps["ts"].data, expected["ts"].data, rtol=1e-6)
    assert maps.geom == expected.geom


def test_it_prints_the_data_the_groups_the_sources_and_the_time(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "new" / "maps"
    code, text, errors = run(
        *("ts-map", folder / "dataset.fits.gz", "-o", out, *KERNEL, "--no-pictures")
    )
    assert (code, errors) == (0, "")
    assert "energy groups : 1 TeV - 30 TeV" in text
    assert "40 x 40 pixels of 0.025 x 0.025 deg" in text
    assert "fitted" in text
    assert "to fit, compilation included" in text
    table = QTable.read(out / "sources.ecsv", format="ascii.ecsv")
    for name in table["name"]:
        assert str(name) in text
    assert not list(out.glob("*.png"))


def test_the_settings_written_give_the_same_run_and_options_override_them(
    folder: Path, result: Path, run: Run, tmp_path: Path
) -> None:
    data, config = folder / "dataset.fits.gz", result / "config.yaml"
    again, bands = tmp_path / "again", tmp_path / "bands"
    assert run("ts-map", data, "--config", config, "-o", again, "--no-pictures", "-q")[0] == 0
    first, second = (FluxMaps.read(f / "ts-map.fits") for f in (result, again))
    np.testing.assert_array_equal(first["ts"].data, second["ts"].data)
    assert (again / "config.yaml").read_text() == config.read_text()

    options = ("--energy-edges", "all", "--sum-over-energy", "--index", "2.5", "--n-sigma", "2")
    code, text, _ = run(
        *("ts-map", data, "--config", config, *options, "-o", bands, "--no-pictures")
    )
    assert code == 0
    maps = FluxMaps.read(bands / "ts-map.fits")
    assert maps.geom.data_shape == (2, 40, 40)
    assert maps.n_sigma == 2
    assert maps.meta["settings"]["sum_over_energy_groups"] is True
    assert maps.meta["settings"]["kernel_width"] == "0.4 deg"
    assert float(maps.reference_model.spectral_model.index) == 2.5
    assert "energy groups : 1 TeV - 5.477 TeV - 30 TeV" in text
    assert "1 TeV - 5.477 TeV\n" in text  # each source has its energies


@pytest.mark.parametrize(
    ("options", "tag", "size"),
    [
        (("--model", "gauss:0.1"), "gauss", ("sigma", 0.1)),
        (("--model", "disk: 6 arcmin"), "disk", ("r_0", 0.1)),
        (("--model", "point", "--index", "3"), "point", None),
    ],
)
def test_the_shape_of_the_source_can_be_chosen(
    folder: Path, options: tuple[str, ...], tag: str, size: tuple[str, float] | None
) -> None:
    args = make_parser().parse_args(["ts-map", "file", "-o", "out", *options])
    model = make_estimator(args).model
    assert model.spatial_model.tag[1] == tag
    assert size is None or float(getattr(model.spatial_model, size[0])) == pytest.approx(size[1])
    assert float(model.spectral_model.index) == (3 if "--index" in options else 2)


def test_a_model_can_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(
        "components:\n- type: SkyModel\n  name: shell\n  spectral:\n    type: pl\n    parameters:\n"
        "    - {name: index, value: 2.7}\n  spatial:\n    type: ShellSpatialModel\n"
        "    parameters:\n    - {name: radius, value: 0.3, unit: deg}\n"
    )
    args = make_parser().parse_args(["ts-map", "file", "-o", "out", "--model", str(file)])
    model = make_estimator(args).model
    assert model.name == "shell"
    assert float(model.spatial_model.radius) == 0.3


def test_plain_maps_give_what_the_dataset_gives(
    folder: Path, result: Path, run: Run, tmp_path: Path
) -> None:
    files = [f"--{name}={folder / name}.fits" for name in ("counts", "background", "exposure")]
    psf = f"--psf={folder / 'dataset.fits.gz'}"
    code, _, errors = run("ts-map", *files, psf, *KERNEL, "-o", tmp_path, "--no-pictures")
    assert (code, errors) == (0, "")
    maps = FluxMaps.read(tmp_path / "ts-map.fits")
    expected = FluxMaps.read(result / "ts-map.fits")
    np.testing.assert_allclose(maps["ts"].data, expected["ts"].data, rtol=1e-6, atol=1e-9)
    assert maps.meta["input"] == [
        *("counts.fits", "background.fits", "exposure.fits", "dataset.fits.gz")
    ]
    assert maps.meta["input_sha256"][0] == file_sha256(folder / "counts.fits")


def test_one_image_and_a_gaussian_psf_will_do(folder: Path, run: Run, tmp_path: Path) -> None:
    files = []
    for name in ("counts", "background", "exposure"):
        m = Map.read(folder / f"{name}.fits")
        image = Map(m.geom.to_image(), m.data.sum(axis=0))
        image.write(tmp_path / f"{name}.fits")
        files.append(f"--{name}={tmp_path / name}.fits")
    options = (*files, "--psf-sigma", "0.06 deg", "--exposure-unit", "cm2 s", "-o", tmp_path)
    code, _, errors = run("ts-map", *options)
    assert code == 2
    assert "--energy-bins: the counts have no energies" in errors
    words = [str(word) for word in ("ts-map", *options, "--energy-bins", "1 TeV, 30 TeV")]
    (dataset,) = load_datasets(make_parser().parse_args(words))
    assert dataset.energy_axis.edges_in("TeV") == pytest.approx([1, 30])
    assert dataset.name == "counts"
    assert dataset.psf.containment_radius(0.393).to_value("deg") == pytest.approx(0.06, rel=0.02)
    dataset.check()


def test_quiet_prints_nothing_and_verbose_says_more(
    folder: Path, run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = folder / "dataset.fits.gz"
    quiet = run("ts-map", data, "-o", tmp_path / "a", *KERNEL, "--no-pictures", "-q")
    assert quiet == (0, "", "")
    code, _, errors = run("ts-map", data, "-o", tmp_path / "b", *KERNEL, "--no-pictures", "-v")
    assert code == 0
    assert "gammagrad.cli.ts_map: INFO: read " in errors
    assert logging.getLogger("gammagrad").handlers == []


def test_results_are_replaced_only_on_request(
    folder: Path, result: Path, run: Run, tmp_path: Path
) -> None:
    before = (result / "ts-map.fits").stat().st_mtime_ns
    code, out, errors = run("ts-map", folder / "dataset.fits.gz", "-o", result)
    assert (code, out) == (2, "")
    assert "--overwrite" in errors
    assert (result / "ts-map.fits").stat().st_mtime_ns == before
    code, _, _ = run(
        *("ts-map", folder / "dataset.fits.gz", "-o", result, *KERNEL, "--overwrite", "-q")
    )
    assert code == 0
    assert (result / "ts-map.fits").stat().st_mtime_ns > before


def test_without_matplotlib_there_is_a_note_and_no_picture(
    folder: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    code, text, errors = run("ts-map", folder / "dataset.fits.gz", "-o", tmp_path, *KERNEL)
    assert (code, errors) == (0, "")
    assert "No pictures: Plots need matplotlib" in text
    assert (tmp_path / "ts-map.fits").exists()
    assert not list(tmp_path.glob("*.png"))


# ---------------------------------------------------------------- wrong input


def _without(folder: Path, name: str, target: Path) -> Path:
    with fits.open(folder / "dataset.fits.gz") as hdus:
        kept = [hdu for hdu in hdus if hdu.name not in (name, f"{name}_BANDS")]
        del kept[0].header["NEXTEND"]
        fits.HDUList(kept).writeto(target)
    return target


def _is_one_line(errors: str, command: str = "ts-map") -> bool:
    return errors.startswith(f"gammagrad {command}: error: ") and errors.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("ts-map nothing.fits -o out", "nothing.fits"),
        ("ts-map text.fits -o out", "text.fits"),
        ("ts-map -o out", "--counts"),
        ("ts-map --counts counts.fits -o out", "--exposure"),
        ("ts-map --counts nothing.fits --exposure exposure.fits -o out", "nothing.fits"),
        ("ts-map dataset.fits.gz --psf-sigma 0.1 -o out", "--psf-sigma"),
        ("ts-map dataset.fits.gz --config nothing.yaml -o out", "nothing.yaml"),
        ("ts-map dataset.fits.gz --config wrong.json -o out", "'kernel_wdth'"),
        ("ts-map dataset.fits.gz --model blob -o out", "gauss:SIGMA"),
        ("ts-map dataset.fits.gz --model gauss:-1 -o out", "positive"),
        ("ts-map dataset.fits.gz --model nothing.yaml -o out", "nothing.yaml"),
        ("ts-map dataset.fits.gz --kernel-width 0 -o out", "'1 deg'"),
        ("ts-map dataset.fits.gz --kernel-width '1 TeV' -o out", "'1 deg'"),
        ("ts-map dataset.fits.gz --kernel-width wide -o out", "'1 deg'"),
        ("ts-map dataset.fits.gz --energy-edges '1 deg, 2 deg' -o out", "10 GeV, 500 GeV"),
        ("ts-map dataset.fits.gz --energy-edges '1 foo, 2 TeV' -o out", "10 GeV, 500 GeV"),
        ("ts-map dataset.fits.gz --energy-edges '9 PeV, 10 PeV' -o out", "from 1 to 30"),
        ("ts-map dataset.fits.gz --n-sigma 0 -o out", "positive"),
        ("ts-map dataset.fits.gz --rtol x -o out", "expected such as 0.01"),
        ("ts-map dataset.fits.gz --peak-threshold x -o out", "--peak-threshold"),
        ("ts-map dataset.fits.gz --peak-threshold nan -o out", "--peak-threshold"),
        ("ts-map dataset.fits.gz --selection uls -o out", "--selection"),
        ("ts-map dataset.fits.gz --n-sigma-ul 2 -o out", "goes with --selection ul"),
        ("ts-map dataset.fits.gz --gamma-min 2 --selection ul -o out", "--selection sensitivity"),
        ("ts-map dataset.fits.gz --scan-values 0,1 -o out", "--selection stat_scan"),
        ("ts-map dataset.fits.gz --scan-values 0,x --selection all -o out", "'0, 0.5, 1'"),
        ("ts-map dataset.fits.gz --selection ul --n-sigma-ul 0 -o out", "--n-sigma-ul is"),
        ("ts-map dataset.fits.gz --selection ul --norm-min 3 -o out", "--norm-min is"),
        ("ts-map dataset.fits.gz --downsampling-factor 3 -o out", "--downsampling-factor is"),
        ("ts-map dataset.fits.gz --downsampling-factor x -o out", "--downsampling-factor"),
        ("ts-map dataset.fits.gz --threshold x -o out", "--threshold"),
        ("ts-map dataset.fits.gz --kernel-containment 2 -o out", "--kernel-containment is"),
        ("ts-map dataset.fits.gz --background-floor -1 -o out", "--background-floor is"),
        (
            "ts-map dataset.fits.gz --kernel-containment 0.9 --kernel-width '1 deg' -o out",
            "not allowed with argument",
        ),
        ("ts-map dataset.fits.gz --around 1,2 -o out", "--around: cannot read '1,2'"),
        ("ts-map dataset.fits.gz --around 1,99,1 -o out", "latitudes from -90 to 90"),
        ("ts-map dataset.fits.gz --around here:1,1,1 -o out", "'here' is no frame"),
        ("ts-map dataset.fits.gz --around 190,-20,1 -o out", "--around"),
        ("ts-map dataset.fits.gz nothing.fits -o out", "nothing.fits"),
        ("ts-map $GAMMAGRAD_NONE/dataset.fits.gz -o out", "GAMMAGRAD_NONE is not set"),
        ("ts-map dataset.fits.gz --min-distance '1 TeV' -o out", "--min-distance"),
        ("ts-map dataset.fits.gz --min-distance -1 -o out", "--min-distance"),
        ("ts-map dataset.fits.gz --frobnicate -o out", "--frobnicate"),
        ("ts-map dataset.fits.gz --kernel-widht 1 -o out", "did you mean --kernel-width?"),
        ("ts-map . -o out", "'.' is a folder; expected a file"),
        ("ts-map dataset.fits.gz --kernel 1 -o out", "--kernel"),
        ("ts-map dataset.fits.gz", "-o/--output"),
        ("ts-map dataset.fits.gz -o text.fits", "text.fits is a file"),
        ("info nothing.fits", "nothing.fits"),
        ("info nothing.ecsv", "nothing.ecsv"),
        ("info text.fits", "text.fits"),
        ("info empty.fits", "no map in it"),
        ("info", "FILE"),
        ("demo --npix 3", "40"),
        ("demo --seed x", "--seed"),
        ("demo -o text.fits", "text.fits"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: str,
    words: str,
    folder: Path,
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("dataset.fits.gz", "counts.fits", "exposure.fits"):
        (tmp_path / name).symlink_to(folder / name)
    (tmp_path / "text.fits").write_text("no FITS\n")
    (tmp_path / "wrong.json").write_text(json.dumps({"kernel_wdth": "1 deg"}))
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(*shlex.split(arguments))
    assert code == 2
    assert _is_one_line(errors, arguments.split()[0]), errors
    assert words in errors


@pytest.mark.parametrize("part", ["COUNTS", "EXPOSURE", "BACKGROUND"])
def test_a_dataset_that_lacks_a_part_is_named(
    part: str, folder: Path, run: Run, tmp_path: Path
) -> None:
    file = _without(folder, part, tmp_path / "part.fits")
    code, _, errors = run("ts-map", file, "-o", tmp_path / "out", "-q")
    assert code == 2
    assert _is_one_line(errors)
    assert part.lower() in errors


def test_maps_that_do_not_fit_together_are_named(folder: Path, run: Run, tmp_path: Path) -> None:
    other = tmp_path / "background.fits"
    Map.read(folder / "background.fits").crop(2).write(other)
    code, _, errors = run(
        *("ts-map", "--counts", folder / "counts.fits", "--background", other),
        *("--exposure", folder / "exposure.fits", "-o", tmp_path / "out"),
    )
    assert code == 2
    assert _is_one_line(errors)
    assert "background" in errors


def test_larger_maps_are_cut_out(folder: Path, run: Run, tmp_path: Path) -> None:
    counts, files = folder / "counts.fits", {}
    for name in ("background", "exposure"):
        files[name] = tmp_path / f"{name}.fits"
        Map.read(folder / f"{name}.fits").pad(((3, 0), (2, 5)), mode="edge").write(files[name])
    start = ("ts-map", "--counts", counts, "--psf-sigma", "0.06 deg", *KERNEL, "--no-pictures")
    own = ("--background", folder / "background.fits", "--exposure", folder / "exposure.fits")
    assert run(*start, *own, "-o", tmp_path / "own", "-q") == (0, "", "")
    larger = ("--background", files["background"], "--exposure", files["exposure"])
    code, _, errors = run(*start, *larger, "-o", tmp_path / "larger", "-v")
    assert code == 0
    assert "exposure: cut out 40 x 40 of 47 x 43 pixels, to match counts" in errors
    one, other = (FluxMaps.read(tmp_path / name / "ts-map.fits") for name in ("own", "larger"))
    np.testing.assert_array_equal(one.norm.data, other.norm.data)
    Map.read(folder / "exposure.fits").upsample(2).write(files["exposure"], overwrite=True)
    code, _, errors = run(*start, *larger, "-o", tmp_path / "out")
    assert code == 2
    assert _is_one_line(errors)
    assert "exposure.fits: --exposure does not have the pixels of counts: its pixels are" in errors


@pytest.mark.parametrize("arguments", [(), ("frobnicate",), ("--frobnicate",)])
def test_without_a_command_it_says_which_there_are(arguments: tuple[str, ...], run: Run) -> None:
    code, out, errors = run(*arguments)
    assert (code, out) == (2, "")
    assert errors.count("\n") == 1
    assert "ts-map" in errors or "--help" in errors


def test_an_error_of_the_program_itself_is_not_hidden(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(TSMapEstimator, "run", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["ts-map", str(folder / "dataset.fits.gz"), "-o", str(tmp_path), "-q"])
    assert logging.getLogger("gammagrad").handlers == []


def test_the_origin_of_an_error_is_logged_on_request(run: Run) -> None:
    code, _, errors = run("info", "nothing.fits", "-vv")
    assert code == 2
    assert "Traceback" in errors


def test_a_warning_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def warn(*_: object) -> list[str]:
        warnings.warn("the pixels\nare uneven", UserWarning, stacklevel=2)
        return []

    monkeypatch.setattr("gammagrad.cli.info.describe_file", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, _, errors = run("info", folder / "dataset.fits.gz")
    assert code == 0
    assert errors == "gammagrad: warning: the pixels are uneven\n"


def test_an_interrupt_ends_it_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gammagrad.cli.info.describe_file", stop)
    code, _, errors = run("info", "file")
    assert (code, errors) == (130, "gammagrad info: stopped.\n")


# ---------------------------------------------------------------- info, help


def test_info_says_what_is_in_a_file(folder: Path, result: Path, run: Run) -> None:
    code, text, errors = run("info", folder / "dataset.fits.gz")
    assert (code, errors) == (0, "")
    assert "a map dataset" in text
    assert "2 bins, 1 TeV to 30 TeV" in text

    text = run("info", result / "ts-map.fits")[1]
    for words in ("flux maps", "dataset.fits.gz", "kernel_width", "sqrt_ts", "fitted"):
        assert words in text

    text = run("info", folder / "counts.fits")[1]
    assert "40 x 40 of 0.025 x 0.025 deg" in text
    counts = Map.read(folder / "counts.fits").data
    assert f"{counts.sum():.5g}" in text

    text = run("info", f"{folder / 'dataset.fits.gz'}[exposure]")[1]
    assert "energy_true" in text
    assert "cm2 s" in text

    text = run("info", result / "sources.ecsv", folder / "background.fits")[1]
    assert "a table of sources" in text
    assert "background.fits: a map" in text


def test_info_describes_each_image_of_a_file(folder: Path, run: Run, tmp_path: Path) -> None:
    counts = Map.read(folder / "counts.fits")
    header = counts.geom.to_header()
    hdus = [fits.PrimaryHDU()]
    for name, value in (("COUNTS", 3.0), ("EXPOSURE", 7.0)):
        hdus.append(fits.ImageHDU(np.full(counts.geom.shape_image, value), header, name))
    fits.HDUList(hdus).writeto(tmp_path / "images.fits")
    code, text, errors = run("info", tmp_path / "images.fits")
    assert (code, errors) == (0, "")
    assert "images.fits: 2 maps" in text
    assert text.index("[COUNTS]") < text.index("[EXPOSURE]")
    assert f"{7 * counts.geom.shape_image[0] * counts.geom.shape_image[1]}" in text


def test_info_says_how_wide_a_point_spread_function_is(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    with fits.open(folder / "dataset.fits.gz") as hdus:
        parts = [hdu for hdu in hdus if hdu.name in ("PRIMARY", "PSF", "PSF_BANDS")]
        del parts[0].header["NEXTEND"]
        fits.HDUList(parts).writeto(tmp_path / "psf.fits")
    text = run("info", tmp_path / "psf.fits")[1]
    psf = MapDataset.read(folder / "dataset.fits.gz").psf
    for radius in psf.containment_radius(0.68).to_value("deg"):
        assert f"{radius:.4f}" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_that_parse(command: str, run: Run) -> None:
    code, text, _ = run(command, "--help")
    assert code == 0
    examples = re.sub(r"\\\n\s*", "", text.partition("examples:")[2]).splitlines()
    lines = [line.strip() for line in examples if line.strip().startswith("gammagrad")]
    assert lines
    for line in lines:
        words = shlex.split(line.partition("   ")[0])
        assert make_parser().parse_args(words[1:]).command == command


def test_the_documentation_names_every_option(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")  # so that no line breaks at a hyphen
    page = Path(__file__).parent.parent.parent / "docs" / "command_line.md"
    text = page.read_text(encoding="utf-8")
    for command in COMMANDS:
        for word in run(command, "--help")[1].replace(",", " ").split():
            option = word.partition("=")[0].strip("[].;:()`")
            if option.startswith("--") and option != "--help":
                assert option in text, f"{page.name} does not mention {option} of {command}"


def test_an_option_may_come_before_the_command(result: Path, run: Run) -> None:
    for words in (["-q", "info"], ["info", "-q"]):
        assert run(*words, str(result / "sources.reg")) == (0, "", "")
    code, _, errors = run("-v", "info", "-q", str(result / "sources.reg"))
    assert code == 2
    assert "not allowed with argument" in errors


def test_own_files_of_text_are_described(result: Path, run: Run) -> None:
    regions = run("info", str(result / "sources.reg"))[1]
    sources = QTable.read(result / "sources.ecsv", format="ascii.ecsv")
    assert f"regions for DS9, {len(sources)} of them" in regions
    assert "kernel_width" in run("info", str(result / "config.yaml"))[1]


def test_it_runs_as_a_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gammagrad.cli", "info", "nothing.fits"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert _is_one_line(done.stderr, "info")


# ---------------------------------------------------------------- real data


@pytest.mark.data
def test_the_galactic_centre_is_the_brightest_peak(
    gammapy_data: Path, run: Run, tmp_path: Path
) -> None:
    file = gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz"
    options = ("--kernel-width", "1 deg", "--energy-edges", "10 GeV, 500 GeV")
    code, text, errors = run("ts-map", file, *options, "-o", tmp_path)
    assert (code, errors) == (0, "")
    assert "energy groups : 10 GeV - 500 GeV" in text
    sources = QTable.read(tmp_path / "sources.ecsv", format="ascii.ecsv")
    brightest = SkyCoord(sources["ra"][0], sources["dec"][0])
    assert brightest.separation(GALACTIC_CENTRE).deg < 0.1
    assert sources["sqrt_ts"][0] > 25


def test_files_in_each_others_place_are_warned_of(folder: Path, run: Run, tmp_path: Path) -> None:
    counts, background = folder / "counts.fits", folder / "background.fits"
    seen = Map.read(folder / "exposure.fits")
    exposure = tmp_path / "exposure.fits"  # a file that states no unit, as the Fermi tools write it
    Map(seen.geom, seen.data).write(exposure)
    options = ("--exposure-unit", "cm2 s", "-o", tmp_path / "out", "--overwrite")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for swapped, words in (
            ((counts, exposure, background), "expected a background within a factor of a few"),
            ((background, counts, exposure), "the counts are not whole numbers"),
            ((counts, background, exposure), "there is no PSF"),
        ):
            names = zip(("--counts", "--background", "--exposure"), swapped, strict=True)
            errors = run("ts-map", *(word for pair in names for word in pair), *options)[2]
            assert words in errors, errors


def test_an_output_that_cannot_be_made_says_why(folder: Path, run: Run) -> None:
    code, _, errors = run("ts-map", folder / "dataset.fits.gz", "-o", "/proc/x", "-q")
    assert code == 2
    assert "cannot make the folder '/proc/x'" in errors


def test_values_at_a_position_are_printed(result: Path, run: Run) -> None:
    maps = FluxMaps.read(result / "ts-map.fits")
    there = maps.geom.center_skydir.galactic
    at = f"galactic:{there.l.deg:.3f},{there.b.deg:.3f}"
    code, text, errors = run("info", result / "ts-map.fits", "--at", at)
    assert (code, errors) == (0, "")
    (line,) = [row for row in text.split("At ")[1].splitlines() if row.startswith("flux ")]
    place = SkyCoord(round(there.l.deg, 3), round(there.b.deg, 3), unit="deg", frame="galactic")
    assert float(line.split()[-1]) == pytest.approx(maps["flux"].get(place)[0], rel=1e-4)
    code, text, _ = run("info", result / "sqrt_ts.png")
    assert code != 0
    code, _, errors = run("info", result / "ts-map.fits", "--at", "3")
    assert code != 0
    assert "expected LON,LAT such as 266.4,-29.0" in errors


def test_fluxes_have_a_file_for_other_programs(result: Path) -> None:
    maps = FluxMaps.read(result / "ts-map.fits")
    found = Map.read(result / "flux.fits", hdu="flux")
    np.testing.assert_allclose(found.data, maps["flux"].data, rtol=1e-6)
    assert found.unit.is_equivalent("cm-2 s-1")
