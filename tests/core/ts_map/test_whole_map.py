"""Sums over whole windows where a transform's rounding, or a missing component, could decide."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from gammagrad.core.norm import FitOptions, NormFit, Status, make_options
from gammagrad.core.ts_map import BinImages, fit_occupied
from gammagrad.core.ts_map.dense import fit_images
from precision import double_only

SHAPE = (30, 26)


def disk(size: int, radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] - size // 2
    image = np.where(x**2 + y**2 <= radius**2, np.exp(-0.05 * (x**2 + y**2)), 0.0)
    return image / image.sum()


def images(exposure: np.ndarray, kernel: np.ndarray, background: np.ndarray | None = None):
    """Return images with counts; exposure has shape (images, components, rows, cols)."""
    rng = np.random.default_rng(5)
    b = np.full((len(exposure), *SHAPE), 0.4) if background is None else background
    return BinImages(
        counts=jnp.asarray(rng.poisson(b).astype(float)),
        background=jnp.asarray(b),
        exposure=jnp.asarray(exposure),
        kernel=jnp.asarray(kernel),
    )


def both(data: BinImages) -> tuple[NormFit, NormFit]:
    options = make_options(data.background.dtype, **vars(FitOptions()))
    return fit_images([data], options), fit_occupied([data], np.ones(SHAPE, bool))


def assert_equal(one: NormFit, other: NormFit) -> None:
    np.testing.assert_array_equal(one.status, other.status)
    error = np.where(np.isfinite(one.norm_err), one.norm_err, 1.0)
    assert np.max(np.abs(other.norm - one.norm) / np.where(error > 0, error, 1.0)) < 1e-8
    np.testing.assert_allclose(other.ts, one.ts, rtol=1e-8, atol=1e-8)


@double_only
@pytest.mark.parametrize("n_images", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_corners_of_a_kernel_do_not_see_exposure(n_images: int) -> None:
    exposure = np.zeros((n_images, 1, *SHAPE))
    exposure[..., 10:14, 12:16] = 50.0
    kernel = np.broadcast_to(disk(9, 3.2), (n_images, 1, 9, 9)).copy()
    one, other = both(images(exposure, kernel))
    assert_equal(one, other)
    assert (np.asarray(one.status) == Status.NOT_FITTED).any()


@double_only
def test_exposure_that_falls_by_many_decades_keeps_its_digits() -> None:
    fall = 10.0 ** np.linspace(2, -10, SHAPE[1])
    exposure = np.broadcast_to(fall, (2, 1, *SHAPE)).copy()
    kernel = np.broadcast_to(disk(11, 20.0), (2, 1, 11, 11)).copy()
    assert_equal(*both(images(exposure, kernel)))


@double_only
def test_a_component_that_a_bin_lacks_sets_no_bound() -> None:
    """A bin without background bounds the norm only where its own components have a kernel."""
    exposure = np.full((1, 2, *SHAPE), 20.0)
    exposure[0, 1, :, 8:12] = 0.0
    background = np.full((1, *SHAPE), 0.4)
    background[0, 15, 9] = 0.0
    kernel = np.zeros((1, 2, 7, 7))
    kernel[0, 0, 2:5, 2:5], kernel[0, 1] = disk(3, 2.0), disk(7, 9.0)
    assert_equal(*both(images(exposure, kernel, background)))


@double_only
def test_a_count_outside_the_field_of_view_changes_no_status() -> None:
    exposure, background = np.full((1, 1, *SHAPE), 20.0), np.full((1, *SHAPE), 0.4)
    exposure[..., 20:, :], background[:, 20:] = 0.0, 0.0
    data = images(exposure, disk(7, 9.0)[None, None], background)
    counts = np.asarray(data.counts).copy()
    counts[0, 21, 10] = 2.0
    strayed = BinImages(
        counts=jnp.asarray(counts),
        background=data.background,
        exposure=data.exposure,
        kernel=data.kernel,
    )
    one, other = both(strayed)
    assert_equal(one, other)
    assert Status.COUNTS_WITHOUT_BACKGROUND not in np.asarray(one.status)


@double_only
def test_a_kernel_of_zeros_fits_nothing() -> None:
    data = images(np.full((1, 1, *SHAPE), 20.0), np.zeros((1, 1, 5, 5)))
    fit = fit_occupied([data], np.ones(SHAPE, bool), selection=("sensitivity",))
    assert set(np.unique(fit.status)) == {Status.NOT_FITTED}
    assert np.all(fit.norm_sensitivity == 0)
