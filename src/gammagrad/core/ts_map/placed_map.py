"""What all bins enter, for datasets on pixel grids of their own: see `whole_map`.

Each pixel of the map to fit has a rectangle of bins around its place on the dataset's grid. The
pixels are worked on in batches; what they need is gathered.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from gammagrad._programs import compiled, fill, image_room
from gammagrad.core.images import fast_length
from gammagrad.core.stats import cash
from gammagrad.core.ts_map.bins import BinImages
from gammagrad.core.ts_map.blocks import inner_box_sum, sum_of_images
from gammagrad.core.ts_map.physical_bound import local_max, raised_to
from gammagrad.core.ts_map.threads import in_threads

_BATCH = 64
"""Sides of the squares of pixels that are worked on together."""

# below this part of the largest, differences of sums are replaced by sums
_UNSURE = 1e-6
# pixels for each phase from which on transforms take less time than sums
_DIRECTLY = 400
# numbers copied at a time
_NUMBERS = 2**20


class _Maps(NamedTuple):
    """A dataset's bins with a margin around them, so that every rectangle is inside."""

    counts: Any  # shape (images, rows, cols), as of the next two
    background: Any
    weight: Any


class _Ready(NamedTuple):
    """What batches of pixels gather from: a map has a value for each place of the kernel."""

    background_sum: Array  # of the rectangle around a place, shape (rows, cols)
    stat_null: Array
    ratio: Array  # weight over background of bins, 0 without it, shape (images, rows, cols)
    ceiling: Array  # largest ratio in the rectangle around a place
    empty: Array  # whether a bin has a weight and no background
    stray: Array  # whether it has counts, too
    kernel: Array  # shape (phases, images, basis, places)


class _Pixels(NamedTuple):
    """Pixels of a batch."""

    row: Any  # of the corner of their rectangle of bins
    col: Any
    phase: Any
    amplitude: Any  # shape (images, pixels)
    blend: Any  # shape (basis, pixels)
    fitted: Any


@compiled(static=("sides",))
def _ready(maps: _Maps, kernel: Array, *, sides: tuple[int, int]) -> _Ready:
    """Make all that does not depend on the pixels."""
    used = maps.weight > 0
    seen = used & (maps.background > 0)
    ratio = jnp.where(seen, maps.weight / jnp.where(seen, maps.background, 1), 0)
    empty = used & (maps.background <= 0)
    return _Ready(
        background_sum=inner_box_sum(sum_of_images(maps.background), sides),
        stat_null=inner_box_sum(sum_of_images(cash(maps.counts, maps.background)), sides),
        ratio=ratio,
        ceiling=local_max(ratio, sides),
        empty=empty,
        stray=empty & (maps.counts > 0),
        kernel=kernel.reshape(*kernel.shape[:3], -1),
    )


@compiled(static=("sides",))
def _batch_sums(
    ready: _Ready, pixels: _Pixels, steepest: Array, *, sides: tuple[int, int]
) -> dict[str, Array]:
    """Return sums and bounds of a batch of pixels."""
    return {
        "background_sum": ready.background_sum[pixels.row, pixels.col],
        "stat_null": ready.stat_null[pixels.row, pixels.col],
        "steepest": _steepest(ready, pixels, steepest, sides),
        "bare": _reached_from(ready.empty, ready, pixels, sides),
        "counts_on_zero": _reached_from(ready.stray, ready, pixels, sides),
    }


def _at(image: Array, pixels: _Pixels, offset: Array, width: int) -> Array:
    """Return the bin of each pixel at an offset from the corner of its rectangle."""
    shift = offset // width * image.shape[1] + offset % width
    bins = pixels.row * image.shape[1] + pixels.col + shift
    return image.reshape(-1).at[bins].get(mode="promise_in_bounds")


def _value(kernel: Array, pixels: _Pixels, offset: Array) -> Array:
    """Blend an image's basis kernels of shape (phases, basis, places), none below zero."""
    own = kernel[:, :, offset]
    value = jnp.zeros_like(pixels.blend[0])
    for k in range(kernel.shape[1]):
        value = value + pixels.blend[k] * (own[0, k] if len(own) == 1 else own[pixels.phase, k])
    return jnp.where(value > 0, value, 0)


