"""Figures of a result: their panels, what they mark, and the files they become."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import QTable

from gammagrad import FluxMaps, Map
from gammagrad.maps import MapAxis
from gammagrad.models import PowerLawSpectralModel
from gammagrad.plot import draw_to_files, picture_names, plot_overview, save_figure, write_pictures
from gammagrad.plot.overview import PICTURES


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def make_maps(npix: tuple[int, int], nbin: int = 1) -> FluxMaps:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=nbin)
    norm = Map.create(npix=npix, binsz=0.1, frame="galactic", axes=[axis])
    rng = np.random.default_rng(0)
    norm.data = rng.normal(size=norm.data.shape)
    ts = Map(norm.geom, np.sign(norm.data) * norm.data**2)
    ts.data[0, 5, 5] = 400.0
    return FluxMaps({"ts": ts, "norm": norm}, PowerLawSpectralModel(2, 1e-12))


def table(maps: FluxMaps) -> QTable:
    position = maps.geom.to_image().pix_to_sky(5.0, 5.0).icrs
    sources = QTable()
    sources["name"] = ["known"]
    sources["ra"], sources["dec"] = [position.ra.deg] * u.deg, [position.dec.deg] * u.deg
    return sources


@pytest.mark.parametrize(("npix", "wide"), [((30, 30), False), ((60, 20), True)])
def test_an_overview_has_three_panels_in_a_shape_that_suits(
    npix: tuple[int, int], wide: bool
) -> None:
    maps = make_maps(npix)
    figure = plot_overview(maps, maps.find_peaks(10), title="what it is")
    width, height = figure.get_size_inches()
    titles = {ax.get_title() for ax in figure.axes if ax.get_title()}
    assert bool(width < height) is wide
    assert len(titles) == 3
    assert figure.get_suptitle() == "what it is"


def test_known_sources_are_named_in_place_of_the_peaks() -> None:
    maps = make_maps((30, 30))
    peaks = maps.find_peaks(10)
    with_names = plot_overview(maps, peaks)
    with_truth = plot_overview(maps, peaks, truth=table(maps))
    texts = [{text.get_text() for text in f.axes[0].texts} for f in (with_names, with_truth)]
    assert str(peaks["name"][0]) in texts[0]
    assert "known" in texts[1]
    assert str(peaks["name"][0]) not in texts[1]


def test_the_distribution_is_not_squeezed_by_a_bright_source() -> None:
    maps = make_maps((30, 30))
    figure = plot_overview(maps)
    histogram = next(ax for ax in figure.axes if "Distribution" in ax.get_title())
    assert histogram.get_xlim()[1] <= 12 < 20


@pytest.mark.parametrize("nbin", [1, 2])
def test_pictures_are_files_and_replaced_only_on_request(nbin: int, tmp_path: Path) -> None:
    maps = make_maps((30, 20), nbin)
    files = write_pictures(maps, tmp_path, maps.find_peaks(10))
    assert [file.name for file in files] == ["sqrt_ts.png", "flux.png", "histogram.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    assert sorted(tmp_path.iterdir()) == sorted(files)  # no temporary file stays
    assert plt.get_fignums() == []
    with pytest.raises(FileExistsError, match="overwrite"):
        write_pictures(maps, tmp_path)
    write_pictures(maps, tmp_path, overwrite=True, names=["flux"])


def test_a_figure_needs_a_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        save_figure(plt.figure(), tmp_path / "nowhere" / "a.png")


def test_a_figure_that_cannot_be_drawn_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="blob"):
        save_figure(plt.figure(), tmp_path / "a.blob")
    assert list(tmp_path.iterdir()) == []
    assert plt.get_fignums() == []


def test_a_backend_in_use_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plt.get_backend()
    draw_to_files()
    assert plt.get_backend() == before
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot")
    with pytest.raises(ImportError, match=r"gammagrad\[plot\]"):
        draw_to_files()


def test_what_is_computed_on_request_has_its_picture(tmp_path: Path) -> None:
    assert picture_names([]) == PICTURES
    names = picture_names(["errn-errp", "ul", "sensitivity", "stat_scan"])
    assert names == (*PICTURES, "flux_ul", "flux_sensitivity", "profile")
    maps = make_maps((30, 20), 2)
    data = dict(maps._data)
    for name in ("norm_ul", "norm_sensitivity"):
        data[name] = Map(maps.geom, 1 + np.abs(maps.norm.data))
    axis = MapAxis.from_nodes(np.linspace(-30, 30, 121), name="norm")
    geom = maps.geom.to_image().to_cube([axis, maps.energy_axis])
    x = axis.center.value[None, :, None, None]
    data["stat_scan"] = Map(geom, x**2 - 2 * x * maps.norm.data[:, None])
    maps = FluxMaps(data, maps.reference_model, {"n_sigma": 1, "n_sigma_ul": 2})
    files = write_pictures(maps, tmp_path, names=names[3:])
    assert [file.name for file in files] == ["flux_ul.png", "flux_sensitivity.png", "profile.png"]
    assert all(file.stat().st_size > 5000 for file in files)
