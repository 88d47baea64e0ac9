"""Pictures of maps: names that do not collide, colour scales, the circle of the kernel."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import pytest
from astropy.table import QTable
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import PowerNorm
from matplotlib.patches import Ellipse

from gammagrad import FluxMaps, Map
from gammagrad.maps import MapAxis
from gammagrad.plot import plot_exclusion
from gammagrad.plot.marks import places_of_names

SIZE = (40.0, 9.0)
FRAME = (0.0, 0.0, 500.0, 400.0)


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    plt.close("all")


def image() -> Map:
    m = Map.create(npix=(50, 40), binsz=0.02, frame="galactic")
    m.data = np.random.default_rng(0).normal(size=m.data.shape)
    return m


def sources(m: Map, n: int) -> QTable:
    rng = np.random.default_rng(1)
    sky = m.geom.pix_to_sky(rng.uniform(5, 45, n), rng.uniform(5, 35, n)).icrs
    found = QTable()
    found["number"] = np.arange(1, n + 1)
    found["name"] = [f"J{i:04d}" for i in range(n)]
    found["ra"], found["dec"] = sky.ra.to("deg"), sky.dec.to("deg")
    return found


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(60, 440), st.floats(40, 360)), min_size=1, max_size=12))
def test_names_cover_neither_each_other_nor_the_sources(points: list[tuple[float, float]]) -> None:
    places = places_of_names(points, [SIZE] * len(points), FRAME)
    boxes = [
        (x + dx - 20, y + dy - 4.5, x + dx + 20, y + dy + 4.5)
        for (x, y), (dx, dy) in zip(points, places, strict=True)
    ]
    others = [(x - 6, y - 6, x + 6, y + 6) for x, y in points] if len(points) <= 4 else []
    for i, one in enumerate(boxes):
        assert one[0] >= 0
        assert one[2] <= FRAME[2]
        for other in boxes[:i] + others:
            apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1]
            assert apart or other[3] <= one[1]


def test_a_name_stands_beside_its_source_where_there_is_room() -> None:
    ((dx, dy),) = places_of_names([(250, 200)], [SIZE], FRAME)
    assert np.hypot(dx - 20, dy - 4.5) < 12


def test_many_sources_have_their_numbers() -> None:
    m = image()
    for n, texts in ((3, {"J0000", "J0001", "J0002"}), (13, {str(i) for i in range(1, 14)})):
        ax = m.plot(peaks=sources(m, n))
        assert {text.get_text() for text in ax.texts} == texts


def test_a_scale_of_matplotlib_is_used_as_it_is() -> None:
    scale = PowerNorm(0.5, vmin=0.0, vmax=2.0)
    assert image().plot(norm=scale).images[0].norm is scale
    with pytest.raises(ValueError, match="norm has its own limits"):
        image().plot(norm=scale, vmax=1.0)


def test_a_picture_may_be_smooth() -> None:
    assert image().plot().images[0].get_interpolation() == "nearest"
    assert image().plot(interpolation="bicubic").images[0].get_interpolation() == "bicubic"


def circles(ax: Any) -> list[Ellipse]:
    return [patch for patch in ax.patches if isinstance(patch, Ellipse)]


def test_the_circle_has_the_size_that_is_asked_for() -> None:
    assert circles(image().plot()) == []
    (circle,) = circles(image().plot(resolution=0.05 * u.deg))
    np.testing.assert_allclose((circle.width, circle.height), 2 * 0.05 / 0.02, rtol=1e-3)
    left, low = circle.center[0] - circle.width / 2, circle.center[1] - circle.height / 2
    assert -0.5 < left < 5
    assert -0.5 < low < 5


def test_flux_maps_show_their_kernels() -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    ts = Map.create(npix=(50, 40), binsz=0.02, axes=[axis])
    maps = FluxMaps({"ts": ts}, meta={"kernel_radius_per_group": [[0.1, 0.08], [0.04, None]]})
    sizes = [circles(ax)[0].width for ax in maps.plot("ts")]
    np.testing.assert_allclose(sizes, [8.0, 4.0], rtol=1e-3)
    (one,) = circles(maps.plot("ts", energy=1))
    assert one.width == pytest.approx(4.0, rel=1e-3)
    assert circles(maps.plot("ts", energy=0, resolution=0)) == []


def test_an_excluded_area_has_a_key() -> None:
    m = image()
    keep = np.ones(m.data.shape, dtype=bool)
    keep[10:20, 10:20] = False
    legend = plot_exclusion(m, keep).get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["excluded"]


def test_ticks_of_a_colour_bar_are_round() -> None:
    ax = image().plot(stretch="sqrt")
    (bar,) = [other for other in ax.figure.axes if other is not ax]
    steps = {round(b - a, 9) for a, b in pairwise(bar.get_yticks())}
    assert all(f"{step:.0e}"[0] in "125" for step in steps)
