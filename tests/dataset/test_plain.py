"""Datasets from plain maps and plain FITS files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from datasets import make_dataset, make_geom
from gammagrad.dataset import MapDataset
from gammagrad.maps import EDispKernelMap, Map, MapAxis

CUBE = make_geom(npix=(5, 4), nbin=3)
IMAGE = CUBE.to_image()
EDGES = ["1 TeV", "10 TeV"]


def true_map(axis: MapAxis, values: Any, unit: str = "cm2 s") -> Map:
    """Return an exposure that is the same at all positions."""
    geom = IMAGE.to_cube([axis.rename("energy_true")])
    return Map(geom, np.broadcast_to(np.reshape(values, (-1, 1, 1)), geom.data_shape), unit)


def test_images_need_their_energies() -> None:
    with pytest.raises(ValueError, match=r"energy_edges: the counts have no energies; .* such as"):
        MapDataset.from_maps(Map(IMAGE, 1.0))


def test_images_get_one_bin() -> None:
    dataset = MapDataset.from_maps(
        Map(IMAGE, 2.0),
        Map(IMAGE, 1.5),
        Map(IMAGE, 3.0, "m2 s"),
        psf_sigma=0.1,
        mask=Map(IMAGE, True),
        energy_edges=EDGES,
        name="image",
    )
    assert dataset.name == "image"
    assert dataset.geom.data_shape == (1, 4, 5)
    assert np.allclose(dataset.energy_axis.edges.to_value("TeV"), [1, 10])
    exposure = dataset.require("exposure")
    assert exposure.geom.axes.names == ["energy_true"]
    assert exposure.unit == u.Unit("m2 s")
    assert (exposure.data == 3).all()
    assert dataset.mask is not None
    assert dataset.mask.data.all()
    dataset.check()


def test_a_mask_image_goes_for_all_energies() -> None:
    image = np.zeros((4, 5), dtype=bool)
    image[1, 2] = True
    dataset = MapDataset.from_maps(Map(CUBE), mask_fit=Map(IMAGE, image))
    assert np.argwhere(dataset.require("mask_fit").data).tolist() == [[e, 1, 2] for e in range(3)]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"background": Map(IMAGE)}, r"background: 1 energy plane\(s\), but .* has 3 bin\(s\)"),
        (
            {"background": Map(make_geom(npix=(5, 4), nbin=2))},
            r"background: energy bins .* expected the bins of the counts",
        ),
        ({"exposure": Map(IMAGE, 1.0, "m2 s")}, r"exposure: 1 energy plane\(s\), but"),
        (
            {"exposure": Map(CUBE, 1.0)},
            r"exposure_unit: the exposure has no unit; .* such as 'cm2 s'",
        ),
        ({"exposure": Map(CUBE, 1.0, "s")}, r"exposure: unit 's' cannot be converted"),
        ({"energy_edges": EDGES}, r"energy_edges: .* but the counts have .*3 bins"),
        ({"psf_sigma": -0.1}, r"sigma"),
        ({"psf_sigma": [0.1, 0.2]}, r"sigma"),
        ({"psf_sigma": "1 TeV"}, r"psf_sigma: cannot convert"),
        ({"psf_sigma": 0.1, "psf_table": ([0], [1])}, r"psf_sigma and psf_table: expected one"),
        ({"psf_table": [1.0]}, r"psf_table: expected \(rad, values\) or"),
        ({"exposure": np.ones((3, 4, 5))}, r"exposure: expected a gammagrad Map, got ndarray"),
        ({"mask": Map(CUBE, 2)}, r"mask_safe: 2 at .* convert to float for weights"),
    ],
)
def test_what_does_not_fit_is_named(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        MapDataset.from_maps(Map(CUBE, 1.0), **kwargs)


def test_edges_must_be_as_many_as_the_planes() -> None:
    with pytest.raises(ValueError, match=r"counts: 1 energy plane\(s\), but .* 2 bin\(s\)"):
        MapDataset.from_maps(Map(IMAGE), energy_edges=[1, 2, 3])


def test_a_unit_can_be_given_for_an_exposure_that_has_none() -> None:
    dataset = MapDataset.from_maps(
        Map(CUBE), exposure=Map(CUBE, 2.0), exposure_unit="m2 s", energy_edges=None
    )
    assert dataset.require("exposure").unit == u.Unit("m2 s")
    stated = MapDataset.from_maps(Map(CUBE), exposure=Map(CUBE, 2.0, "km2 s"), exposure_unit="m2 s")
    assert stated.require("exposure").unit == u.Unit("km2 s")


def test_an_exposure_on_the_bins_of_the_counts_is_taken_as_it_is() -> None:
    exposure = Map(CUBE, np.arange(60.0).reshape(3, 4, 5), "cm2 s")
    dataset = MapDataset.from_maps(Map(CUBE), exposure=exposure)
    assert np.array_equal(dataset.require("exposure").data, exposure.data)
    axis = dataset.require("exposure").geom.axes["energy_true"]
    assert np.allclose(axis.edges, dataset.energy_axis.edges)


@given(index=st.floats(-3, 3), norm=st.floats(1e8, 1e14))
def test_an_exposure_at_energies_is_interpolated_as_power_laws(index: float, norm: float) -> None:
    nodes = MapAxis.from_nodes([0.8, 1.7, 4.0, 7.0, 12.0], "energy", "TeV", "log")
    exposure = true_map(nodes, norm * nodes.center_in("TeV") ** index)
    dataset = MapDataset.from_maps(Map(CUBE), exposure=exposure)
    edges = dataset.energy_axis.edges_in("TeV")
    expected = norm * np.sqrt(edges[1:] * edges[:-1]) ** index
    found = dataset.require("exposure")
    assert np.allclose(found.data, expected[:, None, None], rtol=1e-9)
    assert np.allclose(found.geom.axes["energy_true"].edges_in("TeV"), edges)


def test_next_to_a_zero_the_exposure_is_a_straight_line_in_log_energy() -> None:
    low, high = CUBE.axes["energy"].edges_in("TeV")[[0, -1]]
    nodes = MapAxis.from_nodes([low, high], "energy", "TeV", "log")
    dataset = MapDataset.from_maps(Map(CUBE), exposure=true_map(nodes, [0.0, 6.0]))
    assert np.allclose(dataset.require("exposure").data[:, 0, 0], [1.0, 3.0, 5.0])


def test_finer_bins_of_the_same_edges_are_kept() -> None:
    fine = CUBE.axes["energy"].upsample(4)
    exposure = true_map(fine, np.arange(1.0, 13.0))
    dataset = MapDataset.from_maps(Map(CUBE), exposure=exposure)
    assert np.array_equal(dataset.require("exposure").data, exposure.data)


def test_other_bins_are_interpolated_unless_there_is_an_energy_dispersion() -> None:
    other = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=6, name="energy_true")
    exposure = true_map(other, np.full(6, 5.0))
    dataset = MapDataset.from_maps(Map(CUBE), exposure=exposure)
    assert dataset.require("exposure").data.shape == (3, 4, 5)
    assert np.allclose(dataset.require("exposure").data, 5.0)
    edisp = EDispKernelMap.from_diagonal(other, CUBE.axes["energy"])
    dataset = MapDataset.from_maps(Map(CUBE), exposure=exposure, edisp=edisp)
    assert dataset.require("exposure").geom.axes["energy_true"] == other


def test_an_exposure_that_does_not_reach_is_an_error() -> None:
    nodes = MapAxis.from_nodes([2.0, 4.0, 9.0], "energy_true", "TeV", "log")
    with pytest.raises(ValueError, match=r"exposure: known from 2 to 9 TeV, but the counts reach"):
        MapDataset.from_maps(Map(CUBE), exposure=true_map(nodes, np.ones(3)))
    one = MapAxis.from_energy_edges([0.5, 20], name="energy_true")
    with pytest.raises(ValueError, match=r"exposure: one energy plane for 3 energy bins"):
        MapDataset.from_maps(Map(CUBE), exposure=true_map(one, [1.0]))


def test_a_tabulated_gaussian_is_the_gaussian() -> None:
    rad = np.linspace(0, 0.6, 400)
    values = np.exp(-0.5 * (rad / 0.1) ** 2) / (2 * np.pi * np.deg2rad(0.1) ** 2)
    exposure = Map(CUBE, 1.0, "m2 s")
    tables: list[Any] = [
        (rad, values),
        (u.Quantity(rad, "deg").to("arcmin"), u.Quantity(values, "sr-1").to("deg-2")),
        (rad, ["1 TeV", "10 TeV"], np.stack([values, values])),
    ]
    gauss = MapDataset.from_maps(Map(CUBE), exposure=exposure, psf_sigma="6 arcmin").psf
    assert gauss is not None
    for table in tables:
        psf = MapDataset.from_maps(Map(CUBE), exposure=exposure, psf_table=table).psf
        assert psf is not None
        radius = psf.containment_radius(0.68).to_value("deg")
        assert np.allclose(radius, 0.1 * np.sqrt(-2 * np.log(0.32)), rtol=0.02)
        profile, wanted = psf.profile(), gauss.profile()
        assert np.allclose(profile.max(axis=1), wanted[0].max(), rtol=1e-3)


def test_a_width_for_each_energy() -> None:
    dataset = MapDataset.from_maps(
        Map(CUBE), exposure=Map(CUBE, 1.0, "m2 s"), psf_sigma=["0.3 deg", "0.2 deg", "0.1 deg"]
    )
    assert dataset.psf is not None
    radius = dataset.psf.containment_radius(0.393).to_value("deg")
    assert np.allclose(radius, [0.3, 0.2, 0.1], rtol=0.05)


# ---------------------------------------------------------------- files


def write_image(path: Path, data: Any, name: str = "", **header: Any) -> None:
    """Add an image with the WCS of IMAGE and nothing of gammagrad's to a file."""
    hdu = fits.ImageHDU(np.asarray(data), IMAGE.to_header(), name=name)
    hdu.header.update(header)
    if not path.exists():
        fits.PrimaryHDU().writeto(path)
    with fits.open(path, mode="append") as hdus:
        hdus.append(hdu)


