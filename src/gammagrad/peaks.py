"""Find the sources in a map: local maxima, their positions and fluxes as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray

from gammagrad._upper import upper
from gammagrad.maps.map import Map
from gammagrad.maps.pixels import on_sky
from gammagrad.maps.sphere import unit_vectors
from gammagrad.quantities import FLUXES, QUANTITIES

__all__ = ["find_peaks", "local_maxima", "sky_maxima", "source_name"]

# Pixels farther apart than an angle by less than this part of it are within it.
_ROUNDING = 1e-6
_GATHER = 4_000_000  # values looked at in one go: bounds the memory of `local_maxima`


def _footprint(radius: tuple[float, float]) -> NDArray[np.int64]:
    """Return the (row, col) offsets within an ellipse, the eight neighbours always included."""
    ny, nx = (max(1, int(np.floor(r))) for r in radius)
    dy, dx = np.mgrid[-ny : ny + 1, -nx : nx + 1]
    distance = np.hypot(dy / max(radius[0], 1e-9), dx / max(radius[1], 1e-9))
    keep = (distance <= 1 + 1e-9) | ((np.abs(dy) <= 1) & (np.abs(dx) <= 1))
    return np.stack([dy[keep], dx[keep]], axis=1)


def _plateaus(values: NDArray[np.float64], nodes: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Label the selected pixels: touching ones of equal value get one label.

    Labels spread over the pairs of neighbours, each taking the smaller one, and jump along their
    chains in between, which makes the number of passes grow with the logarithm of a plateau's size.
    """
    number = np.full(values.shape, -1)
    number[nodes] = np.arange(np.count_nonzero(nodes))
    pairs = []
    rows, cols = values.shape
    for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
        first = np.s_[: rows - dy, max(0, -dx) : cols - max(0, dx)]
        second = np.s_[dy:, max(0, dx) : cols - max(0, -dx)]
        equal = nodes[first] & nodes[second] & (values[first] == values[second])
        pairs.append(np.stack([number[first][equal], number[second][equal]]))
    a, b = np.concatenate(pairs, axis=1)
    labels = np.arange(np.count_nonzero(nodes))
    while np.any(labels[a] != labels[b]):
        low = np.minimum(labels[a], labels[b])
        for end in (a, b):
            np.minimum.at(labels, labels[end], low)
        labels = labels[labels]
    return labels


