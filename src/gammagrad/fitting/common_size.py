"""Datasets padded to common map sizes, so that fits of other maps need no new compilation."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad._programs import fill, image_room
from gammagrad.dataset import MapDataset
from gammagrad.evaluate import is_compact
from gammagrad.maps import Map, MapAxis
from gammagrad.models import Component, Models, SkyModel, TemplateNPredModel

_LEAST = 128
"""Rows and columns at least: bins take less time than compiling for another size."""


def on_common_size(dataset: MapDataset, models: Models) -> MapDataset:
    """Return a dataset with pixels added behind its last row and column, which have no weight."""
    size = dataset.geom.shape_image
    shape = image_room(*size, least=_LEAST)
    if shape == size or any(map(_of_whole_map, models.for_dataset(dataset.name))):
        return dataset
    image = dataset.geom.to_image().window(0, 0, shape)

    def filled(part: Map, data: Any) -> Map:
        axes: list[MapAxis] = list(part.geom.axes)
        return Map(image.to_cube(axes), data, part.unit, part.meta)

    parts = dataset.parts
    for name in ("counts", "background", "mask_safe", "mask_fit"):
        if parts[name] is not None:
            parts[name] = filled(parts[name], fill(parts[name].data, shape))
    if parts["exposure"] is not None:
        # beyond the map a source has the exposure of its edge, as in any prediction
        more = [(0, 0), *((0, new - old) for new, old in zip(shape, size, strict=True))]
        parts["exposure"] = filled(
            parts["exposure"], np.pad(parts["exposure"].data, more, mode="edge")
        )
    if parts["mask_fit"] is None:
        inside = fill(np.ones(dataset.geom.data_shape, bool), shape, False)
        parts["mask_fit"] = Map(image.to_cube([dataset.energy_axis]), inside)
    return MapDataset(**parts)


def _of_whole_map(model: Component) -> bool:
    """Return whether a model depends on the size of the map."""
    if isinstance(model, TemplateNPredModel):
        return model.geom is None
    return isinstance(model, SkyModel) and not is_compact(model.spatial_model)
