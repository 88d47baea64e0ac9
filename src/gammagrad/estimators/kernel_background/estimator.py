"""Background and exclusion mask of a counts image, on maps."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Mapping
from dataclasses import KW_ONLY, field
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.core.background import MASK_UPDATES, SIGNIFICANCES, KernelBackground
from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.estimators.kernel_background import checks
from gammagrad.estimators.kernel_background.inputs import background_images, dilation_disc
from gammagrad.estimators.kernel_background.loop import BackgroundLoop
from gammagrad.estimators.kernel_background.masked import Masked, without_masked
from gammagrad.estimators.kernel_background.report import BackgroundReport
from gammagrad.estimators.settings import (
    REQUIRED,
    Estimator,
    Option,
    Setting,
    estimator,
    flag,
    number_or_text,
    one_of,
)
from gammagrad.maps import Map, WcsGeom, disc_kernel, middle, middle_shape, reach

# the group of options on the command line
_MASK = "mask and iterations"


@estimator
class KernelBackgroundEstimator(Estimator):
    """Estimate the background of a counts image and exclude its sources, by iteration.

    One iteration

    1. computes the significance of the counts over the background, both summed under the source
       kernel;
    2. excludes pixels at or above the threshold, and a disc around each;
    3. takes the mean of the kept counts under the background kernel as the new background.

    Iterations go on until the mask converges. They run in float64 in `gammagrad.kernel_background`,
    whose notes on the edge of the image and on fully excluded rings apply here.

    Parameters
    ----------
    kernel_src : array, astropy kernel, str or Quantity
        Shape of a source, with odd numbers of rows and columns; scaled to a maximum of 1. Sums
        under a kernel with values other than 0 and 1 are not Poisson counts: see `significance`.
        An angle is the radius of a disc.
    kernel_bkg : array, astropy kernel, or two angles
        Kernel that averages the background, of any scale. Two angles, such as
        ``("0.5 deg", "0.8 deg")``, are the inner and the outer radius of a ring.
    significance_threshold : float
        Significance from which on a pixel is excluded, in standard deviations.
    mask_dilation_radius : Quantity, str or float
        Radius of the disc by which the excluded region grows: an angle, or a number in deg. The
        disc has the pixels whose centre is not farther away; below one pixel nothing grows. The
        radius in pixels is not rounded, as in gammapy: 0.15 over 0.05 is a little less than 3.
    keep_record : bool
        Whether `run` keeps the maps of every iteration in `images_stack`.
    threshold_low : float, optional
        Second, lower threshold, which follows a source into its wings: pixels at or above it are
        excluded if they are connected to a pixel above the first. None: no second threshold.
    mask_update : {"replace", "grow"}
        "replace" makes a new mask in each iteration, so pixels may be kept again; the masks may
        then repeat in a cycle, which `report` tells. "grow" never keeps a pixel again, and always
        converges.
    significance : {"lima", "cash"}
        "lima": significance of Li and Ma for a known background, of the sums under a source
        kernel of zeros and ones. "cash": signed root of the test statistic of a norm fit, for any
        source kernel.

    Attributes
    ----------
    images_stack : list of dict
        With `keep_record`, the maps at the start and after each iteration of the last `run`;
        otherwise empty.
    report : BackgroundReport or None
        How the last `run` or `run_iteration` ended: `niter`, `converged`, `period` of a cycle,
        `kept` (where every pixel under the background kernel is excluded), `n_excluded`;
        ``str(report)`` is a sentence.

    Raises
    ------
    ValueError
        If a kernel is neither an angle nor a two-dimensional array of finite numbers >= 0 with a
        positive sum, the source kernel has an even side, or another setting makes no sense.
    AttributeError
        If an attribute that is set is not a setting.

    References
    ----------
    Li and Ma (1983), ApJ 272, 317; Berge, Funk and Hinton (2007), A&A 466, 1219; for "cash",
    Stewart (2009), A&A 495, 989.

    Examples
    --------
    >>> from astropy.convolution import Ring2DKernel, Tophat2DKernel
    >>> from gammagrad import KernelBackgroundEstimator, Map
    >>> counts = Map.create(npix=100, binsz=1)
    >>> counts.data += 42
    >>> counts.data[50][50] = 1000
    >>> estimator = KernelBackgroundEstimator(Tophat2DKernel(3), Ring2DKernel(4, 2))
    >>> result = estimator.run({"counts": counts})
    >>> print(sorted(result))
    ['background', 'counts', 'exclusion', 'significance']
    >>> print(estimator.report)
    The mask converged after 3 iterations; 29 of 10000 pixels are excluded.
    >>> print(f"{result['background'].data[50, 50]:.3f}")
    42.000
    """

    tag = "KernelBackgroundEstimator"
    results = ("images_stack", "report")

    kernel_src: Setting[checks.Kernel] = Setting(
        REQUIRED, checks.source_kernel, "shape of a source, with a middle pixel"
    )
    kernel_bkg: Setting[checks.Kernel] = Setting(
        REQUIRED, checks.any_kernel, "kernel that averages the background, commonly a ring"
    )
    significance_threshold: Setting[float] = Setting(
        5,
        checks.threshold,
        "significance from which on pixels are excluded (default: 5)",
        option=Option("--threshold", _MASK, "SIGMA", "5", read=float),
    )
    mask_dilation_radius: Setting[u.Quantity] = Setting(
        "0.02 deg",
        checks.dilation_radius,
        "radius of the disc by which the excluded region grows (default: 0.02 deg; below a pixel "
        "it does not grow)",
        option=Option("--dilation", _MASK, "ANGLE", "'0.1 deg'", read=number_or_text),
        unit="deg",
    )
    keep_record: Setting[bool] = Setting(False, flag, "keep the maps of every iteration")
    _: KW_ONLY
    threshold_low: Setting[float | None] = Setting(
        None,
        checks.threshold,
        "second, lower threshold for pixels connected to some above the first (default: none)",
        option=Option("--threshold-low", _MASK, "SIGMA", "3", read=float),
        may_be_none=True,
    )
    mask_update: Setting[str] = Setting(
        "replace",
        one_of(MASK_UPDATES),
        "replace: make the mask anew in each iteration (default); grow: never take a pixel back, "
        "which always ends",
        option=Option("--mask-update", _MASK),
        values=MASK_UPDATES,
    )
    significance: Setting[str] = Setting(
        "lima",
        one_of(SIGNIFICANCES),
        "lima: Li and Ma (default); cash: fit of a norm",
        option=Option("--significance", _MASK),
        values=SIGNIFICANCES,
    )

    images_stack: list[dict[str, Map]] = field(default_factory=list, init=False)
    report: BackgroundReport | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        checks.check_thresholds(self.significance_threshold, self.threshold_low)

    def kernels(self, geom: WcsGeom) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the kernels as images of the pixels of a map.

        Parameters
        ----------
        geom
            Geometry of the map.

        Returns
        -------
        kernel_src, kernel_bkg
            The images; those of angles have the values 0 and 1.

        Raises
        ------
        ValueError
            If a radius is wider than the map, or no pixel lies in the ring.
        """
        source, ring = (_on_pixels(getattr(self, n), geom, n) for n in ("kernel_src", "kernel_bkg"))
        return source, ring

    def _printed(self) -> dict[str, Any]:
        """Return the settings for people to read: a kernel by its size."""
        return {name: _short(getattr(self, name)) for name in self.table}

    def run(
        self, images: Mapping[str, Map], niter_min: int = 2, niter_max: int = 10
    ) -> dict[str, Map]:
        """Iterate until the mask converges.

        Parameters
        ----------
        images
            Maps by name; they are not changed.

            - "counts", an image, or a cube with an energy axis. The mask is made from the sum over
              energies, the background in each energy bin. Pixels whose counts are not finite have
              no weight.
            - "background" to start from, in counts, on the geometry of the counts, not finite
              where unknown. Default: the mean of the counts under the background kernel.
            - "exclusion" to start from, one image, true or 1 where a pixel is kept. Default: all
              pixels are kept.
            - "acceptance", which the background is proportional to, in any unit: a background
              model or an exposure, on the geometry of the counts or an image. The background is
              the acceptance times the ratio of kept counts to kept acceptance under the
              background kernel. Without an acceptance the background is the mean of the kept
              counts, which is biased where the acceptance is curved.
            - "mask": bins to use, on the geometry of the counts or an image, true or 1 where used.
              A pixel that is used at some energies only enters the sum with these; give an
              acceptance as well, so that counts and acceptance are summed over the same energies.
            - "significance" of a previous result is ignored.

            Maps that are larger than the counts and aligned with them are cut out.
        niter_min
            The loop ends after the iteration with zero-based number ``idx`` if it left the mask
            unchanged and ``idx >= niter_min``.
        niter_max
            Largest number of iterations; takes precedence over `niter_min`. With 0 the result is
            the start.

        Returns
        -------
        dict of str to Map
            "counts"; "background" (counts); "exclusion" (bool, true where kept) and
            "significance" (in standard deviations, over the previous background, which the mask
            was made from), images if the counts have several energy bins; and "acceptance" if it
            was given. How the loop ended is in `report`, and in the ``meta`` of the three new
            maps: niter, converged, period, n_kept and, as a sentence, status.

        Raises
        ------
        ValueError
            If counts are missing, a map has another geometry or a wrong unit, values are negative,
            a kernel or the dilation is larger than the map, or the numbers of iterations are
            negative.
        TypeError
            If an image is not a map.

        Warns
        -----
        SourceKernelWarning
            If the source kernel has values other than 0 and 1 and `significance` is "lima".
        """
        bounds = _count(niter_min, "niter_min"), _count(niter_max, "niter_max")
        masked = without_masked(images)
        loop = self._loop(masked.images)
        self.images_stack = []
        if not self.keep_record:
            return self._finish(loop, loop.run(*bounds), masked)
        result = loop.run_recorded(*bounds)
        records = [loop.record(result, index) for index in range(int(result.niter))]
        last = self._finish(loop, result, masked)
        self.images_stack = [*records, last]
        return {name: image.copy() for name, image in last.items()}

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

        Warns
        -----
        SourceKernelWarning
            As in `run`.
        """
        masked = without_masked(images)
        loop = self._loop(masked.images)
        return self._finish(loop, loop.run(0, 1), masked)

    def _finish(
        self, loop: BackgroundLoop, result: KernelBackground, masked: Masked
    ) -> dict[str, Map]:
        """Keep the report of a run, and return its maps."""
        self.report = loop.report(result)
        maps = loop.maps(result)
        if masked.bins is not None:
            # of its own energy bins a pixel has the background where they are used only
            own = self._loop({**masked.bins, "exclusion": maps["exclusion"]})
            maps["background"].data = own.maps(own.run(0, 0))["background"].data
        return maps

    def _loop(self, images: Mapping[str, Map]) -> BackgroundLoop:
        """Check images and settings, and bring them together."""
        checks.check_thresholds(self.significance_threshold, self.threshold_low)
        arrays = background_images(images)
        geom = images["counts"].geom
        self._warn_of_kernel()
        low = self.threshold_low
        source, ring = self.kernels(geom)
        _check_fits(source, arrays.counts.shape, "kernel_src")
        _check_fits(ring, arrays.counts.shape, "kernel_bkg")
        arguments = {
            "counts": arrays.counts,
            "kernel_src": source,
            "kernel_bkg": ring,
            "background": arrays.background,
            "exclusion": arrays.exclusion,
            "significance_threshold": np.float64(self.significance_threshold),
            "dilation_structure": self._dilation(geom),
            "acceptance": arrays.acceptance,
            "threshold_low": None if low is None else np.float64(low),
            "mask_update": self.mask_update,
            "significance": self.significance,
        }
        return BackgroundLoop(images, arrays, arguments)

    def _dilation(self, geom: WcsGeom) -> NDArray[np.bool_]:
        """Return the pixels by which the excluded region grows."""
        radius = float(self.mask_dilation_radius.to_value("deg"))
        rows, cols = geom.shape_image
        pixels = float(reach(geom, middle(geom), radius).min())
        if pixels >= max(rows, cols):
            raise InputError(
                f": expected a radius within the map of {rows} x {cols} "
                f"pixels, got {self.mask_dilation_radius}, which are {pixels:.4g} pixels of "
                f"{radius / pixels:.4g} deg.",
                "mask_dilation_radius",
            )
        return dilation_disc(geom, radius)

    def _warn_of_kernel(self) -> None:
        if self.significance == "lima" and not checks.is_zero_or_one(self.kernel_src):
            warnings.warn(
                "kernel_src has values other than 0 and 1 (when scaled to a maximum of 1), so the "
                "sums under it are not Poisson counts: their significances after Li and Ma are not "
                "in standard deviations, and the threshold does not mean what it says. Pass "
                'significance="cash", which holds for any kernel, or a kernel such as '
                "Tophat2DKernel.",
                checks.SourceKernelWarning,
                stacklevel=4,
            )


def _on_pixels(kernel: checks.Kernel, geom: WcsGeom, name: str) -> NDArray[np.float64]:
    """Return a kernel as an image."""
    if not isinstance(kernel, u.Quantity):
        return kernel
    if kernel.ndim == 0:
        return disc_kernel(geom, kernel, name=name)
    ring = disc_kernel(geom, kernel[1], kernel[0], name=name)
    if not ring.any():
        raise InputError(
            f": no pixel lies in the ring; pixels are {middle_shape(geom).size:.3g} deg wide, make "
            "it wider.",
            name,
        )
    return ring


def _check_fits(kernel: NDArray[np.float64], shape: tuple[int, ...], name: str) -> None:
    """Raise if a kernel is larger than the map."""
    if any(k > n for k, n in zip(kernel.shape, shape, strict=True)):
        raise InputError(
            f": expected a kernel that fits in the map of {shape[0]} x {shape[1]} "
            f"pixels, got {kernel.shape[0]} x {kernel.shape[1]}; take a smaller one, or "
            "Map.pad the counts with NaN, which has no weight.",
            name,
        )


def _count(value: Any, name: str) -> int:
    """Return a number of iterations as an int that JAX can hold."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise InputTypeError(f": expected a whole number, got {short(value)}.", name) from error
    if number < 0:
        raise InputError(f": expected a number >= 0, got {number}.", name)
    return min(number, np.iinfo(np.int32).max)


def _short(value: Any) -> Any:
    """Return a setting for people to read: a kernel by its size."""
    if not isinstance(value, np.ndarray) or value.ndim != 2:
        return value
    rows, cols = value.shape
    kind = "0 and 1" if checks.is_zero_or_one(value) else "of any values"
    return f"{rows} x {cols} pixels, {kind}"
