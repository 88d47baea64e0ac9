"""`gammagrad info`: what is in a file."""

from __future__ import annotations

import argparse
import json
from typing import Any

import astropy.units as u
import numpy as np

from gammagrad.cli.exclude_option import place
from gammagrad.cli.parser import spot
from gammagrad.cli.report import align, energy_groups, print_lines, source_table
from gammagrad.dataset import (
    MapDatasetOnOff,
    axis_text,
    nice_energy,
    read_dataset,
    read_datasets,
)
from gammagrad.errors import InputError
from gammagrad.flux_maps import FluxMaps
from gammagrad.io import (
    existing_file,
    hdu_names,
    is_yaml,
    read_hdus,
    read_peaks,
    read_plain,
    read_psf,
    read_yaml,
)
from gammagrad.maps import Map, PSFMap, WcsGeom, middle_shape

_DATASET_PARTS = {"COUNTS", "COUNTS_OFF", "EXPOSURE", "BACKGROUND", "MASK_SAFE", "PSF", "EDISP"}

# what is said of flux maps besides their settings
_META = (
    *("creator", "input", "input_sha256", "dataset", "precision"),
    *("n_sigma_sensitivity", "norm_min", "containment_per_group"),
    *("statistics", "counts_off_per_bin"),
)

NAME, HELP = "info", "say what is in a file"
DESCRIPTION = (
    "Say what is in a map dataset, flux maps, a plain FITS map, a point spread "
    "function or a table of sources."
)
EXAMPLES = """\
examples:
  gammagrad info dataset.fits.gz          a map dataset, with OFF counts or without
  gammagrad info maps/ts-map.fits         the result of `gammagrad ts-map`
  gammagrad info counts.fits              any image or cube
  gammagrad info "maps.fits[background]"  one extension of a file
  gammagrad info maps/sources.ecsv        a table of sources
  gammagrad info maps/ts-map.fits --at galactic:0,0   also the values at a position
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("file", metavar="FILE", nargs="+", help="file to look into")
    parser.add_argument(
        "--at",
        type=spot,
        metavar="LON,LAT",
        help="also print the values of maps at a position, in deg, in the frame of the map or in "
        "one that is named: icrs:LON,LAT, galactic:LON,LAT (a negative LON needs --at=LON,LAT)",
    )


def run(args: argparse.Namespace) -> None:
    """Print what is in files."""
    for number, name in enumerate(args.file):
        lines = describe_file(name)
        if args.at is not None:
            lines += ["", *_values_at(name, *args.at)]
        print_lines([*([""] if number else []), *lines], args.quiet)


def describe_file(name: str) -> list[str]:
    """Return what is in a file, as lines."""
    if name.lower().endswith(".ecsv"):
        return [f"{name}: a table of sources", *source_table(read_peaks(name))]
    if is_yaml(name) and "datasets" in (read_yaml(name) or {}):
        datasets = read_datasets(name)
        lines = [f"{name}: a list of {len(datasets)} dataset{'s' * (len(datasets) > 1)}"]
        return [*lines, *(line for one in datasets for line in ["", *str(one).splitlines()])]
    if name.lower().endswith((".reg", ".yaml", ".yml")):
        return _describe_text(name)
    if name.endswith("]"):
        return [f"{name}: a map", *_describe_map(read_plain(name).map)]
    hdus = read_hdus(name)
    names = {hdu.name.upper() for hdu in hdus}
    if "SED_TYPE" in hdus[0].header:
        return _describe_flux_maps(name)
    images = [hdu for hdu in hdus if hdu.is_image and hdu.header.get("NAXIS", 0) > 1]
    cubes = {hdu.name for hdu in images if hdu.header["NAXIS"] > 2}
    if cubes & _DATASET_PARTS and len(names & _DATASET_PARTS) > 1:
        dataset = read_dataset(name)
        kind = "an ON/OFF" if isinstance(dataset, MapDatasetOnOff) else "a map"
        return [f"{name}: {kind} dataset", *str(dataset).splitlines()]
    if "PSF" in names and names & {"THETA", "PSF_BANDS"}:
        return [f"{name}: a point spread function", *_describe_psf(read_psf(name))]
    if not images:
        raise InputError(
            f"{name}: no map in it; expected a map dataset, flux maps or an image, found the HDUs "
            f"{hdu_names(hdus)}."
        )
    if len(images) == 1:
        return [f"{name}: a map", *_describe_map(read_plain(name).map)]
    lines = [f"{name}: {len(images)} maps"]
    for hdu in images:
        part = hdu.name or str(hdus.index(hdu))
        lines += ["", f"[{part}]", *_describe_map(read_plain(f"{name}[{part}]").map)]
    return lines


def _values_at(name: str, frame: str, numbers: list[float]) -> list[str]:
    """Return the values of a file's flux maps, or of its map, at a position."""
    is_flux = not name.endswith("]") and "SED_TYPE" in read_hdus(name)[0].header
    flux_maps = FluxMaps.read(name) if is_flux else None
    maps = {"value": read_plain(name).map} if flux_maps is None else dict(flux_maps)
    maps = {key: m for key, m in maps.items() if not m.geom.is_region}
    position = place(next(iter(maps.values())).geom, frame, *numbers)
    rows, groups = [], 0
    for key, m in maps.items():
        if len(m.geom.axes) > 1:  # a likelihood scan
            continue
        values = np.ravel(m.get(position))
        groups = max(groups, len(values))
        unit = "" if m.unit == u.dimensionless_unscaled else m.unit.to_string()
        rows.append([key, unit, *(f"{value:.5g}" for value in values.astype(float))])
    edges = None if flux_maps is None else flux_maps.energy_axis.edges
    ends = [] if edges is None else [energy_groups(edges[i : i + 2]) for i in range(groups)]
    head = ["map", "unit", *(ends or [f"bin {i}" for i in range(groups)])]
    return [f"At {position.to_string()}, {position.frame.name}:", *align(head, rows, left=2)]


