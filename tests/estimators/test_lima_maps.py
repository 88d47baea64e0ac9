"""Li and Ma maps against a plain sum over separations, mpmath, and gammapy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from gammagrad import MapDataset, MapDatasetOnOff
from gammagrad.estimators.lima import lima_maps
from gammagrad.maps import Map, MapAxis, SolidAngleWarning, WcsGeom, disc_kernel, disc_sum

Floats = NDArray[np.float64]

ENERGY = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)


def geometry(npix: Any = (23, 17), axes: Any = None, binsz: Any = 0.1) -> WcsGeom:
    return WcsGeom.create(npix=npix, binsz=binsz, proj="TAN", skydir=(83.6, 22.0), axes=axes)


def fields(geom: WcsGeom, seed: int = 0) -> tuple[Map, Map]:
    """Return counts and a background that varies, with a corner without any."""
    rng = np.random.default_rng(seed)
    background = rng.uniform(0.05, 0.8, geom.data_shape)
    background[..., :4, :4] = 0
    counts = rng.poisson(background).astype(float)
    counts[..., 9, 12] += 20
    return Map(geom, counts), Map(geom, background)


def plain_sum(data: Floats, radius: float) -> Floats:
    """Sum an image over a disc of a radius in pixels, pixel by pixel."""
    row, col = np.mgrid[0 : data.shape[0], 0 : data.shape[1]]
    total = np.zeros(data.shape)
    for i in range(data.shape[0]):
        for j in range(data.shape[1]):
            total[i, j] = data[np.hypot(row - i, col - j) <= radius + 1e-9].sum()
    return total


def lima_17(n_on: float, n_off: float, alpha: float) -> float:
    """Return equation 17 of Li and Ma with many digits."""
    with mpmath.workdps(40):
        n_on, n_off, alpha = (mpmath.mpf(float(x)) for x in (n_on, n_off, alpha))
        total = n_on + n_off
        if total == 0:
            return 0.0
        terms = [(n_on, (1 + alpha) / alpha * n_on / total), (n_off, (1 + alpha) * n_off / total)]
        value = 2 * sum(n * mpmath.log(ratio) for n, ratio in terms if n > 0)
        return float(mpmath.sign(n_on - alpha * n_off) * mpmath.sqrt(max(value, 0)))


def lima_known(n: float, mu: float) -> float:
    """Return the significance over a known background with many digits."""
    with mpmath.workdps(40):
        n, mu = mpmath.mpf(float(n)), mpmath.mpf(float(mu))
        if mu == 0:
            return float("inf") if n > 0 else 0.0
        value = 2 * ((n * mpmath.log(n / mu) if n > 0 else 0) - n + mu)
        return float(mpmath.sign(n - mu) * mpmath.sqrt(max(value, 0)))


@pytest.mark.parametrize("radius", [0.04, 0.1, 0.25, 0.3, 0.7, 3.1])
def test_a_known_background_is_that_of_plain_sums(radius: float) -> None:
    counts, background = fields(geometry())
    maps = lima_maps(counts, background, radius)
    assert sorted(maps) == ["background", "counts", "excess", "sqrt_ts"]
    n_on, mu = plain_sum(counts.data, radius / 0.1), plain_sum(background.data, radius / 0.1)
    np.testing.assert_array_equal(maps["counts"].data, n_on)
    np.testing.assert_allclose(maps["background"].data, mu, rtol=1e-13, atol=0)
    np.testing.assert_allclose(maps["excess"].data, n_on - mu, rtol=1e-10, atol=1e-12)
    expected = np.vectorize(lima_known)(n_on, maps["background"].data)
    np.testing.assert_allclose(maps["sqrt_ts"].data, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("correlate", [False, True])
def test_off_counts_are_summed_over_the_disc_only_if_told_so(correlate: bool) -> None:
    geom = geometry()
    counts, acceptance = fields(geom)
    rng = np.random.default_rng(5)
    a_off = acceptance.data * rng.uniform(3, 9, geom.data_shape) + 0.2
    off = rng.poisson(a_off).astype(float)
    off[12:, 15:] = 0  # no OFF counts, but an acceptance
    options = {"acceptance": acceptance, "acceptance_off": Map(geom, a_off)}
    options |= {"counts_off": Map(geom, off), "correlate_off": correlate}
    maps = lima_maps(counts, None, "0.25 deg", **options)
    n_on, a_on = plain_sum(counts.data, 2.5), plain_sum(acceptance.data, 2.5)
    if correlate:
        n_off = plain_sum(off, 2.5)
        background = plain_sum(off * acceptance.data / a_off, 2.5)
        alpha = a_on / plain_sum(a_off, 2.5)
        alpha[n_off > 0] = (background / np.maximum(n_off, 1))[n_off > 0]
    else:
        n_off, alpha = off, a_on / a_off
        background = alpha * n_off
    np.testing.assert_array_equal(maps["counts_off"].data, n_off)
    np.testing.assert_allclose(maps["alpha"].data, alpha, rtol=1e-12)
    np.testing.assert_allclose(maps["background"].data, background, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(maps["excess"].data, n_on - background, rtol=1e-9, atol=1e-12)
    seen = alpha > 0
    expected = np.vectorize(lima_17)(n_on[seen], n_off[seen], maps["alpha"].data[seen])
    np.testing.assert_allclose(maps["sqrt_ts"].data[seen], expected, rtol=1e-9, atol=1e-9)
    # without any acceptance nothing is expected, and nothing was seen
    np.testing.assert_array_equal(maps["sqrt_ts"].data[~seen], 0)


def test_a_ring_summed_twice_would_be_too_sure() -> None:
    """OFF counts of a ring, used as they are: the pull of empty fields has a width of 1."""
    geom = geometry((70, 70))
    rng = np.random.default_rng(1)
    ring = disc_kernel(geom, "12 pix")
    inner = disc_kernel(geom, "8 pix")
    widths = {}
    for correlate in (False, True):
        values = []
        for _ in range(12):
            counts = rng.poisson(0.4, geom.data_shape).astype(float)
            off = disc_sum(counts, ring) - disc_sum(counts, inner)
            area = disc_sum(np.ones_like(counts), ring) - disc_sum(np.ones_like(counts), inner)
            maps = lima_maps(
                Map(geom, counts),
                correlation_radius="4 pix",
                counts_off=Map(geom, off),
                acceptance=1,
                acceptance_off=Map(geom, area),
                correlate_off=correlate,
            )
            values.append(maps["sqrt_ts"].data[16:-16:8, 16:-16:8])
        widths[correlate] = float(np.std(values))
    assert widths[False] == pytest.approx(1, abs=0.08)
    assert widths[True] > 1.05


def test_bins_that_are_not_used_give_nothing_and_get_nan() -> None:
    geom = geometry()
    counts, background = fields(geom)
    mask = Map(geom, np.random.default_rng(2).random(geom.data_shape) < 0.7)
    maps = lima_maps(counts, background, 0.25, mask=mask)
    n_on = plain_sum(counts.data * mask.data, 2.5)
    mu = plain_sum(background.data * mask.data, 2.5)
    for name, expected in (("counts", n_on), ("background", mu), ("excess", n_on - mu)):
        np.testing.assert_array_equal(np.isnan(maps[name].data), ~mask.data)
        np.testing.assert_allclose(maps[name].data[mask.data], expected[mask.data], atol=1e-12)
    # a value that is not finite is as good as masked
    counts.data[~mask.data] = np.nan
    again = lima_maps(counts, background, 0.25)
    np.testing.assert_array_equal(again["sqrt_ts"].data, maps["sqrt_ts"].data)


@pytest.mark.parametrize("summed", [False, True])
def test_cubes_are_fitted_by_bin_or_summed(summed: bool) -> None:
    geom = geometry(axes=[ENERGY])
    counts, background = fields(geom)
    mask = Map(geom, np.ones(geom.data_shape, bool))
    mask.data[0, 3:9] = False
    mask.data[:, 5] = False
    maps = lima_maps(counts, background, 0.25, mask=mask, sum_over_energy=summed)
    planes = [
        lima_maps(counts.image(i), background.image(i), 0.25, mask=mask.image(i)) for i in (0, 1)
    ]
    for name, m in maps.items():
        if not summed:
            assert m.geom == geom
            np.testing.assert_array_equal(m.data, [plane[name].data for plane in planes])
    if summed:
        assert maps["counts"].geom == geom.squash("energy")
        used = mask.data.any(axis=0)
        n_on = sum(np.where(mask.data[i], counts.data[i], 0) for i in (0, 1))
        expected = plain_sum(n_on, 2.5)
        np.testing.assert_array_equal(maps["counts"].data[0][used], expected[used])
        assert np.isnan(maps["sqrt_ts"].data[0][~used]).all()
        flat = mask.data.all(axis=0)
        both = lima_maps(
            Map(geom.to_image(), (counts.data * mask.data).sum(axis=0)),
            Map(geom.to_image(), (background.data * mask.data).sum(axis=0)),
            0.25,
        )
        np.testing.assert_allclose(
            maps["sqrt_ts"].data[0][flat], both["sqrt_ts"].data[flat], rtol=1e-12
        )


def test_an_image_masks_every_energy() -> None:
    geom = geometry(axes=[ENERGY])
    counts, background = fields(geom)
    mask = Map(geom.to_image(), geom.separation((83.6, 22.0)).value < 0.5)
    maps = lima_maps(counts, background, 0.25, mask=mask)
    np.testing.assert_array_equal(np.isfinite(maps["sqrt_ts"].data), np.stack([mask.data] * 2))


def test_oblong_pixels_have_a_round_disc() -> None:
    geom = geometry((41, 61), binsz=(0.1, 0.05))
    counts = Map(geom)
    counts.data[30, 20] = 1
    found = lima_maps(counts, counts + 1, 0.4)["counts"].data > 0
    np.testing.assert_array_equal(found, geom.separation(geom.center_skydir).value < 0.401)


@given(
    data=arrays(float, (7, 9), elements=st.integers(0, 1000).map(float)),
    radius=st.floats(0.2, 12),
)
def test_disc_sums_are_those_of_every_pixel(data: Floats, radius: float) -> None:
    widths = disc_kernel(geometry((9, 7)), radius * u.pix)
    np.testing.assert_array_equal(disc_sum(data, widths), plain_sum(data, radius))


def test_angles_and_pixels_are_the_same_disc() -> None:
    counts, background = fields(geometry())
    first = lima_maps(counts, background, "0.3 deg")
    for radius in (0.3, 18 * u.arcmin, "3 pix", 3 * u.pix):
        other = lima_maps(counts, background, radius)
        np.testing.assert_array_equal(other["sqrt_ts"].data, first["sqrt_ts"].data)
    assert first["sqrt_ts"].meta == {"correlation_radius": "0.3 deg"}


def test_inputs_stay_and_results_go_through_files(tmp_path: Path) -> None:
    counts, background = fields(geometry())
    before = counts.data.copy(), background.data.copy()
    maps = lima_maps(counts, background)
    np.testing.assert_array_equal(counts.data, before[0])
    np.testing.assert_array_equal(background.data, before[1])
    maps["sqrt_ts"].write(tmp_path / "sqrt_ts.fits")
    back = Map.read(tmp_path / "sqrt_ts.fits")
    np.testing.assert_array_equal(back.data, maps["sqrt_ts"].data)


def test_an_acceptance_has_any_unit_but_one() -> None:
    geom = geometry()
    counts, acceptance = fields(geom)
    off = Map(geom, np.full(geom.data_shape, 4.0))
    on, a_off = Map(geom, acceptance.data, unit="m2 s"), Map(geom, acceptance.data * 5 + 1)
    first = lima_maps(counts, counts_off=off, acceptance=acceptance, acceptance_off=a_off)
    in_cm2 = Map(geom, a_off.data * 1e4, unit="cm2 s")
    other = lima_maps(counts, counts_off=off, acceptance=on, acceptance_off=in_cm2)
    np.testing.assert_allclose(other["sqrt_ts"].data, first["sqrt_ts"].data, rtol=1e-12)
    with pytest.raises(ValueError, match="convert"):
        lima_maps(counts, counts_off=off, acceptance=on, acceptance_off=a_off)


def test_a_place_without_off_acceptance_is_not_known() -> None:
    geom = geometry()
    counts, acceptance = fields(geom)
    off, a_off = Map(geom) + 3.0, Map(geom) + 5.0
    a_off.data[8, 8] = 0
    options = {"counts_off": off, "acceptance": acceptance, "acceptance_off": a_off}
    maps = lima_maps(counts, None, 0.1, **options)
    for name in ("background", "excess", "sqrt_ts", "alpha"):
        np.testing.assert_array_equal(np.argwhere(np.isnan(maps[name].data)), [[8, 8]])
    mask = Map(geom, a_off.data > 0)
    first = lima_maps(counts, None, 0.1, **options, correlate_off=True)
    other = lima_maps(counts, None, 0.1, **options, correlate_off=True, mask=mask)
    np.testing.assert_array_equal(first["sqrt_ts"].data, other["sqrt_ts"].data)
    assert int(np.isnan(first["sqrt_ts"].data).sum()) == 1


def test_bad_input_is_refused() -> None:
    geom = geometry()
    counts, background = fields(geom)
    off = {"counts_off": counts, "acceptance": 1, "acceptance_off": 5.0}
    with pytest.raises(ValueError, match="got neither"):
        lima_maps(counts)
    with pytest.raises(ValueError, match="got both"):
        lima_maps(counts, background, **off)
    for missing in ("acceptance", "acceptance_off"):
        with pytest.raises(ValueError, match="expected both with counts_off"):
            lima_maps(counts, **{k: v for k, v in off.items() if k != missing})
    with pytest.raises(ValueError, match="none with background"):
        lima_maps(counts, background, acceptance=1, acceptance_off=2)
    with pytest.raises(ValueError, match="background does not have the pixels of counts"):
        lima_maps(counts, fields(geometry((22, 17)))[1])
    with pytest.raises(ValueError, match="mask does not have the pixels of counts"):
        lima_maps(counts, background, mask=Map(geometry((22, 17))))
    with pytest.raises(ValueError, match="expected numbers >= 0, got -40"):
        lima_maps(counts - 40.0, background, 0.1)
    with pytest.raises(ValueError, match="counts per pixel, got a map in cm2"):
        lima_maps(counts, Map(geom, background.data, unit="cm2 s"))
    for radius in ("x", "3 TeV", 0, -1.0, np.nan, "-2 pix", [1, 2], None):
        with pytest.raises(ValueError, match="correlation_radius"):
            lima_maps(counts, background, radius)
    with pytest.raises(TypeError, match="counts: expected a Map"):
        lima_maps(counts.data, background)
    with pytest.raises(TypeError, match="mask: expected a Map"):
        lima_maps(counts, background, mask=counts.data > 0)
    with pytest.raises(TypeError, match="background: expected a Map"):
        lima_maps(counts, 3.0)


def test_uneven_pixels_are_warned_of() -> None:
    wide = Map(WcsGeom.create(npix=(36, 18), binsz=10))
    with pytest.warns(SolidAngleWarning, match="a disc is up to"):
        lima_maps(wide, wide, "20 deg")


@pytest.mark.data
@pytest.mark.parametrize(
    "name", ["fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", "reduced/hess-crab.fits.gz"]
)
def test_numbers_are_those_of_gammapy(gammapy_data: Path, name: str) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    estimators = pytest.importorskip("gammapy.estimators")
    theirs = datasets.MapDataset.read(gammapy_data / name).to_image()
    radius = "0.1 deg" if "hess" in name else "0.25 deg"
    result = estimators.ExcessMapEstimator(radius).run(theirs)
    geom = WcsGeom.from_header(
        theirs.counts.geom.to_header(), theirs.counts.geom.to_image().data_shape[::-1]
    )
    used = theirs.mask_safe.data[0] if theirs.mask_safe else np.ones(geom.shape_image, bool)
    maps = lima_maps(
        Map(geom, theirs.counts.data[0]),
        Map(geom, theirs.npred().data[0]),
        radius,
        mask=Map(geom, used),
    )
    # some of its maps are in single precision
    for ours, key in (("counts", "npred"), ("excess", "npred_excess"), ("sqrt_ts", "sqrt_ts")):
        np.testing.assert_allclose(
            maps[ours].data, result[key].data[0], rtol=1e-6, atol=2e-5, err_msg=key
        )


# OFF counts that are not summed over the disc gammapy sums over energies before it takes ratios
@pytest.mark.parametrize(("correlate", "summed"), [(False, False), (True, False), (True, True)])
def test_on_off_numbers_are_those_of_gammapy(correlate: bool, summed: bool) -> None:
    datasets = pytest.importorskip("gammapy.datasets")
    estimators = pytest.importorskip("gammapy.estimators")
    gammapy_maps = pytest.importorskip("gammapy.maps")
    geom = geometry((40, 30), axes=[ENERGY])
    rng = np.random.default_rng(4)
    acceptance = rng.uniform(0.5, 1.5, geom.data_shape)
    a_off = rng.uniform(5, 9, geom.data_shape)
    values = {"counts": rng.poisson(acceptance), "counts_off": rng.poisson(a_off)}
    values |= {"acceptance": acceptance, "acceptance_off": a_off}
    maps = {name: Map(geom, value.astype(float)) for name, value in values.items()}
    axis = gammapy_maps.MapAxis.from_energy_edges([1, 3.1622776601683795, 10], unit="TeV")
    theirs = gammapy_maps.WcsGeom(geom.wcs, npix=geom.npix, axes=[axis])
    dataset = datasets.MapDatasetOnOff(
        **{name: gammapy_maps.Map.from_geom(theirs, data=m.data) for name, m in maps.items()}
    )
    edges = axis.edges[[0, -1]] if summed else axis.edges
    with np.errstate(invalid="ignore", divide="ignore"):
        result = estimators.ExcessMapEstimator(
            "0.25 deg", correlate_off=correlate, energy_edges=edges
        ).run(dataset)
    counts = maps.pop("counts")
    options = {"correlate_off": correlate, "sum_over_energy": summed}
    ours = lima_maps(counts, None, "0.25 deg", **maps, **options)
    for name, key in (("counts", "npred"), ("excess", "npred_excess"), ("sqrt_ts", "sqrt_ts")):
        seen = ours["counts_off"].data > 0
        assert seen.mean() > 0.9
        np.testing.assert_allclose(
            ours[name].data[seen], result[key].data[seen], rtol=1e-6, atol=2e-5, err_msg=name
        )


def test_a_mask_that_is_unknown_uses_nothing() -> None:
    counts = Map.create(npix=8, binsz=0.1)
    mask = counts.copy()
    mask.data[:] = 1
    mask.data[:3] = np.nan
    maps = lima_maps(counts, counts, "1 pix", mask=mask)
    np.testing.assert_array_equal(np.isnan(maps["sqrt_ts"].data), np.isnan(mask.data))


def test_larger_maps_are_cut_out_to_the_counts() -> None:
    geom = geometry((23, 17), axes=[ENERGY])
    counts, _ = fields(geom)
    large = geom.pad(((2, 1), (0, 3)))
    rng = np.random.default_rng(1)
    background, acceptance = (Map(large, rng.uniform(0.1, 2, large.data_shape)) for _ in range(2))
    mask = Map(large.to_image(), rng.uniform(0, 1, large.shape_image) > 0.1)
    off = {"counts_off": background, "acceptance": acceptance, "acceptance_off": acceptance * 4.0}

    def own(m: Map) -> Map:
        data = m.data[..., 2:-1, :-3]
        return Map(geom.to_image().to_cube(m.geom.axes), data, m.unit)

    for parts in ({"background": background}, off):
        found = lima_maps(counts, correlation_radius=0.2, mask=mask, **parts)
        by_hand = {name: own(m) for name, m in parts.items()}
        expected = lima_maps(counts, correlation_radius=0.2, mask=own(mask), **by_hand)
        for name, m in expected.items():
            np.testing.assert_array_equal(found[name].data, m.data)


def test_a_dataset_gives_its_background_and_mask() -> None:
    geom = geometry(axes=[ENERGY])
    counts, background = fields(geom)
    good = np.ones(geom.data_shape, dtype=bool)
    good[:, :, 15:] = False
    mask = Map(geom, good)
    dataset = MapDataset(counts=counts, background=background, mask_safe=mask)
    found = lima_maps(dataset, correlation_radius="0.3 deg")
    expected = lima_maps(counts, background, "0.3 deg", mask=mask)
    for name, m in expected.items():
        np.testing.assert_array_equal(found[name].data, m.data)
    twice = background * 2.0
    np.testing.assert_array_equal(
        lima_maps(dataset, twice, "0.3 deg")["excess"].data,
        lima_maps(counts, twice, "0.3 deg", mask=mask)["excess"].data,
    )
    with pytest.raises(ValueError, match="background"):
        lima_maps(MapDataset(counts=counts))


def test_an_on_off_dataset_gives_its_off_counts() -> None:
    geom = geometry(axes=[ENERGY])
    counts, background = fields(geom)
    parts = {
        "counts_off": background * 10.0,
        "acceptance": Map(geom, np.ones(geom.data_shape)),
        "acceptance_off": Map(geom, np.full(geom.data_shape, 10.0)),
    }
    dataset = MapDatasetOnOff(counts=counts, **parts)
    found = lima_maps(dataset, correlation_radius="0.3 deg", correlate_off=True)
    expected = lima_maps(counts, correlation_radius="0.3 deg", correlate_off=True, **parts)
    assert found.keys() == expected.keys()
    for name, m in expected.items():
        np.testing.assert_array_equal(found[name].data, m.data)
