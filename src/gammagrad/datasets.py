"""Datasets where gammapy's scripts look for them; the same as in `gammagrad`."""

from gammagrad.dataset import Datasets, MapDataset, MapDatasetOnOff

__all__ = ["Datasets", "MapDataset", "MapDatasetOnOff"]