def _steepest(ready: _Ready, pixels: _Pixels, best: Array, sides: tuple[int, int]) -> Array:
    """Return the largest model-to-background ratio among each pixel's bins with background."""
    # as in `steepest_ratio`, below an envelope of the kernels of all pixels
    kx = sides[1]
    near = pixels.fitted & (pixels.amplitude > 0).any(axis=0)
    settled = jnp.where(near, jnp.zeros_like(best), jnp.full_like(best, jnp.inf))
    # zeros in place of pixels that need no bound make the envelope wider at most
    blend = jnp.where(near, pixels.blend, 0)
    smallest, largest = (a[None, :, None] for a in (blend.min(axis=1), blend.max(axis=1)))

    def visit_image(best: Array, image: tuple[Array, ...]) -> tuple[Array, None]:
        ratio, ceiling, amplitude, kernel = image
        envelope = jnp.maximum(kernel * largest, kernel * smallest).sum(axis=1).max(axis=0)
        order = jnp.argsort(-envelope).astype(jnp.int32)
        most = amplitude * ceiling[pixels.row, pixels.col]

        def value_at(offset: Array) -> Array:
            there = _at(ratio, pixels, offset, kx)
            return amplitude * _value(kernel, pixels, offset) * there

        return raised_to(best, settled, most, (envelope, order), value_at), None

    kernels = ready.kernel.swapaxes(0, 1)
    return lax.scan(visit_image, best, (ready.ratio, ready.ceiling, pixels.amplitude, kernels))[0]


def _reached_from(special: Array, ready: _Ready, pixels: _Pixels, sides: tuple[int, int]) -> Array:
    """Mark the pixels whose model has counts in a bin of a kind that most data do not have."""
    number, kx = sides[0] * sides[1], sides[1]

    def visit_image(reached: Array, image: tuple[Array, ...]) -> tuple[Array, None]:
        own, amplitude, kernel = image

        def visit(offset: Array, reached: Array) -> Array:
            there = _at(own, pixels, offset, kx)
            return reached | (there & (_value(kernel, pixels, offset) > 0))

        last = jnp.where(own.any(), number, 0).astype(jnp.int32)
        found = lax.fori_loop(jnp.int32(0), last, visit, jnp.zeros(reached.shape, bool))
        return reached | (found & (amplitude > 0)), None

    start = jnp.zeros(pixels.row.shape, bool)
    kernels = ready.kernel.swapaxes(0, 1)
    return lax.scan(visit_image, start, (special, pixels.amplitude, kernels))[0]


