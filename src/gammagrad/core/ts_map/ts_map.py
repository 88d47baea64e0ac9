"""The TS map as a function on arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gammagrad._arrays import check_counts, takes_arrays
from gammagrad._programs import can_fill, compiled, fill, image_room, to_device
from gammagrad._pytree import replace
from gammagrad.core.images import box_sum
from gammagrad.core.norm import (
    N_SWEEPS,
    FitOptions,
    NormFit,
    check_sweeps,
    checked_selection,
    floating,
    make_options,
)
from gammagrad.core.ts_map.bins import (
    KERNEL_WEIGHTINGS,
    cube_bins,
    known_weights,
    summed_bins,
    weight_offset,
)
from gammagrad.core.ts_map.dense import fit_images
from gammagrad.errors import InputError

Cube = tuple[Array, Array, Array, Array, Array]
"""Counts, background, exposure, kernel and weights of a dataset."""


@takes_arrays
def ts_map(
    counts: ArrayLike | Sequence[ArrayLike],
    background: ArrayLike | Sequence[ArrayLike],
    exposure: ArrayLike | Sequence[ArrayLike],
    kernel: ArrayLike | Sequence[ArrayLike],
    weights: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    sum_over_energy: bool = False,
    kernel_weighting: str = "counts",
    n_sigma: ArrayLike = 1.0,
    n_sigma_ul: ArrayLike = 2.0,
    n_sigma_sensitivity: ArrayLike = 5.0,
    selection_optional: str | Iterable[str] | None = None,
    norm_min: ArrayLike | None = None,
    scan_values: ArrayLike | None = None,
    gamma_min: ArrayLike = 0.0,
    bkg_syst_fraction: ArrayLike = 0.0,
    rtol: ArrayLike = 0.01,
    n_sweeps: int = N_SWEEPS,
    memory: int = 2**27,
) -> NormFit:
    """Fit the norm of a source at every pixel of a map.

    Pure and traced: composes with `jax.jit`, `jax.vmap` and `jax.grad`, and follows the dtype of
    its inputs. Bins outside the map have no weight. For a joint fit of several datasets pass
    tuples with one array per dataset; the pixel grids agree, energies and kernels may differ.

    Parameters
    ----------
    counts
        Observed counts, shape (energies, rows, cols) or (rows, cols).
    background
        Expected counts of everything already modelled, same shape, >= 0. Bins whose counts
        or background are not finite have no weight.
    exposure
        Counts that the reference spectrum would give if all of its flux fell into the pixel
        (energy dispersion applied, point spread function not), same shape; or with an axis of
        hypotheses in front, for kernels that have one: spectra differ in it.
    kernel
        Shape of the source as seen, per energy, odd sizes: (energies, kernel rows, kernel cols).
        The model of a source at a pixel is ``norm * kernel * exposure``. Several hypotheses, such
        as sizes, are fitted in one call: (hypotheses, energies, kernel rows, kernel cols), smaller
        kernels padded with zeros. Datasets of a joint fit have the same hypotheses.
    weights
        Weight of each bin in the likelihood, same shape as `counts`; a mask is 0 and 1.
    sum_over_energy
        Fit the image summed over energies instead of the cube.
    kernel_weighting
        How energies are weighted in the kernel of the summed image: "counts" (exact) or "equal"
        (as in gammapy).
    n_sigma, n_sigma_ul, n_sigma_sensitivity
        Standard deviations of errors, limits and sensitivity.
    selection_optional
        Optional outputs: "errn-errp", "ul", "stat_scan", "sensitivity", several, or "all".
    norm_min
        Norm below which limits do not start: None for the physical bound, or 0.
    scan_values
        Norms at which the statistic is scanned.
    gamma_min, bkg_syst_fraction
        Further conditions on the sensitivity, as in `gammagrad.fit_norm`.
    rtol
        Last step, in units of the error, above which the status is "not converged".
    n_sweeps
        Number of Newton sweeps.
    memory
        Working memory to aim at, in bytes.

    Returns
    -------
    NormFit
        Maps of shape (rows, cols); `stat_scan` has the norms as a leading axis. With hypotheses
        every map has their axis in front. Hypotheses are fitted one after the other, in the
        memory of one.

    Raises
    ------
    ValueError
        If shapes do not fit together, the kernel has an even size or none, counts are above 2^53,
        an option is out of its range, an optional output is not known or a scan is asked for
        without its norms.

    References
    ----------
    Stewart (2009), A&A 495, 989, appendix A.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> counts = jnp.ones((1, 5, 5)).at[0, 2, 2].set(9.0)
    >>> kernel = jnp.zeros((1, 3, 3)).at[0, 1, 1].set(1.0)
    >>> fit = ts_map(counts, jnp.ones((1, 5, 5)), jnp.full((1, 5, 5), 4.0), kernel)
    >>> round(float(fit.norm[2, 2]), 6)
    2.0

    Two sizes at once, and which of them suits better in the middle:

    >>> kernels = jnp.stack([kernel, jnp.full((1, 3, 3), 1 / 9)])
    >>> both = ts_map(counts, jnp.ones((1, 5, 5)), jnp.full((1, 5, 5), 4.0), kernels)
    >>> both.ts.shape, int(both.ts[:, 2, 2].argmax())
    ((2, 5, 5), 0)
    """
    may_fill = can_fill(counts, background, exposure, kernel, weights)
    cubes = _checked_cubes(counts, background, exposure, kernel, weights, np if may_fill else jnp)
    if sum_over_energy and kernel_weighting not in KERNEL_WEIGHTINGS:
        raise InputError(
            f"kernel_weighting is {kernel_weighting!r}; choose one of {KERNEL_WEIGHTINGS}."
        )
    dtype = cubes[0][0].dtype
    selection, values = checked_selection(selection_optional, scan_values, dtype)
    check_sweeps(n_sweeps)
    options = make_options(
        dtype,
        norm_min,
        n_sigma=n_sigma,
        n_sigma_ul=n_sigma_ul,
        n_sigma_sensitivity=n_sigma_sensitivity,
        rtol=rtol,
        gamma_min=gamma_min,
        bkg_syst_fraction=bkg_syst_fraction,
    )
    fit = partial(
        _ts_map,
        options=options,
        scan_values=values,
        selection=selection,
        weighting=kernel_weighting if sum_over_energy else None,
        n_sweeps=n_sweeps,
        memory=memory,
    )
    ny, nx = cubes[0][0].shape[1:]
    if not may_fill:
        return fit(cubes)
    filled = image_room(ny, nx)
    more = [(*(fill(a, filled) for a in (n, b, e)), k, fill(w, filled)) for n, b, e, k, w in cubes]
    found = fit(more, shape=(np.int32(ny), np.int32(nx)))
    return to_device(jax.tree.map(lambda a: np.asarray(a)[..., :ny, :nx], found))


def _checked_cubes(
    counts: ArrayLike | Sequence[ArrayLike],
    background: ArrayLike | Sequence[ArrayLike],
    exposure: ArrayLike | Sequence[ArrayLike],
    kernel: ArrayLike | Sequence[ArrayLike],
    weights: ArrayLike | Sequence[ArrayLike] | None,
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
    all_weights = (None,) * n_datasets if weights is None else weights
    lists: dict[str, list] = {
        name: list(value) if isinstance(value, (list, tuple)) else [value]
        for name, value in (arrays | {"weights": all_weights}).items()
    }
    lengths = {name: len(value) for name, value in lists.items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"One array per dataset is needed everywhere, got {lengths}.")
    cubes = [_checked_cube(xp, *arrays) for arrays in zip(*lists.values(), strict=True)]
    shapes = {cube[0].shape[1:] for cube in cubes}
    if len(shapes) > 1:
        raise InputError(f"Datasets of a joint fit must share one pixel grid, got {shapes}.")
    hypotheses = [cube[3].shape[:-3] for cube in cubes]
    if len(set(hypotheses)) > 1:
        raise InputError(
            f"Kernels of a joint fit must have the same hypotheses, got {hypotheses} in front of "
            "(energies, rows, cols)."
        )
    return cubes


@compiled(static=("selection", "weighting", "n_sweeps", "memory"))
def _ts_map(
    cubes: list[Cube],
    options: FitOptions,
    scan_values: Array | None,
    shape: tuple[Array, Array] | None = None,
    *,
    selection: tuple[str, ...],
    weighting: str | None,
    n_sweeps: int,
    memory: int,
) -> NormFit:
    """Fit one hypothesis after the other, or the only one."""
    fit = partial(
        _fit_cubes,
        options=options,
        scan_values=scan_values,
        selection=selection,
        weighting=weighting,
        n_sweeps=n_sweeps,
        memory=memory,
        shape=shape,
    )
    if cubes[0][3].ndim == 3:
        return fit(cubes)
    # an exposure without the axis is that of all hypotheses
    own = [(e if e.ndim == 4 else None, k) for _, _, e, k, _ in cubes]

    def fit_one(one: list[tuple[Array | None, Array]]) -> NormFit:
        return fit(
            [
                (n, b, shared if e is None else e, k, w)
                for (n, b, shared, _, w), (e, k) in zip(cubes, one, strict=True)
            ]
        )

    return jax.lax.map(fit_one, own)


def _fit_cubes(
    cubes: Sequence[Cube],
    *,
    options: FitOptions,
    scan_values: Array | None,
    selection: tuple[str, ...],
    weighting: str | None,
    n_sweeps: int,
    memory: int,
    shape: tuple[Array, Array] | None,
) -> NormFit:
    """Turn cubes into images of bins, and fit."""
    datasets = [
        cube_bins(*cube) if weighting is None else summed_bins(*cube, weighting) for cube in cubes
    ]
    fit = fit_images(
        datasets,
        options,
        selection=selection,
        scan_values=scan_values,
        n_sweeps=n_sweeps,
        memory=memory,
        shape=shape,
    )
    lacking = jnp.zeros_like(fit.stat)
    for counts, background, _, kernel, weights in cubes:
        known = known_weights(counts, background, weights)
        image = weight_offset(counts, known, weighting is not None)
        lacking = lacking + box_sum(image, (kernel.shape[-2], kernel.shape[-1]))
    return replace(fit, stat=fit.stat + lacking, stat_null=fit.stat_null + lacking)


def _checked_cube(
    xp: Any,
    counts: ArrayLike,
    background: ArrayLike,
    exposure: ArrayLike,
    kernel: ArrayLike,
    weights: ArrayLike | None,
) -> Cube:
    """Give all five arrays an energy axis and one dtype, and compare their shapes."""
    n, b, e, k = floating(xp, counts, background, exposure, kernel)
    w = xp.ones_like(b) if weights is None else xp.asarray(weights).astype(b.dtype)
    n, b, e, k, w = (a[None] if a.ndim == 2 else a for a in (n, b, e, k, w))
    shapes = {"counts": n.shape, "background": b.shape, "weights": w.shape}
    shapes["exposure"] = e.shape[-3:]
    if len(set(shapes.values())) > 1 or n.ndim != 3:
        raise InputError(f"Arrays must share one shape (energies, rows, cols), got {shapes}.")
    if k.ndim not in (3, 4) or k.shape[-3] != n.shape[0]:
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
    if e.ndim == 4 and (k.ndim == 3 or e.shape[0] != k.shape[0]):
        raise InputError(
            f"The exposure has shape {e.shape} and the kernel {k.shape}; an exposure with an axis "
            "of hypotheses in front needs as many kernels."
        )
    return n, b, e, k, w
