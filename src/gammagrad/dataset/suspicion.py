"""Data that can be fitted and are probably not what was meant: what is suspected, in words."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputWarning

Floats = NDArray[np.float64]

NO_PSF = (
    "Sources are taken to be seen without blur, so that the flux of a point source comes out low "
    "by all that the instrument spreads beyond its pixel. Set dataset.psf, for instance to "
    "PSFMap.from_gauss(energy_axis_true, sigma)."
)

# beyond this factor counts and background are not of the same field
_FACTOR = 5.0
# pieces that an image is cut into along each side: a source brightens some of them
_PIECES = 4


def warn_of_suspicions(
    name: str, counts: Floats, background: Floats, *, blurred: bool = True
) -> None:
    """Warn of what is suspect in the data of a dataset."""
    found = suspicions(counts, background)
    if not blurred:
        found.append(f"there is no PSF. {NO_PSF}")
    for text in found:
        warnings.warn(f"dataset {name!r}: {text}", InputWarning, stacklevel=4)


def suspicions(counts: Floats, background: Floats) -> list[str]:
    """Return what is suspect in counts and background."""
    found = []
    fractional = counts != np.floor(counts)
    if fractional.any():
        if _is_asimov(counts, background):
            return []
        first = float(counts[fractional][0])
        found.append(
            f"the counts are not whole numbers (the first is {first:.6g}): expected what the "
            "detector counted, not a rate, a smoothed image or a prediction. Are counts and "
            "background in each other's place?"
        )
    total, expected = float(counts.sum()), float(background.sum())
    if _is_far(counts, background, total, expected):
        found.append(
            f"{total:.6g} counts, where the background predicts {expected:.6g}: expected a "
            "background within a factor of a few of the counts, in counts per bin. Are background, "
            "counts and exposure in each other's place, or is its unit another?"
        )
    return found


def _is_asimov(counts: Any, background: Any) -> bool:
    """Return whether counts are a prediction: nowhere below the background, which is one too."""
    whole = background == np.floor(background)
    if whole.all() and len(np.unique(background)) > 3:
        return False  # counted ones, as it seems
    known = background > 0
    # a source that is modelled already may be integrated over pixels in another way
    below = counts[known] < background[known] * (1 - 0.02)
    return bool(np.count_nonzero(below) <= 0.01 * below.size)


def _is_far(counts: Floats, background: Floats, total: float, expected: float) -> bool:
    """Return whether a background is far from the counts, sources aside."""
    if expected <= 0 or expected / _FACTOR <= total <= expected * _FACTOR:
        return False
    if abs(total - expected) < 5 * np.sqrt(max(total, expected)):
        return False
    if total < expected:
        return True
    ratios = []
    images = [values.sum(axis=0) for values in (counts, background)]
    for rows in np.array_split(np.arange(images[0].shape[0]), _PIECES):
        for cols in np.array_split(np.arange(images[0].shape[1]), _PIECES):
            n, b = (image[np.ix_(rows, cols)].sum() for image in images)
            if b > 0:
                ratios.append(n / b)
    return bool(np.median(ratios) > _FACTOR)
