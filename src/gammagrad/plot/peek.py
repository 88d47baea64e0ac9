"""A dataset or a response at a glance."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad.maps import EDispKernelMap, EDispMap, Map, PSFMap
from gammagrad.plot.scales import pyplot
from gammagrad.plot.sky import plot_map

_FRACTIONS = (0.68, 0.95)
_PROFILES = 4


def peek_dataset(dataset: Any, figsize: tuple[float, float] = (13, 7)) -> Any:
    """Draw the parts of a dataset; see `MapDataset.peek`."""
    figure = pyplot().figure(figsize=figsize, layout="constrained")
    images = {"counts": _image(dataset.counts)}
    if dataset.exposure is not None:
        images["exposure"] = dataset.exposure.reduce_over_axes(np.mean)
    if dataset.background is not None or dataset.models:
        images["predicted counts"] = _image(dataset.npred())
    if dataset.mask is not None:
        images["fitted energy bins"] = _image(dataset.mask)
    shown = {name: m for name, m in images.items() if m is not None}
    below = [dataset.psf is not None, dataset.edisp is not None]
    columns = max(len(shown) + sum(below) + 1, 2) // 2
    place = 0
    for name, m in shown.items():
        place += 1
        ax = figure.add_subplot(2, columns, place, projection=m.geom.wcs)
        plot_map(m, ax, title=name, label="", name=name)
    if dataset.psf is not None:
        place += 1
        _draw_radii(figure.add_subplot(2, columns, place), dataset.psf)
    if dataset.edisp is not None:
        place += 1
        _draw_matrix(figure.add_subplot(2, columns, place), dataset.edisp)
    figure.suptitle(dataset.name)
    return figure


def peek_psf(psf: PSFMap, figsize: tuple[float, float] = (12, 4)) -> Any:
    """Draw a point spread function; see `PSFMap.peek`."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=figsize, layout="constrained")
    _draw_radii(left, psf)
    rad = psf.psf_map.geom.axes["rad"].center_in("deg")
    profile, energies = psf.profile(), psf.energy_axis.center
    chosen = np.unique(np.linspace(0, len(energies) - 1, _PROFILES).round().astype(int))
    for i in chosen:
        if profile[i].max() > 0:
            right.plot(rad, profile[i] / profile[i].max(), label=f"{energies[i]:.3g}")
    right.set(xlabel="Offset [deg]", ylabel="PSF over its maximum", yscale="log")
    right.set_ylim(1e-4, 2)
    right.legend(title="true energy" if psf.energy_name == "energy_true" else "energy")
    return figure


def peek_edisp(edisp: EDispKernelMap | EDispMap, figsize: tuple[float, float] = (12, 4)) -> Any:
    """Draw an energy dispersion; see `EDispKernelMap.peek`."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=figsize, layout="constrained")
    _draw_matrix(left, edisp)
    matrix, true, reco = _matrix(edisp)
    total = matrix.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.exp((matrix @ np.log(reco.center_in("TeV"))) / total)
    energies = true.center_in("TeV")
    right.semilogx(energies, mean / energies - 1)
    right.axhline(0, color="0.6", linewidth=0.8)
    right.set(xlabel="True energy [TeV]", ylabel="Bias (mean energy / true energy - 1)")
    return figure


def _image(m: Map | None) -> Map | None:
    """Return the sum of a map over energy; of a mask, the number of bins."""
    return None if m is None else m.sum_over_axes(keepdims=False)


def _draw_radii(ax: Any, psf: PSFMap) -> None:
    """Draw the radii that hold some fractions of the events."""
    energies = psf.energy_axis.center_in("TeV")
    for fraction in _FRACTIONS:
        radii = psf.containment_radius(fraction).to_value("deg")
        # where there is no response there is no radius
        ax.semilogx(energies, np.where(radii > 0, radii, np.nan), label=f"{100 * fraction:.0f} %")
    word = "True energy" if psf.energy_name == "energy_true" else "Energy"
    ax.set(xlabel=f"{word} [TeV]", ylabel="Containment radius [deg]")
    ax.legend()


def _matrix(edisp: EDispKernelMap | EDispMap) -> tuple[Any, Any, Any]:
    """Return the matrix in the middle of the map, true and reconstructed energies."""
    true, axes = edisp.energy_axis_true, edisp.edisp_map.geom.axes
    reco = axes["energy"] if "energy" in axes.names else true
    return edisp.get_edisp_kernel(energy_axis=reco), true, reco


def _draw_matrix(ax: Any, edisp: EDispKernelMap | EDispMap) -> None:
    """Draw the probability of each energy for each true energy."""
    matrix, true, reco = _matrix(edisp)
    image = ax.pcolormesh(true.edges_in("TeV"), reco.edges_in("TeV"), matrix.T, cmap="inferno")
    ax.set(xscale="log", yscale="log", xlabel="True energy [TeV]", ylabel="Energy [TeV]")
    ax.figure.colorbar(image, ax=ax, label="Probability")
