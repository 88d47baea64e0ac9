"""Slow, plain twins of the fast code: loops and bisection, nothing shared with it."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

FLOOR = 1e-25


class SlowFit(NamedTuple):
    """A norm fit by bisection."""

    norm: float
    norm_err: float
    ts: float
    stat: float
    stat_null: float
    npred: float


def slow_cash(counts: Floats, npred: Floats) -> float:
    """Cash statistic of some bins, term by term."""
    total = 0.0
    for n, mu in zip(np.ravel(counts), np.ravel(npred), strict=True):
        total += 2 * mu
        if n > 0:
            total -= 2 * n * math.log(max(mu, FLOOR))
    return total


def slow_fit(counts: Floats, background: Floats, model: Floats) -> SlowFit:
    """Fit one norm by bisection of the statistic's derivative, down from the physical bound."""
    n, b, m = (np.ravel(a).astype(float) for a in (counts, background, model))
    reached = m > 0
    bound = -np.min(b[reached] / m[reached])
    seen = reached & (n > 0)
    ratio = np.maximum(b[seen], FLOOR) / m[seen]
    total = m.sum()

    def slope(x: float) -> float:
        return total - float(np.sum(n[seen] / (x + ratio)))

    low, high = bound, max(1.0, 2 * n.sum() / total)
    with np.errstate(divide="ignore"):
        if not seen.any() or slope(low) >= 0:
            norm = bound
        else:
            while slope(high) < 0:
                high *= 2
            for _ in range(300):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if slope(middle) < 0 else (low, middle)
            norm = 0.5 * (low + high)
        s2 = float(np.sum(n[seen] / (norm + ratio) ** 2))
    gain = sum(
        ni * math.log1p(max(norm * mi / max(bi, FLOOR), -1 + 1e-16))
        for ni, bi, mi in zip(n[seen], b[seen], m[seen], strict=True)
    )
    ts = max(2 * (gain - norm * total), 0.0)
    null = slow_cash(n, b)
    return SlowFit(
        norm=norm,
        norm_err=math.inf if s2 == 0 else 1 / math.sqrt(s2),
        ts=math.copysign(ts, norm),
        stat=null - ts,
        stat_null=null,
        npred=float(b.sum() + norm * total),
    )


def windows_at(
    cubes: list[Floats], kernel: Floats, row: int, col: int
) -> tuple[list[Floats], Floats]:
    """Cut the kernel's window around a pixel out of some cubes; zeros outside the map."""
    half_y, half_x = kernel.shape[-2] // 2, kernel.shape[-1] // 2
    pads = ((0, 0), (half_y, half_y), (half_x, half_x))
    cuts = [
        np.pad(c, pads)[:, row : row + kernel.shape[-2], col : col + kernel.shape[-1]]
        for c in cubes
    ]
    return cuts, kernel


def slow_ts_map(
    counts: Floats,
    background: Floats,
    exposure: Floats,
    kernel: Floats,
    weights: Floats,
    mode: str = "cube",
) -> dict[str, Floats]:
    """Fit every pixel in a loop; mode "cube", "counts" or "equal" (summed images)."""
    fits = []
    used = weights > 0
    masked = [np.where(used, weights * a, 0.0) for a in (counts, background, exposure)]
    for row in range(counts.shape[1]):
        for col in range(counts.shape[2]):
            (n, b, e, w), k = windows_at([*masked, weights], kernel, row, col)
            model = k * e
            if mode == "counts":
                n, b, model = (a.sum(axis=0) for a in (n, b, model))
            elif mode == "equal":
                total = w.sum(axis=0)
                mean = np.divide(
                    (k * w).sum(axis=0), total, out=np.zeros_like(total), where=total > 0
                )
                n, b, model = n.sum(axis=0), b.sum(axis=0), mean * e.sum(axis=0)
            fits.append(slow_fit(n, b, model))
    shape = counts.shape[1:]
    return {
        name: np.array([getattr(f, name) for f in fits]).reshape(shape) for name in SlowFit._fields
    }