def _is_window_maximum(
    values: NDArray[np.float64], rows: NDArray[np.int64], cols: NDArray[np.int64], offsets: Any
) -> NDArray[np.bool_]:
    """Tell for each pixel whether no pixel at the offsets is larger."""
    reach = np.abs(offsets).max(axis=0)
    padded = np.pad(values, ((reach[0], reach[0]), (reach[1], reach[1])), constant_values=-np.inf)
    ok = np.empty(len(rows), dtype=bool)
    step = max(1, _GATHER // len(offsets))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        r = rows[part, None] + reach[0] + offsets[:, 0]
        c = cols[part, None] + reach[1] + offsets[:, 1]
        ok[part] = padded[r, c].max(axis=1) <= values[rows[part], cols[part]]
    return ok


def _one_per_plateau(
    labels: NDArray[np.int64],
    ok: NDArray[np.bool_],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return one pixel, that nearest to its middle, of every plateau all of whose pixels are ok.

    A plateau that touches higher ground anywhere is a shelf, not a summit.
    """
    summit = np.ones(len(labels), dtype=bool)
    summit[labels[~ok]] = False
    members = np.flatnonzero(summit[labels])
    size = np.bincount(labels)[labels[members]]
    row = np.bincount(labels, weights=rows)[labels[members]] / size
    col = np.bincount(labels, weights=cols)[labels[members]] / size
    offset = np.hypot(rows[members] - row, cols[members] - col)
    order = np.lexsort((offset, labels[members]))
    first = np.unique(labels[members][order], return_index=True)[1]
    return members[order][first]


def _drop_close_ties(
    values: NDArray[np.float64],
    rows: NDArray[np.int64],
    cols: NDArray[np.int64],
    radius: tuple[float, float],
) -> NDArray[np.bool_]:
    """Tell which peaks to keep where several of exactly equal height lie within the radius."""
    keep = np.ones(len(rows), dtype=bool)
    heights, counts = np.unique(values, return_counts=True)
    for height in heights[counts > 1]:
        tied = np.flatnonzero(values == height)  # in order of their rows
        last = np.searchsorted(rows[tied], rows[tied] + max(radius[0], 1.0), side="right")
        for position, i in enumerate(tied):
            if keep[i]:
                others = tied[position + 1 : last[position]]
                distance = np.hypot(
                    (rows[others] - rows[i]) / max(radius[0], 1.0),
                    (cols[others] - cols[i]) / max(radius[1], 1.0),
                )
                keep[others[distance <= 1 + 1e-9]] = False
    return keep


def local_maxima(
    image: NDArray[Any], threshold: float, radius: tuple[float, float] = (1.0, 1.0)
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pixels above a threshold that are the largest within a radius.

    A plateau of equal pixels counts once, as the pixel nearest to its middle. Of equally high peaks
    within the radius of each other the first one stays. An image that is constant has no peak.

    Parameters
    ----------
    image : numpy.ndarray
        Values, shape (ny, nx). NaN and infinite ones are left out.
    threshold : float
        Peaks are larger than this.
    radius : tuple of float
        Semi-axes of the neighbourhood in rows and columns, in pixels. The eight neighbours of a
        pixel always belong to it.

    Returns
    -------
    rows, cols : numpy.ndarray
        Pixel indices of the peaks, highest first.

    Examples
    --------
    >>> image = np.zeros((5, 7))
    >>> image[2, 1], image[2, 4] = 3, 8
    >>> rows, cols = local_maxima(image, threshold=1, radius=(2, 2))
    >>> rows.tolist(), cols.tolist()
    ([2, 2], [4, 1])
    """
    values = np.asarray(image, dtype=np.float64)
    finite = np.isfinite(values)
    none = np.empty(0, dtype=np.int64)
    if not finite.any() or np.ptp(values[finite]) == 0:
        return none, none
    values = np.where(finite, values, -np.inf)
    nodes = values > threshold
    rows, cols = np.nonzero(nodes)
    if not len(rows):
        return none, none
    ok = _is_window_maximum(values, rows, cols, _footprint((1.0, 1.0)))
    candidates = np.flatnonzero(ok)
    ok[candidates] = _is_window_maximum(
        values, rows[candidates], cols[candidates], _footprint(radius)
    )
    peaks = _one_per_plateau(_plateaus(values, nodes), ok, rows, cols)
    height = values[rows[peaks], cols[peaks]]
    peaks = peaks[np.lexsort((cols[peaks], rows[peaks], -height))]
    keep = _drop_close_ties(values[rows[peaks], cols[peaks]], rows[peaks], cols[peaks], radius)
    return rows[peaks][keep], cols[peaks][keep]


def sky_maxima(
    image: Map, threshold: float, distance: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the pixels above a threshold that are the largest within an angle on the sky.

    Distances are those of the pixel centres on the sphere, across the edge of an all-sky map too.
    Plateaus and ties as in `local_maxima`; pixels without a place on the sky are left out.

    Parameters
    ----------
    image
        One image.
    threshold
        Peaks are larger than this.
    distance
        Angle in deg. The eight neighbours of a pixel always count as within it.

    Returns
    -------
    rows, cols : numpy.ndarray
        Pixel indices of the peaks, highest first.
    """
    from scipy.spatial import KDTree

    values = np.where(np.isfinite(image.data) & on_sky(image.geom), image.data, np.nan)
    rows, cols = local_maxima(values, threshold)
    if not len(rows):
        return rows, cols
    vectors = unit_vectors(*image.geom.get_coord())
    chord = 2 * np.sin(np.deg2rad(min(distance, 180.0)) / 2) * (1 + _ROUNDING)
    above = values > threshold
    # sorted by height: of equal peaks the first one stays, and counts as the higher one
    heights, places = values[rows, cols], vectors[rows, cols]
    keep = np.ones(len(rows), dtype=bool)
    near = KDTree(places)
    for i, place in enumerate(places):
        if keep[i]:
            others = np.asarray(near.query_ball_point(place, chord))
            keep[others[others > i]] = False
    # what is higher need not be a peak itself, but lie on the side of one
    heights_above, everywhere = values[above], KDTree(vectors[above])
    for i in np.flatnonzero(keep).tolist():
        around = everywhere.query_ball_point(places[i], chord)
        keep[i] = not np.any(heights_above[around] > heights[i])
    return rows[keep], cols[keep]


def _maxima(
    searched: Map, threshold: float, min_distance: Any
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Return the peaks of each image of a map, at least an angle or a number of pixels apart."""
    try:
        distance = u.Quantity(min_distance)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"min_distance: cannot read {min_distance!r}; expected an angle such as '0.3 deg' or "
            "a number of pixels."
        ) from error
    if distance.shape != () or not np.isfinite(distance.value) or distance.value < 0:
        raise ValueError(f"min_distance must be one number, not negative; got {min_distance!r}.")
    geom = searched.geom.to_image()
    planes = np.reshape(searched.data, (-1, *geom.shape_image))
    if distance.unit.is_equivalent(u.deg):
        angle = float(distance.to_value("deg"))
        return [sky_maxima(Map(geom, plane), threshold, angle) for plane in planes]
    if distance.unit in (u.dimensionless_unscaled, u.pix):
        pixels, seen = float(distance.value), on_sky(geom)
        return [
            local_maxima(np.where(seen, plane, np.nan), threshold, (pixels, pixels))
            for plane in planes
        ]
    raise ValueError(
        f"min_distance: expected an angle or a number of pixels, got unit '{distance.unit}'."
    )


def source_name(position: SkyCoord) -> str:
    """Return a name such as ``J1745.6-2900``: the position truncated, as catalogues do.

    Parameters
    ----------
    position : SkyCoord
        One position.

    Returns
    -------
    str
        The name.
    """
    tenths = int(np.floor(position.ra.wrap_at("360d").deg * 40 + 1e-9)) % 14400
    minutes = int(np.floor(abs(position.dec.deg) * 60 + 1e-9))
    sign = "-" if position.dec.deg < 0 else "+"
    hours, tenths = divmod(tenths, 600)
    degrees, minutes = divmod(minutes, 60)
    return f"J{hours:02d}{tenths // 10:02d}.{tenths % 10}{sign}{degrees:02d}{minutes:02d}"


def _value_columns(maps: Mapping[str, Map], quantity: str) -> list[str]:
    """Return the names of the maps to read at the peaks, those looked at first at the end.

    A terminal leaves out the columns in the middle of a wide table.
    """
    last = ["ts", "sqrt_ts", "flux", "flux_err"]
    names = ["status", "hypothesis", "npred", "npred_excess"]
    names += [q.name for q in QUANTITIES.values() if q.is_norm]
    names += [q.name for q in QUANTITIES.values() if q.reference]
    names = [n for n in dict.fromkeys([*names, quantity]) if n not in last] + last
    return [n for n in names if n in maps]


def _format(table: QTable) -> QTable:
    """Set how the numbers of a table of peaks are printed."""
    table["number"].info.description = "Rank by significance, within all energy groups"
    for name in table.colnames:
        text = QUANTITIES[name].meaning if name in QUANTITIES else ""
        if text:
            table[name].info.description = text
        if name in ("ra", "dec", "glon", "glat"):
            table[name].info.format = ".4f"
        elif name in ("sqrt_ts", "ts", "npred", "npred_excess"):
            table[name].info.format = ".2f"
        elif name.startswith((*FLUXES, "norm", "energy_m")):
            table[name].info.format = ".3g"
    return table


def find_peaks(
    maps: Mapping[str, Map],
    threshold: Any = 5,
    min_distance: Any = 5,
    quantity: str = "sqrt_ts",
    refine: bool = False,
    datasets: Any = None,
    **options: Any,
) -> QTable:
    """List the sources: the maxima of a map with their positions, significances and fluxes.

    Parameters
    ----------
    maps : Mapping of str to Map
        Maps by name, usually a `FluxMaps`. Each energy group is searched on its own.
    threshold : float or Quantity
        Peaks are higher than this, in the unit of the map searched.
    min_distance : str, Quantity or float
        No higher pixel lies within this angle on the sky, such as ``"0.3 deg"``, or this number of
        pixels.
    quantity : str
        Name of the map to search.
    refine : bool
        Fit the position, flux and index of every peak to the data, from its pixel: positions
        within the pixel, with errors; see `gammagrad.fitting.refine_peaks`.
    datasets : MapDataset or several
        The data the maps were made from; only to refine.
    **options
        Further arguments of `gammagrad.fitting.refine_peaks`, such as ``free`` and ``model``; the
        model is the reference model of the maps by default.

    Returns
    -------
    astropy.table.QTable
        One row per peak, the highest first: ``number``, ``name`` (from the position), ``ra``,
        ``dec`` (ICRS), ``glon``, ``glat`` (Galactic), all in deg; ``row``, ``col`` in pixels;
        ``energy_group``, ``energy_min``, ``energy_max``; of several models the number and the
        name of the best, ``hypothesis`` and ``model``; predicted counts, norms and fluxes with
        the errors and limits there are; at the end ``ts``, ``sqrt_ts``, ``flux`` and ``flux_err``
        in cm-2 s-1. It has no rows if nothing is found. Refined, it has the columns of
        `gammagrad.fitting.refine_peaks` on top.

    Raises
    ------
    ValueError
        If the threshold or the distance is not a number of a fitting unit, or the quantity is a
        mask, a code or a likelihood scan; or if peaks are to be refined without datasets.
    """
    if (datasets is None) == refine or (options and not refine):
        raise ValueError(_refine_mistake(refine, datasets, options))
    searched = maps[quantity]
    codes = searched.is_mask or quantity in ("status", "hypothesis")
    if codes or set(searched.geom.axes.names) - {"energy"}:
        raise ValueError(
            f"quantity is {quantity!r}, which has no peaks; choose a map of one number per pixel, "
            "such as 'sqrt_ts' or 'flux'."
        )
    geom = searched.geom
    cut = float(u.Quantity(threshold).to_value(searched.unit))
    if np.isnan(cut):
        raise ValueError("threshold must be a number, got NaN.")
    planes = np.reshape(searched.data, (-1, *geom.shape_image))
    found = _maxima(searched, cut, min_distance)
    group = np.repeat(np.arange(len(found)), [len(rows) for rows, _ in found])
    row = np.concatenate([rows for rows, _ in found])
    col = np.concatenate([cols for _, cols in found])
    order = np.argsort(-planes[group, row, col], kind="stable")
    group, row, col = group[order], row[order], col[order]

    sky = geom.pix_to_sky(col.astype(float), row.astype(float))
    icrs, galactic = sky.icrs, sky.galactic
    table = QTable()
    table["number"] = np.arange(1, len(row) + 1)
    table["name"] = np.array([source_name(p) for p in icrs], dtype="U12")
    table["ra"], table["dec"] = icrs.ra.to("deg"), icrs.dec.to("deg")
    table["glon"], table["glat"] = galactic.l.to("deg"), galactic.b.to("deg")
    table["row"], table["col"] = row, col
    if "energy" in geom.axes.names:
        edges = geom.axes["energy"].edges
        table["energy_group"] = group
        table["energy_min"], table["energy_max"] = edges[:-1][group], edges[1:][group]
    for name in _value_columns(maps, quantity):
        m = maps[name]
        values = np.reshape(m.data, (-1, *geom.shape_image))[group, row, col]
        table[name] = values * m.unit if m.unit != u.dimensionless_unscaled else values
        if name == "hypothesis":
            called = np.array(getattr(maps, "meta", {}).get("hypotheses", []), dtype=str)
            table["model"] = called[values] if called.size else values.astype(str)
    table.meta = {"quantity": quantity, "threshold": cut, "min_distance": str(min_distance)}
    table = _format(table)
    if not refine:
        return table
    options.setdefault("model", getattr(maps, "reference_model", None))
    return upper("refine_peaks")(table, datasets, **options)


def _refine_mistake(refine: bool, datasets: Any, options: Mapping[str, Any]) -> str:
    """Return what is wrong with the arguments about refinement."""
    if refine:
        return (
            "refine=True fits the peaks to data, which maps do not hold; pass the datasets that "
            "the maps were made from as datasets=..."
        )
    given = ", ".join([*(["datasets"] if datasets is not None else []), *options])
    return f"{given}: only used with refine=True; pass that too, or leave it out."
