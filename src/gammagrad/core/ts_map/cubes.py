"""The arguments of a TS map of arrays, sorted by dataset and checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gammagrad._arrays import check_counts
from gammagrad._programs import is_traced
from gammagrad.core.norm import (
    WITH_OFF,
    BackgroundNorm,
    check_background,
    floating,
    knowledge,
)
from gammagrad.core.ts_map.bins import KERNEL_WEIGHTINGS
from gammagrad.core.ts_map.wide import members
from gammagrad.errors import InputError

Cube = tuple[Array, Array, Array, Array, Array, Array | None]
"""Counts, background, exposure, kernel, weights and blend of a dataset."""


How = tuple[BackgroundNorm, tuple[int, ...], int | None]
"""How norms of the background are fitted, the group of each image, and the window's width."""


def checked_weighting(weighting: str) -> str:
    """Return how energies are weighted in the kernel of a summed image."""
    if weighting not in KERNEL_WEIGHTINGS:
        raise InputError(f"kernel_weighting is {weighting!r}; choose one of {KERNEL_WEIGHTINGS}.")
    return weighting


def checked_norms(
    cubes: list[Cube],
    summed: bool,
    has_off: bool,
    background_norm: str,
    uncertainty: ArrayLike,
    prior: str,
    width: int | None,
    norms: str,
) -> tuple[How | None, Any]:
    """Return how norms of the background are fitted, and what is known of them."""
    how = check_background(background_norm, prior, norms != "one")
    of_images = tuple(members([1 if summed else c[0].shape[0] for c in cubes], norms).tolist())
    if how is None:
        return None, None
    if has_off:
        raise InputError(WITH_OFF)
    _check_width(width)
    known = _known_map(knowledge(background_norm, uncertainty), cubes[0][0])
    return (how, of_images, width), known


def _check_width(width: int | None) -> None:
    """Check the width of a window in pixels."""
    whole = isinstance(width, int | np.integer) and not isinstance(width, bool)
    if width is not None and not (whole and width > 0):
        raise InputError(
            f" is {width!r}; expected a positive number of pixels, or None.", "background_width"
        )


def _known_map(known: ArrayLike, like: Array) -> Any:
    """Return what is known of the background as a number, or as a map."""
    shape = np.shape(known)
    if shape not in ((), like.shape[1:]):
        raise InputError(
            f" has shape {shape}; expected a number, or a map of shape {like.shape[1:]}.",
            "background_uncertainty",
        )
    xp: Any = jnp if is_traced(known) else np
    return xp.broadcast_to(xp.asarray(known, like.dtype), like.shape[1:])


def checked_cubes(
    counts: ArrayLike | Sequence[ArrayLike],
    background: ArrayLike | Sequence[ArrayLike],
    exposure: ArrayLike | Sequence[ArrayLike],
    kernel: ArrayLike | Sequence[ArrayLike],
    weights: ArrayLike | Sequence[ArrayLike] | None,
    blend: ArrayLike | Sequence[ArrayLike | None] | None,
    xp: Any,
) -> list[Cube]:
    """Sort the arrays by dataset and compare their shapes."""
    arrays: dict = {
        "counts": counts,
        "background": background,
        "exposure": exposure,
        "kernel": kernel,
    }
    n_datasets = len(counts) if isinstance(counts, (list, tuple)) else 1
    none = (None,) * n_datasets
    optional = {
        name: none if value is None else value
        for name, value in (("weights", weights), ("blend", blend))
    }
    lists: dict[str, list] = {
        name: list(value) if isinstance(value, (list, tuple)) else [value]
        for name, value in (arrays | optional).items()
    }
    lengths = {name: len(value) for name, value in lists.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"One array per dataset is needed everywhere, got {lengths}.")
    cubes = [_checked_cube(xp, *arrays) for arrays in zip(*lists.values(), strict=True)]
    shapes = {cube[0].shape[1:] for cube in cubes}
    if len(shapes) > 1:
        raise InputError(f"Datasets of a joint fit must share one pixel grid, got {shapes}.")
    hypotheses = [cube[3].shape[: -3 if cube[5] is None else -4] for cube in cubes]
    if len(set(hypotheses)) > 1:
        raise InputError(
            f"Kernels of a joint fit must have the same hypotheses, got {hypotheses} in front of "
            "(energies, rows, cols)."
        )
    return cubes


def _checked_cube(
    xp: Any,
    counts: ArrayLike,
    background: ArrayLike,
    exposure: ArrayLike,
    kernel: ArrayLike,
    weights: ArrayLike | None,
    blend: ArrayLike | None,
) -> Cube:
    """Give all arrays an energy axis and one dtype, and compare their shapes."""
    given = () if blend is None else (blend,)
    n, b, e, k, *blends = floating(xp, counts, background, exposure, kernel, *given)
    w = xp.ones_like(b) if weights is None else xp.asarray(weights).astype(b.dtype)
    n, b, e, k, w = (a[None] if a.ndim == 2 else a for a in (n, b, e, k, w))
    shapes = {"counts": n.shape, "background": b.shape, "weights": w.shape}
    shapes["exposure"] = e.shape[-3:]
    if len(set(shapes.values())) > 1 or n.ndim != 3:
        raise InputError(f"Arrays must share one shape (energies, rows, cols), got {shapes}.")
    if blends:
        _check_blend(n.shape, k.shape, blends[0].shape)
    elif k.ndim not in (3, 4) or k.shape[-3] != n.shape[0]:
        raise InputError(
            f"The kernel has shape {k.shape}; expected ({n.shape[0]}, rows, cols), one image per "
            "energy of the counts, or several of these, one per hypothesis."
        )
    if n.size == 0 or k.size == 0:
        raise InputError(
            f"Counts have shape {n.shape} and the kernel {k.shape}; expected a pixel or more, and "
            "an energy or more, in each."
        )
    check_counts(n, w)
    if e.ndim == 4 and (k.ndim == 3 + len(blends) or e.shape[0] != k.shape[0]):
        raise InputError(
            f"The exposure has shape {e.shape} and the kernel {k.shape}; an exposure with an axis "
            "of hypotheses in front needs as many kernels."
        )
    return n, b, e, k, w, (blends[0] if blends else None)


def _check_blend(counts: tuple[int, ...], kernel: tuple[int, ...], blend: tuple[int, ...]) -> None:
    """Compare the shapes of basis kernels and of their weights."""
    if len(kernel) not in (4, 5) or kernel[-3] != counts[0]:
        raise InputError(
            f"The kernel has shape {kernel}; with a blend, expected (basis, {counts[0]}, rows, "
            "cols), for each basis kernel one image per energy of the counts, or several of these, "
            "one per hypothesis."
        )
    wanted = (kernel[-4], *counts[1:])
    several = len(blend) == 4 and len(kernel) == 5 and blend[0] == kernel[0]
    if blend[-3:] != wanted or not (len(blend) == 3 or several):
        raise InputError(
            f"The blend has shape {blend} and the kernel {kernel}; expected {wanted}, a map of "
            "weights per basis kernel, or several of these, one per hypothesis of the kernel."
        )
