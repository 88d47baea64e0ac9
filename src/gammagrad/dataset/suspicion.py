"""Warnings of data that can be fitted but are probably wrong."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputWarning

Floats = NDArray[np.float64]

NO_PSF = (
    "Sources are not blurred, so the flux of a point source is underestimated by the fraction of "
    "its counts outside its pixel. Set dataset.psf, for instance to "
    "PSFMap.from_gauss(energy_axis_true, sigma)."
)

# beyond this factor counts and background do not belong to the same field
_FACTOR = 5.0
# an image is divided into this number of pieces along each side: a source brightens a few pieces
_PIECES = 4


def warn_of_suspicions(
    name: str, counts: Floats, background: Floats, *, blurred: bool = True
) -> None:
    """Warn of suspect data of a dataset."""
    found = suspicions(counts, background)
    if not blurred:
        found.append(f"there is no PSF. {NO_PSF}")
    for text in found:
        warnings.warn(f"dataset {name!r}: {text}", InputWarning, stacklevel=4)


def suspicions(counts: Floats, background: Floats) -> list[str]:
    """Return a message for each suspicion about counts and background."""
    found = []
    fractional = counts != np.floor(counts)
    if fractional.any():
        if _is_asimov(counts, background):
            return []
        first = float(counts[fractional][0])
        found.append(
            f"the counts are not whole numbers (the first is {first:.6g}): expected "
            "detected counts, not a rate, a smoothed image or a prediction. Are counts and "
            "background swapped?"
        )
    total, expected = float(counts.sum()), float(background.sum())
    if _is_far(counts, background, total, expected):
        found.append(
            f"{total:.6g} counts, where the background predicts {expected:.6g}: expected a "
            "background within a factor of a few of the counts, in counts per bin. Are background, "
            "counts and exposure swapped, or is the unit of the background wrong?"
        )
    return found


def _is_asimov(counts: Any, background: Any) -> bool:
    """Return whether counts are a prediction on a predicted background: nowhere below it."""
    whole = background == np.floor(background)
    if whole.all() and len(np.unique(background)) > 3:
        return False  # the background was counted, it seems
    known = background > 0
    # the pixel integration of a source in the background may differ
    below = counts[known] < background[known] * (1 - 0.02)
    return bool(np.count_nonzero(below) <= 0.01 * below.size)


def _is_far(counts: Floats, background: Floats, total: float, expected: float) -> bool:
    """Return whether a background is far from the counts, apart from sources."""
    if expected <= 0 or expected / _FACTOR <= total <= expected * _FACTOR:
        return False
    if abs(total - expected) < 5 * np.sqrt(max(total, expected)):
        return False
    if total < expected:
        return True
    n, b = (
        np.array(
            [
                piece.sum()
                for rows in np.array_split(values.sum(axis=0), _PIECES)
                for piece in np.array_split(rows, _PIECES, axis=1)
            ]
        )
        for values in (counts, background)
    )
    return bool(np.median(n[b > 0] / b[b > 0]) > _FACTOR)
