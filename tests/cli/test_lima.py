"""`gammagrad lima`: what it writes is what the function returns, and areas can be left out."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table

from gammagrad import Map, MapDataset, exclusion_mask, lima_maps, write_regions
from gammagrad.io import file_sha256
from gammagrad.maps import MapAxis

Run = Callable[..., tuple[int, str, str]]
RADIUS = ("--radius", "0.06 deg")


def test_the_maps_are_those_of_the_function(folder: Path, run: Run, tmp_path: Path) -> None:
    file = folder / "dataset.fits.gz"
    code, text, errors = run("lima", file, *RADIUS, "-o", tmp_path)
    assert (code, errors) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("lima.fits", "sqrt_ts.png", "histogram.png")
    }
    dataset = MapDataset.read(file)
    expected = lima_maps(
        dataset.counts, dataset.npred(), 0.06, mask=dataset.mask, sum_over_energy=True
    )
    for name, m in expected.items():
        found = Map.read(tmp_path / "lima.fits", hdu=name.upper())
        np.testing.assert_array_equal(found.data, m.data)
        assert found.meta["correlation_radius"] == "0.06 deg"
        assert found.meta["input_sha256"] == file_sha256(file)
    largest = np.nanmax(expected["sqrt_ts"].data)
    assert f"largest       : {largest:.2f} sigma at RA" in text
    assert "taken as known" in text
    assert "distribution  : mean " in text


def test_plain_maps_and_each_energy(folder: Path, run: Run, tmp_path: Path) -> None:
    counts, background = (folder / f"{name}.fits" for name in ("counts", "background"))
    options = ("--background", background, "--no-sum-over-energy", "--no-pictures")
    code, text, errors = run("lima", counts, "--radius", "3 pix", *options, "-o", tmp_path)
    assert (code, errors) == (0, "")
    expected = lima_maps(Map.read(counts), Map.read(background), "3 pix")
    found = Map.read(tmp_path / "lima.fits", hdu="SQRT_TS")
    np.testing.assert_array_equal(found.data, expected["sqrt_ts"].data)
    assert text.count("largest ") == 2
    assert "radius 3 pix, 29 pixels" in text
    # the two bins are summed without a word on it
    run("lima", counts, *RADIUS, "--background", background, "--overwrite", "-q", "-o", tmp_path)
    assert Map.read(tmp_path / "lima.fits", hdu="SQRT_TS").data.shape == (1, 40, 40)


def test_off_counts(folder: Path, run: Run, tmp_path: Path) -> None:
    counts = Map.read(folder / "counts.fits")
    off = {"counts_off": counts + 4.0, "acceptance": counts * 0 + 1.0}
    off["acceptance_off"] = off["acceptance"] * 9.0
    options: list[str | Path] = ["--no-sum-over-energy", "--no-pictures", "-o", tmp_path]
    for name, m in off.items():
        m.write(tmp_path / f"{name}.fits")
        options += ["--" + name.replace("_", "-"), tmp_path / f"{name}.fits"]
    for more in ((), ("--correlate-off",)):
        code, text, errors = run(
            "lima", folder / "counts.fits", *RADIUS, *options, *more, "--overwrite"
        )
        assert (code, errors) == (0, "")
        assert "its error counted" in text
        expected = lima_maps(counts, None, 0.06, **off, correlate_off=bool(more))
        for name in ("sqrt_ts", "alpha"):
            found = Map.read(tmp_path / "lima.fits", hdu=name.upper())
            np.testing.assert_array_equal(found.data, expected[name].data)


def test_areas_are_left_out_of_the_distribution_not_of_the_maps(
    folder: Path, run: Run, tmp_path: Path
) -> None:
    file = folder / "dataset.fits.gz"
    geom = MapDataset.read(file).geom.to_image()
    lon, lat = geom.center_lonlat
    mask = exclusion_mask(geom, circles=[(lon, lat, 0.2)])
    mask.write(tmp_path / "mask.fits")
    Table({"ra": [geom.center_skydir.icrs.ra.deg], "dec": [geom.center_skydir.icrs.dec.deg]}).write(
        tmp_path / "sources.csv", format="ascii.csv"
    )
    areas = [
        (f"{lon},{lat},0.2",),
        (str(tmp_path / "mask.fits"),),
        (f"icrs:{geom.center_skydir.icrs.ra.deg},{geom.center_skydir.icrs.dec.deg},0.2",),
        (str(tmp_path / "sources.csv"), "--exclude-radius", "0.2"),
    ]
    try:
        import regions  # noqa: F401

        write_regions(mask, tmp_path / "areas.reg")
        areas.append((str(tmp_path / "areas.reg"),))
    except ImportError:
        pass
    seen = set()
    options = (*RADIUS, "--no-pictures", "--overwrite", "-o", tmp_path / "out")
    for area in areas:
        code, text, errors = run("lima", file, *options, "--exclude", *area)
        assert (code, errors) == (0, "")
        assert f"({int(mask.data.sum())} pixels, worth" in text
        seen.add(next(line for line in text.splitlines() if line.startswith("distribution")))
    assert len(seen) == 1
    assert "outside of the excluded areas" in seen.pop()
    assert np.isfinite(Map.read(tmp_path / "out" / "lima.fits", hdu="SQRT_TS").data).all()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("lima counts.fits -o out", "--radius"),
        ("lima counts.fits --radius 0.1 -o out", "give --background"),
        ("lima nothing.fits --radius 0.1 -o out", "nothing.fits"),
        ("lima dataset.fits.gz --radius x -o out", "'0.1 deg'"),
        ("lima dataset.fits.gz --radius '-3 pix' -o out", "expected such as '5 pix'"),
        ("lima dataset.fits.gz --radius 1 --correlate-off -o out", "goes with --counts-off"),
        ("lima dataset.fits.gz --radius 1 --counts-off counts.fits -o out", "go together"),
        ("lima dataset.fits.gz --radius 1 --background small.fits -o out", "pixels of the counts"),
        ("lima dataset.fits.gz --radius 1 --exclude what -o out", "--exclude what: expected"),
        ("lima dataset.fits.gz --radius 1 --exclude 1,2,x -o out", "3 numbers in deg"),
        ("lima dataset.fits.gz --radius 1 --exclude 1,95,3 -o out", "latitudes from -90 to 90"),
        ("lima dataset.fits.gz --radius 1 --exclude x:1,2,3 -o out", "'x' is no frame"),
        ("lima dataset.fits.gz --radius 1 --exclude nothing.fits -o out", "nothing.fits"),
        ("lima dataset.fits.gz --radius 1 --exclude sources.csv -o out", "--exclude-radius"),
        ("lima dataset.fits.gz --radius 1 --exclude-radius 1 -o out", "goes with --exclude"),
        ("lima dataset.fits.gz --radius 1 --exclude small.fits -o out", "pixels of the counts"),
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
    for name in ("dataset.fits.gz", "counts.fits"):
        (tmp_path / name).symlink_to(folder / name)
    Map.read(folder / "background.fits").crop(2).write(tmp_path / "small.fits")
    (tmp_path / "sources.csv").write_text("ra,dec\n1,2\n")
    monkeypatch.chdir(tmp_path)
    code, _, errors = run(*shlex.split(arguments))
    assert code == 2
    assert errors.startswith("gammagrad lima: error: ")
    assert errors.count("\n") == 1
    assert words in errors
    assert not (tmp_path / "out").exists()


def test_results_are_replaced_only_on_request(folder: Path, run: Run, tmp_path: Path) -> None:
    arguments = ("lima", folder / "dataset.fits.gz", *RADIUS, "--no-pictures", "-o", tmp_path)
    assert run(*arguments)[0] == 0
    code, _, errors = run(*arguments)
    assert code == 2
    assert "--overwrite" in errors
    assert run(*arguments, "--overwrite")[0] == 0


def test_areas_that_leave_nothing(folder: Path, run: Run, tmp_path: Path) -> None:
    place = Map.read(folder / "counts.fits").geom.center_skydir.icrs
    area = f"icrs:{place.ra.deg},{place.dec.deg},20"
    dataset = folder / "dataset.fits.gz"
    code, text, errors = run("lima", dataset, *RADIUS, "--exclude", area, "-o", tmp_path)
    assert (code, errors) == (0, "")
    assert "distribution  : none outside of the excluded areas" in text
    assert "Wrote lima.fits, sqrt_ts.png into" in text
    assert not (tmp_path / "histogram.png").exists()


def test_larger_maps_are_cut_out(folder: Path, run: Run, tmp_path: Path) -> None:
    counts, background, mask = folder / "counts.fits", tmp_path / "b.fits", tmp_path / "mask.fits"
    Map.read(folder / "background.fits").pad(3, mode="edge").write(background)
    kept = Map.read(counts) >= 0
    kept.data[:, :9] = False
    kept.pad(((0, 2), (4, 1)), cval=1).image().write(mask)
    options = ("--background", background, "--mask", mask, "--exclude", mask, "--no-pictures")
    code, _, errors = run("lima", counts, *RADIUS, *options, "-o", tmp_path / "out")
    assert (code, errors) == (0, "")
    expected = lima_maps(
        Map.read(counts),
        Map.read(folder / "background.fits"),
        0.06,
        mask=kept,
        sum_over_energy=True,
    )
    found = Map.read(tmp_path / "out" / "lima.fits", hdu="SQRT_TS")
    np.testing.assert_array_equal(found.data, expected["sqrt_ts"].data)
    Map.read(background).downsample(2).write(background, overwrite=True)
    code, _, errors = run("lima", counts, *RADIUS, *options, "-o", tmp_path / "other")
    assert code == 2
    assert "b.fits does not have the pixels of the counts: its pixels are" in errors


def test_a_background_of_other_energies(folder: Path, run: Run, tmp_path: Path) -> None:
    background = Map.read(folder / "background.fits")
    axis = MapAxis.from_energy_bounds("100 TeV", "900 TeV", nbin=2)
    file = tmp_path / "other.fits"
    Map(background.geom.to_image().to_cube([axis]), background.data).write(file)
    options = ("--background", file, "-o", tmp_path / "out")
    code, _, errors = run("lima", folder / "counts.fits", *RADIUS, *options)
    assert code == 2
    assert "background: expected the geometry of counts" in errors
