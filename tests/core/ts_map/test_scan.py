"""Scans of the statistic, several bins under one logarithm, against one logarithm per bin."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gammagrad.core.ts_map.bin_sums import _WAYS, LEAD, BinProfile, Lead, scan
from gammagrad.core.ts_map.bins import PIXELS
from gammagrad.core.ts_map.listed import Gathered, side_by_side
from precision import DOUBLE

ROWS, TILES = 32, 2
NORMS = np.array([-20.0, -0.5, -0.1, -1e-9, 0.0, 1e-12, 0.3, 4.0, 70.0])

scanned = jax.jit(scan)


@pytest.mark.parametrize(
    ("counts", "spread"),
    [
        pytest.param((0, 1, 2, 3), 1.0, id="few"),
        pytest.param((0, 1, 9, 15), 1.0, id="up to 15"),
        pytest.param((0, 1, 2, 16), 1.0, id="more"),
        pytest.param((0, 0.5, 1.7), 1.0, id="weighted"),
        pytest.param((0, 1, 3), 1e15, id="contrasts too large to be multiplied"),
    ],
)
def test_scan_is_the_sum_over_bins(counts: tuple[float, ...], spread: float) -> None:
    draw = np.random.default_rng(3)
    n = draw.choice(np.array(counts, dtype=float), (ROWS, TILES))
    g = draw.random((ROWS, TILES, PIXELS)) * draw.choice([1.0, spread], (ROWS, TILES, 1))
    # rows beyond those in use are left over from elsewhere
    used = 16
    n[used:], g[used:] = 0.3, 7.0
    model_sum = draw.random((TILES, PIXELS)) * 30 + 5
    steepest = np.where(n[:used, :, None] > 0, g[:used], 0).max(axis=0)
    bound = -0.7 / steepest
    bins = Gathered(jnp.asarray(n), side_by_side(jnp.asarray(g)), jnp.asarray(used, jnp.int32))
    lines = [jnp.asarray(a.reshape(1, -1)) for a in (model_sum, steepest, bound)]
    profile = BinProfile(bins, *lines[:2])
    found = scanned(profile, lines[2], jnp.asarray(NORMS)).reshape(-1, TILES, PIXELS)

    norm = NORMS[:, None, None]
    with np.errstate(invalid="ignore"):
        gain = (n[:used, :, None] * np.log1p(norm[:, None] * g[:used])).sum(axis=1)
    expected = np.where(norm < bound, np.inf, 2 * (norm * model_sum - gain))
    close = 1e-12 if DOUBLE else 1e-4
    np.testing.assert_allclose(found, expected, rtol=close, atol=close)


def test_products_of_the_largest_factors_and_counts_are_numbers() -> None:
    for way in _WAYS:
        times = (2**way.digits - 1) * way.rows
        for factor in (way.least, way.most):
            assert np.finfo(float).tiny < float(factor) ** times < np.inf


@pytest.mark.parametrize(
    ("close", "scale"),
    [(0.5, 1.0), (1e-3, 1.0), (1e-9, 1.0), *([(0.5, 1e-40)] if DOUBLE else [])],
)
def test_single_precision_decides_where_the_profile_ends_as_double_does(
    close: float, scale: float
) -> None:
    # close: how close the steepest bin's prediction is to zero at the bound; scale: of contrasts,
    # which single precision may have no room for in units of the counts
    draw = np.random.default_rng(8)
    n = draw.poisson(0.5, (ROWS, TILES)).astype(float)
    n[0] = 1
    g = np.where(n[..., None] > 0, draw.random((ROWS, TILES, PIXELS)), 0) + 1e-3
    steepest = g.max(axis=0)
    bound = -(1 - close) / steepest
    curvature = (n[..., None] * g * g).sum(axis=0)
    best = bound + draw.random(bound.shape) * 1.2 / np.sqrt(curvature)
    total = (n[..., None] * g / (1 + best * g)).sum(axis=0)
    gain = (n[..., None] * np.log1p(best * g)).sum(axis=0)
    s2 = (n[..., None] * (g / (1 + best * g)) ** 2).sum(axis=0)
    lines = [jnp.asarray(a.reshape(1, -1)) for a in (total, steepest, best, gain, s2, bound)]
    total, steepest, *at = lines
    rows = jnp.asarray(ROWS, jnp.int32)
    full = Gathered(jnp.asarray(n), side_by_side(jnp.asarray(g)), rows)
    unit = total / scale
    scaled = (full.contrast / unit).astype(LEAD)
    lead = Lead(Gathered(full.counts.astype(LEAD), scaled, rows), unit)
    profile = BinProfile(full, total, steepest)
    ends = jax.jit(lambda at, lead: profile.ends_at(*at, 1.0, lead))
    found, expected = ends(at, lead), ends(at, None)
    # next to a bin whose prediction vanishes the statistic rises beyond any target
    assert (0 < expected.sum() < expected.size) == (close > 0.1)
    np.testing.assert_array_equal(found, expected)
