"""What scripts for gammapy ask of a `MapDataset`: sums, masked copies, and random counts."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from gammagrad.dataset.stacking import (
    expected_to_lack_events,
    masked_parts,
    resampled_parts,
    stack_into,
)
from gammagrad.errors import InputTypeError, short
from gammagrad.maps import Map, MapAxis


class MapDatasetHabits:
    """Short methods of a dataset with a known background."""

    @property
    def excess(self) -> Map:
        """Counts minus background; models are not subtracted."""
        dataset: Any = self
        background = dataset.require("background").data
        return Map(dataset.geom, dataset.require("counts").data - background, copy=False)

    def to_image(self, name: str | None = None) -> Self:
        """Return the dataset summed over reconstructed energies, with one energy bin.

        Parameters
        ----------
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The image, as from `resample_energy_axis`.

        Raises
        ------
        ValueError
            If the point spread function is one of reconstructed energy.
        """
        dataset: Any = self
        return self.resample_energy_axis(dataset.energy_axis.squash(), name)

    def resample_energy_axis(self, energy_axis: MapAxis, name: str | None = None) -> Self:
        """Return the dataset with bins of reconstructed energy merged.

        Parameters
        ----------
        energy_axis
            The new axis, whose edges are edges of the old one.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            Counts and background are summed over the bins in `mask_safe`, and so is an energy
            dispersion of matrices. A mask is true where any of its bins was. Exposure and point
            spread function stay, and models are left out.

        Raises
        ------
        ValueError
            If an edge is not one of the dataset, or the point spread function is one of
            reconstructed energy.
        """
        dataset: Any = self
        parts = resampled_parts(dataset, energy_axis)
        with expected_to_lack_events():
            made: Self = dataset._made_of(parts, name)
        return made

    def to_masked(self, name: str | None = None) -> Self:
        """Return the dataset without what `mask_safe` excludes.

        Parameters
        ----------
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            Counts and background are 0 in bins that are not safe, or not known; exposure and
            responses where no bin is safe. The background includes its model, and models are left
            out.
        """
        dataset: Any = self
        parts = masked_parts(dataset)
        with expected_to_lack_events():
            made: Self = dataset._made_of(parts, name)
        return made

    def stack(self, other: Any) -> None:
        """Add another dataset to this one, in place, where that one is safe.

        Parameters
        ----------
        other
            A dataset with the same energies, on the same pixels or a part of them. Of an ON/OFF
            dataset the background is ``alpha * counts_off``.

        Raises
        ------
        ValueError
            If the datasets do not fit together; this one is then unchanged.

        Notes
        -----
        Counts and backgrounds (with their models) are summed over the bins in the `mask_safe` of
        `other`, and exposures over the pixels with any such bin. This dataset's own mask is not
        applied: `to_masked` does that. A bin is safe afterwards if it was in either dataset. It is
        fitted if it is in either `mask_fit`; a dataset without this mask does not count.
        Responses are means weighted by their exposures. Parts that only one dataset has stay as
        they are in this one. Good time intervals are united.
        """
        stack_into(self, other)

    def fake(self, random_state: Any = "random-seed") -> None:
        """Set the counts to a Poisson draw of the predicted counts, in place.

        Parameters
        ----------
        random_state
            A seed, which gives gammapy's numbers for the same predicted counts;
            ``"random-seed"`` for another draw each time; or a random generator of numpy.

        Raises
        ------
        TypeError
            If the random state is none of these.

        See Also
        --------
        gammagrad.simulate.poisson : The same for a copy of the dataset.
        """
        dataset: Any = self
        expected = np.nan_to_num(dataset.npred().data, nan=0.0, posinf=0.0, neginf=0.0)
        drawn = _generator(random_state).poisson(expected)
        dataset.counts = Map(dataset.geom, drawn.astype(float), copy=False)


def _generator(random_state: Any) -> Any:
    """Return a random generator: for a seed numpy's old one, which gammapy has."""
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        return np.random.RandomState(int(random_state))
    if isinstance(random_state, str) and random_state == "random-seed":
        return np.random.default_rng()
    if isinstance(random_state, np.random.RandomState | np.random.Generator):
        return random_state
    raise InputTypeError(
        f": expected a seed, 'random-seed' or a generator of numpy, got {short(random_state)}.",
        "random_state",
    )