class Placed:
    """A dataset on a grid of its own, and the pixels of the map to fit."""

    def __init__(self, images: BinImages) -> None:
        assert images.places is not None
        self.kernel = np.asarray(images.kernel)
        self.sides = self.kernel.shape[-2], self.kernel.shape[-1]
        self.amplitude, self.blend = np.asarray(images.amplitude), np.asarray(images.blend)
        self.shape = np.shape(images.counts)[-2:]
        self.margin = tuple(2 * (side // 2) + 1 for side in self.sides)
        # corners of rectangles, on maps with the margin; any beyond is as good as those at its edge
        self.row, self.col = (
            np.clip(np.asarray(place), -(k // 2) - 1, n + k // 2).astype(np.int32) + (k // 2 + 1)
            for place, k, n in zip(images.places[:2], self.sides, self.shape, strict=True)
        )
        self.phase = np.asarray(images.places.phase, np.int32)
        pads = [(0, 0), *((m, m) for m in self.margin)]
        bins = images.counts, images.background, np.asarray(images.exposure)[:, 0]
        self.maps = _Maps(*(np.pad(np.asarray(a), pads) for a in bins))

    def sums(self, fitted: np.ndarray, steepest: np.ndarray) -> dict[str, np.ndarray]:
        """Return the sums of all pixels, and what bounds their norms."""
        room = image_room(*self.maps.counts.shape[-2:])
        maps = _Maps(*(fill(a, room) for a in self.maps))
        ready = _ready(maps, jax.device_put(self.kernel), sides=self.sides)

        def work(where: tuple[slice, slice], _: None) -> tuple[None, dict[str, Array]]:
            def cut(array: np.ndarray) -> np.ndarray:
                part = fill(array[..., where[0], where[1]], (_BATCH, _BATCH))
                return part.reshape(*array.shape[:-2], -1)

            pixels = _Pixels(
                *map(cut, (self.row, self.col, self.phase, self.amplitude, self.blend, fitted))
            )
            return None, _batch_sums(ready, pixels, cut(steepest), sides=self.sides)

        found = self._model_sums(fitted)
        found["scale"] = np.zeros_like(steepest)
        for where, arrays in in_threads(work, _squares(fitted.shape)):
            rows, cols = (s.stop - s.start for s in where)
            for name, array in arrays.items():
                if name not in found:
                    found[name] = np.zeros(fitted.shape, array.dtype)
                found[name][where] = array.reshape(_BATCH, _BATCH)[:rows, :cols]
        return found

    def _model_sums(self, fitted: np.ndarray) -> dict[str, np.ndarray]:
        """Sum the model, and tell which pixels have any."""
        total, scale = (np.zeros(self.row.shape, self.blend.dtype) for _ in range(2))
        reached = np.zeros(self.row.shape, bool)
        # rows and columns of the kernel that lie inside the dataset's map
        ends = [
            [np.clip(edge - corner, 0, k) for edge in (m, n + m)]
            for corner, k, n, m in zip(
                (self.row, self.col), self.sides, self.shape, self.margin, strict=True
            )
        ]
        area = (ends[0][1] - ends[0][0]) * (ends[1][1] - ends[1][0])
        for i, weight in enumerate(self.maps.weight):
            used, ones = (self._boxes(a) for a in (weight > 0, weight == 1))
            near = (used > 0) & (self.amplitude[i] > 0)
            simple = near & (used == ones) & (ones == area)
            sums = np.pad(self.kernel[:, i], ((0, 0), (0, 0), (1, 0), (1, 0)))
            sums = sums.cumsum(axis=-2, dtype=np.float64).cumsum(axis=-1)
            (top, bottom), (left, right) = ends
            largest = np.abs(sums).max(axis=(0, -2, -1)) * weight.max()
            for k, blend in enumerate(self.blend):
                own = sums[:, k]
                part = own[self.phase, bottom, right] - own[self.phase, top, right]
                part += own[self.phase, top, left] - own[self.phase, bottom, left]
                total += np.where(simple, self.amplitude[i] * blend * part, 0)
                scale += np.where(near, self.amplitude[i] * np.abs(blend) * largest[k], 0)
            rest = near & ~simple & fitted
            if rest.sum() > _DIRECTLY * len(self.kernel):
                total[rest] += self._by_transform(rest, i)
            elif rest.any():
                total[rest] += self.directly(rest, (i,))
            reached |= near
        unsure = reached & fitted & (total < _UNSURE * scale)
        if unsure.any():
            total[unsure] = self.directly(unsure)
        return {"model_sum": total, "reached": reached}

    def _by_transform(self, where: np.ndarray, image: int) -> np.ndarray:
        """Sum an image's model counts at some pixels by Fourier transforms of its whole map."""
        weight = self.maps.weight[image]
        lengths = fast_length(weight.shape[0]), fast_length(weight.shape[1])
        spectrum = np.fft.rfft2(weight.astype(np.float64), lengths)
        row, col, phase = (a[where] for a in (self.row, self.col, self.phase))
        row, col = row + self.sides[0] - 1, col + self.sides[1] - 1
        total = np.zeros(row.shape, self.blend.dtype)
        for p in np.unique(phase):
            own = phase == p
            for kernel, blend in zip(self.kernel[p, image], self.blend, strict=True):
                own_spectrum = np.fft.rfft2(kernel[::-1, ::-1].astype(np.float64), lengths)
                sums = np.fft.irfft2(spectrum * own_spectrum, lengths)
                total[own] += blend[where][own] * sums[row[own], col[own]]
        return self.amplitude[image][where] * total

    def _boxes(self, marks: np.ndarray) -> np.ndarray:
        """Count marks in the rectangle of each pixel."""
        sums = np.pad(marks, ((1, 0), (1, 0))).astype(np.int64).cumsum(axis=0).cumsum(axis=1)
        bottom, right = self.row + self.sides[0], self.col + self.sides[1]
        inside = sums[bottom, right] - sums[self.row, right]
        return np.asarray(inside - sums[bottom, self.col] + sums[self.row, self.col])

    def directly(self, where: np.ndarray, images: Sequence[int] | None = None) -> np.ndarray:
        """Sum the model counts of some pixels bin by bin."""
        total = np.zeros(where.sum(), self.blend.dtype)
        row, col, phase = (a[where] for a in (self.row, self.col, self.phase))
        blend, amplitude = self.blend[:, where].T, self.amplitude[:, where]
        size = self.sides[0] * self.sides[1]
        at_a_time = max(1, _NUMBERS // size)
        for p in np.unique(phase):
            every = np.flatnonzero(phase == p)
            for begin in range(0, every.size, at_a_time):
                part = every[begin : begin + at_a_time]
                for i in range(len(self.amplitude)) if images is None else images:
                    own = blend[part] @ self.kernel[p, i].reshape(-1, size)
                    seen = np.lib.stride_tricks.sliding_window_view(self.maps.weight[i], self.sides)
                    near = seen[row[part], col[part]].reshape(own.shape)
                    total[part] += amplitude[i, part] * (np.maximum(own, 0) * near).sum(axis=1)
        return total


def _squares(shape: tuple[int, int]) -> Iterator[tuple[slice, slice]]:
    """Yield squares of pixels that make up a map."""
    for row in range(0, shape[0], _BATCH):
        for col in range(0, shape[1], _BATCH):
            ends = (min(first + _BATCH, n) for first, n in zip((row, col), shape, strict=True))
            yield slice(row, next(ends)), slice(col, next(ends))
