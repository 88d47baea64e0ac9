"""Sources that are alike are predicted by one piece of code, and keep their pixels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from datasets import make_dataset
from gammagrad._pytree import replace
from gammagrad.dataset import MapDataset
from gammagrad.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    LogParabolaSpectralModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from precision import DOUBLE

# in single precision a longitude is known to 4e-6 deg, counts beside a source to 1e-4 of the peak
PEAK = 0.0 if DOUBLE else 1e-4
RELATIVE = 1e-9 if DOUBLE else 1e-3

NAME = "field"
PLACES = {
    "middle": (83.613, 22.037),
    "corner": (84.31, 22.57),
    "edge": (83.6, 21.41),
    "beyond": (82.8, 22.1),  # off the map, but its PSF reaches it
    "off": (95.0, 22.0),
}


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    return make_dataset((15, 13), 2, mask=True, name=NAME, sigma=0.05)


def point(name: str, i: int = 0) -> SkyModel:
    spectrum = PowerLawSpectralModel(index=2.0 + 0.1 * i, amplitude=(1 + i) * 1e-11)
    return SkyModel(spectrum, PointSpatialModel(*PLACES[name]), name=name)


@pytest.fixture(scope="module")
def models() -> Models:
    curved = LogParabolaSpectralModel(amplitude=2e-11, alpha=2.2, beta=0.1)
    other = SkyModel(curved, PointSpatialModel(83.7, 22.2), name="curved")
    points = [point(name, i) for i, name in enumerate(PLACES)]
    return Models([*points, other, FoVBackgroundModel(NAME)])


def assert_same(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=max(1e-12, PEAK * np.max(wanted)))


def test_points_of_one_kind_are_together(dataset: MapDataset, models: Models) -> None:
    likelihood = dataset.likelihood(models)
    groups = [set(group.names) for group in likelihood.sources]
    assert sorted(groups, key=len) == [{"off"}, {"curved"}, PLACES.keys() - {"off"}]
    # as the dataset predicts them, one after the other, each by slices of the map
    wanted = dataset.npred_signal(models).data
    assert_same(likelihood.npred_signal(models), wanted)
    assert all(dataset.npred_signal([point(name)]).data.any() for name in PLACES if name != "off")


def test_their_derivatives_are_those_of_one_alone(dataset: MapDataset) -> None:
    models = Models([point("middle"), point("edge")])
    likelihood, alone = dataset.likelihood(models), Models([models["edge"]])
    rng = np.random.default_rng(1)
    shares = jnp.asarray(rng.normal(size=dataset.geom.data_shape))

    @jax.jit
    def total(likelihood: Any, models: Models) -> jax.Array:
        return (shares * likelihood.npred_signal(models)).sum()

    of_data, of_models = jax.jit(jax.grad(total, argnums=(0, 1)))(likelihood, models)
    own = jax.jit(jax.grad(total, argnums=1))(dataset.likelihood(alone), alone)
    found = jax.tree.leaves(of_models["edge"])
    for one, other in zip(found, jax.tree.leaves(own["edge"]), strict=True):
        np.testing.assert_allclose(one, other, rtol=RELATIVE)
    # counts are proportional to the exposure
    more = likelihood.exposure * rng.random(likelihood.exposure.shape)
    gained = total(likelihood.with_data(exposure=likelihood.exposure + more), models)
    gained = gained - total(likelihood, models)
    np.testing.assert_allclose((of_data.exposure * more).sum(), gained, rtol=RELATIVE)


def test_spectra_may_come_to_differ(dataset: MapDataset, models: Models) -> None:
    likelihood = dataset.likelihood(models)
    curved = LogParabolaSpectralModel(amplitude=3e-11, alpha=1.9, beta=0.2)
    changed = models.replace(replace(models["edge"], spectral_model=curved))
    wanted = dataset.npred_signal(changed).data
    assert_same(likelihood.npred_signal(changed), wanted)


def test_numbers_may_be_of_any_kind(dataset: MapDataset, models: Models) -> None:
    likelihood = dataset.likelihood(models)
    single = models["edge"].with_parameters(index=np.float32(2.0), lat_0=jnp.float32(21.5))
    whole = models["middle"].with_parameters(index=2, lat_0=22)
    changed = models.replace(single).replace(whole)
    plain = {"edge.index": 2.0, "edge.lat_0": 21.5, "middle.index": 2.0, "middle.lat_0": 22.0}
    wanted = likelihood.npred_signal(models.with_parameters(plain))
    # each is counted with the precision of the most precise
    assert_same(likelihood.npred_signal(changed), wanted)


@pytest.mark.parametrize("extended", [False, True])
def test_a_source_keeps_its_pixels(dataset: MapDataset, extended: bool) -> None:
    # at the edge, so that other pixels of its window would lie on the map
    lon, lat = PLACES["edge"]
    shape = GaussianSpatialModel(lon, lat, sigma=0.15) if extended else PointSpatialModel(lon, lat)
    source = replace(point("middle"), spatial_model=shape)
    start = dataset.likelihood([source])
    predict = jax.jit(lambda likelihood, model: likelihood.npred_signal([model]))
    predict(start, source)
    size = {"sigma": 0.155} if extended else {}
    moved = source.with_parameters(lat_0=lat + 0.06, **size)
    again = dataset.likelihood([moved], like=start)
    assert again.holds([moved])
    np.testing.assert_array_equal(again.sources[0].windows.start, start.sources[0].windows.start)
    found = predict(again, moved)
    assert predict._cache_size() == 1
    wanted = dataset.npred_signal([moved]).data
    # where the window ends, beyond five sigma, matters little
    np.testing.assert_allclose(found, wanted, atol=max(1e-5, PEAK) * wanted.max())
    # its room is counted from where the window was made
    assert not again.holds([source.with_parameters(lat_0=lat + 0.12, **size)])
    far = source.with_parameters(lat_0=lat + 0.3)
    anew = dataset.likelihood([far], like=again)
    assert anew.holds([far])
    fresh = dataset.likelihood([far])
    np.testing.assert_array_equal(anew.sources[0].windows.start, fresh.sources[0].windows.start)


def test_another_kind_gets_a_window_of_its_own(dataset: MapDataset) -> None:
    before = dataset.likelihood([point("middle"), point("edge")])
    wide = replace(point("middle"), spatial_model=GaussianSpatialModel(83.6, 22.0, sigma=0.2))
    after = dataset.likelihood([wide, point("corner")], like=before)
    wanted = dataset.npred_signal([wide, point("corner")]).data
    assert_same(after.npred_signal([wide, point("corner")]), wanted)
