"""Sums over the windows that norms of the background are fitted in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._pytree import replace
from gammagrad.core.images import box_sum
from gammagrad.core.norm import BackgroundNorm, Window
from gammagrad.core.stats import BACKGROUND_FLOOR, cash
from gammagrad.core.ts_map.bins import BinImages
from gammagrad.errors import InputError

BACKGROUND_NORMS = ("one", "per dataset", "per energy")

WIDTHS = 3
"""How many widths of the kernel the window is wide, unless told otherwise."""


class Backgrounds(NamedTuple):
    """Norms of the background to fit at every pixel of a map."""

    windows: Window  # sums of every group, shape (groups, rows, cols)
    member: np.ndarray  # group of each image of all datasets
    how: BackgroundNorm


def members(images: Sequence[int], norms: str) -> np.ndarray:
    """Return the group of each image of all datasets, which have so many images."""
    if norms not in BACKGROUND_NORMS:
        raise InputError(f" is {norms!r}; choose one of {BACKGROUND_NORMS}.", "background_norms")
    if norms == "one":
        return np.zeros(sum(images), np.int32)
    if norms == "per dataset":
        return np.repeat(np.arange(len(images), dtype=np.int32), images)
    return np.arange(sum(images), dtype=np.int32)


def wide_window(kernel: tuple[int, ...], width: tuple[int, int] | int | None) -> tuple[int, int]:
    """Return the rows and columns of a window, no smaller than the kernel's."""
    if width is None:
        return WIDTHS * kernel[-2], WIDTHS * kernel[-1]
    rows, cols = (width, width) if isinstance(width, int) else width
    return max(rows, kernel[-2]), max(cols, kernel[-1])


def traced_windows(
    datasets: Sequence[tuple[Array, Array, tuple[int, int]]], member: np.ndarray, known: Array
) -> Window:
    """Sum counts and backgrounds, already weighted, over the windows around all pixels."""
    # datasets: counts, background, and the sides of the window of each
    number = int(member.max()) + 1
    shape = datasets[0][0].shape[-2:]
    sums = [[jnp.zeros(shape, datasets[0][0].dtype)] * 3 for _ in range(number)]
    images = iter(member.tolist())
    for counts, background, window in datasets:
        stat = cash(counts, background)
        for index in range(counts.shape[0]):
            own = sums[next(images)]
            for place, values in enumerate((counts[index], background[index], stat[index])):
                own[place] = own[place] + box_sum(values, window)
    counts, background, stat = (jnp.stack(part) for part in zip(*sums, strict=True))
    return Window(counts, background, stat, jnp.broadcast_to(known, counts.shape))


def wide_windows(
    datasets: Sequence[BinImages],
    windows: Sequence[tuple[int, int]],
    member: np.ndarray,
    known: np.ndarray,
) -> Window:
    """Do what `traced_windows` does, on the host, for datasets on grids of their own too."""
    number, first = int(member.max()) + 1, 0
    shape = datasets[0].map_shape
    sums = np.zeros((3, number, *shape))
    for data, window in zip(datasets, windows, strict=True):
        counts, background = np.asarray(data.counts), np.asarray(data.background)
        own = member[first : first + len(counts)]
        first += len(counts)
        for group in np.unique(own):
            # images of one group are summed first
            some = slice(None) if (own == group).all() else own == group
            n, b = counts[some], background[some]
            total = b.sum(axis=0)
            image, row, col = np.nonzero(n)
            seen = n[image, row, col]
            logs = seen * np.log(np.maximum(b[image, row, col], BACKGROUND_FLOOR))
            gained = np.bincount(row * total.shape[1] + col, logs, total.size)
            stat = 2 * (total - gained.reshape(total.shape))
            for place, values in enumerate((n.sum(axis=0), total, stat)):
                sums[place, group] += _at_positions(data, box_total(values, window))
    counts, background = np.maximum(sums[0], 0), np.maximum(sums[1], 0)
    return Window(counts, background, sums[2], np.broadcast_to(known, counts.shape).copy())


def box_total(image: np.ndarray, window: tuple[int, int]) -> np.ndarray:
    """Sum an image over a rectangle around each pixel, whatever its size in the same time."""
    for axis, side in enumerate(window):
        size, half = image.shape[axis], side // 2
        total = np.zeros((size + 1, image.shape[1 - axis]))
        np.cumsum(np.moveaxis(image, axis, 0), axis=0, out=total[1:])
        place = np.arange(size)
        low = np.maximum(place - half, 0)
        high = np.minimum(place + side - half, size)
        image = np.moveaxis(total[high] - total[low], 0, axis)
    return image


def _at_positions(data: BinImages, image: np.ndarray) -> np.ndarray:
    """Return what an image has at the positions of the map; zero off the image."""
    if data.places is None:
        return image
    row, col = np.asarray(data.places.row), np.asarray(data.places.col)
    (ny, nx) = image.shape
    inside = (row >= 0) & (row < ny) & (col >= 0) & (col < nx)
    return np.where(inside, image[np.clip(row, 0, ny - 1), np.clip(col, 0, nx - 1)], 0.0)


def images_of(datasets: Sequence[BinImages], member: np.ndarray, group: int) -> list[BinImages]:
    """Return the datasets with the images of one group only."""
    found, first = [], 0
    for data in datasets:
        number = len(data.counts)
        own = np.flatnonzero(member[first : first + number] == group)
        first += number
        if own.size == number:
            found.append(data)
        elif own.size:
            found.append(_some_images(data, own))
    return found


def _some_images(data: BinImages, which: np.ndarray) -> BinImages:
    """Return a dataset with some of its images."""
    names = ["counts", "background", "exposure"]
    changes = {name: np.asarray(getattr(data, name))[which] for name in names}
    kernel = np.asarray(data.kernel)
    changes["kernel"] = kernel[:, which] if data.places is not None else kernel[which]
    if data.amplitude is not None:
        changes["amplitude"] = np.asarray(data.amplitude)[which]
    return replace(data, **changes)
