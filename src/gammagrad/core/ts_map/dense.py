"""The norm fit of every pixel of a map, in traced code that visits all bins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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
    fit_bins,
    floating,
    make_options,
)
from gammagrad.core.ts_map.bins import (
    KERNEL_WEIGHTINGS,
    TILE,
    BinImages,
    TilePlan,
    cube_bins,
    from_tiles,
    kernel_table,
    known_weights,
    summed_bins,
    weight_offset,
)
from gammagrad.errors import InputError


def _tile_bins(images: BinImages, table: Array, plan: TilePlan, tile: Array) -> tuple[Array, ...]:
    """Gather one tile's bins: counts and background (bins,), model (bins, pixels)."""
    row, col = (tile // plan.grid[1]) * TILE, (tile % plan.grid[1]) * TILE
    zero = jnp.zeros_like(row)

    def window(array: Array) -> Array:
        start = (zero,) * (array.ndim - 2) + (row, col)
        return jax.lax.dynamic_slice(array, start, array.shape[:-2] + plan.window)

    model = jnp.einsum("bcyx,byxcp->byxp", window(images.exposure), table, precision="highest")
    counts, background = window(images.counts), window(images.background)
    return counts.reshape(-1), background.reshape(-1), model.reshape(-1, TILE * TILE)


def _pad_for_tiles(array: Array, plan: TilePlan) -> Array:
    """Pad the last two axes by the halo, and up to whole tiles."""
    pads = [
        (halo, grid * TILE - size + halo)
        for halo, grid, size in zip(plan.halo, plan.grid, plan.shape, strict=True)
    ]
    return jnp.pad(array, [(0, 0)] * (array.ndim - 2) + pads)


def _footprint(plan: TilePlan, dtype: jnp.dtype) -> Array:
    """Which bins of a window lie in each pixel's own kernel rectangle, as 0 and 1."""
    ky, kx = 2 * plan.halo[0] + 1, 2 * plan.halo[1] + 1
    return kernel_table(jnp.ones((1, 1, ky, kx), dtype))[0, :, :, 0]


def map_tiles(
    function: Callable[[Array, Array, Array], Any],
    datasets: Sequence[BinImages],
    tiles: Array,
    memory: int,
    number: Array | None = None,
) -> Any:
    """Apply a function to the bins of every pixel of some tiles.

    Parameters
    ----------
    function
        Takes counts, background and model of one pixel's bins, shape (bins,) each; returns a
        pytree of arrays.
    datasets
        Bins of each dataset of a joint fit, on one pixel grid.
    tiles
        Indices of the tiles, shape (tiles,).
    memory
        Working memory to aim at, in bytes.
    number
        How many of the tiles to work on, from the first; the others get zeros, and nothing is
        differentiable in reverse. None for all.

    Returns
    -------
    pytree
        What the function returns, each array with axes (tiles, pixels) in front.
    """
    shape = datasets[0].counts.shape
    plans = [TilePlan.create(shape, d.kernel.shape) for d in datasets]
    tables = [kernel_table(d.kernel) for d in datasets]
    padded = [
        BinImages(
            counts=_pad_for_tiles(d.counts, p),
            background=_pad_for_tiles(d.background, p),
            exposure=_pad_for_tiles(d.exposure, p),
            kernel=d.kernel,
        )
        for d, p in zip(datasets, plans, strict=True)
    ]
    # a bin counts for a pixel where that pixel's own kernel rectangle reaches it
    footprints = [
        jnp.tile(_footprint(p, d.counts.dtype).reshape(-1, TILE * TILE), (d.counts.shape[0], 1))
        for d, p in zip(datasets, plans, strict=True)
    ]
    inside = jnp.concatenate(footprints)

    @jax.checkpoint
    def one_tile(tile: Array) -> Any:
        parts = [_tile_bins(d, t, p, tile) for d, t, p in zip(padded, tables, plans, strict=True)]
        counts, background, model = (jnp.concatenate(part) for part in zip(*parts, strict=True))
        return jax.vmap(function, in_axes=1)(
            counts[:, None] * inside, background[:, None] * inside, model
        )

    most = tiles.shape[0]
    batch = max(1, min(most, memory // (inside.size * 8 * 8)))
    # whole batches: a remainder would compile a second time
    filled = jnp.pad(tiles, (0, -most % batch), mode="edge")
    if number is None:
        result = jax.lax.map(one_tile, filled, batch_size=batch)
    else:
        result = _first_of(one_tile, filled, batch, number)
    return jax.tree.map(lambda a: a[:most], result)


def _first_of(function: Callable[[Array], Any], tiles: Array, batch: int, number: Array) -> Any:
    """Apply a function to the first of some tiles, batch by batch; the others get zeros."""
    several = jax.vmap(function)
    kinds = jax.eval_shape(several, tiles)
    empty = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), kinds)

    def work(index: Array, found: Any) -> Any:
        begin = index * batch
        some = several(jax.lax.dynamic_slice_in_dim(tiles, begin, batch))
        return jax.tree.map(
            lambda a, b: jax.lax.dynamic_update_slice_in_dim(a, b, begin, 0), found, some
        )

    batches = (number + batch - 1) // batch
    return jax.lax.fori_loop(jnp.zeros_like(batches), batches, work, empty)


Cube = tuple[Array, Array, Array, Array, Array]
"""Counts, background, exposure, kernel and weights of a dataset."""


def fit_images(
    datasets: Sequence[BinImages],
    options: FitOptions,
    *,
    selection: tuple[str, ...] = (),
    scan_values: Array | None = None,
    n_sweeps: int = N_SWEEPS,
    memory: int = 2**27,
    shape: tuple[Array, Array] | None = None,
) -> NormFit:
    """Fit every pixel of a map, all bins visited: the engine that gradients pass through.

    Parameters
    ----------
    datasets
        Bins of each dataset of a joint fit, on one pixel grid.
    options, selection, scan_values, n_sweeps
        As for `fit_bins`.
    memory
        Working memory to aim at, in bytes: tiles are solved in batches of that size.
    shape
        Rows and columns to fit, from the first, where the images are filled up with more; the
        others are not fitted, and nothing is differentiable in reverse. None for all.

    Returns
    -------
    NormFit
        Maps of shape (rows, cols).
    """
    fit = partial(
        fit_bins,
        options=options,
        selection=selection,
        scan_values=scan_values,
        n_sweeps=n_sweeps,
    )
    plan = TilePlan.create(datasets[0].counts.shape, datasets[0].kernel.shape)
    tiles = jnp.arange(plan.n_tiles, dtype=jnp.int32)
    place, number = tiles, None
    if shape is not None:
        used = (tiles // plan.grid[1] * TILE < shape[0]) & (tiles % plan.grid[1] * TILE < shape[1])
        number = used.sum(dtype=jnp.int32)
        # those in use come first
        tiles = jnp.argsort(~used, stable=True).astype(jnp.int32)
        place = jnp.zeros_like(tiles).at[tiles].set(place)
    result = map_tiles(fit, datasets, tiles, memory, number)

    def to_map(array: Array) -> Any:
        if number is not None:
            array = array[place]
        # a scan has its norms behind the pixels of a tile
        return from_tiles(jnp.moveaxis(array, (0, 1), (-2, -1)), plan)

    return jax.tree.map(to_map, result)


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
        Expected counts of everything already modelled, same shape, >= 0. A value of it, or of
        the counts, that is not finite gives its bin no weight.
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
        How the summed image's kernel comes about: "counts" (exact) or "equal" (gammapy's).
    n_sigma, n_sigma_ul, n_sigma_sensitivity
        Standard deviations of errors, limits and sensitivity.
    selection_optional
        Optional outputs: "errn-errp", "ul", "stat_scan", "sensitivity", several, or "all".
    norm_min
        Norm below which limits do not start: None for the physical bound, or 0.
    scan_values
        Norms at which the statistic is scanned.
    gamma_min, bkg_syst_fraction
        What else the sensitivity asks for, as in `gammagrad.fit_norm`.
    rtol
        Last step, in units of the error, above which the status is "not converged".
    n_sweeps
        Number of Newton sweeps.
    memory
        Working memory to aim at, in bytes.

    Returns
    -------
    NormFit
        Maps of shape (rows, cols); `stat_scan` has the norms as a leading axis. Of a kernel with
        hypotheses every map has their axis in front. The hypotheses are fitted one after the
        other, in the memory of one.

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
