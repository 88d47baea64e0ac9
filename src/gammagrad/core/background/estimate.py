"""A background image that cleans itself of sources: the loop over the exclusion mask."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import ArrayLike

from gammagrad._arrays import check_counts, takes_arrays
from gammagrad._programs import can_fill, compiled, fill, image_room, to_device
from gammagrad._pytree import pytree
from gammagrad.core.background.mask_loop import (
    MASK_UPDATES,
    History,
    LoopEnd,
    MaskRule,
    Problem,
    solve,
)
from gammagrad.core.background.ring import SIGNIFICANCES, Scene, make_scene
from gammagrad.core.images import mirrored, prepare_footprint
from gammagrad.errors import InputError, short


@pytree
class KernelBackground:
    """Result of `kernel_background`."""

    counts: Any  # the counts that went in, shape (ny, nx)
    background: Any  # background counts per pixel, shape (ny, nx)
    exclusion: Any  # boolean mask, shape (ny, nx): true where a pixel is kept for the background
    # significance, in standard deviations, shape (ny, nx), from which the mask was made: of the
    # counts over the background that the last iteration started from, both summed under the source
    # kernel. Where the loop converged that is `background` itself.
    significance: Any
    niter: Any  # number of iterations done
    # whether the last iteration left the mask as it was, with at least `niter_min` before it
    converged: Any
    # boolean, shape (ny, nx): true where no pixel under the background kernel is kept, so that the
    # background there is an earlier one
    kept: Any
    period: Any  # length of the cycle that the masks went into, 0 if none was found
    # the start and every iteration, see `History`; None unless asked for
    history: History | None = None


def disk_structure(radius: float) -> np.ndarray:
    """Return the footprint of a disc around its middle pixel."""
    if not 0 <= radius < np.inf:
        raise InputError(f"radius must be a finite number of pixels, at least 0, got {radius}.")
    reach = int(radius)
    offset = np.arange(-reach, reach + 1)
    return offset[:, None] ** 2 + offset[None, :] ** 2 <= radius**2


def _check(images: dict[str, Any], kernels: dict[str, Any]) -> None:
    expected = np.shape(images["counts"])
    for name, array in {"counts": images["counts"], **kernels}.items():
        if np.ndim(array) != 2 or np.size(array) == 0:
            raise InputError(
                f"{name} must be a two-dimensional array, got shape {np.shape(array)}."
            )
    rows, cols = np.shape(kernels["kernel_src"])
    if rows % 2 == 0 or cols % 2 == 0:
        raise InputError(
            f"kernel_src must have an odd number of rows and columns, got {(rows, cols)}: an "
            "even one has no middle pixel and would shift the significance; pad it by one."
        )
    check_counts(images["counts"])
    for name, image in images.items():
        if image is not None and np.shape(image) != expected:
            raise InputError(
                f"{name} must have the shape of counts, {expected}, got {np.shape(image)}."
            )


def _choose(value: str, choices: tuple[str, ...], name: str) -> None:
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, got {short(value)}.")


@takes_arrays
def kernel_background(
    counts: ArrayLike,
    kernel_src: ArrayLike,
    kernel_bkg: ArrayLike,
    background: ArrayLike | None = None,
    exclusion: ArrayLike | None = None,
    significance_threshold: ArrayLike = 5.0,
    dilation_structure: ArrayLike | None = None,
    niter_min: ArrayLike = 2,
    niter_max: ArrayLike = 10,
    *,
    acceptance: ArrayLike | None = None,
    threshold_low: ArrayLike | None = None,
    mask_update: str = "replace",
    significance: str = "lima",
    n_record: int | None = None,
) -> KernelBackground:
    """Estimate the background of an image and exclude its sources, by iteration.

    One iteration computes the significance of the counts over the previous background, excludes
    pixels at or above the threshold and their surroundings, and takes the mean of the kept counts
    under the background kernel as the new background. The loop ends after the iteration with
    zero-based number ``idx`` if it left the mask unchanged and ``idx >= niter_min``, or else after
    `niter_max` iterations.

    Parameters
    ----------
    counts
        Counts per pixel, at least 0, shape (ny, nx). A pixel that is not finite has no weight.
    kernel_src
        Shape of a source, not negative, odd numbers of rows and columns; scaled to a maximum of
        1. Sums under it are Poisson counts only if its values are 0 and 1.
    kernel_bkg
        Kernel that averages the background, commonly a ring; not negative, any scale and shape.
    background
        Background counts per pixel to start from, shape (ny, nx). None, and pixels of it that are
        not finite, start from the mean of the kept counts under `kernel_bkg`.
    exclusion
        Mask to start from, shape (ny, nx): true where a pixel is kept. None keeps all.
    significance_threshold
        Significance from which on a pixel is excluded, in standard deviations.
    dilation_structure
        Footprint by which the excluded region grows, see `disk_structure`; None grows nothing.
    niter_min
        Number of iterations before convergence is tested.
    niter_max
        Largest number of iterations; takes precedence over `niter_min`. With 0 the result is the
        start.
    acceptance
        Background expected per pixel up to a factor, at least 0, shape (ny, nx). The background
        is ``acceptance conv(counts exclusion) / conv(acceptance exclusion)``, and zero where the
        acceptance is zero. None: a flat acceptance.
    threshold_low
        Second, lower threshold: pixels at or above it are also excluded if they are connected,
        corners included, to a pixel above `significance_threshold`.
    mask_update
        ``"replace"``: every iteration makes a new mask; ``"grow"``: excluded pixels stay excluded,
        which always converges. Static.
    significance
        ``"lima"``, or ``"cash"`` for the signed root of the test statistic of a norm fitted with
        the source kernel, which is valid for kernels of any shape and takes longer. Static.
    n_record
        Number of iterations to record in `history`; later ones are not. Static.

    Returns
    -------
    KernelBackground
        Background, mask, significance and how the loop ended.

    Raises
    ------
    ValueError
        If an argument is not an image, shapes differ, `kernel_src` has an even side, counts are
        above 2^53, or a name is not known.

    Notes
    -----
    Outside of the image there is nothing: pixels there have no weight in the background, no
    counts and no background in the significance, and the excluded region does not grow in.

    Where every pixel under the background kernel is excluded its mean does not exist, and the last
    background is kept there. At the start, with no last background, it is the mean without the
    mask (and where the kernel does not meet the image at all, the mean of the image).

    The masks may go round in a cycle. The state, which is the mask and the background kept, is
    compared with those of the last 64 iterations (by two checksums of 32 bit), and `period` is the
    number of iterations after which it came back. The loop then ends at `niter_max` as documented;
    without a record it gets there at once.

    The significance is the one that made the mask. After a loop that did not converge, that over
    the final background is the significance of a call with that background and ``niter_max=0``.

    The mask is piecewise constant in all arguments, so derivatives, forward and reverse, are those
    of background and significance at the final mask (where the loop did not converge, the
    significance's are at the mask before). They do not run through the loop: values kept from
    earlier iterations count as constants. `niter_min`, `niter_max` and the threshold may be
    traced, and all of it may be batched by `jax.vmap`.

    Convolutions as large as an FFT's rounding, some ten units in the last place of the image's
    typical value, count as zero.

    References
    ----------
    Li and Ma (1983), ApJ 272, 317, for the significance; Berge, Funk and Hinton (2007), A&A 466,
    1219, for the background from a ring.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> counts = jnp.full((20, 20), 42.0).at[10, 10].set(1000.0)
    >>> ring = jnp.ones((7, 7)).at[1:6, 1:6].set(0.0)
    >>> result = kernel_background(counts, jnp.ones((3, 3)), ring)
    >>> int(result.niter), bool(result.converged), int((~result.exclusion).sum())
    (3, True, 9)
    >>> print(f"{float(result.background[10, 10]):.3f}")
    42.000
    """
    images: dict[str, Any] = {
        "counts": counts,
        "background": background,
        "exclusion": exclusion,
        "acceptance": acceptance,
    }
    kernels: dict[str, Any] = {"kernel_src": kernel_src, "kernel_bkg": kernel_bkg}
    _check(images, kernels)
    _choose(mask_update, MASK_UPDATES, "mask_update")
    _choose(significance, SIGNIFICANCES, "significance")
    numbers: dict[str, Any] = {
        "significance_threshold": significance_threshold,
        "threshold_low": threshold_low,
        "niter_min": niter_min,
        "niter_max": niter_max,
    }
    arrays = kernels | numbers | {"dilation_structure": dilation_structure}
    fixed: dict[str, Any] = {
        "mask_update": mask_update,
        "significance": significance,
        "n_record": n_record,
    }
    if not can_fill(images, arrays):
        return _estimated(**images, **arrays, **fixed)
    return _filled(images, arrays, fixed)


# what fills an image up: counts that are not known have no weight
_BEYOND = {"counts": np.nan, "background": 0, "exclusion": True, "acceptance": 0}
_MASKS = ("exclusion", "dilation_structure")


def _filled(images: dict[str, Any], arrays: dict[str, Any], fixed: Any) -> KernelBackground:
    """Estimate a background on an image of a common size, so that few sizes are compiled."""
    ny, nx = np.shape(images["counts"])
    shape = image_room(ny, nx)
    dtype = np.asarray(images["counts"]).dtype
    if not jnp.issubdtype(dtype, jnp.floating):
        # of whole numbers none says that it is unknown
        dtype = np.dtype(jnp.result_type(float))

    def typed(name: str, value: Any) -> Any:
        """Return a value in one spelling, so that others do not compile anew."""
        kind = np.int32 if name.startswith("niter") else bool if name in _MASKS else dtype
        return None if value is None else np.asarray(value).astype(kind)

    full = {name: typed(name, image) for name, image in images.items()}
    full |= {name: fill(a, shape, _BEYOND[name]) for name, a in full.items() if a is not None}
    rest = {name: typed(name, value) for name, value in arrays.items()}
    found = _compiled(**full, **rest, **fixed, size=(np.int32(ny), np.int32(nx)))

    def cut(array: Any) -> Any:
        array = np.asarray(array)
        return array[..., :ny, :nx] if array.ndim > 1 else array

    result: KernelBackground = to_device(jax.tree.map(cut, found))
    return result


def _estimated(
    counts: Any,
    background: Any,
    exclusion: Any,
    acceptance: Any,
    kernel_src: Any,
    kernel_bkg: Any,
    significance_threshold: Any,
    threshold_low: Any,
    niter_min: Any,
    niter_max: Any,
    dilation_structure: Any,
    mask_update: str,
    significance: str,
    n_record: int | None,
    size: tuple[Array, Array] | None = None,
) -> KernelBackground:
    """Estimate a background; of a filled up image the size is that of the original one."""
    counts, kernel_src, kernel_bkg = map(jnp.asarray, (counts, kernel_src, kernel_bkg))
    if not jnp.issubdtype(counts.dtype, jnp.floating):
        counts = counts.astype(jnp.zeros(()).dtype)
    dtype = counts.dtype

    def floats(image: ArrayLike | None) -> Array | None:
        return None if image is None else jnp.asarray(image).astype(dtype)

    scene = make_scene(
        counts, kernel_src.astype(dtype), kernel_bkg.astype(dtype), floats(acceptance), significance
    )
    structure = dilation_structure
    rule = MaskRule(
        jnp.asarray(significance_threshold).astype(dtype),
        floats(threshold_low),
        None if structure is None else prepare_footprint(mirrored(structure), counts.shape),
        None if size is None else _inside(counts.shape, size),
        mask_update == "grow",
    )
    problem = Problem(
        scene,
        rule,
        floats(background),
        None if exclusion is None else jnp.asarray(exclusion).astype(bool),
        jnp.asarray(niter_min).astype(jnp.int32),
        jnp.asarray(niter_max).astype(jnp.int32),
        n_record,
    )
    end = solve(lax.stop_gradient(problem))
    found = _differentiable((end.background, end.significance), end, problem)
    ended = (end.niter, end.converged, end.kept, end.period, end.history)
    return KernelBackground(counts, found[0], end.mask, found[1], *ended)


_compiled = compiled(_estimated, static=("mask_update", "significance", "n_record"))


def _inside(shape: tuple[int, ...], size: tuple[Array, Array]) -> Array:
    """Return where the original image is, bool."""
    row, col = (lax.broadcasted_iota(jnp.int32, shape, axis) for axis in (0, 1))
    return (row < size[0]) & (col < size[1])


@jax.custom_jvp
def _differentiable(
    found: tuple[Array, Array], end: LoopEnd, problem: Problem
) -> tuple[Array, Array]:
    """Return what was found, with slopes that are those at the masks found."""
    return found


@_differentiable.defjvp
def _differentiable_jvp(primals: Any, tangents: Any) -> tuple[Any, Any]:
    found, end, problem = primals

    def again(scene: Scene, background: Array | None) -> tuple[Array, Array]:
        scene = scene.ready()
        first = scene.first_background(problem.mask, background)
        final, before = (
            jnp.where(
                is_new,
                scene.ring_mean(scene.ring_sums(mask), lax.stop_gradient(old)).background,
                first,
            )
            for mask, old, is_new in (
                (end.mask, end.background, end.niter > 0),
                (end.mask_before, end.before, end.niter > 1),
            )
        )
        return final, scene.significance_over(before)

    at = (problem.scene, problem.background)
    return found, jax.jvp(again, at, (tangents[2].scene, tangents[2].background))[1]
