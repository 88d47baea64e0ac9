"""Map datasets: observed counts, expected counts and the instrument's response."""

from gammagrad.dataset.dataset_lists import read_datasets, write_datasets
from gammagrad.dataset.datasets import Datasets
from gammagrad.dataset.info import axis_text, nice_energy
from gammagrad.dataset.likelihood import DatasetLikelihood
from gammagrad.dataset.map_dataset import MapDataset
from gammagrad.dataset.masks import used_bins
from gammagrad.dataset.model_files import load_beside
from gammagrad.dataset.off_regions import is_measured
from gammagrad.dataset.on_off import AnyMapDataset, MapDatasetOnOff
from gammagrad.dataset.reading_datasets import read_dataset
from gammagrad.dataset.suspicion import warn_of_suspicions
from gammagrad.dataset.times import union_of_times

__all__ = [
    "AnyMapDataset",
    "DatasetLikelihood",
    "Datasets",
    "MapDataset",
    "MapDatasetOnOff",
    "axis_text",
    "is_measured",
    "load_beside",
    "nice_energy",
    "read_dataset",
    "read_datasets",
    "union_of_times",
    "used_bins",
    "warn_of_suspicions",
    "write_datasets",
]
