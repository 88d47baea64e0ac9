"""Coordinates without bounds, in which a fit is a round bowl."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gammagrad.fitting.covariance import covariance_of
from gammagrad.fitting.frame import error_scales, make_frame, plain_frame
from gammagrad.fitting.newton import Bowl

NONE = np.inf
VALUES = np.array([3e-12, 0.0, 0.5, 2.0])
LOWER = np.array([-NONE, 0.0, -NONE, 1.0])
UPPER = np.array([NONE, NONE, 1.0, 4.0])
ERRORS = np.array([1e-13, 0.2, 0.1, 0.3])


def information(errors=ERRORS, correlation=0.6):
    n = len(errors)
    matrix = np.full((n, n), correlation) + (1 - correlation) * np.eye(n)
    return 2.0 * np.linalg.inv(matrix * errors[:, None] * errors[None, :])


def test_the_origin_is_the_start_moved_off_its_bounds():
    frame = make_frame(VALUES, information(), LOWER, UPPER)
    start = np.asarray(frame.to_parameters(jnp.zeros(4)))
    np.testing.assert_allclose(start[[0, 2, 3]], VALUES[[0, 2, 3]], rtol=1e-12)
    assert 0 < start[1] < 0.1 * ERRORS[1]


def test_parameters_stay_within_bounds_wherever_one_goes():
    frame = make_frame(VALUES, information(), LOWER, UPPER)
    steps = np.random.default_rng(0).normal(0, 30, (200, 4))
    values = np.asarray(jax.vmap(frame.to_parameters)(jnp.asarray(steps)))
    assert np.all(values >= LOWER[None, :] - 1e-12)
    assert np.all(values <= UPPER[None, :] + 1e-12)
    # and may go anywhere between them
    assert values[:, 3].min() < 1.1
    assert values[:, 3].max() > 3.9


def test_the_expected_curvature_is_one_in_every_direction():
    matrix = information()
    frame = make_frame(VALUES, matrix, LOWER, UPPER)
    slopes = np.asarray(jax.jacfwd(frame.to_parameters)(jnp.zeros(4)))
    np.testing.assert_allclose(slopes.T @ matrix @ slopes, np.eye(4), atol=1e-6)


def test_a_parameter_without_effect_gets_a_finite_scale():
    matrix = np.diag([2e26, 0.0])
    np.testing.assert_allclose(error_scales(np.array([1e-12, 0.0]), matrix), [1e-13, 0.1])
    frame = make_frame(np.array([1e-12, 0.0]), matrix, -np.full(2, NONE), np.full(2, NONE))
    assert np.all(np.isfinite(np.asarray(frame.to_parameters(jnp.ones(2)))))


def test_plain_coordinates_are_the_parameters():
    np.testing.assert_array_equal(plain_frame(4).to_parameters(jnp.asarray(VALUES)), VALUES)


def test_the_covariance_is_twice_the_inverse():
    matrix = information()
    found = covariance_of(Bowl.of(matrix, ERRORS), np.zeros(4, bool))
    np.testing.assert_allclose(found.matrix, 2 * np.linalg.inv(matrix), rtol=1e-9)
    assert not found.undetermined.any()


def test_a_parameter_at_a_bound_counts_as_known():
    matrix = information()
    found = covariance_of(Bowl.of(matrix, ERRORS), np.array([False, True, False, False]))
    rest = [0, 2, 3]
    expected = 2 * np.linalg.inv(matrix[np.ix_(rest, rest)])
    np.testing.assert_allclose(found.matrix[np.ix_(rest, rest)], expected, rtol=1e-9)
    np.testing.assert_array_equal(found.matrix[1], np.zeros(4))


@pytest.mark.parametrize("sign", [0.0, -1.0])
def test_what_is_not_determined_is_named_and_the_rest_is_not_spoilt(sign):
    matrix = np.zeros((4, 4))
    matrix[:2, :2] = information(ERRORS[:2])
    # only the sum of the last two matters, or their difference curves down
    one, other = np.ones(2) / np.sqrt(2), np.array([1.0, -1.0]) / np.sqrt(2)
    matrix[2:, 2:] = 8.0 * one[:, None] * one[None, :] + sign * other[:, None] * other[None, :]
    found = covariance_of(Bowl.of(matrix, ERRORS), np.zeros(4, bool))
    expected = 2 * np.linalg.inv(matrix[:2, :2])
    np.testing.assert_allclose(found.matrix[:2, :2], expected, rtol=1e-9)
    bad = found.undetermined if sign == 0 else found.saddle
    np.testing.assert_array_equal(bad, [False, False, True, True])
    assert np.all(np.isnan(found.matrix[2:, :]))


def test_infinite_curvature_leaves_nothing_determined():
    found = covariance_of(Bowl.of(np.full((2, 2), np.nan), np.ones(2)), np.zeros(2, bool))
    assert found.undetermined.all()
    assert np.isnan(found.matrix).all()


def test_newtons_step_goes_down_also_from_a_saddle():
    bowl = Bowl.of(np.diag([2.0, -1.0]), np.ones(2))
    gradient = np.array([2.0, 0.5])
    step, edm = bowl.step(gradient, np.zeros(2, bool))
    assert step @ gradient < 0
    np.testing.assert_allclose(step[0], -1.0)
    assert edm > 0
    step, edm = bowl.step(gradient, np.array([False, True]))
    np.testing.assert_allclose((step[0], step[1], edm), (-1.0, 0.0, 1.0))
