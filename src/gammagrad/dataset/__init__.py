"""Map datasets: observed counts, expected counts and the instrument's response."""

from gammagrad.dataset.info import axis_text, nice_energy
from gammagrad.dataset.likelihood import DatasetLikelihood
from gammagrad.dataset.map_dataset import MapDataset
from gammagrad.dataset.suspicion import warn_of_suspicions
from gammagrad.dataset.times import union_of_times

__all__ = [
    "DatasetLikelihood",
    "MapDataset",
    "axis_text",
    "nice_energy",
    "union_of_times",
    "warn_of_suspicions",
]
