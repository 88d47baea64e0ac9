"""Maps whose kernel differs from position to position: both engines against plain loops."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fields import BlendField, blend_field, random_field
from gammagrad import parallel, ts_map
from gammagrad._pytree import replace
from gammagrad.core.norm import NormFit, Status, make_options
from gammagrad.core.ts_map import BinImages, cube_bins, fit_occupied, sparse, summed_bins
from gammagrad.core.ts_map.blended_blocks import blended_sums
from gammagrad.core.ts_map.chunk import fit_chunk
from gammagrad.core.ts_map.dense import fit_images
from gammagrad.core.ts_map.sensitivity import sensitivity_chunk
from gammagrad.core.ts_map.strips import strip_height
from gammagrad.core.ts_map.ts_map import _ts_map
from gammagrad.parallel import Jobs, run_jobs
from oracles import slow_positions, slow_source_bins
from precision import DOUBLE, double_only

ALL = ("errn-errp", "ul", "sensitivity", "stat_scan")
SCAN = np.array([-1.0, -0.02, 0.0, 0.5, 3.0])
NAMES = ("norm", "norm_err", "ts", "stat", "stat_null", "npred")
OPTIONAL = ("norm_errp", "norm_errn", "norm_ul", "norm_sensitivity")


def images(field: BlendField) -> BinImages:
    """Return the bins of a cube as the fast engine takes them."""
    w = field.weights
    used = w > 0
    return BinImages(
        counts=jnp.asarray(np.where(used, w * field.counts, 0)),
        background=jnp.asarray(np.where(used, w * field.background, 0)),
        exposure=jnp.asarray(w[:, None]),
        kernel=jnp.asarray(field.kernel.swapaxes(0, 1)),
        amplitude=jnp.asarray(field.exposure),
        blend=jnp.asarray(field.blend),
    )


def dense(fields: list[BlendField], **options: Any) -> NormFit:
    joint = [list(arrays) for arrays in zip(*fields, strict=True)]
    return ts_map(*joint[:5], blend=joint[5], **options)


def everywhere(data: BinImages) -> np.ndarray:
    return np.ones(np.shape(data.counts)[1:], bool)


def listed(datasets: list[BinImages], **options: Any) -> NormFit:
    options = {"selection": ALL, "scan_values": SCAN} | options
    return fit_occupied(datasets, everywhere(datasets[0]), **options)


def both_ways(datasets: list[BinImages]) -> list[NormFit]:
    """Fit with lists of occupied bins, and with whole windows."""
    fits = []
    for share in (1e9, 0.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sparse, "_DENSE", share)
            fits.append(listed(datasets))
    return fits


def assert_same(one: NormFit, other: NormFit, rtol: float = 1e-9, ignore: Any = ()) -> None:
    """Compare all maps, each to a part of its largest value."""
    for name, array in vars(one).items():
        if array is None or name in ignore:
            continue
        array, value = np.asarray(array), np.asarray(getattr(other, name))
        scale = np.max(np.abs(array[np.isfinite(array)]), initial=1e-300)
        np.testing.assert_allclose(value, array, rtol=rtol, atol=rtol * scale, err_msg=name)


def assert_slow(
    fit: NormFit, slow: dict[str, np.ndarray], scan: np.ndarray | None, weighted: bool = True
) -> None:
    """Compare a fit with the plain loops."""
    seen = np.isfinite(slow["norm"])
    np.testing.assert_array_equal(np.asarray(fit.status) != Status.NOT_FITTED, seen)
    error = np.where(np.isfinite(slow["norm_err"]), slow["norm_err"], slow["norm_errp"])[seen]
    for name in ("norm", *OPTIONAL):
        value = getattr(fit, name)
        if value is not None:
            off = np.abs(np.asarray(value)[seen] - slow[name][seen]) / error
            # the last digits of a sensitivity are those of its own root
            assert off.max() < (1e-9 if name == "norm" else 2e-8), name
    # a statistic has what weights between 0 and 1 add to it only in `ts_map`
    stats = ("stat", "stat_null") if weighted else ()
    for name in ("norm_err", "ts", "npred", *stats):
        value, expected = np.asarray(getattr(fit, name))[seen], slow[name][seen]
        np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-9, err_msg=name)
    at_bound = np.isin(fit.status, (Status.AT_BOUND, Status.ZERO_BACKGROUND_BOUND))
    np.testing.assert_allclose(fit.norm[at_bound], slow["bound"][at_bound], rtol=1e-12, atol=1e-15)
    if scan is not None:
        value, expected = np.asarray(fit.stat_scan)[:, seen], scan[:, seen]
        np.testing.assert_allclose(value, expected, rtol=1e-8, atol=1e-8)


# -- (a) against plain loops


@double_only
@pytest.mark.parametrize(
    ("seed", "shape", "special"),
    [(1, (2, 10, 9), True), (2, (1, 7, 10), False), (3, (3, 9, 9), True)],
)
def test_both_engines_agree_with_plain_loops(
    seed: int, shape: tuple[int, int, int], special: bool
) -> None:
    field = blend_field(seed, shape, special=special)
    slow, scan = slow_positions(partial(slow_source_bins, *field), shape[1:], SCAN)
    fits = both_ways([images(field)])
    fits.append(dense([field], selection_optional=ALL, scan_values=SCAN))
    for fit, weighted in zip(fits, (True, True, not special), strict=True):
        assert_slow(fit, slow, scan, weighted)
    assert_same(fits[0], fits[2], ignore=("niter", "status", "stat", "stat_null"))
    for fit in fits[1:]:
        np.testing.assert_array_equal(fits[0].status, fit.status)


@double_only
@pytest.mark.parametrize("mode", ["counts", "equal"])
def test_a_summed_image_agrees_with_plain_loops(mode: str) -> None:
    field = blend_field(4)
    fit = dense([field], sum_over_energy=True, kernel_weighting=mode)
    slow, _ = slow_positions(partial(slow_source_bins, *field, mode=mode), (10, 9), SCAN)
    assert_slow(fit, slow, None, weighted=False)


@double_only
def test_the_engines_agree_on_images_of_the_fast_one() -> None:
    data = images(blend_field(5))
    options = make_options(np.float64, -np.inf)
    assert_same(fit_images([data], options), listed([data], selection=()), ignore=("niter",))


# -- (b) one kernel


@double_only
@pytest.mark.parametrize("summed", [False, True])
def test_a_blend_of_one_kernel_is_that_kernel(summed: bool) -> None:
    plain = random_field(6, special=False)
    level = np.exp(-np.arange(3.0))[:, None, None] * np.ones(plain.counts.shape)
    plain = plain._replace(exposure=20 * level, weights=random_field(6).weights)
    ones = np.ones((1, *plain.counts.shape[1:]))
    field = BlendField(*plain[:3], plain.kernel[None], plain.weights, ones)
    settings = {"sum_over_energy": summed, "selection_optional": ALL, "scan_values": SCAN}
    assert_same(ts_map(*plain, **settings), dense([field], **settings), 1e-10)
    if not summed:
        one = listed([cube_bins(*(jnp.asarray(a) for a in plain))])
        for other in both_ways([images(field)]):
            assert_same(one, other, 1e-10, ignore=("niter",))


# -- (c) joint fits


@double_only
def test_datasets_of_a_joint_fit_have_bases_of_their_own() -> None:
    one, two = blend_field(7), blend_field(8, (1, 10, 9), (3, 7), basis=2)
    slow, scan = slow_positions(
        lambda pixel: slow_source_bins(*one, pixel) + slow_source_bins(*two, pixel), (10, 9), SCAN
    )
    for fit in both_ways([images(one), images(two)]):
        assert_slow(fit, slow, scan)
    traced = dense([one, two], selection_optional=ALL, scan_values=SCAN)
    assert_slow(traced, slow, scan, weighted=False)


@double_only
@pytest.mark.parametrize("summed", [False, True])
def test_a_dataset_may_have_one_kernel_for_all_positions(summed: bool) -> None:
    one, plain = blend_field(9), random_field(10, (2, 10, 9), special=False)
    arrays = [jnp.asarray(a) for a in plain]
    data = [images(one), summed_bins(*arrays) if summed else cube_bins(*arrays)]
    options = make_options(np.float64, -np.inf)
    wanted = {"selection": ALL, "scan_values": jnp.asarray(SCAN)}
    exact = fit_images(data, options, **wanted)
    for fit in both_ways(data):
        assert_same(exact, fit, ignore=("niter",))
    if not summed:
        joint = [list(pair) for pair in zip(one[:5], plain, strict=True)]
        assert_same(
            exact,
            ts_map(*joint, blend=[one.blend, None]),
            ignore=(*OPTIONAL, "stat", "stat_null", "stat_scan", "niter"),
        )


# -- (d) strips, processes, memory


@double_only
@pytest.mark.parametrize("guessed", [False, True])
def test_strips_give_what_the_whole_map_does(guessed: bool) -> None:
    data = [images(blend_field(11, (2, 37, 9))), images(blend_field(12, (1, 37, 9), (3, 3)))]
    options: dict[str, Any] = {}
    if guessed:
        options = {"guess": np.random.default_rng(3).normal(0, 0.1, (37, 9)), "threshold": 1.0}
    whole = listed(data, **options)
    assert strip_height(data, 40_000) < 37
    parts = listed(data, memory=40_000, **options)
    assert_same(whole, parts)
    np.testing.assert_array_equal(whole.status, parts.status)


@double_only
def test_processes_give_what_one_does() -> None:
    data = [images(blend_field(13, (2, 37, 9)))]
    alone = listed(data)
    try:
        together = listed(data, processes=2, run=partial(run_jobs, Jobs(2)))
    finally:
        parallel.shutdown()
    assert_same(alone, together)


# -- (e) hypotheses


@pytest.mark.parametrize("own", [False, True])
def test_several_hypotheses_are_a_call_for_each(own: bool) -> None:
    field = blend_field(14)
    kernels = np.stack([field.kernel, field.kernel[:, :, ::-1, ::-1] * 0.9])
    blends = np.stack([field.blend, field.blend[:, ::-1]]) if own else field.blend
    exposures = np.stack([field.exposure, field.exposure * 1.3]) if own else field.exposure
    data = field.counts, field.background
    many = ts_map(*data, exposures, kernels, field.weights, blend=blends)
    for i in range(2):
        exposure, blend = (exposures[i], blends[i]) if own else (exposures, blends)
        one = ts_map(*data, exposure, kernels[i], field.weights, blend=blend)
        fit = NormFit(**{k: None if v is None else v[i] for k, v in vars(many).items()})
        assert_same(one, fit, 1e-9 if DOUBLE else 1e-3, ignore=("niter",))


# -- (f) gradients


def varying(width: jax.Array, size: int = 5) -> jax.Array:
    """Return kernels of some widths, shape (widths, 1, size, size)."""
    offset = jnp.arange(size) - size // 2
    r2 = (offset[:, None] ** 2 + offset[None] ** 2).astype(width.dtype)
    kernel = jnp.exp(-0.5 * r2[None] / width[:, None, None] ** 2)
    return (kernel / kernel.sum(axis=(1, 2), keepdims=True))[:, None]


@double_only
def test_gradients_pass_through_widths_and_everything_else() -> None:
    shape, rng = (6, 7), np.random.default_rng(15)
    y, x = np.indices(shape) / np.array([5.0, 6.0])[:, None, None]
    blend = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
    background = rng.uniform(0.4, 1.5, (1, *shape))
    counts = rng.poisson(background + 0.3).astype(float)
    counts[0, 2, 3] += 6
    weights = np.ones((1, *shape))
    weights[0, 4, 4], counts[0, 0, :3] = 0, 0
    exposure = 10 + 5 * rng.random((1, *shape))
    exposure[0, 5, 6] = 0
    mixed = jnp.asarray(rng.normal(size=shape))

    def total(inputs: dict[str, jax.Array]) -> jax.Array:
        arrays = (inputs[name] for name in ("counts", "background", "exposure"))
        fit = ts_map(
            *arrays,
            varying(inputs["width"]),
            inputs["weights"],
            blend=inputs["blend"],
            selection_optional=["ul"],
        )
        return ((fit.norm + 0.1 * fit.ts + 0.2 * fit.norm_ul) * mixed).sum()

    inputs = {
        "counts": counts,
        "background": background,
        "exposure": exposure,
        "width": np.array([0.8, 1.0, 1.2, 1.5]),
        "weights": weights,
        "blend": blend,
    }
    inputs = {name: jnp.asarray(value) for name, value in inputs.items()}
    value = jax.jit(total)
    slope = jax.jit(jax.grad(total))(inputs)
    for name, array in slope.items():
        assert np.isfinite(array).all(), name
        where = np.unravel_index(rng.integers(0, array.size, 3), array.shape)
        for index in zip(*where, strict=True):
            start = inputs[name][index]
            if (name != "width" and start == 0) or (name == "counts" and start == 0):
                continue
            step = 1e-5 * max(abs(float(start)), 0.1)
            up, down = (
                value({**inputs, name: inputs[name].at[index].add(s)}) for s in (step, -step)
            )
            expected = float(up - down) / (2 * step)
            assert float(array[index]) == pytest.approx(expected, rel=2e-4, abs=2e-5), name


@double_only
@pytest.mark.parametrize("mode", ["counts", "equal"])
def test_gradients_of_sums_are_finite_everywhere(mode: str) -> None:
    field = [jnp.asarray(a) for a in blend_field(16)]

    def total(arrays: list[jax.Array]) -> jax.Array:
        fit = ts_map(*arrays[:5], blend=arrays[5], sum_over_energy=True, kernel_weighting=mode)
        return (fit.norm + fit.ts).sum()

    for slope in jax.grad(total)(field):
        assert np.isfinite(slope).all()


# -- (g) single precision


@double_only
def test_single_precision_meets_its_stated_accuracy() -> None:
    field = blend_field(17, (2, 14, 11), special=False)
    exact = listed([images(field)], selection=())
    error = np.where(np.isfinite(exact.norm_err), exact.norm_err, 1.0)
    single = BlendField(*(a.astype(np.float32) for a in field))
    fits = [dense([single]), listed([images(single)], selection=())]
    for fit in fits:
        assert fit.norm.dtype == np.float32
        assert np.max(np.abs(np.asarray(fit.norm, float) - exact.norm) / error) < 1e-4


# -- (h) compilations


def test_new_data_compile_nothing() -> None:
    functions = (fit_chunk, sensitivity_chunk, blended_sums, _ts_map)

    def fit(seed: int) -> None:
        field = blend_field(seed, (2, 12, 12))
        listed([images(field)])
        dense([field])

    fit(18)
    before = [function.traces for function in functions]
    fit(19)
    assert [function.traces for function in functions] == before


# -- (i) anything


@double_only
@settings(max_examples=15)
@given(
    seed=st.integers(0, 50),
    level=st.sampled_from([1e-8, 0.01, 1.0, 300.0]),
    exposure=st.sampled_from([0.0, 1e-12, 1.0, 1e12]),
    holes=st.floats(0, 1),
)
def test_no_nan_without_a_status(seed: int, level: float, exposure: float, holes: float) -> None:
    rng = np.random.default_rng(seed)
    field = blend_field(seed)
    shape = field.counts.shape
    background = level * field.background * (rng.random(shape) > 0.3 * holes)
    counts = rng.poisson(background).astype(float) + (rng.random(shape) < 0.02)
    field = field._replace(
        counts=counts,
        background=background,
        exposure=exposure * field.exposure * (rng.random(shape) > holes / 2),
        weights=field.weights * (rng.random(shape) > holes / 2),
    )
    fits = [*both_ways([images(field)]), dense([field], selection_optional=ALL, scan_values=SCAN)]
    for fit in fits:
        bad = np.isin(fit.status, (Status.OUT_OF_RANGE, Status.NOT_CONVERGED))
        for name, array in vars(fit).items():
            assert array is None or not np.isnan(np.asarray(array)[..., ~bad]).any(), name
    for fit in fits[1:]:
        sure = ~np.isin(fit.status, Status.NOT_CONVERGED)
        np.testing.assert_allclose(
            np.asarray(fit.norm)[sure], np.asarray(fits[0].norm)[sure], rtol=1e-6, atol=1e-300
        )


# -- odd places


@double_only
def test_an_image_without_amplitude_counts_for_nothing() -> None:
    field = blend_field(20)
    field.exposure[1] = 0
    both = listed([images(field)])
    alone = listed(
        [
            images(
                BlendField(
                    *(a[:1] for a in field[:3]), field.kernel[:, :1], field.weights[:1], field.blend
                )
            )
        ]
    )
    assert_same(alone, both, ignore=("stat", "stat_null", "npred", "niter"))


@double_only
def test_units_of_the_norm_do_not_matter() -> None:
    data = images(blend_field(21))
    ones = both_ways([data])
    for unit in (1e-30, 1e30):
        for one, other in zip(
            ones, both_ways([replace(data, amplitude=data.amplitude * unit)]), strict=True
        ):
            for name in ("norm", "norm_err", *OPTIONAL):
                np.testing.assert_allclose(
                    getattr(other, name) * unit, getattr(one, name), rtol=1e-9, atol=1e-12
                )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": (2, 5, 5)}, "with a blend, expected"),
        ({"kernel": (3, 1, 5, 5)}, "with a blend, expected"),
        ({"blend": (2, 10, 9)}, "a map of weights per basis kernel"),
        ({"blend": (3, 9, 9)}, "a map of weights per basis kernel"),
        ({"blend": (2, 3, 10, 9)}, "a map of weights per basis kernel"),
        ({"exposure": (2, 2, 10, 9)}, "needs as many kernels"),
    ],
)
def test_shapes_that_do_not_fit_are_named(change: dict[str, Any], message: str) -> None:
    field = blend_field(22)._replace(**{name: np.ones(shape) for name, shape in change.items()})
    with pytest.raises(ValueError, match=message):
        ts_map(*field[:5], blend=field.blend)
