"""Reading a dataset of whatever kind it is."""

from __future__ import annotations

from os import PathLike

from gammagrad.dataset.checks import OFF_NAMES
from gammagrad.dataset.map_dataset import MapDataset
from gammagrad.dataset.on_off import AnyMapDataset, MapDatasetOnOff
from gammagrad.io import one_dataset, read_map_dataset


def read_dataset(
    filename: str | PathLike[str], name: str | None = None, checksum: bool = True
) -> AnyMapDataset:
    """Read a dataset in gammapy's FITS layout: with a background, or with OFF counts.

    Parameters
    ----------
    filename
        The file, gzipped or not, or a YAML file that lists one dataset. Environment variables
        (``$NAME``) and ``~`` are expanded. `gammagrad.dataset.read_datasets` reads several.
    name
        Name of the dataset; by default the name in the file, or the name of the file.
    checksum
        Whether to verify the checksums in the file.

    Returns
    -------
    MapDataset or MapDatasetOnOff
        The second if the file has OFF counts or acceptances.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not FITS, is damaged or holds no dataset, or its maps do not fit together.

    Warns
    -----
    InputWarning
        As `MapDataset.read`.
    """
    filename, name = one_dataset(filename, name)
    parts = read_map_dataset(filename, checksum)
    if any(key in parts for key in OFF_NAMES):
        return MapDatasetOnOff._of_file(parts, filename, name)
    return MapDataset._of_file(parts, filename, name)
