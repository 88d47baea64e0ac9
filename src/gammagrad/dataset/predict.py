"""Predicted counts of a dataset's models."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gammagrad._pytree import pytree, static_field
from gammagrad.dataset.checks import same_bins
from gammagrad.errors import InputError
from gammagrad.evaluate import evaluate_npred, norm_weights
from gammagrad.maps import Map, MapAxis, WcsGeom, misalignment
from gammagrad.models import FoVBackgroundModel, Models, TemplateNPredModel

Floats = NDArray[np.float64]


def sky_models(models: Any) -> list[Any]:
    """Return the models that add counts: all except models of the background."""
    return [model for model in Models(models) if not isinstance(model, FoVBackgroundModel)]


def background_npred(background: Map | None, models: Iterable[Any] | None) -> Map | None:
    """Return the background times its model."""
    model = next((m for m in models or () if isinstance(m, FoVBackgroundModel)), None)
    if background is None or model is None:
        return background
    factor = norm_weights(model.spectral_model, background.geom.axes["energy"])
    return Map(background.geom, background.data * factor[:, None, None], meta=background.meta)


def signal_npred(dataset: Any, models: Any, sampling: str) -> Map:
    """Return the counts that sky models predict for a dataset."""
    geom = dataset.geom
    axis, total = geom.axes["energy"], np.zeros(geom.data_shape)
    for model in sky_models(models):
        if isinstance(model, TemplateNPredModel):
            factor = norm_weights(model.spectral_model, axis)
            total += template_on(model, geom) * factor[:, None, None]
        else:
            exposure, psf, edisp = dataset.require("exposure"), dataset.psf, dataset.edisp
            total += evaluate_npred(model, exposure, psf, edisp, geom, sampling).data
    return Map(geom, total)


def total_npred(signal: Map, background: Map | None) -> Map:
    """Return the sum of sources and background, never below 0."""
    data = signal.data + (0.0 if background is None else background.data)
    return Map(signal.geom, np.maximum(data, 0.0, out=data), copy=False)


@pytree
class TemplatePlace:
    """The overlap of a cube of counts with a geometry."""

    # range of the cube's energies, rows and columns in the overlap; static
    part: tuple[tuple[int, int], ...] = static_field()
    # bins of the geometry before and after the overlap, for each axis; static
    margins: tuple[tuple[int, int], ...] = static_field()
    geom: Any = static_field()  # holds the geometry of the cube; static

    def cut(self, data: Any, xp: Any = np) -> Any:
        """Return a cube on the geometry."""
        part = tuple(slice(*bounds) for bounds in self.part)
        return xp.pad(xp.asarray(data)[part], self.margins)

    def counts(self, model: TemplateNPredModel, energy: Any) -> jax.Array:
        """Predict the counts of a template in compiled code."""
        if model.opaque_geom != self.geom:
            raise InputError(
                f"model {model.name!r} has a map of another geometry than the prediction was "
                "prepared for; prepare it again with dataset.likelihood(models)."
            )
        data = self.cut(model.data, jnp)
        factor = model.spectral_model.evaluate(jnp.asarray(energy))
        return data.astype(factor.dtype) * factor[:, None, None]


def template_place(model: TemplateNPredModel, geom: WcsGeom) -> TemplatePlace:
    """Find the overlap of a template of counts with a geometry of the same pixels."""
    own, shape = model.geom, np.shape(model.data)
    if own is None:
        if shape != geom.data_shape:
            raise InputError(
                f"model {model.name!r}: counts of shape {shape} for a dataset of shape "
                f"{geom.data_shape}; pass the template as a Map, so that its pixels are known."
            )
        return TemplatePlace(tuple((0, n) for n in shape), ((0, 0),) * 3, model.opaque_geom)
    bins = _bins(model, own.axes["energy"], geom.axes["energy"])
    first = _offset(model, own.to_image(), geom.to_image())[::-1]
    part, margins = [(bins.start, bins.stop)], [(0, 0)]
    for start, n, n_own in zip(first, geom.shape_image, own.shape_image, strict=True):
        low = min(max(start, 0), n_own)
        high = max(min(start + n, n_own), low)
        before = min(max(-start, 0), n)
        part.append((low, high))
        margins.append((before, n - before - (high - low)))
    return TemplatePlace(tuple(part), tuple(margins), model.opaque_geom)


def template_on(model: TemplateNPredModel, geom: WcsGeom) -> Floats:
    """Return the counts of a template on a geometry of the same pixels."""
    return np.asarray(template_place(model, geom).cut(model.data), dtype=float)


def _bins(model: TemplateNPredModel, own: MapAxis, wanted: MapAxis) -> slice:
    low = float(wanted.edges_in("TeV")[0])
    start = int(np.argmin(np.abs(np.log(own.edges_in("TeV") / low))))
    bins = slice(start, start + wanted.nbin)
    if start + wanted.nbin > own.nbin or not same_bins(own.slice(bins), wanted):
        raise InputError(
            f"model {model.name!r}: energy bins {own!r} do not include the bins of the "
            f"dataset, {wanted!r}."
        )
    return bins


def _offset(model: TemplateNPredModel, own: WcsGeom, wanted: WcsGeom) -> tuple[int, int]:
    """Return the column and row of the template at the first pixel of a geometry."""
    ny, nx = wanted.shape_image
    corners = np.array([[0, 0], [nx - 1, 0], [0, ny - 1], [nx - 1, ny - 1]], dtype=float)
    x, y = own.sky_to_pix(wanted.pix_to_sky(corners[:, 0], corners[:, 1]))
    shift = np.stack([x, y], axis=1) - corners
    offset = np.rint(shift[0])
    if not np.all(np.abs(shift - offset) < 1e-2):
        raise InputError(
            f"model {model.name!r}: its pixels differ from the pixels of the dataset: "
            f"{misalignment(wanted, own)}. Reproject the template to the pixels of the dataset."
        )
    return int(offset[0]), int(offset[1])