def test_images_of_one_file_by_the_names_of_their_extensions(tmp_path: Path) -> None:
    path = tmp_path / "all.fits"
    write_image(path, np.full((4, 5), 3, dtype="int16"), "COUNTS", BUNIT="counts")
    write_image(path, np.full((4, 5), 0.5, dtype="float32"), "BKG")
    write_image(path, np.full((4, 5), 7.0), "EXPO", BUNIT="m2 s")
    write_image(path, np.eye(4, 5, dtype="uint8"), "MASK")
    dataset = MapDataset.from_files(
        f"{path}[COUNTS]",
        background=f"{path}[bkg]",
        exposure=f"{path}[3]",
        mask=f"{path}[mask]",
        energy_edges=EDGES,
        psf_sigma=0.2,
    )
    dataset.check()
    assert (dataset.require("counts").data == 3).all()
    assert (dataset.require("background").data == 0.5).all()
    assert (dataset.require("exposure").data == 7).all()
    assert np.array_equal(dataset.require("mask_safe").data[0], np.eye(4, 5, dtype=bool))
    # without a name, the first image of the file
    assert np.array_equal(
        MapDataset.from_files(path, energy_edges=EDGES).require("counts").data,
        dataset.require("counts").data,
    )


def test_a_missing_extension_is_named(tmp_path: Path) -> None:
    path = tmp_path / "one.fits"
    write_image(path, np.ones((4, 5)), "COUNTS")
    with pytest.raises(ValueError, match=r"one.fits\[EXPO\]: no HDU 'EXPO'; there are: .*COUNTS"):
        MapDataset.from_files(path, exposure=f"{path}[EXPO]", energy_edges=EDGES)
    with pytest.raises(FileNotFoundError, match=r"missing\.fits"):
        MapDataset.from_files(tmp_path / "missing.fits")


