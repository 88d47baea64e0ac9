"""The images of a fit with a kernel for every position."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad.core.ts_map import BinImages, OwnGrid
from gammagrad.errors import InputError
from gammagrad.estimators.ts_map.position_kernels import Basis, PositionKernels
from gammagrad.evaluate import Rows, single_rows

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# Patterns of weights over energy in a summed image, at most: each has a table of kernels.
_MOST_PATTERNS = 256


class TooManyPatternsError(InputError):
    """Weights over energy differ at too many pixels of a summed image."""


class Patterns(NamedTuple):
    """Bins of a summed image by the energies that enter them."""

    rows: Rows
    # which: the pattern of each pixel, shape (rows, cols), -1 without any; weight: the largest of
    # the weights of its energies
    which: NDArray[np.int64]
    weight: Floats


def patterns(weights: Floats, energies: NDArray[np.int64], equal: bool) -> Patterns:
    """Sort the pixels of a summed image by their weights over energy."""
    largest = weights.max(axis=0)
    ratio = weights / np.where(largest > 0, largest, 1.0)
    which = np.where(largest > 0, 0, -1)
    for plane in ratio:
        values, number = np.unique(plane, return_inverse=True)
        if values.size > 1:
            both = np.where(which < 0, -1, which * values.size + number.reshape(which.shape))
            _, again = np.unique(both, return_inverse=True)
            which = again.reshape(which.shape) - int((both < 0).any())
    used, first = np.unique(which, return_index=True)
    first = first[used >= 0]
    if first.size > _MOST_PATTERNS:
        raise TooManyPatternsError(
            f"mask_safe and mask_fit have {first.size} different sets of weights over energy; a "
            f"summed image with a kernel for every position takes {_MOST_PATTERNS} at most. Set "
            "sum_over_energy_groups=False."
        )
    members, factors = [], []
    for index in first:
        own = ratio.reshape(len(ratio), -1)[:, index]
        some = np.flatnonzero(own > 0)
        members.append(energies[some])
        factors.append(own[some])
    return Patterns(Rows(members, factors, equal), which, largest)


def blended_cube(
    kernels: PositionKernels,
    arrays: Sequence[Floats],
    seen: Floats,
    bins: slice,
    window: tuple[int, int],
) -> BinImages | None:
    """Return the bins of an energy group, an image for each energy."""
    counts, background, weights = arrays
    rows = single_rows(np.arange(bins.start, bins.stop))
    means = _by_energy(background, bins, kernels)
    found = kernels.basis((bins.start, bins.stop), rows, means, "cube")
    if found is None:
        return None
    w = weights.astype(np.float64, copy=False)
    return _images(kernels, found, rows, (w * counts, w * background, w * seen), window)


def blended_sum(
    kernels: PositionKernels,
    arrays: Sequence[Floats],
    seen: Floats,
    bins: slice,
    window: tuple[int, int],
    equal: bool,
) -> BinImages | None:
    """Return the bins of an energy group, summed: an image for each pattern of weights."""
    counts, background, weights = arrays
    w = weights.astype(np.float64, copy=False)
    means = _by_energy(background, bins, kernels)
    try:
        sorted_bins = patterns(w * seen, np.arange(bins.start, bins.stop), equal)
    except TooManyPatternsError as error:
        if not kernels.may_be_one:
            raise
        _tell_of_one_kernel(kernels, bins, means, equal, error)
        return None
    rows, which = sorted_bins.rows, sorted_bins.which
    parts = [a.tobytes() for pair in zip(rows.energies, rows.factors, strict=True) for a in pair]
    digest = hashlib.sha256(b"|".join(parts)).hexdigest()
    found = kernels.basis((bins.start, bins.stop), rows, means, f"sum {equal} {digest}")
    if found is None:
        return None
    one_hot = which == np.arange(len(rows.energies))[:, None, None]
    sums = [
        np.where(one_hot, values, 0.0)
        for values in ((w * counts).sum(axis=0), (w * background).sum(axis=0), sorted_bins.weight)
    ]
    return _images(kernels, found, rows, (sums[0], sums[1], sums[2]), window)


def _tell_of_one_kernel(
    kernels: PositionKernels, bins: slice, means: Floats, equal: bool, error: InputError
) -> None:
    """Say that one kernel is taken for want of others, unless it is right."""
    energies = np.arange(bins.start, bins.stop)
    rows = Rows([energies], [np.ones(energies.size)], equal)
    span = bins.start, bins.stop
    if kernels.basis(span, rows, means, f"sum {equal}") is not None:
        one = kernels.only_one(span)
        log.warning("one kernel is used, and norms are wrong by up to %.2g: %s", one, error)


def _by_energy(background: Floats, bins: slice, kernels: PositionKernels) -> Floats:
    """Return the mean background of a bin at every energy, that of a group in its place."""
    means = np.zeros(len(kernels.summary.held))
    means[bins] = background.mean(axis=(1, 2))
    return means


def _images(
    kernels: PositionKernels,
    basis: Basis,
    rows: Rows,
    bins: tuple[Floats, Floats, Floats],
    window: tuple[int, int],
) -> BinImages:
    """Put bins and kernels together."""
    counts, background, weight = bins
    amplitude = kernels.summary.amplitude
    shape = amplitude.shape[1:]
    expected = np.moveaxis(rows.summed(np.moveaxis(amplitude, 0, -1)), -1, 0)
    (ny, nx), (wy, wx) = basis.kernels.shape[-2:], window
    y, x = max(ny - wy, 0) // 2, max(nx - wx, 0) // 2
    raised = basis.raised.reshape(len(expected), *(shape if basis.raised.ndim == 2 else (1, 1)))
    places, own = kernels.places, {}
    if places is not None:
        own["places"] = OwnGrid(places.row, places.column, places.phase)
    return BinImages(
        counts=counts,
        background=background,
        exposure=weight[:, None],
        kernel=basis.kernels[..., y : ny - y, x : nx - x],
        amplitude=expected / raised,
        blend=basis.blend.reshape(-1, *shape),
        **own,
    )
