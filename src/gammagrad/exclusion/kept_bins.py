"""The bins that an exclusion mask keeps, on the pixels of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import Map, WcsGeom, cut_to


def kept_bins(exclusion: Map | None, geom: WcsGeom, name: str = "exclusion") -> NDArray[np.bool_]:
    """Return the mask with energies first, of one bin if it is an image."""
    if exclusion is None:
        return np.ones((1, 1, 1), dtype=bool)
    if not isinstance(exclusion, Map):
        raise InputTypeError(
            f" is a {type(exclusion).__name__}; expected a Map, true where a pixel is "
            "kept. An array becomes one with Map(dataset.geom.to_image(), array).",
            name,
        )
    exclusion = cut_to(exclusion, geom, name, "the dataset")
    own: Any = exclusion.geom
    flat = exclusion.data.size == np.prod(geom.shape_image)
    difference = geom.to_image().difference(own.to_image()) if flat else geom.difference(own)
    if difference:
        raise InputError(f": expected the pixels of the dataset, but {difference}.", name)
    values = exclusion.data
    if not np.all((values == 0) | (values == 1)):
        raise InputError(
            ": expected booleans, or 1 (kept) and 0 (excluded), got "
            f"{values[(values != 0) & (values != 1)][0]}.",
            name,
        )
    return values.reshape(-1, *geom.shape_image).astype(bool)
