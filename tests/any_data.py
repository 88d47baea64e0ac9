"""Any data for property tests of norm fits, and an independent look at it in extended precision."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from fields import Field

Floats = NDArray[np.floating]

FLOOR = 1e-25
# one shape, so that little is compiled
SHAPE = (4, 9, 8)
KERNEL = (3, 5)


class Bins(NamedTuple):
    """Six bins of one pixel, as `fit_norm` takes them."""

    counts: Floats
    background: Floats
    model: Floats
    weights: Floats


def tens(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda power: 10.0**power)


def six(elements: st.SearchStrategy[float]) -> st.SearchStrategy[Floats]:
    return arrays(float, 6, elements=elements)


COUNTS = st.one_of(st.just(0.0), st.integers(1, 30).map(float), st.just(1e6), tens(-2, 3))
any_bins = st.builds(
    Bins,
    counts=six(COUNTS),
    background=six(st.one_of(st.just(0.0), tens(-6, 4))),
    model=six(st.one_of(st.just(0.0), tens(-6, 4))),
    weights=six(st.sampled_from([0.0, 1.0, 1.0, 0.3, 2.0])),
)


class AnyField(NamedTuple):
    """The scales of a field, and how special it is; the seed does the rest."""

    seed: int
    expected: float
    decades: float
    scale: float
    falling: float
    peaked: float
    sparse: bool
    burst: int
    weight: float
    holes: bool

    def draw(self) -> Field:
        rng = np.random.default_rng(self.seed)
        background = self.expected * 10.0 ** (self.decades * rng.uniform(-1, 0, SHAPE))
        exposure = self.scale * 10.0 ** (self.falling * rng.uniform(-1, 0, SHAPE))
        kernel = rng.uniform(0, 1, (SHAPE[0], *KERNEL)) ** self.peaked
        if self.sparse:
            kernel[rng.random(kernel.shape) < 0.5] = 0.0
        kernel /= np.maximum(kernel.sum(axis=(1, 2), keepdims=True), 1e-300)
        counts = rng.poisson(background).astype(float)
        counts[tuple(rng.integers(SHAPE))] += self.burst
        special = rng.random(SHAPE)
        weights = np.ones(SHAPE)
        if self.holes:
            weights[special < 0.1] = 0.0
            background[(special > 0.1) & (special < 0.15)] = 0.0
            exposure[(special > 0.15) & (special < 0.2)] = 0.0
        weights[special > 0.8] = self.weight
        return Field(counts, background, exposure, kernel, weights)


any_field = st.builds(
    AnyField,
    seed=st.integers(0, 2**32 - 1),
    expected=st.sampled_from([1e-3, 0.03, 0.5, 5.0, 1e3]),
    decades=st.sampled_from([0.0, 0.5, 3.0]),
    scale=st.sampled_from([1e-9, 1.0, 50.0, 1e6]),
    falling=st.sampled_from([0.0, 3.0]),
    peaked=st.sampled_from([0.0, 1.0, 8.0]),
    sparse=st.booleans(),
    burst=st.sampled_from([0, 3, 10**5]),
    weight=st.sampled_from([1.0, 0.4, 2.0]),
    holes=st.booleans(),
)


def bins_of(field: Field) -> Bins:
    """Return each pixel's weighted bins, zeros outside the map, shape (rows, cols, bins)."""
    used = (field.weights > 0) & np.isfinite(field.background) & np.isfinite(field.counts)
    weights = np.where(used, field.weights, 0.0)
    pads = [(0, 0), *((n // 2, n // 2) for n in KERNEL)]

    def windows(image: Floats) -> Floats:
        clean = np.where(used, image, 0.0).astype(np.longdouble)
        cut = np.lib.stride_tricks.sliding_window_view(np.pad(clean, pads), KERNEL, axis=(1, 2))
        return np.moveaxis(cut, 0, 2)

    def flat(cube: Floats) -> Floats:
        return cube.reshape(*cube.shape[:2], -1)

    model = windows(weights * field.exposure) * field.kernel.astype(np.longdouble)
    model = np.where(field.kernel > 1e-12 * field.kernel.max(axis=(1, 2), keepdims=True), model, 0)
    images = (weights * np.where(used, a, 0.0) for a in (field.counts, field.background))
    return Bins(*(flat(windows(a)) for a in images), flat(model), flat(windows(weights)))


def weighted(bins: Bins) -> Bins:
    n, b, m, w = (a.astype(np.longdouble) for a in bins)
    return Bins(w * n, w * b, w * m, w)


def bound_of(bins: Bins) -> Floats:
    """Return the physical bound; 0 without a model."""
    seen = bins.model.sum(-1) > 0
    return np.where(seen, -np.where(seen, ratio_of(bins.background, bins.model).min(-1), 0), 0)


def ratio_of(background: Floats, model: Floats, floor: float = 0.0) -> Floats:
    safe = np.where(model > 0, model, 1)
    return np.where(model > 0, np.maximum(background, floor) / safe, np.inf)


def scores(norm: Floats, bins: Bins) -> tuple[Floats, Floats]:
    """Return S1 and S2 of the documentation."""
    above = np.asarray(norm, np.longdouble)[..., None]
    above = above + ratio_of(bins.background, bins.model, FLOOR)
    seen = (bins.counts > 0) & (bins.model > 0)
    inverse = np.where(seen, 1 / np.where(seen, above, 1), 0)
    return (bins.counts * inverse).sum(-1), (bins.counts * inverse**2).sum(-1)


def rises(base: Floats, end: Floats, bins: Bins) -> Floats:
    """Return C(end) - C(base)."""
    base, end = (np.asarray(x, np.longdouble)[..., None] for x in (base, end))
    seen = (bins.counts > 0) & (bins.model > 0)
    ratio = np.where(seen, ratio_of(bins.background, bins.model, FLOOR), np.inf)
    inside = np.where(seen, np.maximum(end + ratio, 1e-300) / np.where(seen, base + ratio, 1), 1)
    step = np.where(seen, (end - base) / np.where(seen, base + ratio, 1), 0)
    gain = np.where(np.abs(step) < 0.5, np.log1p(np.clip(step, -0.5, 0.5)), np.log(inside))
    return 2 * ((end - base) * bins.model - bins.counts * gain).sum(-1)


def unresolved(norm: Floats, bins: Bins) -> Floats:
    """Return what a norm's last digit is worth, in units of its error."""
    return np.finfo(float).eps * np.abs(norm) * np.sqrt(scores(norm, bins)[1])
