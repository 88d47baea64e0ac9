"""The maps that enter a fit, in gammapy's layout."""

from __future__ import annotations

import numpy as np

from gammagrad.dataset import AnyMapDataset
from gammagrad.estimators.ts_map.guess import guess_norm, matched_flux
from gammagrad.estimators.ts_map.inputs import (
    FitInputs,
    SourceKernel,
    fit_inputs,
    fit_weights,
)
from gammagrad.evaluate import KernelEstimate
from gammagrad.maps import Map
from gammagrad.models import SkyModel


def default_mask(dataset: AnyMapDataset) -> Map:
    """Return the bins that enter a fit."""
    return Map(dataset.geom, fit_weights(dataset, dataset.npred().data) > 0)


def default_flux(
    dataset: AnyMapDataset, model: SkyModel, kernel: Map, exposure: Map | None = None
) -> Map:
    """Guess the flux of a source at every pixel of a dataset with a matched filter."""
    unknown = np.full(len(kernel.data), np.nan)
    inputs = fit_inputs(dataset, model, SourceKernel(KernelEstimate(kernel, unknown)))
    values = None if exposure is None else exposure.quantity.to_value("cm2 s")
    flux = matched_flux(inputs, slice(None), values)
    return Map(dataset.geom.squash("energy"), flux[None], unit="cm-2 s-1")


def fit_input_maps(
    dataset: AnyMapDataset, inputs: FitInputs, sum_energies: bool
) -> dict[str, Map | None]:
    """Return what enters the fit of a dataset taken as one energy group."""
    geom = dataset.geom
    cubes = {
        name: Map(geom, inputs.weights * getattr(inputs, name))
        for name in ("counts", "background", "exposure")
    }
    if sum_energies:
        cubes = {name: cube.sum_over_axes(keepdims=True) for name, cube in cubes.items()}
    norm = guess_norm([(inputs, slice(None))])
    return {
        **cubes,
        "norm": Map(geom.squash("energy"), norm[None]),
        "mask": Map(geom, inputs.weights > 0),
        "weights": Map(geom, inputs.weights, dtype=float) if sum_energies else None,
        "kernel": inputs.kernel,
    }
