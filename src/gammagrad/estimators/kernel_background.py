"""Background and exclusion mask of a counts image, on maps."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad._pytree import replace
from gammagrad.core.kernel_background import KernelBackground, disk_structure, kernel_background
from gammagrad.maps.geom import WcsGeom
from gammagrad.maps.map import Map
from gammagrad.maps.units import to_value, without_count_units

__all__ = ["KernelBackgroundEstimator"]

# results carry a significance, and may be the input of the next iteration
_NAMES = ("counts", "background", "exclusion", "significance")

_run = jax.jit(kernel_background)


class KernelBackgroundEstimator:
    """Estimate the background of a counts image and exclude the sources in it, by iteration.

    One iteration

    1. computes the significance of the counts over the background, both summed under the source
       kernel (Li and Ma, for a known background);
    2. excludes pixels at or above the threshold, and a disc around each;
    3. takes the mean of the kept counts under the background kernel as the new background.

    Each iteration starts from the result of the one before, until the mask stands still. All of it
    is computed in float64, and by `gammagrad.kernel_background`, whose notes on the edge of
    the image and on places where every pixel of a ring is excluded hold here.

    Parameters
    ----------
    kernel_src
        Shape of a source: an array with odd numbers of rows and columns, or an astropy kernel. It
        is scaled to a maximum of 1. With values other than 0 and 1 the sums under it are not
        Poisson counts, and the significances are approximate.
    kernel_bkg
        Kernel that averages the background, commonly a ring: an array or an astropy kernel, of
        any scale.
    significance_threshold
        Significance from which on a pixel is excluded, in standard deviations.
    mask_dilation_radius
        Radius of the disc by which the excluded region grows: a quantity, a text, or a number in
        deg. It is divided by the mean pixel size, and pixels whose centre is not farther away
        belong to the disc: below one pixel nothing grows.
    keep_record
        Whether `run` keeps the maps of every iteration in `images_stack`.

    Attributes
    ----------
    images_stack
        After a `run` with `keep_record`, the initial maps and those of each iteration, each a dict
        as `run` returns; otherwise empty.

    Raises
    ------
    ValueError
        If a kernel is not a two-dimensional array of finite numbers >= 0 with a positive sum, the
        source kernel has an even side, or the threshold or radius make no sense.

    References
    ----------
    Li and Ma (1983), ApJ 272, 317; Berge, Funk and Hinton (2007), A&A 466, 1219.

    Examples
    --------
    >>> from astropy.convolution import Ring2DKernel, Tophat2DKernel
    >>> from gammagrad.estimators.kernel_background import KernelBackgroundEstimator
    >>> from gammagrad.maps import Map
    >>> counts = Map.create(npix=100, binsz=1)
    >>> counts.data += 42
    >>> counts.data[50][50] = 1000
    >>> estimator = KernelBackgroundEstimator(Tophat2DKernel(3), Ring2DKernel(4, 2))
    >>> result = estimator.run({"counts": counts})
    >>> print(sorted(result))
    ['background', 'counts', 'exclusion', 'significance']
    >>> print((~result["exclusion"].data).sum(), result["background"].meta)
    29 {'niter': 3, 'converged': True}
    >>> print(f"{result['background'].data[50, 50]:.3f}")
    42.000
    """

    def __init__(
        self,
        kernel_src: Any,
        kernel_bkg: Any,
        significance_threshold: float = 5,
        mask_dilation_radius: Any = "0.02 deg",
        keep_record: bool = False,
    ) -> None:
        self.kernel_src = _kernel(kernel_src, "kernel_src")
        self.kernel_bkg = _kernel(kernel_bkg, "kernel_bkg")
        if 0 in (side % 2 for side in self.kernel_src.shape):
            raise ValueError(
                f"kernel_src: expected odd numbers of rows and columns, got "
                f"{self.kernel_src.shape}; without a middle pixel it would shift the significance."
            )
        self.significance_threshold = float(significance_threshold)
        if np.isnan(self.significance_threshold):
            raise ValueError("significance_threshold: expected a number, got NaN.")
        self.mask_dilation_radius = u.Quantity(_radius(mask_dilation_radius), "deg")
        self.keep_record = keep_record
        self.images_stack: list[dict[str, Map]] = []

    def run(
        self, images: Mapping[str, Map], niter_min: int = 2, niter_max: int = 10
    ) -> dict[str, Map]:
        """Iterate until the mask stands still.

        Parameters
        ----------
        images
            Maps by name: "counts", and where the iteration shall start from them "background" (in
            counts, not finite where unknown) and "exclusion" (true or 1 where a pixel is kept). By
            default all pixels are kept and the background is the mean of the counts under the
            background kernel. Pixels whose counts are not finite have no weight. A map
            with energies must have just one bin. They are not changed. "significance", as
            in a result, is not used.
        niter_min
            The loop ends after the iteration with zero-based number ``idx`` if that left the mask
            exactly as it was and ``idx >= niter_min``.
        niter_max
            Largest number of iterations; goes before `niter_min`. With 0 the result is the start.

        Returns
        -------
        dict of str to Map
            "counts", "background" (counts), "exclusion" (bool, true where kept) and
            "significance" (in standard deviations; the one from which the mask was made, so over
            the background of the iteration before, which is the same once the mask stands still).
            The number of iterations and whether they converged are in the ``meta`` of the three
            maps made.

        Raises
        ------
        ValueError
            If counts are missing, a map has another geometry or a wrong unit, values are negative,
            a kernel is larger than the map, or the numbers of iterations are negative.
        TypeError
            If an image is not a map.
        """
        bounds = _count(niter_min, "niter_min"), _count(niter_max, "niter_max")
        inputs = self._inputs(images)
        self.images_stack = []
        if not self.keep_record:
            return _to_maps(images["counts"], _compute(inputs, *bounds))
        records = _iterations(inputs, *bounds)
        self.images_stack = [_to_maps(images["counts"], record) for record in records]
        return {name: image.copy() for name, image in self.images_stack[-1].items()}

    def run_iteration(self, images: Mapping[str, Map]) -> dict[str, Map]:
        """Do one iteration.

        Parameters
        ----------
        images
            Maps by name, as in `run`; without a background or exclusion it starts as `run` does.

        Returns
        -------
        dict of str to Map
            As in `run`; may be passed on to the next iteration.

        Raises
        ------
        ValueError, TypeError
            As in `run`.
        """
        inputs = self._inputs(images)
        return _to_maps(images["counts"], _compute(inputs, 0, 1))

    def _inputs(self, images: Mapping[str, Map]) -> _Inputs:
        """Check the images and settings, and strip units and geometry."""
        counts = _check_images(images)
        shape = counts.geom.shape_image
        for kernel, name in ((self.kernel_src, "kernel_src"), (self.kernel_bkg, "kernel_bkg")):
            if any(k > n for k, n in zip(kernel.shape, shape, strict=True)):
                raise ValueError(
                    f"{name}: expected a kernel that fits in the map of {shape[0]} x {shape[1]} "
                    f"pixels, got {kernel.shape[0]} x {kernel.shape[1]}."
                )
        pixel = counts.geom.pixel_scales.to_value("deg").mean()
        return _Inputs(
            _plane(counts),
            self.kernel_src,
            self.kernel_bkg,
            _plane(images["background"]) if "background" in images else None,
            _mask(images["exclusion"]) if "exclusion" in images else None,
            np.float64(self.significance_threshold),
            disk_structure(self.mask_dilation_radius.to_value("deg") / pixel),
        )


class _Inputs(NamedTuple):
    """Arguments of `gammagrad.kernel_background` in their order, but for the iterations."""

    counts: NDArray[np.float64]
    kernel_src: NDArray[np.float64]
    kernel_bkg: NDArray[np.float64]
    background: NDArray[np.float64] | None
    exclusion: NDArray[np.bool_] | None
    threshold: np.float64
    structure: NDArray[np.bool_]


def _compute(inputs: _Inputs, niter_min: int, niter_max: int) -> KernelBackground:
    """Run the loop in float64, whatever the precision set by the user, and return numpy arrays."""
    with jax.enable_x64(True):
        result = _run(*inputs, np.int32(niter_min), np.int32(niter_max))
        return jax.tree.map(np.asarray, result)


def _iterations(inputs: _Inputs, niter_min: int, niter_max: int) -> Iterator[KernelBackground]:
    """Yield the initial state and that after each iteration of the same loop."""
    result = _compute(inputs, 0, 0)
    yield result
    for idx in range(niter_max):
        last = result
        step = inputs._replace(background=last.background, exclusion=last.exclusion)
        result = _compute(step, 0, 1)
        converged = idx >= niter_min and np.array_equal(result.exclusion, last.exclusion)
        yield replace(result, niter=idx + 1, converged=converged)
        if converged:
            return


def _to_maps(counts: Map, result: KernelBackground) -> dict[str, Map]:
    meta = {"niter": int(result.niter), "converged": bool(result.converged)}
    return {
        "counts": counts.copy(),
        "background": Map(counts.geom, result.background, counts.unit, meta),
        "exclusion": Map(counts.geom, result.exclusion, meta=meta),
        "significance": Map(counts.geom, result.significance, meta=meta),
    }


def _kernel(kernel: Any, name: str) -> NDArray[np.float64]:
    """Return the array of a kernel after checking it."""
    array = np.array(getattr(kernel, "array", kernel), dtype=float)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"{name}: expected a two-dimensional array, got shape {array.shape}.")
    if not (np.all(np.isfinite(array)) and np.all(array >= 0) and array.sum() > 0):
        raise ValueError(f"{name}: expected finite numbers >= 0, not all of them 0.")
    return array


def _radius(radius: Any) -> float:
    value = to_value(radius, "deg", "mask_dilation_radius")
    if not (isinstance(value, float) and 0 <= value < np.inf):
        raise ValueError(
            f'mask_dilation_radius: expected an angle >= 0, such as "0.1 deg", got {radius!r}.'
        )
    return value


def _count(value: Any, name: str) -> int:
    """Return a number of iterations as an int that JAX can hold."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise TypeError(f"{name}: expected a whole number, got {value!r}.") from error
    if number < 0:
        raise ValueError(f"{name}: expected a number >= 0, got {number}.")
    return min(number, np.iinfo(np.int32).max)


