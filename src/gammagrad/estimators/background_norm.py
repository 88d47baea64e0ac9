"""The norm of a dataset's background, from the counts outside of an exclusion mask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.core.norm import fit_norm
from gammagrad.dataset import MapDataset, nice_energy
from gammagrad.errors import InputError
from gammagrad.exclusion import kept_bins
from gammagrad.maps import Map

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BackgroundNorm:
    """Norm of a dataset's background.

    Parameters
    ----------
    norm : float or ndarray
        Factor on the background: one number, or one for each energy bin. NaN in a bin without
        any background outside the mask.
    norm_err : float or ndarray
        Its error, one standard deviation; infinite without counts.
    counts : float or ndarray
        Counts outside the mask, weighted as the dataset's masks are.
    npred : float or ndarray
        Background expected there at norm 1.
    """

    norm: Any
    norm_err: Any
    counts: Any
    npred: Any

    def apply(self, dataset: MapDataset, name: str | None = None) -> MapDataset:
        """Return a dataset whose background is multiplied by the norm.

        Parameters
        ----------
        dataset
            The dataset, commonly the one fitted. It is not changed.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            A copy with another background.

        Raises
        ------
        ValueError
            If the number of energy bins differs, or a norm is 0 or unknown.
        """
        background = dataset.require("background")
        norms = np.atleast_1d(np.asarray(self.norm, dtype=float))
        if np.ndim(self.norm) and len(norms) != len(background.data):
            raise InputError(
                f"dataset {dataset.name!r} has {len(background.data)} energy bins, the norm has "
                f"{len(norms)}; expected as many."
            )
        if not np.all(norms > 0):
            raise InputError(
                f"norm: {_bad_bins(norms, dataset)}; a background of nothing or NaN would make a "
                "fit meaningless. Fit one norm for all energies, with per_energy=False, or slice "
                "the dataset to energies with counts."
            )
        result = dataset.copy(name)
        data = background.data * norms[:, None, None]
        result.background = Map(background.geom, data, background.unit, background.meta)
        return result

    def __str__(self) -> str:
        pairs = zip(np.atleast_1d(self.norm), np.atleast_1d(self.norm_err), strict=True)
        return "background norm " + ", ".join(f"{norm:.4g} +- {err:.2g}" for norm, err in pairs)


def fit_background_norm(
    dataset: MapDataset, exclusion: Map | None = None, *, per_energy: bool = False
) -> BackgroundNorm:
    """Fit the norm of a dataset's background to its counts outside of an exclusion mask.

    The maximum of the Poisson likelihood, with the dataset's models fixed. Without sky models it
    is the ratio of counts to background.

    The mask belongs here and not into `mask_fit` of the dataset, where it would hide the sources
    from a TS map.

    Parameters
    ----------
    dataset
        Counts and background; its masks, or weights, apply as in any fit. A `FoVBackgroundModel`
        among its models is part of the background.
    exclusion
        True or 1 where a pixel is kept, as from `KernelBackgroundEstimator`: an image, or one
        image for each energy bin. None keeps all.
    per_energy
        Whether to fit a norm for each energy bin; by default there is one for all.

    Returns
    -------
    BackgroundNorm
        The norm and its error; its `apply` puts it into a dataset.

    Raises
    ------
    TypeError
        If the mask is not a map.
    ValueError
        If counts or background are missing, the mask has other pixels, or nothing is left.

    References
    ----------
    Cash (1979), ApJ 228, 939, equation 5.

    Examples
    --------
    >>> from gammagrad.simulate import simulate_field
    >>> dataset = simulate_field(seed=1, npix=30, nbin=2, brightness=0).dataset
    >>> dataset.background *= 0.5
    >>> fit = fit_background_norm(dataset)
    >>> print(fit)
    background norm 2.033 +- 0.062
    >>> print(fit_background_norm(fit.apply(dataset)))
    background norm 1 +- 0.03
    """
    counts = np.asarray(dataset.require("counts").data, dtype=float)
    dataset.require("background")
    dataset.check(for_fit=False)
    background = _background(dataset)
    weights = _weights(dataset) * kept_bins(exclusion, dataset.geom)
    weights[~(np.isfinite(counts) & np.isfinite(background))] = 0.0
    signal = dataset.npred_signal().data if dataset.models else np.zeros(counts.shape)
    arrays = [np.where(weights > 0, array, 0.0) for array in (counts, background, signal)]
    bins = [slice(i, i + 1) for i in range(len(counts))] if per_energy else [slice(None)]
    fits = [_fit(*(array[part] for array in (*arrays, weights))) for part in bins]
    if not any(fit.npred > 0 for fit in fits):
        raise InputError(
            f"dataset {dataset.name!r}: no background is left outside of the masks; expected some "
            "bins with a background > 0 that exclusion, mask_safe and mask_fit keep."
        )
    if not per_energy:
        return fits[0]
    names = ("norm", "norm_err", "counts", "npred")
    return BackgroundNorm(**{n: np.array([getattr(fit, n) for fit in fits]) for n in names})


def _background(dataset: MapDataset) -> Floats:
    background = dataset.npred_background()
    if background is None:
        raise InputError(f"dataset {dataset.name!r} has no background to scale.")
    return np.asarray(background.data, dtype=float)


def _weights(dataset: MapDataset) -> Floats:
    """Return the weight of each bin in the likelihood, an array of its own."""
    given = dataset.mask if dataset.weights is None else dataset.weights
    return np.ones(dataset.geom.data_shape) if given is None else given.data.astype(float)


def _fit(counts: Floats, background: Floats, signal: Floats, weights: Floats) -> BackgroundNorm:
    """Return the norm of some bins; where their weight is 0 all else is."""
    n, b = float(np.sum(weights * counts)), float(np.sum(weights * background))
    if b == 0:
        return BackgroundNorm(np.nan, np.nan, n, b)
    if not signal.any():
        return BackgroundNorm(n / b, np.sqrt(n) / b if n else np.inf, n, b)
    with jax.enable_x64(True):
        fit = fit_norm(counts, signal, background, weights)
        norm, error = float(fit.norm), float(fit.norm_err)
    return BackgroundNorm(norm, error, n, b)


def _bad_bins(norms: Floats, dataset: MapDataset) -> str:
    """Say which norms are not positive."""
    bad = np.flatnonzero(~(norms > 0))
    if len(norms) == 1:
        return f"it is {norms[0]:g}"
    edges = dataset.energy_axis.edges
    first = bad[0]
    where = f"{nice_energy(edges[first])} to {nice_energy(edges[first + 1])}"
    return f"it is {norms[first]:g} at {where}" + (
        f" and in {len(bad) - 1} more bins" if len(bad) > 1 else ""
    )
