"""ON/OFF datasets from rings: the counts around every pixel measure its background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.dataset import MapDataset, MapDatasetOnOff, used_bins
from gammagrad.errors import InputError, InputTypeError
from gammagrad.exclusion import kept_bins
from gammagrad.maps import Map, disc_kernel, disc_sum, middle, quantity, reach, warn_if_uneven


@dataclass(frozen=True)
class RingBackgroundMaker:
    """Measure the background of every pixel in a ring around it.

    Parameters
    ----------
    r_in : str, float or Quantity, optional
        Inner radius of the ring, an angle; a number is in deg.
    width : str, float or Quantity, optional
        Its width.
    exclusion_mask : Map, optional
        True or 1 where a pixel is kept in rings, such as ``result["exclusion"]`` of a
        `KernelBackgroundEstimator`: an image, or one image for each energy bin. None keeps all.
    kernel : ndarray or astropy kernel, optional
        Instead of the radii: the pixels of the ring, such as the background kernel of a
        `KernelBackgroundEstimator`. All its values that are not 0 must be equal, because sums with
        other weights are not counts.
    spacing : str, float or Quantity, optional
        Take single pixels of the ring only, so far from each other in rows or columns. Wider than
        the kernel of a TS map, the OFF counts of all bins around a position are separate events, as
        the W statistic takes them. None takes the whole ring.

    Raises
    ------
    TypeError, ValueError
        If the ring is not described, or in two ways, or cannot be used.

    Notes
    -----
    The OFF counts of a pixel are the kept counts in its ring, its OFF acceptance the background of
    the dataset summed over the same pixels, energy by energy: only the shape of that background
    matters. For the kernel and the mask of a `KernelBackgroundEstimator` with this background as
    acceptance, ``alpha * counts_off`` is the background that it finds.

    The rings of neighbouring pixels share their counts, which a fit of many pixels takes for as
    many measurements. For a TS map set `spacing`: within the kernel's window every event of the
    ring then is in the OFF region of one bin, so that hardly any is lost. Take `r_in` larger than
    the kernel, too, so that no event is both ON and OFF.

    Without `spacing`, gammapy's maker of the same name gives the same numbers. (It also sums what
    is outside of `mask_safe`.)

    References
    ----------
    Berge, Funk and Hinton (2007), A&A 466, 1219, section 3.1.

    Examples
    --------
    >>> from gammagrad import RingBackgroundMaker
    >>> from gammagrad.simulate import simulate_field
    >>> dataset = simulate_field(seed=1, npix=40).dataset
    >>> on_off = RingBackgroundMaker("0.4 deg", "0.2 deg").run(dataset)
    >>> on_off
    <MapDatasetOnOff 'simulated field', 5 x 40 x 40>
    """

    r_in: Any = None
    width: Any = None
    exclusion_mask: Map | None = None
    kernel: Any = None
    spacing: Any = None

    def __post_init__(self) -> None:
        radii = self.r_in is not None, self.width is not None
        if all(radii) != (self.kernel is None) or any(radii) != all(radii):
            raise InputError("expected r_in and width, or instead of both the kernel of a ring.")
        if self.kernel is not None:
            _ring_of_kernel(self.kernel)

    def run(self, dataset: MapDataset) -> MapDatasetOnOff:
        """Measure the background of a dataset.

        Parameters
        ----------
        dataset
            Counts, and a background whose shape is the acceptance. It is not changed.

        Returns
        -------
        MapDatasetOnOff
            The dataset, with the acceptance, and OFF counts and their acceptance from the ring
            around each pixel. Bins whose ring has no acceptance are not in its `mask_safe`.

        Raises
        ------
        TypeError
            If it is not a dataset with a background, or the mask is not a map.
        ValueError
            If counts or background are missing, or the mask has other pixels.

        Warns
        -----
        SolidAngleWarning
            If the ring, which is the same pixels everywhere, is another part of the sky elsewhere
            than in the middle of the map.
        """
        if not isinstance(dataset, MapDataset):
            raise InputTypeError(
                f": expected a MapDataset, got {type(dataset).__name__}.", "dataset"
            )
        counts, acceptance = dataset.require("counts"), dataset.npred_background()
        dataset.require("background")
        kept = kept_bins(self.exclusion_mask, dataset.geom, "exclusion_mask")
        safe: Any = True if dataset.mask_safe is None else used_bins(dataset.mask_safe)
        known = np.isfinite(acceptance.data) & np.isfinite(counts.data)
        used = kept & safe & known
        ring = self._ring(dataset)
        counts_off, acceptance_off = (
            Map(dataset.geom, disc_sum(np.where(used, m.data, 0.0), ring), copy=False)
            for m in (counts, acceptance)
        )
        result = MapDatasetOnOff.from_map_dataset(dataset, acceptance, acceptance_off, counts_off)
        measured = acceptance_off.data > 0
        if not measured.all():
            mask = measured if dataset.mask_safe is None else dataset.mask_safe.data * measured
            result.mask_safe = Map(dataset.geom, mask)
        return result

    def _ring(self, dataset: MapDataset) -> NDArray[np.float64]:
        """Return the pixels of the ring around a pixel, 0 and 1."""
        if self.kernel is not None:
            ring = _ring_of_kernel(self.kernel)
        else:
            warn_if_uneven(dataset.geom, "area")
            inner, width = (quantity(getattr(self, n), "deg", n) for n in ("r_in", "width"))
            ring = disc_kernel(dataset.geom, inner + width, inner, name="r_in")
        if self.spacing is None:
            return ring
        geom, apart = dataset.geom.to_image(), quantity(self.spacing, "deg", "spacing")
        rows, cols = reach(geom, middle(geom), float(apart.to_value("deg"))).tolist()
        return _spaced(ring, rows, cols)


def _spaced(ring: NDArray[np.float64], rows: float, cols: float) -> NDArray[np.float64]:
    """Return pixels of a ring that are as far from each other in rows, or in columns."""
    half = np.array(ring.shape) // 2
    found = np.argwhere(ring > 0) - half
    # around the ring, from the inside out
    turn = np.arctan2(found[:, 0], found[:, 1])
    order = np.lexsort((turn, np.round(np.hypot(*found.T), 6)))
    taken = np.empty((0, 2))
    for place in found[order]:
        away = np.abs(taken - place) >= np.array([rows, cols]) * (1 - 1e-6)
        if away.any(axis=1).all():
            taken = np.vstack([taken, place])
    chosen = np.zeros_like(ring)
    chosen[tuple((taken.astype(int) + half).T)] = 1
    return chosen


def _ring_of_kernel(kernel: Any) -> NDArray[np.float64]:
    """Return the pixels that a kernel sums over, 0 and 1, turned as in a convolution."""
    array = np.asarray(getattr(kernel, "array", kernel), dtype=float)
    if array.ndim != 2 or not all(side % 2 for side in array.shape):
        raise InputError(
            f": expected odd numbers of rows and columns, got shape {array.shape}.", "kernel"
        )
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() > 0):
        raise InputError(": expected finite numbers >= 0, not all of them 0.", "kernel")
    ring = array > 1e-9 * array.max()
    if not np.allclose(array[ring], array.max(), rtol=1e-9):
        raise InputError(
            ": its values differ, and counts summed with weights are not counts; expected one "
            "value, such as that of Ring2DKernel.",
            "kernel",
        )
    return ring[::-1, ::-1].astype(float)
