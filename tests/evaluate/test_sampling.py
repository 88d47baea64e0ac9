from __future__ import annotations

import numpy as np
import pytest

from gammagrad.evaluate.sampling import Block, Sampling, choose_sampling, kind_of
from gammagrad.maps import Map, WcsGeom
from gammagrad.models import (
    ConstantSpatialModel,
    DiskSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    ShellSpatialModel,
    TemplateSpatialModel,
)

GEOM = WcsGeom.create((6, 5), 0.5, skydir=(83.6, 60.0), proj="CAR")


def template() -> TemplateSpatialModel:
    geom = WcsGeom.create(20, 0.05, skydir=(83.6, 60.0), proj="CAR")
    return TemplateSpatialModel.from_map(Map(geom, np.ones((20, 20)), "sr-1"))


def test_kinds() -> None:
    assert kind_of(None) == "uniform"
    assert kind_of(PointSpatialModel()) == "point"
    assert kind_of(template()) == "template"
    assert kind_of(ConstantSpatialModel()) == "extended"


@pytest.mark.parametrize(
    ("spatial", "half_width", "expected"),
    [
        (None, 0.05, Sampling()),
        (ConstantSpatialModel(), 0.05, Sampling()),
        (PointSpatialModel(), None, Sampling()),
        (PointSpatialModel(), 10.0, Sampling()),
        (PointSpatialModel(), 0.05, Sampling(7)),
        (GaussianSpatialModel(sigma=0.1), 0.1, Sampling()),
        (GaussianSpatialModel(sigma=0.1), 0.05, Sampling(5)),
        (GaussianSpatialModel(sigma=0.3), 0.01, Sampling()),
        (GaussianSpatialModel(sigma=0.05), 1e-3, Sampling(7)),
        (GaussianSpatialModel(sigma=0.005), 1e-3, Sampling(7, 3)),
        (GaussianSpatialModel(sigma=0.005), 0.05, Sampling(5, 4, share=True)),
        (DiskSpatialModel(r_0=0.1, edge_width=1.0), None, Sampling(1, 128)),
        (GaussianSpatialModel(sigma=0.1), None, Sampling(1, 5, quadrature=True)),
    ],
)
def test_fine_sampling_follows_source_and_psf(
    spatial: object, half_width: float | None, expected: Sampling
) -> None:
    assert choose_sampling(spatial, 0.1, half_width, "fine") == expected


def test_few_samples_are_those_of_gammapy() -> None:
    assert choose_sampling(PointSpatialModel(), 0.1, 0.01, "gammapy") == Sampling()
    assert choose_sampling(GaussianSpatialModel(sigma=0.1), 0.1, 0.1, "gammapy") == Sampling(1, 3)
    assert choose_sampling(GaussianSpatialModel(sigma=1e-9), 0.1, 0.1, "gammapy").subsampling == 200
    assert choose_sampling(DiskSpatialModel(r_0=0.2), 0.1, 0.1, "gammapy") == Sampling(1, 6)
    with pytest.raises(ValueError, match="expected one of fine, gammapy"):
        choose_sampling(None, 0.1, None, "best")


def test_the_number_of_samples_is_bounded() -> None:
    for r_0 in (2e-3, 1.0, 80.0):
        choice = choose_sampling(DiskSpatialModel(r_0=r_0), 0.02, None, "fine")
        side = (2 * 1.11 * r_0 / 0.02 + 1) * choice.subsampling
        assert choice.subsampling <= 128
        assert choice.subsampling == 1 or side < 2200


def test_templates_are_sampled_at_their_own_pixels() -> None:
    assert choose_sampling(template(), 0.2, None, "fine") == Sampling(1, 4)
    assert choose_sampling(template(), 0.01, 0.1, "fine") == Sampling(1, 1)
    with pytest.raises(ValueError, match="no geometry"):
        choose_sampling(TemplateSpatialModel(np.ones((3, 3)), normalize=False), 0.1, None, "fine")


@pytest.mark.parametrize(
    "sampling", [Sampling(), Sampling(3, 2), Sampling(1, 4, quadrature=True)], ids=str
)
def test_samples_fill_the_pixels(sampling: Sampling) -> None:
    block = Block(GEOM, 0, 0, GEOM.shape_image)
    n = sampling.oversampling * sampling.subsampling
    sky, area = block.sky(sampling), block.solid_angle(sampling)
    assert sky.shape == area.shape == (5 * n, 6 * n)
    summed = area.reshape(5, n, 6, n).sum(axis=(1, 3))
    np.testing.assert_allclose(summed, GEOM.solid_angle().value, rtol=1e-6)
    x, y = GEOM.sky_to_pix(sky)
    np.testing.assert_array_equal(
        np.round(x).astype(int) // 1, np.repeat(range(6), n)[None, :].repeat(5 * n, 0)
    )
    means = y.reshape(5, n, 6 * n).mean(axis=1)
    np.testing.assert_allclose(means, np.arange(5.0)[:, None] * np.ones((1, 6 * n)), atol=1e-6)


def test_a_block_may_reach_beyond_the_sky() -> None:
    whole = WcsGeom.create(binsz=30.0, proj="AIT")
    block = Block(whole, -1, -1, (8, 14))
    area = block.solid_angle(Sampling(1, 2))
    assert np.all(np.isfinite(area))
    assert area[0].max() == 0


@pytest.mark.parametrize("half_width", [None, 0.001, 0.1])
def test_a_source_that_samples_would_miss_is_refused(half_width: float | None) -> None:
    for shape in (
        GaussianSpatialModel(sigma=1e-5),
        DiskSpatialModel(r_0=2e-3),
        ShellSpatialModel(radius=1e-4, width=1e-3),
    ):
        with pytest.raises(ValueError, match="too small to be integrated"):
            choose_sampling(shape, 0.1, half_width, "fine")
    for shape in (
        GaussianSpatialModel(sigma=2e-3),
        DiskSpatialModel(r_0=0.01),
        ShellSpatialModel(radius=1.0, width=1e-3),
    ):
        choose_sampling(shape, 0.1, half_width, "fine")
