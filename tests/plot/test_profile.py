"""The picture of a likelihood profile, against Cash statistics computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad import FluxMaps, Map
from gammagrad.maps import MapAxis
from gammagrad.models import PowerLawSpectralModel
from gammagrad.output_quantities import MissingQuantityError
from gammagrad.plot import plot_profile
from gammagrad.plot.profile import profile_curve

optimize = pytest.importorskip("scipy.optimize")

GROUP, ROW, COL = 1, 2, 3
SHAPE = (4, 5)


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


class Pixel:
    """One pixel: its statistic as a function of the norm, and what follows by root finding."""

    def __init__(self, counts: float, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.model = 10 * rng.random(50) / 25
        self.background = np.full(50, 0.4)
        mean = self.background + counts * self.model
        self.counts = rng.poisson(mean) if counts > 0 else np.zeros(50)
        self.bound = -float((self.background / self.model).min())
        score = [self.slope(self.bound + 1e-9), self.slope(200.0)]
        self.norm = self.bound
        if score[0] < 0:
            self.norm = optimize.brentq(self.slope, self.bound + 1e-9, 200.0)

    def stat(self, x: float) -> float:
        mu = self.background + x * self.model
        occupied = self.counts > 0
        return 2 * float(np.sum(mu) - self.counts[occupied] @ np.log(mu[occupied]))

    def slope(self, x: float) -> float:
        mu = self.background + x * self.model
        return float(np.sum(self.model * (1 - self.counts / mu)))

    def crossing(self, rise: float) -> float:
        """Return the norm above the best fit at which the statistic has risen."""
        target = self.stat(self.norm) + rise
        return optimize.brentq(lambda x: self.stat(x) - target, self.norm, self.norm + 100)

    def scan(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        inside = values >= self.bound
        rise = [
            self.stat(x) - self.stat(0.0) if ok else np.inf
            for x, ok in zip(values, inside, strict=True)
        ]
        return np.array(rise)


def make_maps(pixel: Pixel, values: NDArray[np.float64], **limits: float) -> FluxMaps:
    """Return maps with the profile of a pixel at one place, and NaN elsewhere."""
    axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=2)
    image = Map.create(npix=SHAPE[::-1], binsz=0.1, skydir=(10, 20), frame="galactic").geom
    geom = image.to_cube([axis])
    ts = np.sign(pixel.norm) * (pixel.stat(0.0) - pixel.stat(pixel.norm))
    numbers = {"ts": ts, "norm": pixel.norm, "norm_err": 0.5, **limits}
    data = {}
    for name, value in numbers.items():
        data[name] = Map(geom, np.full(geom.data_shape, np.nan))
        data[name].data[GROUP, ROW, COL] = value
    scan = Map(image.to_cube([MapAxis.from_nodes(values, name="norm"), axis]), np.nan)
    scan.data[GROUP, :, ROW, COL] = pixel.scan(values)
    data["stat_scan"] = scan
    meta = {"n_sigma": 1, "n_sigma_ul": 2}
    return FluxMaps(data, PowerLawSpectralModel(2, 1e-12), meta)


def line(ax: Any, label: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    found = [part for part in ax.lines if str(part.get_label()).startswith(label)]
    assert len(found) == 1
    return found[0].get_data()


@pytest.mark.parametrize("counts", [0.5, 3.0, 30.0])
def test_the_curve_is_the_statistic_between_the_values_of_the_scan(counts: float) -> None:
    pixel = Pixel(counts)
    steps = np.arange(-6, 7) + 0.37
    values = pixel.norm + steps * 0.7 * (pixel.crossing(1.0) - pixel.norm)
    curve = profile_curve(make_maps(pixel, values), GROUP, ROW, COL)
    assert np.all(np.diff(curve.norm) > 0)
    assert np.count_nonzero(~curve.scanned) == 1
    assert curve.norm[~curve.scanned] == pytest.approx(pixel.norm)
    x = np.linspace(*curve.span(5.0), 50)  # where limits and errors are drawn
    assert curve.at(curve.norm) == pytest.approx(curve.rise)
    expected = np.array([pixel.stat(v) - pixel.stat(pixel.norm) for v in x])
    assert curve.at(x) == pytest.approx(expected, abs=0.1)
    low, high = curve.span(4.0)
    assert high == pytest.approx(pixel.crossing(4.0), abs=0.03 * (high - low))
    assert np.isnan(curve.at(curve.norm[-1] + 1))


def test_errors_and_limit_are_points_of_the_curve() -> None:
    """A scan that is far away does not matter then."""
    pixel = Pixel(3.0)
    up, limit = pixel.crossing(1.0) - pixel.norm, pixel.crossing(4.0)
    below = optimize.brentq(
        lambda x: pixel.stat(x) - pixel.stat(pixel.norm) - 1, pixel.bound + 1e-9, pixel.norm
    )
    marks = {"norm_errp": up, "norm_errn": pixel.norm - below, "norm_ul": limit}
    values = np.array([-0.05, 0.0, 0.1])
    fitted = make_maps(pixel, values, status=0, **marks)
    curve = profile_curve(fitted, GROUP, ROW, COL)
    assert curve.span(1.0) == pytest.approx((below, pixel.norm + up))
    x = np.linspace(below, limit, 20)
    expected = np.array([pixel.stat(v) - pixel.stat(pixel.norm) for v in x])
    assert curve.at(x) == pytest.approx(expected, abs=0.06)
    # where the lower error ends at the bound, or the limit starts at norm 0, it is no such point
    bounded = profile_curve(make_maps(pixel, values, status=8, **marks), GROUP, ROW, COL)
    assert len(bounded.norm) == len(curve.norm) - 1
    maps = FluxMaps(fitted._data, meta={"n_sigma": 1, "n_sigma_ul": 2, "norm_min": 100})
    assert len(profile_curve(maps, GROUP, ROW, COL).norm) == len(curve.norm) - 1


def test_at_the_physical_bound_it_is_a_line() -> None:
    pixel = Pixel(0.0)
    assert pixel.norm == pixel.bound < 0
    values = np.linspace(-5, 5, 21)
    curve = profile_curve(make_maps(pixel, values), GROUP, ROW, COL)
    assert curve.norm[0] == pixel.bound  # what lies below is infinite and left out
    x = np.linspace(pixel.bound, 3, 30)
    assert curve.at(x) == pytest.approx(2 * pixel.model.sum() * (x - pixel.bound))
    assert curve.span(4.0)[0] == pixel.bound


@pytest.mark.parametrize("quantity", ["norm", "flux", "e2dnde"])
def test_the_picture_shows_fit_errors_and_limit(quantity: str) -> None:
    pixel = Pixel(3.0)
    up, limit = pixel.crossing(1.0) - pixel.norm, pixel.crossing(4.0)
    maps = make_maps(pixel, np.linspace(-1, 8, 46), norm_errp=up, norm_errn=0.4, norm_ul=limit)
    ax = maps.plot_profile((ROW, COL), energy=GROUP, quantity=quantity)
    factor = 1.0
    if quantity != "norm":
        factor = float(getattr(maps, f"{quantity}_ref").value[GROUP, 0, 0])
    (best,), (zero,) = line(ax, "best fit")
    assert (best / factor, zero) == pytest.approx((pixel.norm, 0))
    x, y = line(ax, "upper limit, 2")
    assert x / factor == pytest.approx([limit, limit])
    assert y == pytest.approx([0, 4], abs=0.05)
    x, y = line(ax, "scan")
    assert len(x) == np.isfinite(maps.stat_scan.data[GROUP, :, ROW, COL]).sum()
    band = ax.patches[0]
    left, right = band.get_x(), band.get_x() + band.get_width()
    assert np.array([left, right]) / factor == pytest.approx([pixel.norm - 0.4, pixel.norm + up])
    heights = {
        round(float(part.get_ydata()[0]), 6) for part in ax.lines if len(set(part.get_ydata())) == 1
    }
    assert {1.0, 4.0} <= heights
    low, high = np.array(ax.get_xlim()) / factor
    assert low < pixel.norm - 2 * up
    assert limit < high < 3 * limit
    assert "10 \N{EN DASH} 100 TeV" in ax.get_title()
    assert quantity == "norm" or "$" in ax.get_xlabel()


def test_a_position_is_a_pixel() -> None:
    maps = make_maps(Pixel(3.0), np.linspace(-1, 8, 46))
    own = plt.figure().add_subplot()
    sky = maps.geom.pix_to_sky(COL + 0.3, ROW - 0.4)
    ax = plot_profile(maps, sky, own, energy=-1, xlim=(1, 5), title="mine")
    assert ax is own
    assert ax.get_xlim() == (1, 5)
    assert ax.get_title() == "mine"
    assert np.array_equal(
        line(ax, "best fit"), line(maps.plot_profile((ROW, COL), energy=1), "best fit")
    )


def test_a_scan_alone_will_do() -> None:
    pixel = Pixel(3.0)
    values = np.linspace(-1, 8, 91)
    scan = make_maps(pixel, values).stat_scan
    ax = FluxMaps({"stat_scan": scan}).plot_profile((ROW, COL), energy=GROUP)
    (best,), _ = line(ax, "best fit")
    assert best == pytest.approx(pixel.norm, abs=0.05)
    assert not [part for part in ax.lines if str(part.get_label()).startswith("upper limit")]


@pytest.mark.parametrize(
    ("position", "options", "message"),
    [
        ((0, 0), {}, "no likelihood profile: it was not fitted"),
        ((4, 0), {}, "outside the maps, which have 4 rows, 5 columns"),
        ((-1, 0), {}, "outside the maps"),
        (SkyCoord(12, 20, unit="deg", frame="galactic"), {}, "outside the maps"),
        (SkyCoord(190, -20, unit="deg", frame="galactic"), {}, "outside the maps"),
        ((1.5, 2), {}, r"a SkyCoord, or a pixel as \(row, column\)"),
        ("here", {}, "expected a SkyCoord"),
        ((ROW, COL), {"energy": 2}, "energy is 2, but axis 'energy' has 2 bins"),
        ((ROW, COL), {"quantity": "ts"}, "quantity is 'ts'; choose norm, dnde"),
    ],
)
def test_what_cannot_be_drawn(position: Any, options: dict, message: str) -> None:
    maps = make_maps(Pixel(3.0), np.linspace(-1, 8, 46))
    with pytest.raises(ValueError, match=message):
        maps.plot_profile(position, **{"energy": GROUP, **options})


def test_what_is_missing_is_named() -> None:
    maps = make_maps(Pixel(3.0), np.linspace(-1, 8, 46))
    without = FluxMaps({"norm": maps.norm, "ts": maps.ts})
    with pytest.raises(MissingQuantityError, match=r'selection_optional=\["stat_scan"\]'):
        without.plot_profile((ROW, COL), energy=GROUP)
    with pytest.raises(MissingQuantityError, match="reference model"):
        FluxMaps(maps._data).plot_profile((ROW, COL), energy=GROUP, quantity="flux")
