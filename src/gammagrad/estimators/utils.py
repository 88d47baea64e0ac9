"""Peaks of an image where gammapy's scripts look for them."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import QTable

from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import Map
from gammagrad.peaks import find_peaks as peaks_of_maps


def find_peaks(image: Map, threshold: Any, min_distance: Any = 1) -> QTable:
    """List the maxima of an image above a threshold, with gammapy's names of columns.

    `FluxMaps.find_peaks` also lists fluxes, and looks at all energies. The distance is that of a
    circle; gammapy looks for higher pixels in a square.

    Parameters
    ----------
    image
        The image, or a map with one energy bin.
    threshold
        Peaks are above this value, a quantity or a number in the unit of the map.
    min_distance
        A peak has no higher pixel within this angle, or within this number of pixels.

    Returns
    -------
    astropy.table.QTable
        A row for each peak, the highest first: ``value``, ``x`` and ``y`` (column and row), and
        ``ra`` and ``dec``.

    Raises
    ------
    TypeError
        If it is not a map.
    ValueError
        If the map has several bins, or threshold or distance cannot be read.
    """
    if not isinstance(image, Map):
        raise InputTypeError(f": expected a Map, got {type(image).__name__}.", "image")
    if np.prod(image.geom.data_shape[:-2]) > 1:
        raise InputError(": expected one image; take one of its bins with image.image(0).", "image")
    one = Map(image.geom.to_image(), image.data.reshape(image.geom.shape_image), image.unit)
    if isinstance(threshold, int | float | np.number):
        threshold = u.Quantity(threshold, image.unit)
    found = peaks_of_maps({"value": one}, threshold, min_distance, "value")
    table = QTable()
    values = found["value"] if len(found) else u.Quantity([], image.unit)
    table["value"], table["x"], table["y"] = values, found["col"], found["row"]
    table["ra"], table["dec"] = found["ra"], found["dec"]
    return table