def gtpsf(path: Path, spoil: Callable[[fits.HDUList], None] | None = None) -> None:
    """Write a Gaussian of 0.2 deg at 1 TeV and 0.1 deg at 10 TeV as gtpsf writes tables."""
    theta = np.linspace(0, 1, 300)
    sigma = np.array([[0.2], [0.1]])
    values = np.exp(-0.5 * (theta / sigma) ** 2) / (2 * np.pi * np.deg2rad(sigma) ** 2)
    psf = fits.BinTableHDU.from_columns(
        [
            fits.Column("Energy", "D", array=[1e6, 1e7]),
            fits.Column("Exposure", "D", array=[1e11, 2e11]),
            fits.Column("Psf", "300D", array=values),
        ],
        name="PSF",
    )
    rad = fits.BinTableHDU.from_columns([fits.Column("Theta", "D", array=theta)], name="THETA")
    hdus = fits.HDUList([fits.PrimaryHDU(), psf, rad])
    if spoil is not None:
        spoil(hdus)
    hdus.writeto(path)


def test_a_psf_of_the_fermi_tools(tmp_path: Path) -> None:
    make_dataset(npix=(5, 4)).require("counts").write(tmp_path / "counts.fits")
    gtpsf(tmp_path / "psf.fits")
    dataset = MapDataset.from_files(tmp_path / "counts.fits", psf=tmp_path / "psf.fits")
    assert dataset.psf is not None
    assert np.allclose(dataset.psf.energy_axis.center_in("TeV"), [1, 10])
    assert np.allclose(dataset.psf.containment(0.2), 1 - np.exp([-0.5, -2.0]), atol=5e-3)
    exposure = dataset.psf.exposure_map
    assert exposure is not None
    assert np.array_equal(exposure.quantity.to_value("cm2 s").ravel(), [1e11, 2e11])


