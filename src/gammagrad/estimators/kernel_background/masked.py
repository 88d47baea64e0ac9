"""Bins that a mask leaves out of the background: counts of some energies of a pixel only."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gammagrad._upper import ours
from gammagrad.errors import InputError, InputTypeError, InputWarning
from gammagrad.estimators.kernel_background.inputs import on_counts_pixels
from gammagrad.maps import Map


class Masked(NamedTuple):
    """Images without the bins that are masked."""

    images: Mapping[str, Map]  # for the sum over energies
    # for each energy bin alone, at the mask found; None where that is the same
    bins: Mapping[str, Map] | None


def without_masked(images: Mapping[str, Map]) -> Masked:
    """Take the bins out that the map "mask" leaves out, if there is one.

    Maps larger than the counts are cut out first.
    """
    if isinstance(images, Mapping):
        images = {name: ours(image) for name, image in images.items()}
    images = on_counts_pixels(images)
    if not isinstance(images, Mapping) or "mask" not in images:
        return Masked(images, None)
    rest = {name: image for name, image in images.items() if name != "mask"}
    counts, given = images.get("counts"), images["mask"]
    if not isinstance(given, Map):
        raise InputTypeError(
            f" is a {type(given).__name__}; expected a Map, true where used.", "mask"
        )
    if not isinstance(counts, Map):
        return Masked(rest, None)
    mask = _broadcast(given, counts)
    if mask.all():
        return Masked(rest, None)
    # a pixel that is used at some energies takes part in the sum with these
    used = np.broadcast_to(mask.any(axis=tuple(range(mask.ndim - 2))), mask.shape)
    partly = not np.array_equal(mask, used)
    if partly and "acceptance" not in images:
        warnings.warn(
            "the mask leaves out some energies of some pixels only, whose sums have fewer counts "
            "for that; with an acceptance, such as a background model, they are compared with "
            "what is expected of the same energies.",
            InputWarning,
            stacklevel=3,
        )
    summed = np.where(mask, counts.data, np.where(used, 0.0, np.nan))
    whole = {**rest, "counts": Map(counts.geom, summed, counts.unit)}
    if "acceptance" in rest:
        acceptance = rest["acceptance"]
        kept = np.where(mask, np.broadcast_to(acceptance.data, mask.shape), 0.0)
        whole["acceptance"] = Map(counts.geom, kept, acceptance.unit)
    if not partly:
        return Masked(whole, None)
    alone = np.where(mask, counts.data, np.nan)
    bins = {**rest, "counts": Map(counts.geom, alone, counts.unit)}
    bins.pop("background", None)
    return Masked(whole, bins)


def _broadcast(mask: Map, counts: Map) -> np.ndarray:
    """Return a mask on the bins of the counts."""
    difference = counts.geom.difference(mask.geom)
    if difference and mask.geom.is_image:
        difference = counts.geom.to_image().difference(mask.geom)
    if difference:
        raise InputError(
            f": expected the geometry of counts, or of an image, but {difference}.", "mask"
        )
    return np.broadcast_to(mask.data.astype(bool), counts.data.shape)
