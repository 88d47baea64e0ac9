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


class BlendField(NamedTuple):
    """Arrays of one dataset whose kernel differs from position to position."""

    counts: Floats
    background: Floats
    exposure: Floats  # where the source is
    kernel: Floats  # basis kernels, shape (basis, energies, kernel rows, kernel cols)
    weights: Floats
    blend: Floats  # shape (basis, rows, cols)


def blend_field(
    seed: int,
    shape: tuple[int, int, int] = (2, 10, 9),
    kernel_shape: tuple[int, int] = (5, 5),
    basis: int = 3,
    special: bool = True,
) -> BlendField:
    """Draw a field with a mean kernel, and deviations from it that grow towards the edges."""
    plain = random_field(seed, (max(shape[0], 3), max(shape[1], 10), shape[2]), kernel_shape, False)
    n_energies, ny, nx = shape
    counts, background, exposure = (a[:n_energies, :ny].copy() for a in plain[:3])
    mean = plain.kernel[:n_energies]
    row, col = np.indices(kernel_shape)
    # corners are outside the kernel, as a disc is
    mean = mean * (np.hypot(row - kernel_shape[0] // 2, col - kernel_shape[1] // 2) < 2.9)
    waves = [np.cos((k + 1) * row + (2 - k) * col + seed) for k in range(basis - 1)]
    kernel = np.stack([mean, *(mean * 0.8 / basis * wave for wave in waves)])
    y, x = np.indices((ny, nx))
    maps = [np.sin(0.3 * (k + 1) * y - 0.4 * x + k + seed) for k in range(basis - 1)]
    blend = np.stack([np.ones((ny, nx)), *maps])
    exposure = exposure * (1 + 0.5 * np.sin(0.2 * x + 0.3 * y))
    weights = np.ones(shape)
    if special:
        rng = np.random.default_rng(seed)
        weights[0, 2:5, 6:8], weights[:, -2:, :2] = 0, 0
        weights[-1, :3] = rng.uniform(0.2, 1, (3, nx))
        exposure[-1, :, -2:], exposure[:, -2:, -2:] = 0, 0
        background[0, 4, 3], counts[0, 4, 3] = 0, 0
        background[-1, 8, 4], counts[-1, 8, 4] = 0, 2
        counts[:, :3, :3] = 0
    return BlendField(counts, background, exposure, kernel, weights, blend)