def _describe_map(m: Map) -> list[str]:
    """Return the geometry of a map and the range of its values."""
    geom = m.geom
    lines = []
    if isinstance(geom, WcsGeom):
        (nx, ny), scales = geom.npix, middle_shape(geom).sides
        lon, lat = (c.deg for c in (geom.center_skydir.data.lon, geom.center_skydir.data.lat))
        lines = [
            f"  pixels     : {nx} x {ny} of {scales[0]:.4g} x {scales[1]:.4g} deg",
            f"  projection : {geom.projection}, {geom.frame}, centre {lon:.4f}, {lat:.4f} deg",
        ]
    lines += [f"  {axis.name:<10} : {axis_text(axis)}" for axis in geom.axes]
    return [*lines, f"  type       : {m.data.dtype}", "", *_values([("values", m)], total=True)]


def _describe_psf(psf: PSFMap) -> list[str]:
    """Return the radii that hold parts of a point source, by energy."""
    axis = psf.energy_axis
    fractions = (0.5, 0.68, 0.95)
    radii = [psf.containment_radius(fraction).to_value("deg") for fraction in fractions]
    rows = [
        [nice_energy(energy), *(f"{column[i]:.4f}" for column in radii)]
        for i, energy in enumerate(axis.center)
    ]
    head = [psf.energy_name, *(f"{100 * fraction:.0f} %" for fraction in fractions)]
    return [*align(head, rows), "", "Radii in deg that hold so much of a point source."]


def _describe_text(name: str) -> list[str]:
    """Return what is in a file of regions or settings, as lines."""
    text = existing_file(name).read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if name.lower().endswith(".reg"):
        areas = sum("(" in line for line in lines)
        return [f"{name}: regions for DS9, {areas} of them; --exclude takes it"]
    return [f"{name}: settings, for --config", *lines]


def _describe_flux_maps(name: str) -> list[str]:
    """Return what flux maps are, how they were made, and the range of each."""
    maps = FluxMaps.read(name)
    lines = [f"{name}: flux maps", *str(maps).rstrip().splitlines()]
    for key in _META:
        if maps.meta.get(key) is not None:
            lines.append(f"  {key:<22} : {_text(maps.meta[key])}")
    for key, value in dict(maps.meta.get("settings") or {}).items():
        if value not in (None, [], "") and key not in maps.meta:
            lines.append(f"  {key:<22} : {_text(value)}")
    if "status" in maps:
        lines += ["", *str(maps.status_table()).splitlines()]
    shown = [*maps.quantities]
    return [*lines, "", *_values([(n, maps[n]) for n in dict.fromkeys(shown)])]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _values(maps: list[tuple[str, Map]], total: bool = False) -> list[str]:
    """Return the range of each map, as a table."""
    head = ["map", "unit", "smallest", "largest", *(["sum"] if total else []), "not finite"]
    reduced = (np.min, np.max, np.sum) if total else (np.min, np.max)
    rows = []
    for name, m in maps:
        data = np.asarray(m.data, dtype=float)
        finite = data[np.isfinite(data)]
        unit = "" if m.unit == u.dimensionless_unscaled else m.unit.to_string()
        numbers = [f"{f(finite):.5g}" if finite.size else "-" for f in reduced]
        rows.append([name, unit, *numbers, str(data.size - finite.size)])
    return align(head, rows, left=2)
