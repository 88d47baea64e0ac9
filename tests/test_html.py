"""What notebooks show: tables of the objects, and names that complete."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import gammagrad
from gammagrad import FluxMaps, HypothesisMaps, KernelBackgroundEstimator, Map, TSMapEstimator
from gammagrad.maps import MapAxis
from gammagrad.models import GaussianSpatialModel, Models, PowerLawSpectralModel, SkyModel


class Cells(HTMLParser):
    """Read the texts of a table, and see that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def maps() -> FluxMaps:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    ts = Map.create(npix=(5, 4), binsz=0.1, axes=[axis])
    ts.data[0, 1, 2] = 25.0
    return FluxMaps({"ts": ts, "norm": ts}, PowerLawSpectralModel(2, 1e-12))


def shown(one: Any) -> list[str]:
    return Cells(one._repr_html_()).texts


def test_flux_maps_show_their_quantities_with_range_and_unit() -> None:
    texts = shown(maps())
    row = texts.index("sqrt_ts")
    assert texts[row + 1 : row + 3] == ["0", "5"]
    assert "1 / (s cm2)" in texts
    several = HypothesisMaps({"one": maps(), "other": maps()})
    assert "one, other" in shown(several)


def test_a_map_shows_its_values() -> None:
    m = Map.create(npix=(5, 4), unit="cm2 s")
    m.data[1, 1] = 3.0
    assert {"Map", "cm2 s", "0 to 3, sum 3"} <= set(shown(m))
    assert "1 of 20 true" in shown(Map(m.geom, m.data > 1))


def test_an_estimator_shows_its_settings() -> None:
    texts = shown(TSMapEstimator(kernel_width="0.8 deg"))
    assert texts[texts.index("kernel_width") + 1] == "0.8 deg"
    assert "0.1 deg" in shown(KernelBackgroundEstimator("0.1 deg", ("0.5 deg", "0.8 deg")))


def test_models_show_their_parameters_and_escape_names() -> None:
    spectrum = PowerLawSpectralModel(index=2.5)
    model = SkyModel(spectrum, GaussianSpatialModel(sigma="0.2 deg"), name="a<b>&c")
    assert shown(spectrum)[0] == "PowerLawSpectralModel"
    for texts in (shown(model), shown(Models([model]))):
        assert texts[texts.index("index") + 1] == "2.5"
    assert "a&lt;b&gt;&amp;c" in model._repr_html_()


def test_a_background_shows_how_it_ended() -> None:
    counts = Map.create(npix=40, binsz=0.05)
    counts.data += np.random.default_rng(0).poisson(2.0, counts.data.shape)
    estimator = KernelBackgroundEstimator("0.1 deg", ("0.3 deg", "0.5 deg"))
    estimator.run({"counts": counts})
    assert "converged" in shown(estimator.report)


def test_keys_complete() -> None:
    assert {"sqrt_ts", "flux", "norm"} <= set(maps()._ipython_key_completions_())
    several = HypothesisMaps({"one": maps(), "other": maps()})
    assert several._ipython_key_completions_() == ["one", "other"]


def test_the_package_lists_what_is_for_people() -> None:
    names = {name for name in dir(gammagrad) if not name.startswith("__")}
    assert not names & {"Any", "TYPE_CHECKING", "import_module", "annotations"}
    assert not [name for name in names if name.startswith("_")]
    assert names >= {"TSMapEstimator", "Map", "plot", "fit"}


def test_a_misspelt_map_is_told_about_the_one_meant() -> None:
    with pytest.raises(KeyError, match="did you mean 'sqrt_ts'"):
        maps()["sqrtts"]
