"""Maps: cuts, rebinning, sums, values on the sky."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from scipy import ndimage

from gammagrad.maps import Map, MapAxis, RegionGeom, WcsGeom

energy = MapAxis.from_energy_bounds("1 TeV", "16 TeV", 4)
cube_geom = WcsGeom.create(npix=(8, 6), binsz=0.5, skydir=(83.63, 22.01), axes=[energy])


def random_map(geom=cube_geom, unit="", seed=0):
    return Map(geom, np.random.default_rng(seed).normal(size=geom.data_shape), unit)


def test_cutout_is_the_part_around_a_position():
    m = random_map()
    part = m.cutout(m.geom.pix_to_sky(3, 2), "1.5 deg")
    np.testing.assert_array_equal(part.data, m.data[:, 1:4, 2:5])
    assert m.geom.offset_of(part.geom) == (2, 1)
    with pytest.raises(ValueError, match="reaches beyond"):
        m.cutout(m.geom.pix_to_sky(0, 0), "1.5 deg", mode="strict")
    region = Map(RegionGeom([energy]), 2.0)
    assert region.cutout((0, 0), 1).geom == region.geom


def test_pad_crop():
    m = random_map()
    padded = m.pad((1, 2), cval=7)
    assert padded.data.shape == (4, 8, 12)
    assert np.all(padded.data[:, 0] == 7)
    np.testing.assert_array_equal(padded.crop((1, 2)).data, m.data)
    assert padded.crop((1, 2)).geom == m.geom
    assert m.pad(1, mode="edge").data[0, 0, 0] == m.data[0, 0, 0]
    uneven = m.pad(((1, 2), (0, 3)), cval=7)
    np.testing.assert_array_equal(uneven.data[:, 1:-2, :-3], m.data)
    assert np.all(uneven.data[:, -2:] == 7)
    assert uneven.geom.offset_of(m.geom) == (0, 1)
    with pytest.raises(ValueError, match=r"pad_width is .*expected a whole number"):
        m.pad(((1, 2), (0, -3)))
    with pytest.raises(ValueError, match="pad: this map has no sky pixels"):
        Map(RegionGeom()).pad(1)


def slow_downsample(data, weights, factor):
    """Sums and weights of blocks, pixel by pixel."""
    ny, nx = data.shape
    total, weight = np.zeros((ny // factor, nx // factor)), np.zeros((ny // factor, nx // factor))
    for y in range(ny):
        for x in range(nx):
            if not np.isnan(data[y, x]):
                total[y // factor, x // factor] += data[y, x] * weights[y, x]
                weight[y // factor, x // factor] += weights[y, x]
    return total, weight


@pytest.mark.parametrize("weighted", [False, True])
def test_downsample(weighted):
    m = random_map()
    m.data[0, 0, :2] = np.nan
    weights = (
        np.random.default_rng(3).uniform(size=m.data.shape) if weighted else np.ones((4, 6, 8))
    )
    given_weights = Map(m.geom, weights) if weighted else None
    total = m.downsample(2, weights=given_weights)
    mean = m.downsample(2, preserve_counts=False, weights=given_weights)
    assert total.geom == m.geom.downsample(2)
    for k in range(4):
        expected, weight = slow_downsample(m.data[k], weights[k], 2)
        np.testing.assert_allclose(total.data[k], expected)
        np.testing.assert_allclose(mean.data[k], expected / weight)


def test_downsample_of_nothing():
    m = Map(cube_geom.to_image(), 1.0)
    m.data[:2, :2] = np.nan
    assert np.isnan(m.downsample(2).data[0, 0])
    assert m.downsample(2).data[1, 1] == 4
    assert m.downsample(2, preserve_counts=False, weights=np.zeros((6, 8))).data[1, 1] == 0
    mask = Map(cube_geom.to_image(), np.eye(6, 8) > 0)
    assert mask.downsample(2).is_mask
    assert mask.downsample(2).data.sum() == 3
    counts = Map(cube_geom.to_image(), np.ones((6, 8), dtype=int))
    assert counts.downsample(2).data.dtype.kind in "iu"
    with pytest.raises(ValueError, match="cannot be merged by 4"):
        m.downsample(4)


@pytest.mark.parametrize("proj", ["CAR", "TAN", "AIT"])
def test_upsample_shares_counts_and_downsample_takes_them_back(proj):
    geom = WcsGeom.create(npix=(8, 6), binsz=2, skydir=(20, 40), proj=proj, axes=[energy])
    m = random_map(geom)
    fine = m.upsample(3)
    assert fine.geom == geom.upsample(3)
    np.testing.assert_allclose(fine.downsample(3).data, m.data, rtol=1e-12)
    share = fine.data[0, :3, :3] / m.data[0, 0, 0]
    area = fine.geom.solid_angle().value[:3, :3]
    np.testing.assert_allclose(share, area / area.sum())


def test_upsample_repeats_or_interpolates():
    m = random_map()
    repeated = m.upsample(2, preserve_counts=False).data
    np.testing.assert_array_equal(repeated[:, ::2, 1::2], m.data)
    linear = m.upsample(2, order=1, preserve_counts=False).data
    y, x = ((np.arange(2 * n) - 0.5) / 2 for n in (6, 8))
    for k in range(4):
        expected = ndimage.map_coordinates(
            m.data[k], np.meshgrid(y, x, indexing="ij"), order=1, mode="nearest"
        )
        np.testing.assert_allclose(linear[k], expected, atol=1e-14)
    mask = m > 0
    np.testing.assert_array_equal(mask.upsample(2).downsample(2).data, mask.data)
    for bad in (2, -1):
        with pytest.raises(ValueError, match="order is"):
            m.upsample(2, order=bad)
    with pytest.raises(ValueError, match="order is 1"):
        mask.upsample(2, order=1)


def test_upsample_at_the_rim_of_the_sky():
    m = Map.create(binsz=20, proj="AIT", data=1.0)
    fine = m.upsample(2)
    np.testing.assert_allclose(fine.downsample(2).data, 1.0)


def test_sum_over_axes():
    m = random_map()
    total = m.sum_over_axes()
    assert total.data.shape == (1, 6, 8)
    np.testing.assert_allclose(total.geom.axes["energy"].edges.value, [1, 16])
    np.testing.assert_allclose(total.data[0], m.data.sum(axis=0))
    assert m.sum_over_axes(keepdims=False).geom == m.geom.to_image()
    assert (m > 0).sum_over_axes().data.dtype.kind == "i"
    rad = MapAxis([0, 1, 2], name="rad", unit="deg")
    both = random_map(m.geom.to_cube([rad]))
    assert both.sum_over_axes(["energy"]).data.shape == (2, 1, 6, 8)
    with pytest.raises(ValueError, match="no axis 'migra'"):
        m.sum_over_axes(["migra"])


def test_sums_of_single_precision_are_made_in_double():
    axis = MapAxis(np.arange(10_001), name="n")
    m = Map(WcsGeom.create(npix=1, axes=[axis]), 0.1, dtype=np.float32)
    assert m.sum_over_axes().data.item() == pytest.approx(
        10_000 * float(np.float32(0.1)), rel=1e-12
    )


def test_reduce_over_axes():
    m = random_map()
    np.testing.assert_array_equal(
        (m > 1).reduce_over_axes(np.logical_or).data, (m.data > 1).any(axis=0)
    )
    np.testing.assert_array_equal(
        m.reduce_over_axes(np.max, keepdims=True).data[0], m.data.max(axis=0)
    )


def test_slices_and_images():
    m = random_map()
    part = m.slice_by_idx({"energy": slice(1, 3)})
    np.testing.assert_array_equal(part.data, m.data[1:3])
    np.testing.assert_allclose(part.geom.axes["energy"].edges.value, [2, 4, 8])
    np.testing.assert_array_equal(m.image(2).data, m.data[2])
    np.testing.assert_array_equal(m.get_image_by_idx((2,)).data, m.data[2])
    assert m.image(2).geom == m.geom.to_image()
    assert m.image(2).image().geom.is_image
    for bad in ({"energy": 4}, {"rad": 0}):
        with pytest.raises(ValueError, match=r"no such bins|no axis 'rad'"):
            m.slice_by_idx(bad)
    with pytest.raises(ValueError, match="one number for each of"):
        m.image((1, 2))


def test_values_at_positions():
    m = random_map()
    x, y = np.array([0.0, 3.4, 7.49, 20]), np.array([0.4, 2.6, 5.2, 3])
    values = m.get(m.geom.pix_to_sky(x, y))
    assert values.shape == (4, 4)
    np.testing.assert_array_equal(values[:, :3], m.data[:, [0, 3, 5], [0, 3, 7]])
    assert np.all(np.isnan(values[:, 3]))
    galactic = m.geom.pix_to_sky(3, 2).galactic
    np.testing.assert_array_equal(m.get(galactic), m.data[:, 2, 3])
    outside = SkyCoord(0, 0, unit="deg")
    assert not (m > -100).get(outside).any()
    assert m.get(outside, fill_value=0).sum() == 0
    assert Map(cube_geom, 1, dtype=int).get(galactic).dtype.kind == "i"


def test_interpolated_values_are_those_of_scipy():
    m = random_map()
    rng = np.random.default_rng(5)
    x, y = rng.uniform(-0.4, 7.4, 30), rng.uniform(-0.4, 5.4, 30)
    values = m.interp(m.geom.pix_to_sky(x, y))
    for k in range(4):
        expected = ndimage.map_coordinates(m.data[k], [y, x], order=1, mode="nearest")
        np.testing.assert_allclose(values[k], expected, atol=1e-9)
    assert np.isnan(m.interp(SkyCoord(0, 0, unit="deg"))).all()
    at_pixel = m.interp(m.geom.get_skycoord())
    np.testing.assert_allclose(at_pixel, m.data, atol=1e-9)


def test_values_without_sky_are_the_same_everywhere():
    m = Map(RegionGeom([energy]), np.arange(4.0).reshape(4, 1, 1), "m2")
    np.testing.assert_array_equal(m.get((83, 22)), np.arange(4))
    values = m.interp(SkyCoord([1, 2], [3, 4], unit="deg"))
    np.testing.assert_array_equal(values, np.arange(4)[:, None] * np.ones(2))


def test_stack_adds_a_part_where_it_lies():
    m = Map(cube_geom, 0.0, "m2")
    part = Map(cube_geom.pad(2).cutout(cube_geom.pix_to_sky(0, 0), 1.5), 1.0, "m2")
    part.data[0, 1, 1] = np.nan
    m.stack(part)
    m.stack(part.to_unit("cm2"), weights=Map(part.geom, 2.0))
    expected = np.zeros((4, 6, 8))
    expected[:, :2, :2] = 3
    expected[0, 0, 0] = 0
    np.testing.assert_allclose(m.data, expected)
    far = Map(cube_geom.pad(20).cutout(cube_geom.pix_to_sky(-15, 0), 1), 1.0, "m2")
    m.stack(far)
    np.testing.assert_allclose(m.data, expected)


def test_stack_refuses_what_does_not_fit():
    m = Map(cube_geom)
    with pytest.raises(ValueError, match="different axes"):
        m.stack(Map(cube_geom.to_image()))
    shifted = WcsGeom.create(npix=3, binsz=0.5, skydir=(83.73, 22.01), axes=[energy])
    with pytest.raises(ValueError, match="not aligned"):
        m.stack(Map(shifted))