def _check_images(images: Mapping[str, Map]) -> Map:
    """Check the images against each other, and return the counts."""
    if not isinstance(images, Mapping) or "counts" not in images:
        got = ", ".join(map(str, images)) if isinstance(images, Mapping) else type(images).__name__
        raise ValueError(
            'images: expected a dict of maps with "counts" (and optionally "background" and '
            f'"exclusion"), got {got or "an empty one"}.'
        )
    if unknown := sorted(set(images) - set(_NAMES)):
        raise ValueError(f"images: {', '.join(unknown)} unknown; expected {', '.join(_NAMES)}.")
    for name, image in images.items():
        if not isinstance(image, Map):
            raise TypeError(f"images: {name} is a {type(image).__name__}, expected a Map.")
    counts = images["counts"]
    if not isinstance(counts.geom, WcsGeom) or counts.data.size != np.prod(counts.geom.shape_image):
        raise ValueError(
            f"counts: expected one image of the sky, got data of shape {counts.data.shape}; "
            "sum over energies first, with counts.sum_over_axes()."
        )
    for name, image in images.items():
        if difference := counts.geom.difference(image.geom):
            raise ValueError(f"{name}: expected the geometry of counts, but {difference}.")
    _check_values(images)
    return counts


def _check_values(images: Mapping[str, Map]) -> None:
    for name in ("counts", "background"):
        if name not in images:
            continue
        unit = images[name].unit
        if without_count_units(unit) != u.dimensionless_unscaled:
            raise ValueError(f"{name}: expected counts per pixel, got a map in {unit}.")
        if np.any(images[name].data < 0):
            raise ValueError(f"{name}: expected numbers >= 0, got {np.nanmin(images[name].data)}.")
    if not np.any(np.isfinite(images["counts"].data)):
        raise ValueError("counts: expected finite numbers, got none.")


def _plane(image: Map) -> NDArray[np.float64]:
    """Return the data of a map as one image."""
    return image.data.reshape(image.geom.shape_image).astype(float)


def _mask(image: Map) -> NDArray[np.bool_]:
    return image.data.reshape(image.geom.shape_image).astype(bool)
