"""The background of each energy bin at a mask that was made from their sum."""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.core.background import kernel_background
from gammagrad.errors import InputError
from gammagrad.estimators.kernel_background.inputs import BackgroundImages

Floats = NDArray[np.float64]


def _means(
    cube: Floats,
    kernels: tuple[Floats, Floats],
    exclusion: NDArray[np.bool_],
    acceptance: Floats | None,
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the means under the background kernel at a mask, and where there are none."""
    means, none_kept = np.zeros_like(cube), np.zeros(cube.shape, bool)
    for index, counts in enumerate(cube):
        own = None if acceptance is None else acceptance[index]
        start = kernel_background(
            counts, *kernels, exclusion=exclusion, niter_max=0, acceptance=own
        )
        means[index], none_kept[index] = start.background, start.kept
    return means, none_kept


def cube_background(
    arrays: BackgroundImages,
    kernels: tuple[Floats, Floats],
    exclusion: NDArray[np.bool_],
    background: Floats,
    is_start: bool = False,
) -> Floats:
    """Return the background per energy bin."""
    # Where nothing under the background kernel is kept, the image's background is shared out among
    # the energies as the background given was, or else as the kept counts of the whole map are.
    if arrays.cube is None:
        raise InputError("arrays have no cube, so that the image's background is all there is.")
    cube, given = arrays.cube, arrays.background_cube
    with jax.enable_x64(True):
        result, none_kept = _means(cube, kernels, exclusion, arrays.acceptance_cube)
    if none_kept.any():
        shared = _shares(cube, given, exclusion) * background[None]
        np.copyto(result, shared, where=none_kept)
    if is_start and given is not None:
        np.copyto(result, given, where=np.isfinite(given))
    return result


def _shares(cube: Floats, given: Floats | None, exclusion: NDArray[np.bool_]) -> Floats:
    """Return the part of a background that falls into each energy bin, shape (n, ny, nx)."""
    known = np.isfinite(cube)
    for used in (known & exclusion[None], known):
        counts = np.sum(cube, axis=(1, 2), where=used)
        if counts.sum() > 0:
            break
    else:
        counts = np.ones(len(cube))
    shares = np.broadcast_to((counts / counts.sum())[:, None, None], cube.shape)
    if given is None:
        return shares
    total = given.sum(axis=0)
    there = np.isfinite(total) & (total > 0)
    own = np.divide(given, total[None], out=np.zeros_like(given), where=there[None])
    return np.where(there[None], own, shares)
