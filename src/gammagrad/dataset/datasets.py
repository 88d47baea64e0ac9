"""A list of datasets that also knows them by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from astropy.table import Table

from gammagrad.dataset.base import BaseMapDataset
from gammagrad.errors import InputError, InputTypeError, choices


class Datasets(list[Any]):
    """A list of datasets, which are also found by their names.

    Estimators and `gammagrad.fit` take it as they take any list.

    Parameters
    ----------
    datasets
        Datasets, or one dataset.

    Raises
    ------
    TypeError
        If something is not a dataset.

    Examples
    --------
    >>> from gammagrad import Map, MapDataset
    >>> from gammagrad.maps import MapAxis
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    >>> counts = Map.create(npix=3, axes=[axis], data=2)
    >>> datasets = Datasets([MapDataset(counts, name="a"), MapDataset(counts, name="b")])
    >>> datasets["b"]
    <MapDataset 'b', 1 x 3 x 3>
    >>> float(datasets.stack_reduce().counts.data.sum())
    36.0
    """

    def __init__(self, datasets: BaseMapDataset | Iterable[Any] = ()) -> None:
        super().__init__([datasets] if isinstance(datasets, BaseMapDataset) else datasets)
        for dataset in self:
            if not isinstance(dataset, BaseMapDataset):
                raise InputTypeError(
                    f": expected datasets, got {type(dataset).__name__}.", "datasets"
                )

    @property
    def names(self) -> list[str]:
        """Names of the datasets."""
        return [dataset.name for dataset in self]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self.names:
                raise InputError(f"there is no dataset {key!r}{choices(key, self.names)}")
            return super().__getitem__(self.names.index(key))
        found = super().__getitem__(key)
        return type(self)(found) if isinstance(key, slice) else found

    def stack_reduce(self, name: str | None = None) -> Any:
        """Return the sum of the datasets, each where it is safe.

        Parameters
        ----------
        name
            Name of the sum; by default that of the first dataset.

        Returns
        -------
        MapDataset
            The sum, on the pixels of the first dataset; see `MapDataset.stack`.

        Raises
        ------
        ValueError
            If there is no dataset, or they do not fit together.
        """
        if not self:
            raise InputError("stack_reduce: there is no dataset.")
        first = self[0]
        first = first.to_map_dataset() if hasattr(first, "to_map_dataset") else first
        total = first.to_masked(name)
        for dataset in self[1:]:
            total.stack(dataset)
        return total

    def info_table(self) -> Table:
        """Return a row of sums, times and statistics for each dataset.

        Returns
        -------
        astropy.table.Table
            The `info_dict` of each dataset.
        """
        return Table(rows=[dataset.info_dict() for dataset in self])
