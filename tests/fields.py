"""Small random fields of arrays, with the places where formulas break."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Field(NamedTuple):
    """Arrays of one dataset, in the order that `gammagrad.ts_map` takes them."""

    counts: Floats
    background: Floats
    exposure: Floats
    kernel: Floats
    weights: Floats


def random_field(
    seed: int,
    shape: tuple[int, int, int] = (3, 14, 11),
    kernel_shape: tuple[int, int] = (5, 7),
    special: bool = True,
) -> Field:
    """Draw a field; `special` adds masks, holes and bins without background or exposure."""
    rng = np.random.default_rng(seed)
    n_energies, ny, nx = shape
    falling = np.exp(-np.arange(n_energies))[:, None, None]
    background = falling * rng.uniform(0.3, 1.2, shape)
    exposure = 20 * falling * np.linspace(1, 0.2, nx)[None, None, :] * np.ones(shape)
    row, col = (np.arange(n) - n // 2 for n in kernel_shape)
    widths = 1.5 / (1 + 0.5 * np.arange(n_energies))
    r2 = row[:, None] ** 2 + col[None, :] ** 2
    kernel = np.exp(-0.5 * r2[None] / widths[:, None, None] ** 2)
    kernel /= kernel.sum(axis=(1, 2), keepdims=True)
    counts = rng.poisson(background).astype(float)
    counts[0, ny // 2, nx // 2] += 9
    weights = np.ones(shape)
    if special:
        counts[:, :6, :5] = 0
        weights[0, 2:5, 7:9] = 0
        weights[:, -2:, :2] = 0
        background[1, 9, 3] = np.nan
        background[2, 4, 8], counts[2, 4, 8] = 0, 0
        background[2, 9, 8], counts[2, 9, 8] = 0, 2
        exposure[:, 11:, 9:] = 0
    return Field(counts, background, exposure, kernel, weights)
