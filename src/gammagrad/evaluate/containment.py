"""The containment: the fraction of a source's counts inside a kernel."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gammagrad.errors import InputError
from gammagrad.evaluate.local_responses import is_compact
from gammagrad.evaluate.sampling import kind_of

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

# A requested containment counts as reached within this fraction of it.
_REACHED = 1e-9


def group_containment(containment: ArrayLike, counts: ArrayLike) -> float:
    """Return the containment of a kernel in a group of energy bins."""
    values, weights = np.asarray(containment, dtype=float), np.asarray(counts, dtype=float)
    if values.shape != weights.shape or values.ndim != 1:
        raise InputError(
            f"containment and counts have the shapes {values.shape} and {weights.shape}; expected "
            "one number per energy bin of either."
        )
    if not np.all(np.isfinite(weights) & (weights >= 0)):
        raise InputError(": expected counts are finite and not negative.", "counts")
    some = weights > 0
    return float(np.average(values[some], weights=weights[some])) if some.any() else math.nan


def has_total(spatial: Any) -> bool:
    """Return whether the total counts, and so a containment, are defined."""
    return spatial.normalize if kind_of(spatial) == "template" else is_compact(spatial)


def check_containment(
    spatial: Any, kernel_width: Any, containment: float | None, renormalise: bool
) -> None:
    """Raise if the requested containment is not possible."""
    if containment is not None:
        if kernel_width is not None:
            raise InputError(
                f" is {kernel_width} and the kernel's containment {containment}; "
                "expected only one of them: set the other to None.",
                "kernel_width",
            )
        if not 0 < containment < 1:
            raise InputError(
                f"the kernel's containment is {containment}; expected a number between 0 and 1. "
                "Leave it and kernel_width out for a kernel that contains the whole model."
            )
    if spatial is None or has_total(spatial) or (containment is None and renormalise):
        return
    name = type(spatial).__name__
    if kind_of(spatial) == "template":
        why, remedy = "is not normalised", "make the template with normalize=True"
    else:
        why, remedy = "has no edge", "take a model with an edge"
    how = "set kernel_width instead of a containment"
    raise InputError(
        f"{name} {why}, so that no part of its counts is known to be in a kernel: "
        f"{'leave renormalise=True' if containment is None else how}, or {remedy}."
    )


def spare_pixels(
    counts: Floats, total: Floats, containment: float, sides: tuple[float, float]
) -> tuple[int, int]:
    """Return how many rows and columns can be taken off both ends of a kernel."""
    some, shape = total > 0, counts.shape[1:]
    if not some.any():
        return 0, 0
    # rows and columns on either side of the middle of the rectangle of step k
    halves = [n // 2 for n in shape]
    along = [max(sides) / side for side in sides]
    longest = max(half / ratio for half, ratio in zip(halves, along, strict=True))
    steps = np.arange(math.ceil(longest * max(along) - 1e-9) + 1) / max(along)
    reached = [
        np.minimum(np.floor(steps * ratio + 1e-9).astype(int), half)
        for half, ratio in zip(halves, along, strict=True)
    ]
    first = [
        np.searchsorted(reach, np.abs(np.arange(n) - n // 2))
        for reach, n in zip(reached, shape, strict=True)
    ]
    ring = np.maximum(first[0][:, None], first[1][None, :]).ravel()
    rings = [np.bincount(ring, plane.ravel()) for plane in counts[some]]
    held = (np.cumsum(rings, axis=1) / total[some, None]).min(axis=0)
    enough = held >= containment * (1 - _REACHED)
    if not enough.any():
        log.warning(
            "The largest kernel that map and model allow, %d x %d pixels or %.3g x %.3g deg, holds "
            "%.5g of the counts in its worst energy bin, less than the containment of %.5g that is "
            "asked for. It is taken; renormalise=False keeps the flux right.",
            *(*shape[::-1], shape[1] * sides[1], shape[0] * sides[0], held[-1], containment),
        )
        return 0, 0
    step = int(np.argmax(enough))
    return halves[0] - int(reached[0][step]), halves[1] - int(reached[1][step])
