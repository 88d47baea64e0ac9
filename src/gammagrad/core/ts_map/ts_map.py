"""The TS map as a function on arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from gammagrad._arrays import takes_arrays
from gammagrad._programs import can_fill, compiled, fill, image_room, to_device
from gammagrad._pytree import replace
from gammagrad.core.images import box_sum
from gammagrad.core.norm import (
    N_SWEEPS,
    FitOptions,
    NormFit,
    check_sweeps,
    checked_selection,
    make_options,
)
from gammagrad.core.ts_map.bins import (
    BinImages,
    cube_bins,
    known_weights,
    summed_bins,
    weight_offset,
)
from gammagrad.core.ts_map.cubes import Cube, How, checked_cubes, checked_norms, checked_weighting
from gammagrad.core.ts_map.dense import fit_images
from gammagrad.core.ts_map.on_off_bins import Off, checked_offs, off_weights, with_off
from gammagrad.core.ts_map.source_bins import SourceBins, bins_of_sources
from gammagrad.core.ts_map.wide import Backgrounds, traced_windows, wide_window


@takes_arrays
def ts_map(
    counts: ArrayLike | Sequence[ArrayLike],
    background: ArrayLike | Sequence[ArrayLike],
    exposure: ArrayLike | Sequence[ArrayLike],
    kernel: ArrayLike | Sequence[ArrayLike],
    weights: ArrayLike | Sequence[ArrayLike] | None = None,
    *,
    blend: ArrayLike | Sequence[ArrayLike | None] | None = None,
    counts_off: ArrayLike | Sequence[ArrayLike | None] | None = None,
    alpha: ArrayLike | Sequence[ArrayLike | None] | None = None,
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
    background_norm: str = "fixed",
    background_uncertainty: ArrayLike = 0.05,
    background_prior: str = "gamma",
    background_width: int | None = None,
    background_norms: str = "one",
) -> NormFit:
    """Fit the norm of a source at every pixel of a map.

    Pure and traced: composes with `jax.jit`, `jax.vmap` and `jax.grad`, and follows the dtype of
    its inputs. Bins outside the map have no weight. For a joint fit of several datasets pass
    tuples with one array per dataset; the pixel grids agree, energies and kernels may differ.

    Where the response changes over the map, every position has a kernel of its own: a blend of
    basis kernels, such as the kernels of a coarse grid, or their mean and deviations from
    it. The exposure is then taken where the source is, not at the bins that its counts fall into.

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
    blend
        Weight of each basis kernel for a source at each pixel, shape (basis, rows, cols). The
        kernel has then the basis in front of the energies, (basis, energies, kernel rows, kernel
        cols), and the model of a source at pixel p is, in the bin of pixel q, ``norm * exposure[p]
        * sum_k blend[k, p] kernel[k, q - p]``; sums below zero count as zero. With hypotheses in
        front of the kernel it has their axis or is that of all. None: one kernel for all pixels;
        for some datasets of a joint fit it may be.
    counts_off, alpha
        Counts of OFF regions that measure the background, and the acceptance of each bin over that
        of its OFF region, above 0; both of the shape of `counts`. The statistic is then
        `gammagrad.stats.wstat`, and `background` has the known signal alone, such as that of other
        sources. Bins where one of them is not finite have no weight. None, or None for some
        datasets of a joint fit: the background is known.
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
    background_norm
        "fixed", "free" or "constrained": whether a norm of the background is fitted at every pixel
        too, as in `gammagrad.fit_norm`.
    background_uncertainty
        Relative uncertainty of a constrained background: a number, or a map (rows, cols).
    background_prior
        "gamma" or "gaussian", as in `gammagrad.fit_norm`.
    background_width
        Width of the window, in pixels, in which the norm of the background is fitted; at least the
        kernel's. None: three times the kernel's.
    background_norms
        "one" for all datasets and energies, one "per dataset", or one "per energy" of each dataset.

    Returns
    -------
    NormFit
        Maps of shape (rows, cols); `stat_scan` has the norms as a leading axis, and so have the
        fields of the background's norm the datasets or energies with norms of their own. With
        hypotheses every map has their axis in front. Hypotheses are fitted one after the other, in
        the memory of one.

    Raises
    ------
    ValueError
        If shapes do not fit together, alpha is negative, the kernel has an even size or none,
        counts are above 2^53, an option is out of its range, an optional output is not known or a
        scan is asked for without its norms.

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

    A response that widens from left to right:

    >>> right = jnp.broadcast_to(jnp.linspace(0.0, 1.0, 5), (5, 5))
    >>> blend = jnp.stack([1 - right, right])
    >>> data = counts, jnp.ones((1, 5, 5)), jnp.full((1, 5, 5), 4.0)
    >>> fit = ts_map(*data, kernels, blend=blend)
    >>> bool(jnp.allclose(fit.norm[:, 0], both.norm[0, :, 0], atol=1e-5))
    True
    """
    may_fill = can_fill(counts, background, exposure, kernel, weights, blend, counts_off, alpha)
    xp: Any = np if may_fill else jnp
    cubes = checked_cubes(counts, background, exposure, kernel, weights, blend, xp)
    weighting = checked_weighting(kernel_weighting) if sum_over_energy else None
    dtype = cubes[0][0].dtype
    offs = checked_offs(counts_off, alpha, [cube[0].shape for cube in cubes], dtype, xp)
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
    how, known = checked_norms(
        *(cubes, sum_over_energy, any(off is not None for off in offs), background_norm),
        *(background_uncertainty, background_prior, background_width, background_norms),
    )
    fit = partial(_ts_map, options=options, scan_values=values, how=how, selection=selection)
    fit = partial(fit, weighting=weighting, n_sweeps=n_sweeps, memory=memory)
    return _filled(cubes, offs, known, fit) if may_fill else fit(cubes, known=known, offs=offs)


def _filled(cubes: list[Cube], offs: list[Off], known: Any, fit: Callable[..., NormFit]) -> NormFit:
    """Fit maps that are filled up to one of few shapes."""
    ny, nx = cubes[0][0].shape[1:]
    room = image_room(ny, nx)
    more = []
    for n, b, e, k, w, m in cubes:
        maps = (fill(a, room) for a in (n, b, e))
        more.append((*maps, k, fill(w, room), None if m is None else fill(m, room)))
    off = [None if o is None else (fill(o[0], room), fill(o[1], room)) for o in offs]
    own = None if known is None else fill(known, room)
    found = fit(more, shape=(np.int32(ny), np.int32(nx)), known=own, offs=off)
    return to_device(jax.tree.map(lambda a: np.asarray(a)[..., :ny, :nx], found))


@compiled(static=("selection", "weighting", "n_sweeps", "memory", "how"))
def _ts_map(
    cubes: list[Cube],
    options: FitOptions,
    scan_values: Array | None,
    shape: tuple[Array, Array] | None = None,
    known: Array | None = None,
    offs: Sequence[Off] = (),
    *,
    selection: tuple[str, ...],
    weighting: str | None,
    n_sweeps: int,
    memory: int,
    how: How | None,
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
        known=known,
        how=how,
        offs=offs,
    )
    if cubes[0][3].ndim == (3 if cubes[0][5] is None else 4):
        return fit(cubes)
    # an exposure, or a blend, without the axis is that of all hypotheses
    own = [
        (e if e.ndim == 4 else None, k, m if m is not None and m.ndim == 4 else None)
        for _, _, e, k, _, m in cubes
    ]

    def fit_one(one: list[tuple[Array | None, Array, Array | None]]) -> NormFit:
        return fit(
            [
                (n, b, shared if e is None else e, k, w, common if m is None else m)
                for (n, b, shared, _, w, common), (e, k, m) in zip(cubes, one, strict=True)
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
    known: Array | None,
    how: How | None,
    offs: Sequence[Off] = (),
) -> NormFit:
    """Turn cubes into images of bins, and fit."""
    datasets = [_bins(cube, off, weighting) for cube, off in zip(cubes, offs, strict=True)]
    sides = [(int(c[3].shape[-2]), int(c[3].shape[-1])) for c in cubes]
    free = None
    if how is not None and known is not None:
        norms, of_images, width = how
        sides = [wide_window(side, width) for side in sides]
        pairs = zip(datasets, sides, strict=True)
        parts = [(d.counts, d.background, side) for d, side in pairs]
        member = np.asarray(of_images, np.int32)
        free = Backgrounds(traced_windows(parts, member, known), member, norms)
    fit = fit_images(
        datasets,
        options,
        selection=selection,
        scan_values=scan_values,
        n_sweeps=n_sweeps,
        memory=memory,
        shape=shape,
        free=free,
    )
    lacking = jnp.zeros_like(fit.stat)
    for (counts, background, _, _, weights, _), side, off in zip(cubes, sides, offs, strict=True):
        if off is not None:  # weights are factors of the statistic of ON and OFF counts
            continue
        known = known_weights(counts, background, weights)
        image = weight_offset(counts, known, weighting is not None)
        lacking = lacking + box_sum(image, (side[0], side[1]))
    return replace(fit, stat=fit.stat + lacking, stat_null=fit.stat_null + lacking)


def _bins(cube: Cube, off: Off, weighting: str | None) -> BinImages | SourceBins:
    """Turn a cube into images of bins."""
    n, b, e, k, w, blend = cube
    if off is not None:
        w = known_weights(n, b, off_weights(w, *off))
        bins = _bins((n, b, e, k, w, blend), None, weighting)
        found: BinImages | SourceBins = with_off(bins, *off, w, weighting is not None)
        return found
    if blend is not None:
        return bins_of_sources(n, b, e, k, w, blend, weighting)
    return cube_bins(n, b, e, k, w) if weighting is None else summed_bins(n, b, e, k, w, weighting)
