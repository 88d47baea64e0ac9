"""Map datasets: counts, what is expected of them, and the instrument's response."""

from gammagrad.dataset.map_dataset import MapDataset

__all__ = ["MapDataset"]
