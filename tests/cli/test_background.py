"""`gammagrad background`, and `--exclude` of `gammagrad ts-map`."""

from __future__ import annotations

import argparse
import shlex
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u

from gammagrad import FluxMaps, KernelBackgroundEstimator, Map, MapDataset, exclusion_mask
from gammagrad.cli.background_options import add_background_options
from gammagrad.estimators.background_norm import fit_background_norm
from gammagrad.maps import disc_kernel

Run = Callable[..., tuple[int, str, str]]
KERNELS = ("--source-radius", "0.05", "--ring-radius", "0.15", "--ring-width", "0.1 deg")


def estimator(counts: Map, **settings: object) -> KernelBackgroundEstimator:
    """Return the estimator that KERNELS describe."""
    ring = disc_kernel(counts.geom, 0.25, 0.15)
    return KernelBackgroundEstimator(disc_kernel(counts.geom, 0.05), ring, **settings)


def test_it_writes_what_the_estimator_returns(folder: Path, run: Run, tmp_path: Path) -> None:
    code, text, errors = run("background", folder / "counts.fits", *KERNELS, "-o", tmp_path)
    assert (code, errors) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("background.fits", "exclusion.fits", "exclusion.reg", "significance.fits"),
        *("exclusion.png", "iterations.png", "histogram.png"),
    }
    counts = Map.read(folder / "counts.fits")
    own = estimator(counts, keep_record=True)
    expected = own.run({"counts": counts})
    for name in ("background", "exclusion", "significance"):
        found = Map.read(tmp_path / f"{name}.fits")
        np.testing.assert_allclose(found.data, expected[name].data, rtol=1e-12, atol=1e-12)
        assert found.meta["input"] == "counts.fits"
        assert found.meta["niter"] == own.report.niter
    assert str(own.report) in text
    rows = [line.split() for line in text.splitlines() if "+" in line and "mean" not in line]
    assert [int(row[1]) for row in rows] == list(own.report.n_excluded)
    assert [row[0] for row in rows] == ["start", *map(str, range(1, own.report.niter + 1))]
    assert "Significance of the pixels kept: mean" in text


def test_regions_written_are_the_mask(folder: Path, run: Run, tmp_path: Path) -> None:
    pytest.importorskip("regions")
    run("background", folder / "counts.fits", *KERNELS, "--no-pictures", "-q", "-o", tmp_path)
    mask = Map.read(tmp_path / "exclusion.fits")
    found = exclusion_mask(mask.geom.to_image(), regions=tmp_path / "exclusion.reg")
    np.testing.assert_array_equal(found.data, mask.data.astype(bool))


