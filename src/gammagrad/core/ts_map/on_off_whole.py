"""What all bins enter, those of ON and OFF counts and those with a known background."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax import Array

from gammagrad._programs import compiled, room
from gammagrad._pytree import replace
from gammagrad.core.stats import BACKGROUND_FLOOR, on_off_fit, w_terms
from gammagrad.core.ts_map.bins import BinImages
from gammagrad.core.ts_map.flat import LEAST, in_a_row
from gammagrad.core.ts_map.whole_map import WholeMap, whole_map


class OnOffDataset(NamedTuple):
    """One dataset's bins, numpy images of one shape."""

    images: BinImages
    on_off: bool
    counts: np.ndarray
    off: np.ndarray
    alpha: np.ndarray  # 0 with a known background
    signal: np.ndarray  # known signal, or known background
    used: np.ndarray  # bins that any model can reach

    @classmethod
    def create(cls, images: BinImages) -> OnOffDataset:
        """Collect the images of a dataset."""
        counts, signal = np.asarray(images.counts), np.asarray(images.background)
        used = np.asarray(images.exposure).max(axis=1) > 0
        if images.counts_off is None or images.alpha is None:
            none = np.zeros_like(counts)
            floor = np.maximum(signal, BACKGROUND_FLOOR).astype(signal.dtype)
            return cls(images, False, counts, none, none, floor, used)
        alpha = np.where(used, np.asarray(images.alpha), 1).astype(counts.dtype)
        return cls(images, True, counts, np.asarray(images.counts_off), alpha, signal, used)

    @property
    def listed(self) -> np.ndarray:
        """Bins whose statistic is not a straight line on either side of norm 0."""
        if not self.on_off:
            return np.asarray(self.counts > 0)
        return (self.counts > 0) | (self.off > 0) | ((self.signal > 0) & self.used)

    @property
    def listed_upwards(self) -> np.ndarray:
        """Bins whose statistic is not a straight line from norm 0 upwards."""
        if not self.on_off:
            return self.listed
        return (self.counts > 0) | ((self.signal > 0) & self.used)

    @property
    def measured(self) -> np.ndarray:
        """Bins that have a background, for the sensitivity."""
        return self.used if not self.on_off else self.used & ((self.off > 0) | (self.signal > 0))

    def sums_of(self, factor: np.ndarray, image: np.ndarray) -> BinImages:
        """Return images whose model sums have a factor, and whose background is some image."""
        exposure = np.asarray(self.images.exposure) * factor[:, None]
        return replace(
            self.images,
            counts=np.zeros_like(self.counts),
            background=np.maximum(image, BACKGROUND_FLOOR).astype(self.counts.dtype),
            exposure=exposure.astype(self.counts.dtype),
        )


@compiled
def _null(signal: Array, n: Array, k: Array, alpha: Array) -> tuple[Array, Array]:
    """Return the statistic and the ON prediction of bins without the model."""
    return w_terms(signal, n, k, alpha), on_off_fit(signal, n, k, alpha).predicted


class OnOffWhole(NamedTuple):
    """What all bins enter, maps (rows, cols)."""

    model_sum: np.ndarray
    jump: np.ndarray  # of half the slope at norm 0
    empty_sum: np.ndarray  # model counts in bins without any counts
    silent_sum: np.ndarray  # the same without ON counts
    plain_sum: np.ndarray  # model counts in bins of a known background that have no counts
    straight: np.ndarray  # slope of the statistic that the sensitivity is for
    bound: np.ndarray
    has_model: np.ndarray
    stat_null: np.ndarray
    npred_null: np.ndarray
    counts_on_zero: np.ndarray


def sum_whole(
    datasets: Sequence[OnOffDataset], fitted: np.ndarray, sensitivity: bool
) -> OnOffWhole:
    """Sum over the windows of a map."""
    on_off = [d for d in datasets if d.on_off]
    stats, npreds = zip(*(_null_maps(d) for d in on_off), strict=True)
    ones = [np.ones_like(d.counts) for d in on_off]
    empty = [(d.used & ~d.listed).astype(d.counts.dtype) for d in on_off]
    all_bins = _sums(on_off, ones, npreds, fitted)
    per_share = [e * (1 + 1 / d.alpha) for e, d in zip(empty, on_off, strict=True)]
    jump = _sums(on_off, per_share, stats, fitted)
    zero = np.zeros_like(all_bins.model_sum)
    silent = [(d.used & ~d.listed_upwards).astype(d.counts.dtype) for d in on_off]
    straight = zero
    if sensitivity:
        without = [(d.used & ~d.measured) * np.log1p(1 / d.alpha) for d in on_off]
        straight = _model_sum(_sums(on_off, without, npreds, fitted))
    whole = OnOffWhole(
        model_sum=_model_sum(all_bins),
        jump=_model_sum(jump),
        empty_sum=_model_sum(_sums(on_off, empty, npreds, fitted)),
        silent_sum=_model_sum(_sums(on_off, silent, npreds, fitted)),
        plain_sum=zero,
        straight=straight,
        bound=np.full_like(zero, -np.inf),
        has_model=all_bins.has_model,
        stat_null=jump.background_sum,
        npred_null=all_bins.background_sum,
        counts_on_zero=np.zeros(zero.shape, bool),
    )
    known = [d for d in datasets if not d.on_off]
    if not known:
        return whole
    other = whole_map([d.images for d in known], fitted)
    plain = [(d.used & ~d.listed).astype(d.counts.dtype) for d in known]
    return whole._replace(
        model_sum=whole.model_sum + _model_sum(other),
        plain_sum=_model_sum(_sums(known, plain, plain, fitted)),
        bound=np.where(other.has_model, other.bound, -np.inf),
        has_model=whole.has_model | other.has_model,
        stat_null=whole.stat_null + other.stat_null,
        npred_null=whole.npred_null + other.background_sum,
        counts_on_zero=other.counts_on_zero,
    )


def _null_maps(dataset: OnOffDataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the statistic and the ON prediction of every bin without the model."""
    size = (room(dataset.counts.size, LEAST),)
    arrays = (dataset.signal, dataset.counts, dataset.off, dataset.alpha)
    rows = (in_a_row([a], size[0]) for a in arrays[:3])
    alpha = np.append(arrays[3].ravel(), np.ones(size[0] - arrays[3].size, arrays[3].dtype))
    found = _null(*rows, alpha)
    shape = dataset.counts.shape
    stat, npred = (np.asarray(a)[: dataset.counts.size].reshape(shape) for a in found)
    return stat, npred


def _sums(
    datasets: Sequence[OnOffDataset],
    factors: Sequence[np.ndarray],
    images: Sequence[np.ndarray],
    fitted: np.ndarray,
) -> WholeMap:
    """Sum models with factors, and some images, over windows."""
    parts = zip(datasets, factors, images, strict=True)
    return whole_map([d.sums_of(factor, image) for d, factor, image in parts], fitted)


def _model_sum(whole: WholeMap) -> np.ndarray:
    """Return the sum of the model, without the rounding of transforms where there is none."""
    return np.where(whole.has_model, whole.model_sum, 0)
