"""What scripts for gammapy ask of any dataset of maps: masks as images, residuals, pictures."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad._upper import upper
from gammagrad.dataset.masks import used_bins
from gammagrad.errors import InputError
from gammagrad.maps import Map

_METHODS = ("diff", "diff/model", "diff/sqrt(model)")


class DatasetHabits:
    """Short methods that follow from the maps of a dataset."""

    @property
    def data_shape(self) -> tuple[int, ...]:
        """Shape of the counts: energy, rows, columns."""
        dataset: Any = self
        shape: tuple[int, ...] = dataset.geom.data_shape
        return shape

    @property
    def geoms(self) -> dict[str, Any]:
        """Geometries by gammapy's names: "geom", "geom_exposure", "geom_psf", "geom_edisp"."""
        dataset: Any = self
        maps = {"geom_exposure": dataset.exposure}
        maps["geom_psf"] = None if dataset.psf is None else dataset.psf.psf_map
        maps["geom_edisp"] = None if dataset.edisp is None else dataset.edisp.edisp_map
        found = {name: m.geom for name, m in maps.items() if m is not None}
        return {"geom": dataset.geom, **found}

    @property
    def mask_safe_image(self) -> Map | None:
        """True where `mask_safe` is, in any energy bin; None without this mask."""
        dataset: Any = self
        return mask_image(dataset.mask_safe)

    @property
    def mask_fit_image(self) -> Map | None:
        """True where `mask_fit` is, in any energy bin; None without this mask."""
        dataset: Any = self
        return mask_image(dataset.mask_fit)

    def residuals(self, method: str = "diff", **kwargs: Any) -> Map:
        """Return how far the counts are from the predicted counts.

        Parameters
        ----------
        method
            "diff" is the difference, "diff/model" is divided by the predicted counts, and
            "diff/sqrt(model)" by their root.
        **kwargs
            Arguments of `Map.smooth`, such as ``width="0.1 deg"``, if counts and predicted counts
            are to be smoothed before; the image then ends at its edges unless `mode` says
            otherwise, and both are divided by the smoothed mask.

        Returns
        -------
        Map
            The residuals, NaN in bins that are not fitted.

        Raises
        ------
        ValueError
            If there are no counts, or the method is unknown.
        """
        counts, npred, used = _compared(self)
        if kwargs:
            options = {"width": "0.1 deg", "mode": "constant", **kwargs}
            counts, npred = counts.smooth(**options), npred.smooth(**options)
            dataset: Any = self
            if dataset.mask is not None or not used.data.all():
                share = used.smooth(**options)
                counts, npred = counts / share, npred / share
        found = _residual(counts, npred, method)
        found.data[~used.data] = np.nan
        return found

    def plot_residuals_spatial(
        self,
        ax: Any = None,
        method: str = "diff",
        smooth_kernel: str = "gauss",
        smooth_radius: Any = "0.1 deg",
        **kwargs: Any,
    ) -> Any:
        """Draw an image of the residuals, summed over energy and smoothed.

        Parameters
        ----------
        ax
            Axes to draw on; made if not given.
        method
            As in `residuals`.
        smooth_kernel, smooth_radius
            Shape and width of the smoothing, as in `Map.smooth`.
        **kwargs
            Arguments of `Map.plot`; the colour scale goes from -5 to 5 by default.

        Returns
        -------
        WCSAxes
            The axes.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are no counts, or the method is unknown.
        """
        counts, npred, used = _compared(self)
        counts, npred = (
            m.sum_over_axes(keepdims=False).smooth(smooth_radius, smooth_kernel)
            for m in (counts, npred)
        )
        found = _residual(counts, npred, method)
        found.data[~used.data.any(axis=0)] = np.nan
        return upper("plot_spatial_residuals")(found, method, ax, **kwargs)

    def peek(self, figsize: tuple[float, float] = (13, 7)) -> Any:
        """Draw the parts of the dataset in one figure.

        Parameters
        ----------
        figsize
            Width and height of the figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
            The figure: counts, predicted counts and fitted bins, summed over energy; the mean
            exposure; the containment of the point spread function and the energy dispersion in the
            middle.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        return upper("peek_dataset")(self, figsize)


def mask_image(mask: Map | None) -> Map | None:
    """Return where a mask is true in any energy bin, or a weight above 0."""
    if mask is None:
        return None
    return Map(mask.geom.to_image(), used_bins(mask).any(axis=0), copy=False)


def _compared(dataset: Any) -> tuple[Map, Map, Map]:
    """Return counts and predicted counts, 0 in bins that are not used, and the bins used."""
    counts, npred = dataset.require("counts"), dataset.npred()
    used = np.isfinite(npred.data) & np.isfinite(counts.data)
    if dataset.mask is not None:
        used &= dataset.mask.data
    counts, npred = (
        Map(dataset.geom, np.where(used, m.data, 0.0), copy=False) for m in (counts, npred)
    )
    return counts, npred, Map(dataset.geom, used, copy=False)


def _residual(counts: Map, npred: Map, method: str) -> Map:
    """Return the difference of two maps, in units of the second or its root."""
    if method not in _METHODS:
        raise InputError(f" is {method!r}; expected one of {', '.join(_METHODS)}.", "method")
    difference = counts.data - npred.data
    with np.errstate(divide="ignore", invalid="ignore"):
        if method == "diff/model":
            difference = difference / npred.data
        elif method == "diff/sqrt(model)":
            difference = difference / np.sqrt(npred.data)
    return Map(counts.geom, difference, copy=False)
