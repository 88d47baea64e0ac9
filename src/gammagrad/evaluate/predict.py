"""Predicted counts of sky models, and the exposure in reconstructed energy."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad._programs import compiled, room
from gammagrad._pytree import replace
from gammagrad.core.fold import FoldInputs, fold_model
from gammagrad.evaluate.local_responses import Dispersion, check_geometries, edisp_matrix, finite
from gammagrad.evaluate.sampling import kind_of
from gammagrad.evaluate.window import prepare
from gammagrad.maps import Map, MapAxis, PSFMap, WcsGeom, conversion

Floats = NDArray[np.float64]

# Number of finer pixels, over all energies, folded at once.
_MAX_FINE_PIXELS = 4_000_000


def _plain(tree: Any) -> Any:
    """Return a model with all its numbers as float64 arrays."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, dtype=float), tree)


def predict(spectral: Any, spatial: Any, inputs: FoldInputs) -> Floats:
    """Predict the counts of a model in a window, in float64."""
    # Windows of very many finer pixels are predicted some energies at a time, so that memory stays
    # bounded.
    spectral, spatial = _plain(spectral), _plain(spatial)
    with jax.enable_x64(True):
        if inputs.psf is None:
            return np.asarray(fold_model(spectral, spatial, inputs))
        n_psf = len(inputs.psf)
        size = inputs.exposure[0].size * inputs.oversampling**2
        n_parts = math.ceil(n_psf / max(_MAX_FINE_PIXELS // size, 1))
        step = math.ceil(n_psf / n_parts)  # parts of one size compile once
        parts = [
            np.asarray(fold_model(spectral, spatial, _energies(inputs, slice(i, i + step))))
            for i in range(0, n_psf, step)
        ]
    return np.concatenate(parts) if inputs.psf_after_edisp else np.sum(parts, axis=0)


def _energies(inputs: FoldInputs, bins: slice) -> FoldInputs:
    """Return the arrays of a window for some energies of its PSF."""
    if inputs.psf_after_edisp:
        return replace(inputs, psf=inputs.psf[bins], edisp=inputs.edisp[:, bins])
    return replace(
        inputs,
        psf=inputs.psf[bins],
        edisp=inputs.edisp[bins],
        exposure=inputs.exposure[bins],
        energy_edges=inputs.energy_edges[bins.start : bins.stop + 1],
    )


def evaluate_npred(
    model: Any,
    exposure: Map,
    psf: PSFMap | None,
    edisp: Dispersion | None,
    geom: WcsGeom,
    sampling: str = "fine",
) -> Map:
    """Predict the counts of one sky model."""
    window = prepare(model, exposure, psf, edisp, geom, sampling)
    data = np.zeros(geom.data_shape)
    if window is not None:
        counts = predict(model.spectral_model, model.spatial_model, window.inputs)
        data[(slice(None), *window.target)] = counts[(slice(None), *window.source)]
    return Map(geom, data)


def reco_exposure(
    spectral_model: Any,
    exposure: Map,
    edisp: Dispersion | None,
    energy_axis: MapAxis,
    geom: WcsGeom | None = None,
    normalize: bool = True,
    factors: Floats | None = None,
) -> Map:
    """Return the exposure in bins of reconstructed energy for a given spectrum."""
    if geom is None and exposure is not None:
        geom = exposure.geom.to_image().to_cube([energy_axis])
    axis_true = check_geometries(exposure, geom)
    per_flux = edisp_matrix(edisp, axis_true, energy_axis) * conversion(exposure.unit, "cm2 s")
    per_exposure = per_flux * flux_of_reference(spectral_model, axis_true)[:, None]
    if factors is not None:
        per_exposure = per_exposure * factors[:, None]
    counts = _sums_over_energy(per_exposure, exposure.data)
    if not np.isfinite(counts.sum()):
        counts = _sums_over_energy(per_exposure, finite(exposure.data))
    result = geom.to_image().to_cube([energy_axis])
    if not normalize:
        return Map(result, counts, copy=False)
    flux = flux_of_reference(spectral_model, energy_axis)[:, None, None]
    return Map(result, np.divide(counts, flux, where=flux > 0, out=np.zeros_like(counts)), "cm2 s")


def _sums_over_energy(matrix: Floats, cube: NDArray[Any]) -> Floats:
    """Sum a cube over its energies with the columns of a matrix, with mostly zeros."""
    # Without BLAS, whose threads would wait in the way of those of the fit.
    sums = np.zeros((matrix.shape[1], *cube.shape[1:]))
    for total, column in zip(sums, matrix.T, strict=True):
        some = np.flatnonzero(column)
        if some.size:
            used = slice(some[0], some[-1] + 1)
            np.einsum("t,tyx->yx", column[used], cube[used], out=total)
    return sums


def flux_of_reference(spectral_model: Any, energy_axis: MapAxis) -> Floats:
    """Return the flux of a spectrum in the bins of an energy axis."""
    leaves, tree = jax.tree.flatten(_plain(spectral_model))
    numbers = tuple((leaf.tobytes(), leaf.shape) for leaf in leaves)
    return _known_flux(tree, numbers, energy_axis.edges_in("TeV").tobytes())


def source_flux(model: Any, energy_axis: MapAxis) -> Floats:
    """Return the flux of a sky model in the bins of an energy axis, over the whole sky."""
    flux = flux_of_reference(model.spectral_model, energy_axis)
    return flux * template_totals(model.spatial_model, energy_axis)


def template_totals(spatial: Any, energy: MapAxis | Floats) -> Floats:
    """Return the integrals of a spatial model over the sky, at some energies."""
    # They are 1 except for a template that is not normalised.
    if isinstance(energy, MapAxis):
        edges = energy.edges_in("TeV")
        energy = np.sqrt(edges[1:] * edges[:-1])
    ones = np.ones(len(energy))
    if kind_of(spatial) != "template" or spatial.normalize or spatial.geom is None:
        return ones
    geom = spatial.geom.to_image()
    areas = np.nan_to_num(geom.solid_angle().to_value("sr"))
    y, x = (np.asarray(c, dtype=float) for c in np.indices(geom.shape_image))
    with jax.enable_x64(True):
        image = np.asarray(spatial.evaluate(x, y, energy))
    return ones * np.einsum("...yx,yx->...", image, areas)


@functools.lru_cache(maxsize=64)
def _known_flux(tree: Any, numbers: tuple[tuple[bytes, tuple[int, ...]], ...], edges: bytes) -> Any:
    """Return the flux of a spectrum with these parameters, which a run asks for several times."""
    leaves = [np.frombuffer(values).reshape(shape) for values, shape in numbers]
    nodes = np.frombuffer(edges)
    number = len(nodes) - 1
    # axes of few lengths share a program: filled up with their last bin
    low, high = (
        np.pad(ends, (0, room(number) - number), "edge") for ends in (nodes[:-1], nodes[1:])
    )
    with jax.enable_x64(True):
        return np.asarray(_integral(jax.tree.unflatten(tree, leaves), low, high))[:number]


@compiled(quick=True)
def _integral(spectral: Any, low: Any, high: Any) -> Any:
    return spectral.integral(low, high)


def norm_weights(spectral_model: Any, energy_axis: MapAxis) -> Floats:
    """Return the factors of a norm model at the bin centres."""
    with jax.enable_x64(True):
        return np.asarray(_evaluate(_plain(spectral_model), energy_axis.center_in("TeV")))


@compiled
def _evaluate(spectral: Any, energy: Any) -> Any:
    return spectral.evaluate(energy)
