"""Parts of a dataset from plain maps: images or cubes of counts, background and exposure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from os import PathLike, fspath
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import Table
from numpy.typing import NDArray

from gammagrad.dataset.checks import same_bins
from gammagrad.errors import FileContentError, InputError, InputTypeError
from gammagrad.io import read_plain, read_psf
from gammagrad.maps import Map, MapAxis, PSFMap, parse_unit, to_value


def maps_on_axis(maps: Mapping[str, Map | None], axis: MapAxis) -> dict[str, Any]:
    """Return maps on the energy axis of the counts; masks may be images."""
    parts = {}
    for name, m in maps.items():
        if m is not None:
            _check_map(m, name)
            is_kept = name.startswith("mask") and m.geom.is_image
            parts[name] = m if is_kept else _on_axis(m, axis, name)
    return parts


def maps_of_files(
    files: Mapping[str, str | PathLike[str] | None], checksum: bool
) -> tuple[dict[str, Any], Table | None]:
    """Return the maps of plain files, and the good time intervals in the file of the counts."""
    read = {part: read_plain(f, checksum) for part, f in files.items() if f is not None}
    return {part: plain.map for part, plain in read.items()}, read["counts"].gti


def psf_of_file(psf: str | PathLike[str] | None, checksum: bool) -> dict[str, Any]:
    """Return the point spread function of a file as an argument, or none."""
    return {} if psf is None else {"psf": read_psf(psf, checksum)}


@contextlib.contextmanager
def naming_files(files: Mapping[str, str | PathLike[str] | None]) -> Iterator[None]:
    """Name the file in an error about its map, and the file of the counts in any other error."""
    try:
        yield
    except InputError as error:
        # "exposure_unit" is about the exposure, "mask_fit" not about the mask
        parts = (part for part in files if error.argument.startswith(part))
        part = max(parts, key=len, default="counts")
        name = fspath(files[part] or files["counts"] or "")
        raise FileContentError(error.args[0], error.argument, f"{name}: ") from error


def _check_map(m: Any, name: str) -> None:
    if not isinstance(m, Map):
        raise InputTypeError(
            f": expected a gammagrad Map, got {type(m).__name__}; "
            "read files with Map.read(filename) or MapDataset.from_files(...).",
            name,
        )


def energy_axis_of(counts: Map, energy_edges: Any) -> MapAxis:
    """Return the reconstructed energy axis, from the counts or from the given edges."""
    _check_map(counts, "counts")
    given = None if energy_edges is None else MapAxis.from_energy_edges(energy_edges)
    own = _own_axis(counts, "counts")
    axis = given if own is None else own
    if axis is None:
        raise InputError(
            ": the counts have no energies; pass the edges of their energy bins, such as "
            "'1 TeV, 10 TeV' for one image.",
            "energy_edges",
        )
    if given is not None and not same_bins(axis, given):
        raise InputError(
            f": {given!r}, but the counts have {own!r}; "
            "leave energy_edges out, or slice the dataset afterwards with slice_by_energy.",
            "energy_edges",
        )
    return axis.rename("energy")


def _own_axis(m: Map, name: str) -> MapAxis | None:
    """Return the energy axis of a map; None for a map without energies."""
    if len(m.geom.axes) > 1:
        raise InputError(
            f": axes {', '.join(m.geom.axes.names)}; expected an image, or one energy axis.", name
        )
    return next((axis for axis in m.geom.axes if axis.unit.is_equivalent("TeV")), None)


def _on_axis(m: Map, axis: MapAxis, name: str) -> Map:
    """Return a map with the energy axis of the counts."""
    own = _own_axis(m, name)
    planes = m.data.reshape(-1, *m.geom.shape_image)
    if own is not None and not same_bins(own, axis):
        raise InputError(f": energy bins {own!r}; expected the bins of the counts, {axis!r}.", name)
    if len(planes) != axis.nbin:
        raise InputError(
            f": {len(planes)} energy plane(s), but the energy axis has {axis.nbin} bin(s), "
            f"{axis!r}.",
            name,
        )
    return Map(m.geom.to_image().to_cube([axis]), planes, unit=m.unit, meta=m.meta)


def exposure_on_axis(exposure: Map, unit: Any, axis: MapAxis, interpolate: bool) -> Map:
    """Return the exposure in true energy, on the bins of the counts or on its own finer bins."""
    _check_map(exposure, "exposure")
    if unit is not None and exposure.unit == u.dimensionless_unscaled:
        unit = parse_unit(unit, "exposure_unit")
        exposure = Map(exposure.geom, exposure.data, unit=unit, meta=exposure.meta)
    if unit is None and exposure.unit == u.dimensionless_unscaled:
        raise InputError(
            ": the exposure has no unit; expected area times time, such as 'cm2 s'.",
            "exposure_unit",
        )
    own = _own_axis(exposure, "exposure")
    target = axis.rename("energy_true")
    if own is None or (own.node_type == "edges" and same_bins(own, axis)):
        return _on_axis(exposure, target, "exposure")
    kept = own.rename("energy_true")
    image = exposure.geom.to_image()
    if not interpolate or (own.node_type == "edges" and _nests(own, axis)):
        return Map(image.to_cube([kept]), exposure.data, exposure.unit, exposure.meta)
    if own.nbin == 1:
        raise InputError(
            f": one energy plane for {axis.nbin} energy bins of the counts; "
            "expected an exposure for each bin, or at several energies.",
            "exposure",
        )
    data = _at_bin_centres(exposure.data, kept, target)
    return Map(image.to_cube([target]), data, exposure.unit, exposure.meta)


def _nests(fine: MapAxis, coarse: MapAxis) -> bool:
    """Return whether every edge of a coarse axis is an edge of a fine axis."""
    edges = fine.edges.to_value("TeV")[:, None]
    return bool(np.isclose(edges, coarse.edges.to_value("TeV")[None, :], rtol=1e-5).any(0).all())


def _at_bin_centres(values: NDArray[Any], own: MapAxis, target: MapAxis) -> NDArray[np.float64]:
    """Interpolate along the energy axis at the logarithmic centres of the target's bins."""
    edges = target.edges.to_value("TeV")
    wanted = np.log(np.sqrt(edges[1:] * edges[:-1]))
    nodes = np.log(own.center.to_value("TeV"))
    ends = np.log((own.center if own.node_type == "center" else own.edges).to_value("TeV"))
    if wanted[0] < ends[0] - 1e-6 or wanted[-1] > ends[-1] + 1e-6:
        raise InputError(
            f": known from {np.exp(ends[0]):.4g} to {np.exp(ends[-1]):.4g} TeV, but the "
            f"counts reach from {edges[0]:.4g} to {edges[-1]:.4g} TeV; pass an exposure that "
            "covers the energies of the counts, or slice the counts.",
            "exposure",
        )
    below = np.clip(np.searchsorted(nodes, wanted, side="right") - 1, 0, len(nodes) - 2)
    part = np.clip((wanted - nodes[below]) / (nodes[below + 1] - nodes[below]), 0, 1)
    low, high = values[below].astype(float), values[below + 1].astype(float)
    weight = part[:, None, None]
    both = (low > 0) & (high > 0)
    power = np.where(both, low, 1) ** (1 - weight) * np.where(both, high, 1) ** weight
    # a power law needs positive exposures; next to a zero the interpolation is linear
    return np.where(both, power, (1 - weight) * low + weight * high)


def psf_from(axis: MapAxis, **descriptions: Any) -> PSFMap | None:
    """Return the point spread function of one description."""
    given = {name: value for name, value in descriptions.items() if value is not None}
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)}: expected one description of the PSF.")
    if "psf_sigma" in given:
        return PSFMap.from_gauss(axis, to_value(given["psf_sigma"], "deg", "psf_sigma"))
    if "psf_table" not in given:
        return given.get("psf")
    table = given["psf_table"]
    if not isinstance(table, list | tuple) or len(table) not in (2, 3):
        raise InputError(
            ": expected (rad, values) or (rad, energy, values), with values of shape "
            "(rad,) or (energy, rad).",
            "psf_table",
        )
    energy: Any = axis if len(table) == 2 else to_value(table[1], "TeV", "psf_table, energy")
    rad = to_value(table[0], "deg", "psf_table, rad")
    return PSFMap.from_table(rad, energy, to_value(table[-1], "sr-1", "psf_table, values"))
