"""The fast engine: strips of rows, thresholds, workspaces, progress."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fields import random_field
from gammagrad._pytree import replace
from gammagrad.core.norm import NormFit, Status
from gammagrad.core.ts_map import BinImages, cube_bins, default_memory, fit_occupied
from gammagrad.core.ts_map.chunk import fit_chunk
from gammagrad.core.ts_map.sensitivity import sensitivity_chunk
from gammagrad.core.ts_map.strips import strip_height
from precision import DOUBLE, double_only

ALL = ("errn-errp", "ul", "sensitivity", "stat_scan")
SCAN = np.array([-1.0, 0.5, 3.0])


def images(seed: int, **kwargs: object) -> BinImages:
    return cube_bins(*(jnp.asarray(a) for a in random_field(seed, **kwargs)))


def fitted(data: BinImages) -> np.ndarray:
    return np.ones(data.counts.shape[1:], bool)


def assert_same(one: NormFit, other: NormFit, rtol: float) -> None:
    for name, array in vars(one).items():
        if array is not None:
            scale = np.max(np.abs(array[np.isfinite(array)]), initial=1e-300)
            np.testing.assert_allclose(
                getattr(other, name), array, rtol=rtol, atol=rtol * scale, err_msg=name
            )


@double_only
@pytest.mark.parametrize("guessed", [pytest.param(False, marks=pytest.mark.slow), True])
def test_strips_of_rows_give_what_the_whole_map_does(guessed: bool) -> None:
    data = images(21, shape=(3, 37, 13), kernel_shape=(5, 7))
    rng = np.random.default_rng(3)
    options = {"selection": ALL, "scan_values": SCAN}
    if guessed:
        options |= {"guess": rng.normal(size=(37, 13)), "threshold": 1.0}
    whole = fit_occupied([data], fitted(data), **options)
    height = strip_height([data], 60_000)
    assert height < 37
    parts = fit_occupied([data], fitted(data), memory=60_000, **options)
    assert_same(whole, parts, 1e-9)
    np.testing.assert_array_equal(whole.status, parts.status)


def test_a_strip_is_at_least_as_high_as_the_kernel_needs() -> None:
    data = images(21, shape=(3, 37, 13), kernel_shape=(5, 7))
    assert strip_height([data], 1) == 8
    assert strip_height([data], default_memory()) > 37


@double_only
def test_a_guess_is_kept_where_its_ts_is_small() -> None:
    data = images(22)
    guess = np.full(data.counts.shape[1:], 0.1)
    free = fit_occupied([data], fitted(data))
    kept = fit_occupied([data], fitted(data), guess=guess, threshold=np.inf)
    assert set(np.unique(kept.status)) <= {Status.GUESS_KEPT, Status.NOT_FITTED}
    solved = fit_occupied([data], fitted(data), guess=guess, threshold=-np.inf)
    np.testing.assert_allclose(solved.norm, free.norm, rtol=1e-12)
    assert Status.GUESS_KEPT not in solved.status


@double_only
def test_a_kept_guess_without_counts_has_limits_of_a_straight_line() -> None:
    data = replace(images(23, special=False), counts=jnp.zeros((3, 14, 11)))
    guess = np.full((14, 11), 0.2)
    options = {"selection": ("errn-errp", "ul"), "guess": guess, "threshold": np.inf}
    fit = fit_occupied([data], fitted(data), **options)
    free = fit_occupied([data], fitted(data), selection=("ul",))
    np.testing.assert_allclose(fit.norm, guess)
    np.testing.assert_allclose(fit.norm_errn, guess - free.norm)
    np.testing.assert_allclose(fit.norm_ul - guess, free.norm_ul - free.norm)
    np.testing.assert_allclose(4 * fit.norm_errp, fit.norm_ul - guess)


@double_only
def test_units_of_the_norm_do_not_matter() -> None:
    """A reference flux may be anything: sums in single precision must not overflow for it."""
    data = images(24)
    one = fit_occupied([data], fitted(data), selection=("errn-errp", "ul", "sensitivity"))
    for unit in (1e-30, 1e30):
        scaled = replace(data, exposure=data.exposure * unit)
        other = fit_occupied([scaled], fitted(data), selection=("errn-errp", "ul", "sensitivity"))
        for name in ("norm", "norm_err", "norm_errp", "norm_errn", "norm_ul", "norm_sensitivity"):
            np.testing.assert_allclose(
                getattr(other, name) * unit, getattr(one, name), rtol=1e-9, atol=1e-12
            )
        np.testing.assert_allclose(other.ts, one.ts, rtol=1e-9, atol=1e-12)


def test_progress_ends_with_all_that_was_announced() -> None:
    data = images(25, shape=(3, 37, 13), kernel_shape=(5, 7))
    done: list[float] = []
    fit_occupied(
        [data],
        fitted(data),
        selection=("sensitivity",),
        memory=60_000,
        progress=done.append,
    )
    assert done == sorted(done)
    assert done[-1] == pytest.approx(1)


def test_memory_of_a_chunk_does_not_grow_with_the_map() -> None:
    """Temporaries of the compiled functions stay far below the workspace."""
    small, large = (images(26, shape=(1, n, n), special=False) for n in (12, 60))
    for data in (small, large):
        fit_occupied([data], fitted(data), selection=("errn-errp", "sensitivity"))
    before = fit_chunk.traces, sensitivity_chunk.traces
    fit_occupied([large], fitted(large), selection=("errn-errp", "sensitivity"), memory=2**24)
    after = fit_chunk.traces, sensitivity_chunk.traces
    assert all(b - a <= 1 for a, b in zip(before, after, strict=True))


def test_works_beside_other_devices() -> None:
    data = images(27)
    plain = fit_occupied([data], fitted(data))
    moved = jax.device_put(data, jax.devices()[-1])
    assert_same(plain, fit_occupied([moved], fitted(data)), 1e-12 if DOUBLE else 1e-5)