def test_a_psf_map_of_a_dataset(tmp_path: Path) -> None:
    dataset = make_dataset(npix=(5, 4))
    dataset.write(tmp_path / "dataset.fits")
    dataset.require("counts").write(tmp_path / "counts.fits")
    plain = MapDataset.from_files(tmp_path / "counts.fits", psf=tmp_path / "dataset.fits")
    assert plain.psf is not None
    assert dataset.psf is not None
    assert np.array_equal(plain.psf.psf_map.data, dataset.psf.psf_map.data)


def test_a_file_without_psf_says_so(tmp_path: Path) -> None:
    make_dataset(npix=(5, 4)).require("counts").write(tmp_path / "counts.fits")
    with pytest.raises(ValueError, match=r"counts.fits: no point spread function; expected HDUs"):
        MapDataset.from_files(tmp_path / "counts.fits", psf=tmp_path / "counts.fits")

    def rename(hdus: fits.HDUList) -> None:
        hdus["PSF"].columns["Psf"].name = "Density"

    gtpsf(tmp_path / "psf.fits", rename)
    with pytest.raises(ValueError, match=r"extension PSF: no column psf; there are Energy"):
        MapDataset.from_files(tmp_path / "counts.fits", psf=tmp_path / "psf.fits")


@pytest.mark.data
def test_the_files_of_fermi(gammapy_data: Path) -> None:
    folder = gammapy_data / "fermi-3fhl-gc"
    stem = str(folder / "fermi-3fhl-gc-{}-cube.fits.gz")
    plain = MapDataset.from_files(
        stem.format("counts"),
        background=stem.format("background"),
        exposure=stem.format("exposure"),
        psf=stem.format("psf"),
        name="fermi",
    )
    plain.check()
    reduced = MapDataset.read(folder / "fermi-3fhl-gc.fits.gz")
    assert np.array_equal(plain.require("counts").data, reduced.require("counts").data)
    assert np.allclose(
        plain.require("background").data, reduced.require("background").data, rtol=1e-6
    )
    nodes = reduced.require("exposure").to_unit("cm2 s").data
    between = np.sqrt(nodes[1:] * nodes[:-1])
    assert np.allclose(plain.require("exposure").quantity.to_value("cm2 s"), between, rtol=1e-6)
    assert plain.psf is not None
    assert reduced.psf is not None
    ours = plain.psf.psf_map.quantity.to_value("sr-1")
    theirs = reduced.psf.psf_map.quantity.to_value("sr-1")  # not as far out
    assert np.allclose(ours[:, : theirs.shape[1]], theirs, rtol=1e-9)
    assert plain.gti is not None
    assert len(plain.gti) == 38961


@pytest.mark.data
def test_the_images_of_a_file(gammapy_data: Path) -> None:
    path = gammapy_data / "tests/unbundled/poisson_stats_image/input_all.fits.gz"
    files = {name: f"{path}[{name}]" for name in ("background", "exposure")}
    with pytest.raises(ValueError, match=r"exposure_unit: the exposure has no unit"):
        MapDataset.from_files(f"{path}[counts]", **files, energy_edges=EDGES)
    dataset = MapDataset.from_files(
        f"{path}[counts]", **files, energy_edges=EDGES, exposure_unit="cm2 s"
    )
    dataset.check()
    assert dataset.require("counts").data.sum() == 40896


def test_names_of_files_may_have_environment_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_DATA", str(tmp_path))
    dataset = make_dataset(npix=(5, 4), nbin=2, name="field")
    dataset.write("$MY_DATA/dataset.fits")
    assert (tmp_path / "dataset.fits").is_file()
    read = MapDataset.read("${MY_DATA}/dataset.fits")
    assert np.array_equal(read.require("counts").data, dataset.require("counts").data)
    dataset.require("counts").write("$MY_DATA/counts.fits")
    read = MapDataset.from_files("$MY_DATA/counts.fits")
    assert np.array_equal(read.require("counts").data, dataset.require("counts").data)
    monkeypatch.delenv("MY_DATA")
    for reader in (MapDataset.read, MapDataset.from_files):
        with pytest.raises(FileNotFoundError, match="environment variable MY_DATA is not set"):
            reader("$MY_DATA/dataset.fits")