def test_a_dataset_gives_acceptance_mask_and_gets_the_background(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    dataset = MapDataset.read(folder / "dataset.fits.gz")
    dataset.mask_safe = Map(dataset.geom, np.ones(dataset.geom.data_shape, bool))
    dataset.mask_safe.data[:, :, :3] = False
    dataset.mask_safe.data[0, :5] = False
    dataset.write(tmp_path / "masked.fits.gz")
    options = (*KERNELS, "--write-dataset", "--record", "--no-pictures", "-o", tmp_path / "out")
    acceptance = ("--acceptance", "background")
    code, text, errors = run("background", tmp_path / "masked.fits.gz", *options, *acceptance)
    assert (code, errors) == (0, "")
    background = Map.read(tmp_path / "out" / "background.fits")
    assert "dataset.fits.gz" in text
    written = MapDataset.read(tmp_path / "out" / "dataset.fits.gz")
    np.testing.assert_allclose(written.background.data, background.data)
    np.testing.assert_array_equal(written.counts.data, dataset.counts.data)
    # in each energy bin: the ratio of counts to background model in the ring, of what is used
    mask = Map.read(tmp_path / "out" / "exclusion.fits").data.astype(bool)
    ring = disc_kernel(dataset.geom, 0.25, 0.15)
    row, col, half = 20, 25, ring.shape[0] // 2
    window = (slice(row - half, row + half + 1), slice(col - half, col + half + 1))
    weight = ring * mask[window]
    for i in range(2):
        model = dataset.background.data[i]
        used = weight * dataset.mask_safe.data[i][window]
        ratio = (used * dataset.counts.data[i][window]).sum() / (used * model[window]).sum()
        assert background.data[i, row, col] == pytest.approx(ratio * model[row, col])
    record = Map.read(tmp_path / "out" / "record.fits", hdu="EXCLUSION")
    np.testing.assert_array_equal(record.data[-1].astype(bool), mask)
    assert record.data[0].all()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        _, _, errors = run(
            *("background", tmp_path / "masked.fits.gz", *KERNELS, "--no-pictures"),
            *("-o", tmp_path / "two"),
        )
    assert "leaves out some energies of some pixels only" in errors


def test_acceptances_are_those_of_the_dataset_or_a_map(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    data = folder / "dataset.fits.gz"
    sums = {}
    for what in ("exposure", "background", str(folder / "background.fits")):
        out = tmp_path / Path(what).stem
        code, _, errors = run(
            "background", data, *KERNELS, "--acceptance", what, "-q", "--no-pictures", "-o", out,
            "--overwrite",
        )  # fmt: skip
        assert (code, errors) == (0, "")
        sums[what] = Map.read(out / "background.fits").data
    np.testing.assert_allclose(sums["background"], sums[str(folder / "background.fits")])
    # the exposure of the simulated field is flat
    dataset = MapDataset.read(data)
    flat = estimator(dataset.counts).run({"counts": dataset.counts})["background"].data
    np.testing.assert_allclose(sums["exposure"], flat, rtol=0.2)


def test_the_loop_can_start_from_areas_and_a_background(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    counts = Map.read(folder / "counts.fits")
    lon, lat = counts.geom.center_lonlat
    start = exclusion_mask(counts.geom.to_image(), circles=[(lon, lat, 0.1)])
    options = (*KERNELS, "--exclude", f"{lon},{lat},0.1", "--mask-update", "grow", "--niter-max")
    for niter in (0, 3):
        code, text, errors = run(
            *(
                "background",
                folder / "counts.fits",
                *options,
                niter,
                "--no-pictures",
                "--overwrite",
            ),
            *("--background", folder / "background.fits", "--dilation", "0.03", "-o", tmp_path),
        )
        assert (code, errors) == (0, "")
        mask = Map.read(tmp_path / "exclusion.fits").data.astype(bool)
        assert not mask[~start.data].any()
        if niter == 0:
            np.testing.assert_array_equal(mask, start.data)
            given = Map.read(folder / "background.fits").data
            np.testing.assert_allclose(Map.read(tmp_path / "background.fits").data, given)
            assert "No iteration was done" in text


def test_a_map_without_sources_has_no_region_file(run: Run, tmp_path: Path) -> None:
    counts = Map.create(npix=40, binsz=0.025, skydir=(83.6, 22), proj="TAN") + 4.0
    counts.write(tmp_path / "counts.fits")
    out = tmp_path / "out"
    out.mkdir()
    (out / "exclusion.reg").write_text("icrs\ncircle(1,2,3)\n")
    code, text, errors = run(
        *("background", tmp_path / "counts.fits", *KERNELS, "-o", out, "--overwrite"),
        "--no-pictures",
    )
    assert (code, errors) == (0, "")
    assert "0 of 1600 pixels are excluded" in text
    assert not (out / "exclusion.reg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("background", "FILE"),
        ("background counts.fits", "-o/--output"),
        ("background nothing.fits -o out", "nothing.fits"),
        ("background counts.fits -o out", "--ring-radius, --ring-width: expected a kernel that"),
        ("background counts.fits --source-radius 0 -o out", "positive angle"),
        ("background counts.fits --ring-radius 0.11 --ring-width 0.001 -o out", "make it wider"),
        ("background counts.fits K --threshold x -o out", "--threshold"),
        ("background counts.fits K --threshold-low 7 -o out", "--threshold-low: expected at most"),
        ("background counts.fits K --dilation '1 TeV' -o out", "--dilation"),
        ("background counts.fits K --dilation 5 -o out", "--dilation: expected a radius within"),
        ("background counts.fits K --niter-max -1 -o out", "--niter-max"),
        ("background counts.fits K --mask-update x -o out", "--mask-update"),
        ("background counts.fits K --acceptance background -o out", "--acceptance background"),
        ("background counts.fits K --acceptance nothing.fits -o out", "nothing.fits"),
        ("background counts.fits K --background small.fits -o out", "pixels of the counts"),
        ("background counts.fits K --write-dataset -o out", "not a map dataset"),
        ("background counts.fits K --exclude nothing.reg -o out", "nothing.reg"),
        ("ts-map dataset.fits.gz --exclude 1,2 -o out", "--exclude 1,2: expected"),
        ("ts-map dataset.fits.gz --exclude 0,0,180 -o out", "no background is left"),
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
    if "nothing.reg" in arguments:
        pytest.importorskip("regions")
    for name in ("dataset.fits.gz", "counts.fits"):
        (tmp_path / name).symlink_to(folder / name)
    Map.read(folder / "background.fits").crop(2).write(tmp_path / "small.fits")
    monkeypatch.chdir(tmp_path)
    kernels = shlex.join(KERNELS)
    code, _, errors = run(*shlex.split(arguments.replace(" K ", f" {kernels} ")))
    assert code == 2
    assert errors.startswith(f"gammagrad {arguments.split()[0]}: error: ")
    assert errors.count("\n") == 1
    assert words in errors


def test_results_are_replaced_only_on_request(folder: Path, run: Run, tmp_path: Path) -> None:
    arguments = ("background", folder / "counts.fits", *KERNELS, "--no-pictures", "-o", tmp_path)
    assert run(*arguments, "-q") == (0, "", "")
    code, _, errors = run(*arguments)
    assert code == 2
    assert "--overwrite" in errors
    assert run(*arguments, "--overwrite")[0] == 0


def test_ts_map_fits_the_norm_of_the_background_outside_of_areas(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    dataset = MapDataset.read(folder / "dataset.fits.gz")
    lon, lat = dataset.geom.center_lonlat
    exclusion = exclusion_mask(dataset.geom.to_image(), circles=[(lon, lat, 0.3)])
    fit = fit_background_norm(dataset, exclusion)
    code, text, errors = run(
        *("ts-map", folder / "dataset.fits.gz", "--kernel-width", "0.4 deg", "--no-pictures"),
        *("--exclude", f"{lon},{lat},0.3", "-o", tmp_path / "first"),
    )
    assert (code, errors) == (0, "")
    assert f"norm {fit.norm:.4f} +- {fit.norm_err:.4f} outside" in text
    scaled = fit.apply(dataset)
    scaled.write(tmp_path / "scaled.fits.gz")
    run(
        *("ts-map", tmp_path / "scaled.fits.gz", "--kernel-width", "0.4 deg", "--no-pictures"),
        *("-q", "-o", tmp_path / "second"),
    )
    first, second = (FluxMaps.read(tmp_path / n / "ts-map.fits") for n in ("first", "second"))
    np.testing.assert_allclose(first["ts"].data, second["ts"].data, rtol=1e-4, atol=1e-4)
    assert first.meta["background_norm"] == [pytest.approx(fit.norm)]
    # the area itself stays in the map
    assert np.isfinite(first["ts"].data).all()


@pytest.mark.parametrize("text", ["0", "0.0", "0 deg", "0.0deg"])
def test_no_dilation(text: str) -> None:
    parser = argparse.ArgumentParser()
    add_background_options(parser)
    assert parser.parse_args(["--dilation", text]).mask_dilation_radius == 0 * u.deg


def test_a_mask_keeps_what_was_not_seen_out_of_the_ring(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    counts = Map.read(folder / "counts.fits")
    seen = Map(counts.geom.to_image(), np.ones(counts.geom.shape_image))
    seen.data[:, 25:] = 0
    counts.data = np.where(seen.data > 0, counts.data, 0.0)
    counts.write(tmp_path / "counts.fits")
    seen.write(tmp_path / "seen.fits")
    out = tmp_path / "out"
    options = (*KERNELS, "--no-pictures", "-o", out, "--overwrite")
    assert run("background", tmp_path / "counts.fits", *options)[0] == 0
    without = Map.read(out / "background.fits").data
    masked = (*options, "--mask", tmp_path / "seen.fits")
    assert run("background", tmp_path / "counts.fits", *masked)[0] == 0
    found = Map.read(out / "background.fits").data
    expected = estimator(counts).run({"counts": counts, "mask": seen})["background"].data
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[:, :, 22:25].sum() > 1.2 * without[:, :, 22:25].sum()


def test_a_suspicious_distribution_gets_a_hint(folder: Path, run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    counts = Map.read(folder / "counts.fits")
    counts.data = rng.poisson(np.where(np.arange(40) < 25, 3.0, 0.3), counts.data.shape).astype(
        float
    )
    counts.write(tmp_path / "counts.fits")
    kernels = ("--source-radius", "0.05", "--ring-radius", "0.2", "--ring-width", "0.2")
    never = ("--threshold", "50")
    code, text, _ = run(
        "background", tmp_path / "counts.fits", *kernels, *never, "--no-pictures", "-o", tmp_path
    )
    assert code == 0
    assert "The width is above 1: the background lacks structure" in text
