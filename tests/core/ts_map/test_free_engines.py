"""Norms of the background at every pixel: the fast engine against the plain dense one."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fields import blend_field, random_field
from free_windows import ASKED
from gammagrad import ts_map
from gammagrad.core.norm import FitOptions, NormFit, Status, check_background, knowledge
from gammagrad.core.ts_map import (
    Backgrounds,
    BinImages,
    cube_bins,
    fit_occupied,
    members,
    wide_window,
    wide_windows,
)
from gammagrad.core.ts_map.ts_map import _ts_map
from oracles import SlowPlane, slow_plane_fit
from precision import DOUBLE, double_only

SCAN = np.array([-0.1, 0.0, 0.2, 2.0])
SHAPE = (2, 17, 13)
IN_NORMS = ("norm", "norm_errp", "norm_errn", "norm_ul", "norm_sensitivity")
BETA = ("background_norm", "background_norm_err", "background_norm_pull", "background_norm_corr")
# rounding may tell these from each other where a best fit lies on a bound
TIED = (Status.FITTED, Status.AT_BOUND, Status.LOWER_ERROR_AT_BOUND, Status.ZERO_BACKGROUND_BOUND)


def fields() -> list[Any]:
    """Return two datasets on one grid, with masks, holes, and bins without background."""
    one = random_field(2, SHAPE, (5, 5), special=False)
    one.weights[0, :3], one.weights[:, 12:, 9:] = 0, 0
    one.background[1, 6, 6], one.counts[1, 6, 6] = 0, 0
    one.background[0, 9, 4], one.counts[0, 9, 4] = 0, 2
    one.counts[:, 3:6, 7:12] = 0
    return [one, random_field(3, SHAPE, (5, 5), special=False)]


def numpy_images(images: BinImages) -> BinImages:
    return jax.tree.map(np.asarray, images)


def backgrounds(
    images: list[BinImages], norms: str, way: str, sigma: Any, prior: str
) -> Backgrounds:
    """Return what is fitted, in windows three times as wide as the kernels."""
    member = members([len(i.counts) for i in images], norms)
    how = check_background(way, prior, norms != "one")
    assert how is not None
    sides = [wide_window((5, 5), None)] * len(images)
    known = np.asarray(knowledge(way, sigma))
    return Backgrounds(wide_windows(images, sides, member, known), member, how)


def sparse(images: list[BinImages], free: Backgrounds, **options: Any) -> NormFit:
    everywhere = np.ones(SHAPE[1:], bool)
    return fit_occupied(
        images,
        everywhere,
        options=FitOptions(norm_min=0.0),
        selection=ASKED,
        scan_values=SCAN,
        free=free,
        **options,
    )


def assert_same(one: NormFit, other: NormFit, bar: float) -> None:
    """Compare all that two fits have, in units of errors or of what they are of."""
    tied = np.isin(one.status, TIED) & np.isin(other.status, TIED)
    assert np.all((one.status == other.status) | tied)
    error = np.where(np.isfinite(one.norm_err), one.norm_err, 1.0)
    for name, value in vars(one).items():
        if name in ("status", "niter"):
            continue
        found = getattr(other, name)
        assert (value is None) == (found is None), name
        if value is None:
            continue
        a, b = np.asarray(value), np.asarray(found)
        assert a.shape == b.shape, name
        same_end = (a == b) | (np.isinf(a) & np.isinf(b) & (np.sign(a) == np.sign(b)))
        scale = error if name in IN_NORMS else 1 + np.abs(np.where(np.isfinite(a), a, 0))
        with np.errstate(invalid="ignore"):
            off = np.where(same_end, 0, np.abs(a - b) / scale)
        assert np.all(off < bar), (name, np.nanmax(off), np.unravel_index(off.argmax(), off.shape))


WAYS = {
    "one, free": ("one", "free", 0.1, "gamma"),
    "one, by map": ("one", "constrained", np.linspace(0.02, 0.4, 221).reshape(17, 13), "gamma"),
    "per dataset, Gaussian": ("per dataset", "constrained", 0.1, "gaussian"),
    "per energy, free": ("per energy", "free", 0.1, "gamma"),
}


@double_only
@pytest.mark.parametrize("case", WAYS)
def test_the_engines_agree(case: str) -> None:
    norms, way, sigma, prior = WAYS[case]
    data = fields()
    joint = [list(arrays) for arrays in zip(*data, strict=True)]
    dense = ts_map(
        *joint,
        norm_min=0.0,
        selection_optional=ASKED,
        scan_values=SCAN,
        background_norm=way,
        background_uncertainty=sigma,
        background_prior=prior,
        background_norms=norms,
    )
    images = [numpy_images(cube_bins(*(jnp.asarray(a) for a in field))) for field in data]
    free = backgrounds(images, norms, way, sigma, prior)
    fit = sparse(images, free)
    assert_same(jax.tree.map(np.asarray, dense), fit, 1e-6)
    if case == "one, free":
        # parts of the map, one after the other, are the same
        assert_same(fit, sparse(images, free, memory=60_000), 1e-9)
        kept = sparse(images, free, threshold=3.0, guess=np.zeros(SHAPE[1:]))
        assert_kept(kept, fit)


def assert_kept(kept: NormFit, fit: NormFit) -> None:
    """Hold a fit above a threshold alone to one without."""
    guessed = kept.status == Status.GUESS_KEPT
    assert 0.2 < guessed.mean() < 1
    assert np.all(kept.norm[guessed] == 0)
    assert np.all(np.isfinite(kept.norm_ul))
    for name in ("norm", "ts", "norm_ul", "background_norm"):
        one, other = np.asarray(getattr(kept, name)), np.asarray(getattr(fit, name))
        np.testing.assert_allclose(one[~guessed], other[~guessed], rtol=1e-7, atol=1e-9)


def test_kernels_by_position_agree_with_a_plain_likelihood() -> None:
    field = blend_field(1, (2, 17, 13), (5, 5), special=False)
    used = field.weights > 0
    images = BinImages(
        counts=np.where(used, field.counts, 0),
        background=np.where(used, field.background, 0),
        exposure=field.weights[:, None],
        kernel=field.kernel.swapaxes(0, 1),
        amplitude=field.exposure,
        blend=field.blend,
    )
    dtype = np.float64 if DOUBLE else np.float32
    images = jax.tree.map(lambda a: np.asarray(a, dtype), images)
    free = backgrounds([images], "one", "free", 0.1, "gamma")
    fit = sparse([images], free)
    dense = ts_map(
        *field[:5],
        blend=field.blend,
        norm_min=0.0,
        selection_optional=ASKED,
        scan_values=SCAN,
        background_norm="free",
    )
    if DOUBLE:
        assert_same(jax.tree.map(np.asarray, dense), fit, 1e-6)
    for row, col in ((0, 0), (8, 6), (12, 3), (16, 12)):
        shape = np.einsum("k,keij->eij", field.blend[:, row, col], field.kernel)
        model = np.maximum(shape, 0) * field.exposure[:, row, col, None, None]
        bins = np.array(
            [
                (field.counts[e, y, x], field.background[e, y, x], own)
                for e in range(2)
                for y in range(max(row - 7, 0), min(row + 8, 17))
                for x in range(max(col - 7, 0), min(col + 8, 13))
                for i, j in [(y - row + 2, x - col + 2)]
                for own in [model[e, i, j] if 0 <= i < 5 and 0 <= j < 5 else 0.0]
            ]
        )
        slow = slow_plane_fit(SlowPlane(*bins.T), norm_min=0.0)
        for name in ("norm", "norm_ul", "background_norm", "ts"):
            scale = 1.0 if name in ("ts", "background_norm") else slow.norm_errp[0]
            off = np.asarray(getattr(fit, name))[row, col] - np.ravel(getattr(slow, name))[0]
            assert abs(off) / scale < (1e-5 if DOUBLE else 5e-3), (name, row, col)


@double_only
def test_slopes_of_a_map_agree_with_finite_differences() -> None:
    field = random_field(4, (1, 6, 7), (3, 3), special=False)
    n, b, e, k, w = (jnp.asarray(a) for a in field)

    def mean(n: Any, b: Any, e: Any, sigma: Any) -> Any:
        fit = ts_map(*(n, b, e, k, w), background_norm="constrained", background_uncertainty=sigma)
        return jnp.stack([fit.norm[3, 3], fit.ts[2, 4], fit.background_norm[3, 3]])

    # away from bounds
    n = n + 1.0
    arguments = (n, b, e, jnp.asarray(0.2))
    slopes = jax.jit(jax.jacrev(mean, argnums=(0, 1, 2, 3)))(*arguments)
    quick, h = jax.jit(mean), 1e-5
    for at, place in ((0, (0, 3, 3)), (0, (0, 2, 4)), (1, (0, 3, 2)), (2, (0, 4, 3)), (3, ())):
        pair = []
        for step in (h, -h):
            moved = [*arguments]
            moved[at] = moved[at].at[place].add(step)
            pair.append(quick(*moved))
        difference = (pair[0] - pair[1]) / (2 * h)
        np.testing.assert_allclose(slopes[at][:, *place], difference, rtol=1e-5, atol=1e-6)


def test_new_values_compile_nothing_new() -> None:
    def fit(seed: int, sigma: float) -> None:
        field = random_field(seed, (1, 6, 7), (3, 3), special=False)
        ts_map(*field, background_norm="constrained", background_uncertainty=sigma)

    fit(0, 0.1)
    before = _ts_map.traces
    fit(1, 0.2)
    assert _ts_map.traces == before
