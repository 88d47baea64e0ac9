"""Datasets on pixels of their own: one norm over all, and each contributes its own bins."""

from __future__ import annotations

from typing import Any

import astropy.units as u
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from datasets import make_dataset
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator
from gammagrad.core.norm import Status
from gammagrad.errors import InputError, InputTypeError
from gammagrad.estimators.ts_map.inputs import FitInputs
from gammagrad.maps import MapAxis, PSFMap, WcsGeom
from gammagrad.models import (
    ConstantSpatialModel,
    GaussianSpatialModel,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from oracles import slow_fit
from varying import MIDDLE, RECO, TRUE, exposure_at, gaussian_pixels, varying_dataset

Floats = NDArray[np.float64]

NPIX, BINSZ = (25, 19), 0.1
PLACES = [(7, 12), (14, 5)]
BRIGHT, FAINT = 1e-10, 1e-14
SIGMA = 0.1


def source(amplitude: float, spatial: Any = None) -> SkyModel:
    spectrum = PowerLawSpectralModel(index=2.0, amplitude=amplitude)
    return SkyModel(spectrum, PointSpatialModel() if spatial is None else spatial)


def dataset_on(geom: WcsGeom, level: float, name: str, seed: int | None = 0) -> MapDataset:
    """Return the field of `varying_dataset` on other pixels; level: background per square deg."""
    plain = varying_dataset((3, 3), 0.1)
    cube = geom.to_image().to_cube([RECO])
    sky = geom.to_image().get_skycoord()
    away = sky.icrs.separation(MIDDLE).deg
    spectrum = np.array([0.6, 0.8, 1.0, 1.2])[:, None, None]
    area = np.deg2rad(1.0) ** -2 * geom.to_image().solid_angle().to_value("sr")
    expected = level * area * np.exp(-away / 2) * np.array([1.0, 0.3])[:, None, None]
    counts = expected if seed is None else np.random.default_rng(seed).poisson(expected)
    return MapDataset(
        Map(cube, np.asarray(counts, float)),
        exposure=Map(geom.to_image().to_cube([TRUE]), exposure_at(away) * spectrum, "cm2 s"),
        background=Map(cube, expected),
        psf=plain.psf,
        edisp=plain.edisp,
        name=name,
    )


GRIDS: dict[str, Any] = {
    "finer": ((50, 38), 0.05, "TAN", "icrs"),
    "coarser": ((13, 10), 0.2, "TAN", "icrs"),
    "galactic": ((36, 36), 0.083, "CAR", "galactic"),
}


def grid(npix: tuple[int, int], binsz: float, proj: str, frame: str) -> WcsGeom:
    middle = MIDDLE.galactic if frame == "galactic" else MIDDLE
    return WcsGeom.create(npix, binsz, skydir=middle, proj=proj, frame=frame)


@pytest.fixture(scope="module")
def first() -> MapDataset:
    return varying_dataset(NPIX, BINSZ)


@pytest.fixture(scope="module")
def others() -> dict[str, MapDataset]:
    return {name: dataset_on(grid(*how), 110.0, name) for name, how in GRIDS.items()}


def with_source(
    dataset: MapDataset, model: SkyModel, place: tuple[int, int], target: WcsGeom
) -> MapDataset:
    """Return a dataset whose counts are those expected with a source at a pixel of a map."""
    position = target.to_image().pix_to_sky(place[1], place[0]).icrs
    moved = model.spatial_model.with_position(position.ra.deg, position.dec.deg)
    signal = dataset.npred_signal([SkyModel(model.spectral_model, moved)]).data
    found = dataset.copy()
    found.counts = Map(dataset.geom, dataset.background.data + signal)
    return found


def at(*places: tuple[int, int], shape: tuple[int, int] = NPIX[::-1]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


SUMMED = [True, pytest.param(False, marks=pytest.mark.slow)]


@pytest.mark.parametrize("summed", SUMMED)
@pytest.mark.parametrize("name", GRIDS)
def test_the_norm_of_a_source_on_any_pixels(
    name: str, summed: bool, first: MapDataset, others: dict[str, MapDataset]
) -> None:
    for amplitude in (BRIGHT, FAINT):
        model = source(amplitude)
        estimator = TSMapEstimator(model, sum_over_energy_groups=summed)
        for place in PLACES:
            one, two = (with_source(d, model, place, first.geom) for d in (first, others[name]))
            alone = estimator.run(two, positions=at(place), geom=first.geom)
            both = estimator.run([one, two], positions=at(place))
            for maps in (alone, both):
                assert maps["norm"].data[0][place] == pytest.approx(1, abs=2e-3)
                assert maps.geom.to_image() == first.geom.to_image()
            own = both.meta["kernels_per_group"][0]
            assert len(own) == 2
            assert all(number > 1 for number in own)


def test_an_extended_source_on_other_pixels(
    first: MapDataset, others: dict[str, MapDataset]
) -> None:
    model = source(BRIGHT, GaussianSpatialModel(sigma=0.1))
    # between the middles of wide pixels the exposure is interpolated
    for name, most in (("finer", 5e-3), ("galactic", 5e-3), ("coarser", 1e-2)):
        two = with_source(others[name], model, PLACES[0], first.geom)
        maps = TSMapEstimator(model).run(two, positions=at(PLACES[0]), geom=first.geom)
        assert maps["norm"].data[0][PLACES[0]] == pytest.approx(1, abs=most), name


def simple(geom: WcsGeom, seed: int, name: str, exposure: float = 2e13) -> MapDataset:
    """Return a flat field with a Gaussian PSF and no energy dispersion."""
    image = geom.to_image()
    cube = image.to_cube([TRUE.rename("energy")])
    rng = np.random.default_rng(seed)
    expected = np.broadcast_to(
        110.0 * np.rad2deg(1.0) ** 2 * image.solid_angle().to_value("sr"), cube.data_shape
    ).copy()
    return MapDataset(
        Map(cube, rng.poisson(expected).astype(float)),
        background=Map(cube, expected),
        exposure=Map(image.to_cube([TRUE]), exposure, unit="cm2 s"),
        psf=PSFMap.from_gauss(TRUE, SIGMA),
        name=name,
    )


def profile(
    dataset: MapDataset, model: SkyModel, position: Any, summed: bool
) -> tuple[Floats, Floats, Floats]:
    """Return counts, background and the model's counts of all bins, by integrals over pixels."""
    edges = TRUE.edges_in("TeV")
    flux = np.asarray(model.spectral_model.integral(edges[:-1], edges[1:]))
    shape = gaussian_pixels(dataset.geom, position, SIGMA)
    signal = (flux * dataset.exposure.data[:, 0, 0])[:, None, None] * shape
    cubes = dataset.counts.data, dataset.background.data, signal
    n, b, m = (c.sum(axis=0, keepdims=True) if summed else c for c in cubes)
    return n.ravel(), b.ravel(), m.ravel()


@pytest.mark.parametrize("summed", SUMMED)
def test_the_likelihood_is_the_sum_over_all_bins(summed: bool) -> None:
    model = source(3e-12)
    geoms = [grid(NPIX, BINSZ, "TAN", "icrs"), grid((31, 27), 0.077, "TAN", "icrs")]
    datasets = [simple(g, seed, name) for g, seed, name in zip(geoms, (1, 2), "ab", strict=True)]
    estimator = TSMapEstimator(model, sum_over_energy_groups=summed, renormalise=False)
    rng = np.random.default_rng(4)
    # on both maps: off its map a dataset has no exposure
    places = [(int(rng.integers(0, 19)), int(rng.integers(1, 24))) for _ in range(20)]
    maps = estimator.run(datasets, positions=at(*places))
    for place in places:
        position = geoms[0].pix_to_sky(place[1], place[0])
        parts = [profile(d, model, position, summed) for d in datasets]
        slow = slow_fit(*(np.concatenate(a) for a in zip(*parts, strict=True)))
        norm, ts = (maps[name].data[0][place] for name in ("norm", "ts"))
        # kernels are cut where they hold 99.9 %
        assert norm == pytest.approx(slow.norm, abs=4e-3 * abs(slow.norm) + 0.03 * slow.norm_err)
        assert maps["norm_err"].data[0][place] == pytest.approx(slow.norm_err, rel=5e-3)
        assert ts == pytest.approx(slow.ts, rel=1e-2, abs=0.15)


def bins_of(
    inputs: FitInputs, summed: bool, place: tuple[int, int]
) -> tuple[Floats, Floats, Floats]:
    """Return counts, background and model around a position by loops over bins and kernels."""
    images = inputs.images(slice(0, len(inputs.counts)), summed, "counts")
    places = images.places
    n_images, ny, nx = np.shape(images.counts)
    if places is None:
        (row, col), kernels = place, images.kernel
    else:
        row, col = int(places.row[place]), int(places.col[place])
        kernels = images.kernel[places.phase[place]]
    half_y, half_x = kernels.shape[-2] // 2, kernels.shape[-1] // 2
    found: list[tuple[float, float, float]] = []
    for image in range(n_images):
        for y in range(max(row - half_y, 0), min(row + half_y + 1, ny)):
            for x in range(max(col - half_x, 0), min(col + half_x + 1, nx)):
                values = kernels[image, :, y - row + half_y, x - col + half_x]
                shape = float(images.blend[:, place[0], place[1]] @ values)
                model = max(shape, 0.0) * images.amplitude[image][place]
                found.append(
                    (
                        float(images.counts[image, y, x]),
                        float(images.background[image, y, x]),
                        float(model * images.exposure[image, 0, y, x]),
                    )
                )
    counts, background, model_counts = np.array(found).T
    return counts, background, model_counts


@pytest.mark.parametrize("summed", SUMMED)
@pytest.mark.parametrize("name", ["finer", "galactic"])
def test_the_fit_is_exact_for_its_kernels(
    name: str, summed: bool, first: MapDataset, others: dict[str, MapDataset]
) -> None:
    estimator = TSMapEstimator(sum_over_energy_groups=summed)
    datasets = [first, others[name]]
    places = [(0, 0), (7, 12), (14, 5), (18, 24), (3, 20), (9, 9), (12, 0)]
    maps = estimator.run(datasets, positions=at(*places))
    inputs = next(estimator._collector.inputs(datasets, first.geom.to_image())[0])
    for place in places:
        parts = [bins_of(i, summed, place) for i in inputs]
        slow = slow_fit(*(np.concatenate(a) for a in zip(*parts, strict=True)))
        values = {n: maps[n].data[0][place] for n in ("norm", "norm_err", "ts", "stat", "npred")}
        assert values["norm"] == pytest.approx(slow.norm, abs=1e-6 * slow.norm_err)
        for quantity in ("norm_err", "ts", "stat", "npred"):
            expected = getattr(slow, quantity)
            assert values[quantity] == pytest.approx(expected, rel=1e-6, abs=1e-6), quantity


def same(one: FluxMaps, other: FluxMaps, rtol: float, names: Any = None) -> None:
    for name in names or one.available_quantities:
        mine, theirs = one[name].data, other[name].data
        size = np.abs(theirs[np.isfinite(theirs)].astype(float)).max(initial=0.0)
        np.testing.assert_allclose(
            mine, theirs, rtol=rtol, atol=1e-3 * rtol * float(size), err_msg=name
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:dataset .* the counts are not whole numbers")
def test_counts_split_into_two_datasets(others: dict[str, MapDataset], first: MapDataset) -> None:
    whole = others["galactic"]
    parts = []
    for share, name in ((0.25, "quarter"), (0.75, "rest")):
        part = whole.copy(name=name)
        for m in (part.background, part.exposure):
            m.data = m.data * share
        part.counts.data = part.counts.data * share
        parts.append(part)
    for summed in (True, False):
        estimator = TSMapEstimator(sum_over_energy_groups=summed)
        one = estimator.run(whole, geom=first.geom)
        two = estimator.run(parts, geom=first.geom)
        same(one, two, 1e-7, ("norm", "norm_err", "ts", "npred"))


def test_a_dataset_that_covers_a_part(first: MapDataset) -> None:
    small = dataset_on(grid((8, 8), 0.07, "TAN", "icrs"), 110.0, "small")
    maps, alone = TSMapEstimator().run([first, small]), TSMapEstimator().run(first)
    changed = maps["norm"].data[0] != alone["norm"].data[0]
    assert changed[9, 12]
    far = np.abs(maps["norm"].data[0] / alone["norm"].data[0] - 1) < 1e-9
    assert far[:2].all()
    assert far[:, :2].all()
    only = TSMapEstimator().run(small, geom=first.geom)
    fitted = only["status"].data[0] != Status.NOT_FITTED
    assert fitted[9, 12]
    assert not fitted[0].any()
    assert np.isfinite(only["norm"].data[0][fitted]).all()
    assert np.isnan(only["norm"].data[0][~fitted]).all()


def test_the_same_pixels_are_the_same_fit(first: MapDataset) -> None:
    plain = TSMapEstimator(selection_optional="all").run(first)
    there = TSMapEstimator(selection_optional="all").run([first], geom=first.geom)
    same(plain, there, 0.0)
    assert plain.meta["kernels_per_group"] == there.meta["kernels_per_group"]
    # equal pixels from another hand
    again = WcsGeom.from_header(first.geom.to_image().to_header(), NPIX)
    same(plain, TSMapEstimator(selection_optional="all").run([first], geom=again), 0.0)


def test_a_part_of_the_pixels(first: MapDataset) -> None:
    part = first.geom.to_image().cutout(MIDDLE, "1 deg")
    maps, whole = TSMapEstimator().run(first, geom=part), TSMapEstimator().run(first)
    cut = whole.cutout(MIDDLE, "1 deg")
    assert maps.geom.shape_image == part.shape_image
    error = cut["norm_err"].data
    assert np.all(np.abs(maps["norm"].data - cut["norm"].data) < 5e-3 * error + 2e-3)
    # the kernels are blends of others, made for these positions
    np.testing.assert_allclose(maps["norm_err"].data, error, rtol=1e-2)


@pytest.mark.parametrize("how", [{"memory": "1 MB"}, {"n_jobs": 2}], ids=["strips", "processes"])
def test_shared_work_gives_the_same(
    how: dict[str, Any], first: MapDataset, others: dict[str, MapDataset]
) -> None:
    datasets = [first, others["galactic"]]
    same(TSMapEstimator(**how).run(datasets), TSMapEstimator().run(datasets), 1e-9)


def test_the_order_does_not_matter(first: MapDataset, others: dict[str, MapDataset]) -> None:
    datasets = [others["finer"], first, others["galactic"]]
    one = TSMapEstimator().run(datasets, geom=first.geom)
    two = TSMapEstimator().run(datasets[::-1], geom=first.geom)
    same(one, two, 1e-9)


def test_energies_may_differ_too(first: MapDataset) -> None:
    geom = grid(*GRIDS["coarser"])
    axis = MapAxis.from_energy_bounds("1 TeV", "16 TeV", nbin=4)
    other = dataset_on(geom, 110.0, "other")
    cube = geom.to_cube([axis])
    background = np.repeat(other.background.data, 2, axis=0) / 2
    rng = np.random.default_rng(0)
    fine = MapDataset(
        Map(cube, rng.poisson(background).astype(float)),
        background=Map(cube, background),
        exposure=other.exposure,
        psf=other.psf,
        name="fine",
    )
    model = source(BRIGHT)
    for summed in (True, False):
        estimator = TSMapEstimator(model, energy_edges="all", sum_over_energy_groups=summed)
        datasets = [with_source(d, model, PLACES[0], first.geom) for d in (first, fine)]
        maps = estimator.run(datasets, positions=at(PLACES[0]))
        norm = maps["norm"].data[:, PLACES[0][0], PLACES[0][1]]
        np.testing.assert_allclose(norm, 1, atol=2e-3)
        # the same pixels with other energies, one after the other
        again = estimator.run(datasets[1], positions=at(PLACES[0]), geom=first.geom)
        np.testing.assert_allclose(again["norm"].data[:, *PLACES[0]], 1, atol=2e-3)


def test_equal_pixels_with_other_energies_do_not_share_kernels(first: MapDataset) -> None:
    image, model = first.geom.to_image(), source(BRIGHT)
    axes = [RECO, MapAxis.from_energy_bounds("2 TeV", "8 TeV", nbin=2)]
    datasets = []
    for axis in axes:
        cube = image.to_cube([axis])
        plain = Map(cube, np.full(cube.data_shape, 1.0))
        parts = {"exposure": first.exposure, "psf": first.psf, "name": str(axis.edges[0])}
        datasets.append(
            with_source(MapDataset(plain, background=plain, **parts), model, PLACES[0], image)
        )
    for dataset in datasets:
        assert dataset.geom.derived is image.derived
        maps = TSMapEstimator(model).run(dataset, positions=at(PLACES[0]))
        assert maps["norm"].data[0][PLACES[0]] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("summed", SUMMED)
def test_masks_on_other_pixels(
    summed: bool, first: MapDataset, others: dict[str, MapDataset]
) -> None:
    model = source(BRIGHT)
    two = with_source(others["galactic"], model, PLACES[0], first.geom)
    safe = np.ones(two.geom.data_shape, bool)
    safe[0, 12:18, 14:22] = False
    safe[1, :, :15] = False
    two.mask_safe = Map(two.geom, safe)
    weights = np.linspace(0.4, 1.6, two.geom.shape_image[0])[:, None]
    two.mask_fit = Map(two.geom, np.broadcast_to(weights, two.geom.data_shape).copy())
    maps = TSMapEstimator(model, sum_over_energy_groups=summed).run(two, geom=first.geom)
    # the mask cuts the source on one side: its place within the pixel, known to a sixteenth of a
    # pixel, matters in first order
    assert maps["norm"].data[0][PLACES[0]] == pytest.approx(1, abs=5e-3)
    # a position whose bin is masked at all energies is not fitted
    column, row = two.geom.to_image().sky_to_pix(first.geom.to_image().get_skycoord())
    row, column = np.round(row).astype(int), np.round(column).astype(int)
    ny, nx = two.geom.shape_image
    on = (row >= 0) & (row < ny) & (column >= 0) & (column < nx)
    used = safe.any(axis=0)[np.clip(row, 0, ny - 1), np.clip(column, 0, nx - 1)] & on
    np.testing.assert_array_equal(maps["status"].data[0] != Status.NOT_FITTED, used)


@pytest.mark.slow
def test_merged_pixels_beside_own_ones(first: MapDataset, others: dict[str, MapDataset]) -> None:
    datasets = [first, others["finer"]]
    coarse = TSMapEstimator(downsampling_factor=2).run(datasets)
    fine = TSMapEstimator().run(datasets)
    assert coarse.geom == fine.geom
    assert np.isfinite(coarse["norm"].data).all()
    inside = (slice(None), slice(3, -3), slice(3, -3))
    ratio = coarse["norm_err"].data[inside] / fine["norm_err"].data[inside]
    # blocks as wide as twice the width of the PSF hold less information, not more
    assert 1 < np.median(ratio) < 1.15
    only = TSMapEstimator(downsampling_factor=2).run(others["finer"], geom=first.geom)
    # the middle of a block at the edge of the map may be off the dataset's map
    assert np.isfinite(only["norm"].data[inside]).all()


@pytest.mark.slow
def test_a_threshold_and_all_maps(first: MapDataset, others: dict[str, MapDataset]) -> None:
    datasets = [first, others["coarser"]]
    how = {"selection_optional": "all", "norm": {"scan_values": [0.0, 1.0]}}
    full = TSMapEstimator(**how).run(datasets)
    kept = TSMapEstimator(threshold=3.0, **how).run(datasets)
    fitted = (kept["status"].data[0] == full["status"].data[0]) & (full["ts"].data[0] > 6)
    assert full["success"].data.all()
    for name in ("norm", "norm_ul", "norm_errp", "norm_sensitivity"):
        assert np.isfinite(kept[name].data).all()
        np.testing.assert_allclose(
            kept[name].data[0][fitted], full[name].data[0][fitted], rtol=1e-6
        )


@pytest.mark.slow
def test_many_places_in_a_pixel() -> None:
    # so many positions that the places of sources in their pixels are close to each other
    target = WcsGeom.create((90, 80), 0.031, skydir=MIDDLE, proj="TAN")
    other = dataset_on(grid((20, 20), 0.13, "CAR", "galactic"), 60.0, "other", None)
    model = source(BRIGHT)
    place = (31, 47)
    two = with_source(other, model, place, target)
    maps = TSMapEstimator(model).run(
        two, positions=at(place, shape=target.shape_image), geom=target
    )
    assert maps["norm"].data[0][place] == pytest.approx(1, abs=3e-3)
    assert maps.meta["kernel_error_per_group"][0][0] < 3e-3


def test_positions_off_the_sky(first: MapDataset) -> None:
    # the corners of an all-sky map have no position, and most of it is on the other side
    target = WcsGeom.create((61, 31), 6.0, skydir=MIDDLE.galactic, proj="AIT", frame="galactic")
    maps = TSMapEstimator().run(first, geom=target)
    fitted = maps["status"].data[0] != Status.NOT_FITTED
    assert 0 < fitted.sum() <= 2
    assert np.isfinite(maps["norm"].data[0][fitted]).all()
    away = target.get_skycoord().icrs.separation(MIDDLE).deg
    assert np.nanmax(away[fitted]) < 3


def test_what_cannot_be_fitted(first: MapDataset, others: dict[str, MapDataset]) -> None:
    estimator, other = TSMapEstimator(), others["finer"]
    for wrong in (first, "TAN", first.geom.to_image().to_header()):
        with pytest.raises(InputTypeError, match=r"geom: got .*; expected the pixels of a map"):
            estimator.run(first, geom=wrong)
    far = WcsGeom.create((10, 10), 0.1, skydir=(120.0, -30.0), proj="TAN")
    with pytest.raises(InputError, match=r"geom: dataset 'varying' has no pixel on the map"):
        estimator.run(first, geom=far)
    lost = dataset_on(far, 110.0, "lost")
    with pytest.raises(InputError, match=r"datasets: dataset 'lost' has no pixel on the map"):
        estimator.run([first, lost])
    for name, value in (("kernel_positions", "centre"), ("kernel_sampling", "gammapy")):
        with pytest.raises(
            InputError, match=rf"{name} is '{value}', but dataset 'finer' has other"
        ):
            TSMapEstimator(**{name: value}).run([first, other])
    endless = SkyModel(source(BRIGHT).spectral_model, ConstantSpatialModel())
    with pytest.raises(InputError, match=r"dataset 'finer' has other pixels .* ConstantSpatial"):
        TSMapEstimator(endless, kernel_width="0.5 deg").run([first, other])


def test_equal_grids_are_what_they_were() -> None:
    one, two = (make_dataset((13, 11), seed=seed, name=str(seed)) for seed in (0, 1))
    maps = TSMapEstimator(kernel_width="0.5 deg").run([one, two])
    assert maps.meta["kernels_per_group"] == [[1, 1]]
    how = {"kernel_width": "0.5 deg", "kernel_positions": "centre"}
    same(maps, TSMapEstimator(**how).run([one, two]), 0.0)
    there = TSMapEstimator(kernel_width="0.5 deg").run([one, two], geom=two.geom)
    same(maps, there, 0.0)


@pytest.mark.slow
def test_all_energies_as_a_dict(first: MapDataset, others: dict[str, MapDataset]) -> None:
    datasets = [first, others["coarser"]]
    group, maps = (getattr(TSMapEstimator(), f)(datasets) for f in ("estimate_flux_map", "run"))
    for name, m in group.items():
        np.testing.assert_array_equal(m.data, maps[name].data)


@pytest.mark.slow
@settings(max_examples=6)
@given(
    binsz=st.floats(0.04, 0.16),
    npix=st.sampled_from([(24, 20), (30, 30)]),
    offset=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    frame=st.sampled_from(["icrs", "galactic", "fk5"]),
    proj=st.sampled_from(["TAN", "CAR", "SIN"]),
    summed=st.booleans(),
    faint=st.booleans(),
)
def test_any_pixels(
    binsz: float,
    npix: tuple[int, int],
    offset: tuple[float, float],
    frame: str,
    proj: str,
    summed: bool,
    faint: bool,
) -> None:
    target, model = grid((11, 9), 0.1, "TAN", "icrs"), source(FAINT if faint else BRIGHT)
    middle = MIDDLE.spherical_offsets_by(*(o * u.deg for o in offset))
    own = middle.transform_to(frame)
    geom = WcsGeom.create(npix, binsz, skydir=own, proj=proj, frame=frame)
    data = dataset_on(geom, 110.0, "any", None)
    places = [(r, c) for r in (2, 6) for c in (3, 8)]
    image = geom.to_image()
    for place in places[:: 2 if faint else 3]:
        position = target.pix_to_sky(place[1], place[0])
        x, y = image.sky_to_pix(position)
        if not (1 <= x <= npix[0] - 2 and 1 <= y <= npix[1] - 2):
            continue
        two = with_source(data, model, place, target)
        maps = TSMapEstimator(model, sum_over_energy_groups=summed).run(two, geom=target)
        assert maps["norm"].data[0][place] == pytest.approx(1, abs=1e-2)
        fitted = maps["status"].data[0] != Status.NOT_FITTED
        assert np.isfinite(maps["norm"].data[0][fitted]).all()
        assert np.isnan(maps["norm"].data[0][~fitted]).all()
