"""What a map fit needs of OFF counts, and warnings where they do not do what they seem to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad._pytree import replace
from gammagrad.core.ts_map import BinImages
from gammagrad.dataset import MapDatasetOnOff, is_measured
from gammagrad.errors import InputError, InputWarning

Floats = NDArray[np.float64]

# OFF counts per bin below which the W statistic is biased by more than a tenth of an error.
FEW = 3.0
# Scatter of OFF counts from pixel to pixel, as a part of that of separate events, below which they
# are shared; and how many standard deviations it must be below.
_SHARED, _SURE = 0.8, 5.0


class OffBins(NamedTuple):
    """OFF counts of a dataset, arrays of shape (energies, rows, cols)."""

    counts: Floats  # OFF counts; zero where there is no weight
    alpha: Floats  # acceptance over OFF acceptance; 1 where there is no weight
    # counts that the models of the dataset predict in the ON region; zero where there is no weight
    signal: Floats

    def merged(self, total: Callable[[Floats], Floats], weights: Any, whole: Floats) -> OffBins:
        """Sum over blocks of bins, with weights, and divide by the weights of the blocks."""
        off = total(weights * self.counts)
        alpha = _mean_alpha(self, weights, off, total)
        return OffBins(off / whole, alpha, total(weights * self.signal) / whole)


def _mean_alpha(
    bins: OffBins, weights: Any, off: Floats, total: Callable[[Floats], Floats]
) -> Floats:
    """Return the alpha of sums of bins: background over OFF counts, or the mean without these."""
    background = total(weights * bins.alpha * bins.counts)
    many = total(np.asarray(weights, dtype=float))
    mean = total(weights * bins.alpha) / np.where(many > 0, many, 1.0)
    mean = np.where(many > 0, mean, 1.0)
    return np.where(off > 0, background / np.where(off > 0, off, 1.0), mean)


def off_bins(dataset: MapDatasetOnOff, sampling: str) -> tuple[OffBins, Floats]:
    """Return what OFF counts say, and the counts expected without the source, NaN if unknown."""
    signal = np.asarray(dataset.npred_signal(sampling=sampling).data, dtype=float)
    alpha, off = dataset.alpha.data, np.asarray(dataset.require("counts_off").data, dtype=float)
    known = np.asarray(is_measured(dataset) & (alpha > 0))
    _warn_of_unmeasured(dataset, known)
    used = known if dataset.mask is None else known & dataset.mask.data
    if np.any(signal[used] < 0):
        raise InputError(
            f"dataset {dataset.name!r}: its models predict {signal[used].min():.4g} counts in a "
            "bin; expected models of sources that add counts where the background is measured."
        )
    expected = np.where(known, signal + alpha * np.where(known, off, 0.0), np.nan)
    return OffBins(off, alpha, signal), expected


def _warn_of_unmeasured(dataset: MapDatasetOnOff, known: NDArray[np.bool_]) -> None:
    """Warn of bins that would be fitted if their background was measured."""
    mask = dataset.mask
    lost = ~known if mask is None else mask.data & ~known
    # what the instrument does not see is nobody's loss
    seen = (dataset.require("exposure").data > 0).any(axis=0)
    if number := int(np.count_nonzero(lost & seen)):
        warnings.warn(
            f"dataset {dataset.name!r}: {number} of {known.size} bins have no measured background "
            "(acceptance or acceptance_off is 0 or unknown, or counts_off is), and do not enter "
            "the fit.",
            InputWarning,
            stacklevel=6,
        )


def without_weight(bins: OffBins, unused: NDArray[np.bool_]) -> OffBins:
    """Return OFF counts with harmless numbers in bins without weight."""
    counts, signal = (np.where(unused, 0.0, a) for a in (bins.counts, bins.signal))
    return OffBins(counts, np.where(unused, 1.0, bins.alpha), signal)


def with_off(
    images: BinImages, bins: OffBins, weights: NDArray[Any], sum_energies: bool
) -> BinImages:
    """Put OFF counts on the images of an energy group, and the known signal for the background."""
    w = weights.astype(np.float64)
    off, alpha, signal = w * bins.counts, bins.alpha, w * bins.signal
    if sum_energies:

        def total(values: Floats) -> Floats:
            return values.sum(axis=0, keepdims=True)

        off, signal = total(off), total(signal)
        alpha = _mean_alpha(bins, w, off, total)
    shape = np.shape(images.counts)
    if sum_energies and images.blended and shape[0] > 1:
        # an image for each pattern of weights: a pixel is in one of them
        own = np.asarray(images.exposure)[:, 0] > 0
        off, signal = (np.where(own, values, 0.0) for values in (off, signal))
    alpha = np.broadcast_to(np.where(alpha > 0, alpha, 1.0), shape)
    return replace(images, background=signal, counts_off=off, alpha=np.array(alpha))


def mean_off(bins: OffBins, weights: NDArray[Any], sum_energies: bool) -> float:
    """Return the mean number of OFF counts in a bin that is fitted; NaN without such bins."""
    used = np.asarray(weights > 0)
    off = np.where(used, bins.counts, 0.0)
    number = np.count_nonzero(used.any(axis=0) if sum_energies else used)
    return float(off.sum() / number) if number else np.nan


def warn_of_few(name: str, few: Sequence[tuple[float, str]]) -> None:
    """Warn of energy ranges with few OFF counts in a bin."""
    if not few:
        return
    where = ", ".join(f"{mean:.2g} from {energies}" for mean, energies in few)
    warnings.warn(
        f"dataset {name!r}: few OFF counts per fitted bin on average ({where}), which biases the W "
        "statistic: for 10 counts of a source on one background count per bin the norm is off by "
        "-2.1 errors at 0.1 OFF counts per bin, -1.6 at 0.3, -0.25 at 1, and +0.05 at 3, where "
        "sqrt(ts) > 3 without a source is still 3 to 4 times too frequent; 10 suffice. Sum OFF "
        "counts over a wider region (dataset.with_wider_off), merge pixels (downsampling_factor) "
        "or energies, or take the background as known (dataset.to_map_dataset).",
        InputWarning,
        stacklevel=4,
    )


def warn_of_shared(name: str, bins: OffBins, weights: NDArray[Any]) -> None:
    """Warn of OFF counts that are those of other bins as well."""
    part = scatter(bins.counts, weights > 0)
    if part is None:
        return
    warnings.warn(
        f"dataset {name!r}: the OFF counts of neighbouring pixels scatter {part:.2g} times as much "
        "as separate events do, so they share events, as rings do. The fit takes the OFF counts of "
        "every pixel for a measurement of its own, so that the background seems better known than "
        "it is. Expected OFF counts of separate events; else take the background as known up to a "
        "norm, dataset.to_map_dataset() with the error of that norm.",
        InputWarning,
        stacklevel=5,
    )


def scatter(counts: Floats, used: NDArray[np.bool_]) -> float | None:
    """Return the squared difference of neighbours over that of separate events, if far below 1."""
    # The squared difference of two Poisson numbers has at least the sum of their means as mean, and
    # a variance of about (2 + 1 / mean) times its square.
    if np.any(counts[used] != np.floor(counts[used])):
        return None  # expected counts, which do not scatter
    both = used[..., 1:] & used[..., :-1]
    one, other = counts[..., 1:][both], counts[..., :-1][both]
    total = float((one + other).sum())
    if total <= 0:
        return None
    part = float(((one - other) ** 2).sum()) / total
    # pairs that have anything to share; every count is in two of them
    pairs = np.count_nonzero(one + other) / 2
    error = np.sqrt((2 + pairs / total) / max(pairs, 1))
    return part if part < min(_SHARED, 1 - _SURE * error) else None
