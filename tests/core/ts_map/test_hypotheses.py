"""Maps for several kernels in one call: equal to a call for each, gradients included."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fields import random_field
from gammagrad import ts_map
from gammagrad.core.ts_map.ts_map import _ts_map
from precision import DOUBLE, double_only

FIELD = random_field(11, shape=(2, 6, 5), kernel_shape=(3, 3), special=False)
COUNTS, BACKGROUND, EXPOSURE, KERNEL, WEIGHTS = (jnp.asarray(a) for a in FIELD)
KERNELS = jnp.stack([KERNEL, jnp.full_like(KERNEL, 1 / 9)])
EXPOSURES = jnp.stack([EXPOSURE, EXPOSURE * jnp.array([1.3, 0.4])[:, None, None]])
WANTED = {"selection_optional": ["ul", "stat_scan"], "scan_values": [0.5, 1.0, 2.0]}


@pytest.mark.parametrize("own_exposure", [False, True])
def test_several_kernels_are_a_call_for_each(own_exposure: bool) -> None:
    exposure = EXPOSURES if own_exposure else EXPOSURE
    wanted = WANTED if own_exposure else {}
    many = ts_map(COUNTS, BACKGROUND, exposure, KERNELS, WEIGHTS, **wanted)
    assert many.norm.shape == (2, 6, 5)
    assert not wanted or many.stat_scan.shape == (2, 3, 6, 5)
    for i, kernel in enumerate(KERNELS):
        own = EXPOSURES[i] if own_exposure else EXPOSURE
        one = ts_map(COUNTS, BACKGROUND, own, kernel, WEIGHTS, **wanted)
        for name, expected in vars(one).items():
            if expected is not None:
                got = getattr(many, name)[i]
                np.testing.assert_allclose(got, expected, rtol=1e-9 if DOUBLE else 1e-3)


def test_a_joint_fit_has_the_same_hypotheses_everywhere() -> None:
    data = [COUNTS, COUNTS + 1], [BACKGROUND] * 2, [EXPOSURE, EXPOSURES], [KERNELS] * 2
    many = ts_map(*data)
    one = ts_map(data[0], data[1], [EXPOSURE, EXPOSURES[1]], [KERNELS[1]] * 2)
    np.testing.assert_allclose(many.ts[1], one.ts, rtol=1e-9 if DOUBLE else 1e-3)
    with pytest.raises(ValueError, match="the same hypotheses"):
        ts_map(*data[:2], [EXPOSURE] * 2, [KERNELS, KERNELS[:1]])


def test_other_kernels_compile_nothing() -> None:
    ts_map(COUNTS, BACKGROUND, EXPOSURE, KERNELS, WEIGHTS)
    before = _ts_map.traces
    ts_map(COUNTS + 1, BACKGROUND, EXPOSURE, KERNELS[::-1], WEIGHTS)
    assert _ts_map.traces == before


@double_only
def test_gradients_pass_through_the_axis() -> None:
    weights = jnp.cos(jnp.arange(30.0).reshape(6, 5))

    def total(b: jax.Array, e: jax.Array, k: jax.Array) -> jax.Array:
        fit = ts_map(COUNTS, b, e, k, WEIGHTS)
        return ((fit.norm + 0.1 * fit.ts) * jnp.broadcast_to(weights, fit.norm.shape)).sum()

    slope = jax.jit(jax.grad(total, argnums=(0, 1, 2)))
    many = slope(BACKGROUND, EXPOSURES, KERNELS)
    ones = [slope(BACKGROUND, e, k) for e, k in zip(EXPOSURES, KERNELS, strict=True)]
    np.testing.assert_allclose(many[0], ones[0][0] + ones[1][0], rtol=1e-9)
    for index in (1, 2):
        expected = jnp.stack([one[index] for one in ones])
        np.testing.assert_allclose(many[index], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("exposure", "kernel", "message"),
    [
        (EXPOSURES, KERNEL, "needs as many kernels"),
        (jnp.concatenate([EXPOSURES, EXPOSURES]), KERNELS, "needs as many kernels"),
        (EXPOSURE, KERNELS[:, :1], "or several of these, one per hypothesis"),
        (EXPOSURE, KERNELS[None], "or several of these, one per hypothesis"),
    ],
)
def test_shapes_that_do_not_fit_are_named(
    exposure: jax.Array, kernel: jax.Array, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ts_map(COUNTS, BACKGROUND, exposure, kernel, WEIGHTS)
