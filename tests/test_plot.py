"""Pictures: what they show, checked on the objects drawn, and the numbers behind them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammagrad.core.norm import Status
from gammagrad.dataset import MapDataset
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps import Map, MapAxis, RegionGeom
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel
from gammagrad.plot import plot_significance_histogram, residual_map
from gammagrad.plot.scales import asinh_ticks, auto_stretch, colour_scale, tick_text

plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    yield
    plt.close("all")


def make_maps(nbin: int = 2, frame: str = "galactic", peak: float = 900.0) -> FluxMaps:
    axis = MapAxis.from_energy_bounds("10 GeV", "1 TeV", nbin=nbin)
    norm = Map.create(npix=(40, 30), binsz=0.1, skydir=(10, 20), frame=frame, axes=[axis])
    norm.data = np.random.default_rng(0).normal(size=norm.data.shape)
    norm.data[:, :2] = np.nan
    ts = Map.from_geom(norm.geom, data=norm.data * abs(norm.data))
    ts.data[0, 15, 10] = peak
    status = Map.from_geom(norm.geom, data=np.full(norm.data.shape, 2, dtype=np.int8))
    data = {"norm": norm, "ts": ts, "status": status}
    shape = PointSpatialModel(lon_0="10 deg", lat_0="20 deg", frame=frame)
    return FluxMaps(data, SkyModel(PowerLawSpectralModel(), shape))


def bars(ax: Any) -> list[Any]:
    """Return the axes of the colour bars in a figure."""
    return [a for a in ax.figure.axes if not hasattr(a, "coords")]


# maps on the sky


def test_one_panel_for_each_energy_group() -> None:
    axes = make_maps(nbin=4).plot()
    assert axes.shape == (4,)
    assert axes[0].get_title() == "10 \N{EN DASH} 31.6 GeV"
    assert axes[3].get_title() == "0.316 \N{EN DASH} 1 TeV"
    norms = [ax.images[0].norm for ax in axes]
    assert len({(n.vmin, n.vmax) for n in norms}) == 1
    assert len(bars(axes[0])) == 1
    some = make_maps(nbin=4).plot("flux", energy=[1, -1])
    assert [ax.get_title() for ax in some] == [axes[1].get_title(), axes[3].get_title()]
    assert len(bars(some[0])) == 2


@pytest.mark.parametrize(
    ("frame", "labels"),
    [
        ("galactic", ["Galactic longitude [deg]", "Galactic latitude [deg]"]),
        ("icrs", ["Right ascension (ICRS)", "Declination (ICRS)"]),
    ],
)
def test_labels_and_units(frame: str, labels: list[str]) -> None:
    maps = make_maps(frame=frame)
    ax = maps.plot("flux", energy=0)
    assert [coord.get_axislabel() for coord in ax.coords] == labels
    assert bars(ax)[0].get_ylabel() == "flux [$\\mathrm{s^{-1}\\,cm^{-2}}$]"
    ax = maps.plot(energy=0)
    assert bars(ax)[0].get_ylabel() == r"significance $\sqrt{\mathrm{TS}}$"
    ax = maps.plot(energy=0, label="words", title="title")
    assert bars(ax)[0].get_ylabel() == "words"
    assert ax.get_title() == "title"


def test_picture_shows_the_data_where_it_is() -> None:
    maps = make_maps()
    ax = maps.plot(energy=0)
    shown = ax.images[0].get_array()
    assert np.array_equal(shown.mask, np.isnan(maps.sqrt_ts.data[0]))
    assert shown[15, 10] == 30
    x, y = ax.wcs.world_to_pixel(maps.geom.center_skydir)
    assert (x, y) == pytest.approx(maps.geom.center_pix)


@pytest.mark.parametrize("npix", [(40, 8), (20, 20), (8, 40)])
def test_colour_bar_is_as_high_as_the_picture(npix: tuple[int, int]) -> None:
    m = Map.create(npix=npix, binsz=0.1, skydir=(10, 20))
    m.data = np.arange(m.data.size, dtype=float).reshape(m.data.shape)
    ax = m.plot()
    ax.figure.canvas.draw()
    picture, bar = ax.get_position(), bars(ax)[0].get_position()
    assert bar.y0 == pytest.approx(picture.y0, abs=1e-6)
    assert bar.height == pytest.approx(picture.height, rel=1e-6)
    assert bar.x0 > picture.x1


def test_sources_are_circled_and_named() -> None:
    maps = make_maps()
    peaks = maps.find_peaks(10)
    assert len(peaks) == 1
    ax = maps.plot(energy=0, peaks=peaks)
    assert np.asarray(ax.collections[0].get_offsets())[0] == pytest.approx([10, 15], abs=1e-6)
    assert [text.get_text() for text in ax.texts] == list(peaks["name"])
    unnamed = maps.plot(energy=0, peaks=peaks, peak_names=False)
    assert not unnamed.texts
    assert not maps.plot(energy=0, peaks=peaks[:0]).collections


def test_names_of_close_sources_do_not_overlap() -> None:
    maps = make_maps(nbin=1)
    maps.ts.data[0, 15, 12] = 800
    peaks = maps.find_peaks(10, min_distance=1)
    assert len(peaks) == 2
    ax = maps.plot(peaks=peaks)
    ax.figure.canvas.draw()
    first, second = (text.get_window_extent() for text in ax.texts)
    assert not first.overlaps(second)


def test_contours_only_where_there_are_any() -> None:
    ax = make_maps().plot(energy=0, contours=[5, 10, 1000])
    assert list(ax.collections[0].levels) == [5, 10]
    assert not make_maps().plot(energy=0, contours=[1000]).collections


def test_codes_have_words() -> None:
    ax = make_maps().plot("status", energy=0)
    words = [text.get_text() for text in bars(ax)[0].get_yticklabels()]
    assert words[0] == "fitted"
    assert words[2] == "at bound"
    assert ax.images[0].norm(2) == 2
    assert ax.images[0].norm(2) != ax.images[0].norm(3)
    shown = make_maps().plot("is_ul", energy=0)
    assert [t.get_text() for t in bars(shown)[0].get_yticklabels()] == ["no", "yes"]


def test_any_map_can_be_drawn() -> None:
    m = Map.create(npix=(10, 8), binsz=0.1, skydir=(10, 20), unit="m2 s")
    m.data += np.arange(10.0)
    ax = m.plot(stretch="linear", cmap="viridis", vmin=2, vmax=5)
    assert bars(ax)[0].get_ylabel() == "[$\\mathrm{m^{2}\\,s}$]"
    assert (ax.images[0].norm.vmin, ax.images[0].norm.vmax) == (2, 5)
    mine = plt.figure().add_subplot(projection=m.geom.wcs)
    assert m.plot(mine, colorbar=False) is mine
    assert not bars(mine)
    (m > 3).plot()
    Map.create(npix=(4, 4), data=np.nan).plot()


def test_what_cannot_be_drawn() -> None:
    maps = make_maps()
    ax = plt.figure().add_subplot(projection=maps.geom.wcs)
    with pytest.raises(ValueError, match="choose one with energy=0"):
        maps.plot(ax=ax)
    with pytest.raises(ValueError, match=r"projection=maps\.geom\.wcs"):
        maps.plot(ax=plt.figure().add_subplot(), energy=0)
    with pytest.raises(ValueError, match="energy is 2, but axis 'energy' has 2 bins"):
        maps.plot(energy=2)
    with pytest.raises(ValueError, match="stretch is 'cubic'; choose linear"):
        maps.plot(energy=0, stretch="cubic")
    with pytest.raises(ValueError, match="no position on the sky"):
        Map(RegionGeom([maps.energy_axis])).plot()
    rad = MapAxis.from_edges([0, 1, 2], name="rad", unit="deg")
    two = Map.create(npix=(4, 4), axes=[rad, maps.energy_axis])
    with pytest.raises(ValueError, match="axes rad, energy: take a slice"):
        two.plot()
    with pytest.raises(KeyError, match="norm_ul was not computed"):
        maps.plot("norm_ul")


def test_limits_say_how_sure_they_are() -> None:
    maps = make_maps(nbin=1)
    data = dict(maps._data)
    for name in ("norm_ul", "norm_sensitivity"):
        data[name] = Map(maps.geom, 1 + np.random.default_rng(0).random(maps.geom.data_shape))
    maps = FluxMaps(data, maps.reference_model, {"n_sigma_ul": 1.645, "n_sigma_sensitivity": 5})
    for name, words in (("flux_ul", "flux upper limit, 1.645"), ("flux_sensitivity", ", 5$")):
        label = bars(maps.plot(name))[0].get_ylabel()
        assert words in label
        assert "cm" in label
    assert bars(maps.plot("flux_ul", label="mine"))[0].get_ylabel().startswith("mine")
    with pytest.raises(KeyError, match="stat_scan was not computed"):
        maps.plot("stat_scan")


def test_a_scan_is_not_an_image() -> None:
    maps = make_maps(nbin=1)
    geom = maps.geom.to_image().to_cube(
        [MapAxis.from_nodes([0.0, 1.0], name="norm"), maps.energy_axis]
    )
    maps = FluxMaps({**maps._data, "stat_scan": Map(geom)}, maps.reference_model)
    for name in ("stat_scan", "dnde_scan_values"):
        with pytest.raises(ValueError, match=r"draw that of one with maps\.plot_profile"):
            maps.plot(name)


def test_every_status_has_its_colour() -> None:
    maps = make_maps(nbin=1)
    status = Map(maps.geom, np.resize([s.value for s in Status], maps.geom.data_shape))
    ax = FluxMaps({**maps._data, "status": status}).plot("status")
    labels = [text.get_text() for text in bars(ax)[0].get_yticklabels()]
    assert labels == [s.name.lower().replace("_", " ") for s in Status]
    colours = ax.images[0].cmap(ax.images[0].norm([s.value for s in Status]))
    assert len({tuple(colour) for colour in colours}) == len(Status)


# colour scales


def test_diverging_scale_is_symmetric() -> None:
    for data in ([-1.0, 4.0], [-30.0, 7.0, np.nan], [0.0]):
        norm = colour_scale(np.array(data), "diverging")
        assert norm.vmin == -norm.vmax
        assert float(norm(0.0)) == pytest.approx(0.5)
        assert norm.vmax == pytest.approx(max(np.nanmax(np.abs(data)), 1e-30))
    assert colour_scale(np.array([1.0, 100.0]), "diverging", vmax=8).vmin == -8
    assert colour_scale(np.array([1.0, 9.0]), "diverging", vmin=-3, vmax=8).vmin == -8


@pytest.mark.parametrize("stretch", ["linear", "sqrt", "log", "asinh", "diverging"])
@pytest.mark.parametrize("data", [[], [0.0], [3.0, 3.0], [np.nan], [-2.0, -1.0], [0, 1e-12, 9e-9]])
def test_scales_exist_for_any_data(stretch: str, data: list[float]) -> None:
    norm = colour_scale(np.array(data), stretch)
    low, high = float(norm(norm.vmin)), float(norm(norm.vmax))
    assert low == pytest.approx(0)
    assert high == pytest.approx(1)


def test_stretch_follows_from_the_quantity() -> None:
    rng = np.random.default_rng(0)
    assert auto_stretch("sqrt_ts", rng.normal(size=9)) == "diverging"
    assert auto_stretch("flux", rng.normal(size=9)) == "asinh"
    assert auto_stretch("flux_ul", rng.random(9) + 1) == "log"
    assert auto_stretch("", rng.poisson(0.1, 900)) == "sqrt"
    assert auto_stretch("", 10 ** rng.uniform(0, 4, 900)) == "log"
    assert auto_stretch("", rng.random(9) > 0.5) == "linear"
    assert auto_stretch("niter", np.array([])) == "linear"


def test_ticks_are_round_and_apart() -> None:
    norm = colour_scale(np.array([-3e-11, *np.linspace(-1e-11, 1e-11, 99), 1e-9]), "asinh")
    ticks = asinh_ticks(norm)
    assert ticks is not None
    assert 0 in ticks
    assert len(ticks) > 4
    positions = np.array([float(norm(t)) for t in ticks])
    assert np.all(np.diff(positions) > 0.06)
    assert all(float(f"{t:.0e}") == pytest.approx(t) for t in ticks)
    assert asinh_ticks(colour_scale(np.array([1.0, 2.0]), "linear")) is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (-5, "\N{MINUS SIGN}5"),
        (0.02, "0.02"),
        (1e-11, "$10^{-11}$"),
        (-2e-11, r"$-2\times10^{-11}$"),
        (5e7, r"$5\times10^{7}$"),
    ],
)
def test_tick_text(value: float, text: str) -> None:
    assert tick_text(value) == text


# significances


def test_histogram_recovers_a_normal_distribution() -> None:
    maps = make_maps(nbin=1, peak=0.0)
    values = maps.sqrt_ts.data[np.isfinite(maps.sqrt_ts.data)]
    whole = maps.plot_significance_histogram(core=None)
    assert (whole.mean, whole.width) == pytest.approx((values.mean(), values.std()))
    assert whole.number == values.size
    fit = maps.plot_significance_histogram()
    assert fit.mean == pytest.approx(0, abs=4 / np.sqrt(values.size))
    assert fit.width == pytest.approx(1, abs=4 / np.sqrt(2 * values.size))
    names = [text.get_text() for text in fit.ax.get_legend().get_texts()]
    start = "fit within $\\pm$3: \n"
    assert f"{start}mean {fit.mean:.3f}, width {fit.width:.3f}" in names
    normal = next(line for line in fit.ax.lines if line.get_label() == "standard normal")
    x, y = normal.get_data()
    assert y == pytest.approx(np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi))
    filled = fit.ax.patches[-1].get_data()
    assert np.sum(filled.values * np.diff(filled.edges)) == pytest.approx(1)


def test_exclusions_agree() -> None:
    maps = make_maps()
    peaks = maps.find_peaks(10)
    position = SkyCoord(peaks["ra"][0], peaks["dec"][0])
    keep = maps.geom.to_image().separation(position) > 0.3 * u.deg
    mask = Map.from_geom(maps.geom.to_image(), data=keep)
    fits = [
        plot_significance_histogram(maps, exclusion, radius="0.3 deg")
        for exclusion in (peaks, keep, mask, keep.astype(int))
    ]
    for fit in fits:
        assert (fit.mean, fit.width, fit.number) == pytest.approx(
            (fits[0].mean, fits[0].width, fits[0].number)
        )
    everything = plot_significance_histogram(maps)
    assert everything.number > fits[0].number
    whole = plot_significance_histogram(maps, core=None)
    assert whole.width > 1.05 > everything.width
    texts = plot_significance_histogram(maps, peaks, radius="0.2 deg").ax.get_legend().get_texts()
    assert "more than 0.2 deg from sources" in {text.get_text() for text in texts}
    first = plot_significance_histogram(maps, energy=0, core=None)
    assert 2 * first.number == whole.number


def test_bad_exclusions() -> None:
    maps = make_maps()
    with pytest.raises(ValueError, match=r"images of \(30, 40\) pixels"):
        maps.plot_significance_histogram(np.ones((3, 3)))
    with pytest.raises(ValueError, match="fewer than two pixels"):
        maps.plot_significance_histogram(np.zeros((30, 40)))


# residuals


def make_dataset(models: Any = None) -> MapDataset:
    axis = MapAxis.from_energy_bounds("10 GeV", "1 TeV", nbin=4)
    true = MapAxis.from_energy_bounds("10 GeV", "1 TeV", nbin=4, name="energy_true")
    counts = Map.create(npix=(40, 30), binsz=0.1, skydir=(10, 20), axes=[axis])
    background = Map.from_geom(counts.geom, data=np.full(counts.data.shape, 2.0))
    exposure = Map.create(
        npix=(40, 30), binsz=0.1, skydir=(10, 20), axes=[true], unit="cm2 s", data=1e13
    )
    dataset = MapDataset(
        counts=counts, background=background, exposure=exposure, models=models, name="test"
    )
    counts.data[:] = dataset.npred().data
    return MapDataset(counts=counts, background=background, exposure=exposure, name="test")


def test_residuals_have_the_closed_form_of_a_known_background() -> None:
    dataset = make_dataset()
    dataset.counts.data[1, 15, 10] += 30
    residual = residual_map(dataset, radius="0.01 deg")
    n, mu = 38.0, 8.0
    expected = np.sqrt(2 * (n * np.log(n / mu) - n + mu))
    assert residual.data[15, 10] == pytest.approx(expected)
    others = np.delete(residual.data.ravel(), 15 * 40 + 10)
    assert others == pytest.approx(0, abs=1e-6)
    wide = residual_map(dataset, radius="0.1 deg")  # five pixels
    n, mu = 70.0, 40.0
    assert wide.data[15, 9] == pytest.approx(np.sqrt(2 * (n * np.log(n / mu) - n + mu)))
    assert wide.data[14, 9] == pytest.approx(0, abs=1e-5)


def test_residuals_of_poisson_counts_are_standard_normal() -> None:
    dataset = make_dataset()
    dataset.counts.data[:] = np.random.default_rng(2).poisson(dataset.background.data)
    values = residual_map(dataset, radius="0.05 deg").data
    assert values.mean() == pytest.approx(0, abs=0.1)
    assert values.std() == pytest.approx(1, abs=0.06)


def test_sources_found_can_be_taken_out() -> None:
    norms, place = (5.0, 3.0), SkyCoord(10.05, 20.05, unit="deg")
    dataset = make_dataset()
    x, y = dataset.counts.geom.sky_to_pix(place)
    col, row = round(float(x)), round(float(y))
    place = dataset.counts.geom.pix_to_sky(col, row)
    shape = PointSpatialModel(lon_0=place.ra.deg, lat_0=place.dec.deg)
    reference = SkyModel(PowerLawSpectralModel(amplitude="1e-12 cm-2 s-1 TeV-1"), shape)
    signal = dataset.npred_signal([reference]).data
    for group, norm in enumerate(norms):
        part = slice(2 * group, 2 * group + 2)
        dataset.counts.data[part] += norm * signal[part]
    axis = MapAxis.from_energy_bounds("10 GeV", "1 TeV", nbin=2)
    norm_map = Map.from_geom(dataset.counts.geom.to_image().to_cube([axis]))
    norm_map.data[:, row, col] = norms
    ts = Map.from_geom(norm_map.geom, data=norm_map.data**2 * 20)
    maps = FluxMaps({"norm": norm_map, "ts": ts}, reference)
    peaks = maps.find_peaks(5)
    assert len(peaks) == 2
    assert residual_map(dataset, radius="0.2 deg").data[row, col] > 3
    left = residual_map(dataset, maps, peaks, radius="0.2 deg").data
    assert left == pytest.approx(0, abs=1e-3)
    ax = maps.plot_residuals(dataset, peaks=peaks)
    assert bars(ax)[0].get_ylabel() == "residual significance"
    with pytest.raises(ValueError, match="pass the maps they were found in"):
        residual_map(dataset, peaks=peaks)


def test_masked_pixels_are_blank() -> None:
    dataset = make_dataset()
    mask = Map.from_geom(dataset.counts.geom, data=np.ones(dataset.counts.data.shape, dtype=bool))
    mask.data[:, :10] = False
    mask.data[0] = False
    dataset.counts.data[0] = 1e6  # behind the mask
    dataset.background.data[1, 20, 20] = np.nan
    masked = MapDataset(
        counts=dataset.counts,
        background=dataset.background,
        exposure=dataset.exposure,
        mask_safe=mask,
    )
    residual = residual_map(masked, radius="0.01 deg").data
    assert np.all(np.isnan(residual[:10]))
    assert residual[10:] == pytest.approx(0, abs=1e-6)


def test_importing_the_plots_does_not_import_matplotlib() -> None:
    code = "import sys, gammagrad.plot; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_refined_sources_have_their_error_ellipses() -> None:
    maps = make_maps()
    peaks = maps.find_peaks(10)[:1]
    for name, value in (("major_95", 0.2), ("minor_95", 0.1), ("angle", 90.0)):
        peaks[f"ellipse_{name}"] = [value] * u.deg
    ax = maps.plot(energy=0, peaks=peaks)
    x, y = ax.lines[0].get_data()
    edge = maps.geom.pix_to_sky(x, y)
    distance = edge.separation(SkyCoord(peaks["ra"][0], peaks["dec"][0])).deg
    # the major axis, which the curve starts with, points to the east
    assert distance[0] == pytest.approx(0.2)
    assert distance[15] == pytest.approx(0.1)
    assert edge.icrs.ra.deg[0] > peaks["ra"][0].value
    peaks["ellipse_major_95"] = [np.nan] * u.deg
    assert not maps.plot(energy=0, peaks=peaks).lines
