"""A model with a spectral index, as the change of its counts in every bin with the index.

In the bin of pixel `q` a source at pixel `p` predicts ``m(p, q) exp(a(z) + k(z))`` where `m` is
what it predicts with the fixed index, and `z` is the index less the fixed one, in half its range.
The change `a` of the counts is that of the bin (or, where every position has a kernel of its own,
of the position), and the change `k` of the kernel's shape that of its pixels. Both are polynomials
``sum_i c_i z^i``, from i = 1 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from gammagrad.core.images import window_sums
from gammagrad.core.ts_map.bins import BinImages
from gammagrad.core.ts_map.strips import rows_around
from gammagrad.core.ts_map.threads import n_threads

_LEAST = 1e-12
"""Part of the largest sum of an energy below which a transform's result is rounding."""


class IndexFamily(NamedTuple):
    """How the counts of one dataset change with the index."""

    # polynomials of the counts, shape (powers, images, rows, cols): of the bins, or of the
    # positions of blended kernels
    counts: Any
    # polynomials of the kernel, of as many powers or fewer, shape (images, powers, kernel rows,
    # kernel cols)
    kernel: Any
    # shape of the source with the fixed index in the middle of the map, shape (images, kernel rows,
    # kernel cols)
    shape: Any
    # values of `z`: of the shapes to try first, the lowest and highest of them the limits; at which
    # the sums of the model are made
    tried: Any
    nodes: Any

    def rows(self, rows: slice, halo: int) -> IndexFamily:
        """Return what belongs to some rows of a map and to those around them."""
        return self._replace(counts=rows_around(np.asarray(self.counts), rows, halo))


class ModelSums(NamedTuple):
    """The sums of the model over the window of every pixel, for each image, and their change."""

    share: np.ndarray  # part of each image at the fixed index, shape (images, rows, cols)
    change: np.ndarray  # polynomials of its logarithm, shape (powers, images, rows, cols)


def powers_of(z: np.ndarray, many: int) -> np.ndarray:
    """Return the first powers of some numbers, from 1 on, shape (numbers, powers)."""
    found: np.ndarray = np.asarray(z)[:, None] ** np.arange(1, many + 1)
    return found


def fitted_powers(z: np.ndarray, many: int, logs: np.ndarray) -> np.ndarray:
    """Fit polynomials without a constant to some numbers, the values of `z` on the first axis."""
    return np.tensordot(np.linalg.pinv(powers_of(z, many)), logs, 1)


def model_sums(datasets: Sequence[BinImages], wanted: np.ndarray) -> ModelSums:
    """Sum the model over the window of every pixel, image by image, and how it changes."""
    sums, changes = [], []
    for images in datasets:
        for index in range(np.shape(images.counts)[0]):
            own, change = _of_image(images, index, wanted)
            sums.append(own)
            changes.append(change)
    total = np.sum(sums, axis=0)
    safe = np.where(total > 0, total, 1.0)
    share = np.stack([own / safe for own in sums])
    return ModelSums(share, np.stack(changes, axis=1))


def _of_image(images: BinImages, index: int, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of an image's model at the fixed index, and the polynomials of its change."""
    family: IndexFamily = images.family
    nodes = np.asarray(family.nodes)
    kernel, shape = np.asarray(family.kernel[index], float), np.asarray(family.shape[index])
    weight = np.asarray(images.exposure)[index, 0]
    counts = np.asarray(family.counts[:, index], float)
    change = np.tensordot(powers_of(nodes, len(kernel)), kernel, 1)
    # the kernel with the fixed index comes first
    kernels = np.concatenate([shape[None], shape * np.exp(change)])
    # Sums change as the counts of bins do nearly everywhere alike: what is left takes few powers.
    common = np.zeros(len(counts)) if images.blended else _mean(counts, weight)
    planes = weight[None]
    if not images.blended:
        rest = np.tensordot(powers_of(nodes, len(counts)), counts - common[:, None, None], 1)
        planes = np.concatenate([planes, weight * np.exp(rest)])
    sums = window_sums(planes, kernels, n_threads())
    seen = (sums > _LEAST * sums.max(axis=(1, 2), keepdims=True)).all(axis=0)
    if not images.blended:
        seen &= wanted
    logs = np.log(np.where(seen, sums, 1))
    few = fitted_powers(nodes, len(nodes) - 1, logs[1:] - logs[:1])
    found = np.zeros((max(len(counts), len(few)), *few.shape[1:]))
    found[: len(few)] += few
    if images.blended:
        found[: len(counts)] += counts
        return np.where(wanted, _blended_sum(images, index), 0), found
    found[: len(counts)] += common[:, None, None]
    return np.where(seen, sums[0], 0), found


def _mean(counts: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the mean of polynomials over the bins that any model reaches."""
    total = weight.sum()
    found: np.ndarray = (counts * weight).sum(axis=(1, 2)) / (total if total > 0 else 1.0)
    return found


def _blended_sum(images: BinImages, index: int) -> np.ndarray:
    """Return the sum of an image's model where every position has a kernel of its own."""
    weight = np.asarray(images.exposure)[index]
    parts = window_sums(weight, np.asarray(images.kernel)[index], n_threads())
    blend = np.asarray(images.blend)
    total = np.einsum("kyx,kyx->yx", blend, parts) * np.asarray(images.amplitude)[index]
    found: np.ndarray = np.maximum(total, 0)
    return found
