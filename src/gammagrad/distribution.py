"""The distribution of significances: mean and width, with errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps import Map


@dataclass(frozen=True)
class SignificanceDistribution:
    """Mean and width of significances.

    Parameters
    ----------
    mean : float
        Their mean.
    mean_err : float
        Its standard deviation.
    width : float
        Standard deviation of the significances.
    width_err : float
        Its standard deviation.
    n_pixels : int
        Number of pixels.
    n_independent : float
        Number of independent pixels with the same error of the mean. Without a kernel it is
        `n_pixels`, and both errors are too small if neighbours share counts.
    """

    mean: float
    mean_err: float
    width: float
    width_err: float
    n_pixels: int
    n_independent: float

    def hints(self) -> list[str]:
        """Return what the distribution says against the background, a sentence each.

        Returns
        -------
        list of str
            Sentences on a mean away from 0 by more than 0.1 and three errors, and on a width away
            from 1 by as much.
        """
        found = []
        if abs(self.mean) > 0.1 + 3 * self.mean_err:
            side, what = ("below", "high") if self.mean < 0 else ("above", "low")
            found.append(
                f"The mean is {side} 0: the background is too {what} on average. Are parts of the "
                "map without exposure, which a mask would leave out?"
            )
        if self.width > 1.1 + 3 * self.width_err:
            found.append(
                "The width is above 1: the background lacks structure that the counts have, or "
                "sources remain. Exclude more, or model it."
            )
        if self.width < 0.9 - 3 * self.width_err:
            found.append(
                "The width is below 1: the background follows the counts, or pixels without "
                "exposure are among these."
            )
        return found

    def __str__(self) -> str:
        """Return mean, width and numbers of pixels as a line."""
        pixels = f"{self.n_pixels} pixels"
        if self.n_independent < self.n_pixels:
            pixels += f", worth {self.n_independent:.0f} independent ones"
        return (
            f"mean {self.mean:.3f} +- {self.mean_err:.3f}, "
            f"width {self.width:.3f} +- {self.width_err:.3f} ({pixels})"
        )


def significance_distribution(
    significance: Map | Any,
    exclusion: Map | Any = None,
    kernel: Any = None,
    core: float | None = None,
) -> SignificanceDistribution:
    r"""Return mean and width of the significances outside an exclusion mask.

    For a known background without sources they are close to 0 and 1. (Few counts are skewed: with
    10 expected under the source kernel the mean is -0.05, with 2 it is -0.15 and the width 1.06.) A
    larger width means that the background is wrong in places, or that faint sources remain.

    Neighbouring pixels share the counts under the source kernel. With `kernel` the errors account
    for this: the correlation of two pixels is the overlap of the kernel with itself, shifted from
    one to the other, summed over all pairs of kept pixels. Without it all pixels are assumed
    independent.

    Parameters
    ----------
    significance : Map or array_like
        Significances in standard deviations, shape (..., ny, nx). Values that are not finite are
        left out. Exclude pixels outside the field of view: their significance is 0.
    exclusion : Map or array_like, optional
        True (or not zero) where a pixel is kept, of a shape that broadcasts to the significances'.
    kernel : astropy kernel or array_like, optional
        Kernel that the counts were summed with, shape (ky, kx).
    core : float, optional
        Fit a normal distribution to the values between ``-core`` and ``core`` alone, by maximum
        likelihood for a distribution cut off there: tails of sources do not widen it. By default
        mean and width are those of all values.

    Returns
    -------
    SignificanceDistribution
        Mean, width (the standard deviation), their errors and the number of pixels.

    Raises
    ------
    ValueError
        If shapes do not fit, the kernel is not an image of finite numbers, or fewer than two pixels
        are left.

    Notes
    -----
    With the correlation :math:`\rho`, a width :math:`\sigma`, and sums over all pairs of the
    :math:`n` pixels, the variance of the mean is :math:`\sigma^2 \sum \rho / n^2` and that of
    the width of normally distributed values :math:`\sigma^2 \sum \rho^2 / (2 n^2)`. On a large
    field :math:`\sum\rho / n` is :math:`(\sum k)^2 / \sum k^2`, for a disc its area.

    A background estimated from the same counts follows them, which the errors do not include: the
    mean is then closer to 0 than its error suggests.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).normal(size=(50, 50))
    >>> print(significance_distribution(noise))
    mean -0.029 +- 0.020, width 0.997 +- 0.014 (2500 pixels)
    >>> print(significance_distribution(noise, kernel=np.ones((5, 5))))
    mean -0.029 +- 0.097, width 0.997 +- 0.047 (2500 pixels, worth 107 independent ones)
    """
    values = _values(significance, "significance").astype(float)
    if values.ndim < 2:
        raise InputError(
            f": expected images, got an array of shape {values.shape}.", "significance"
        )
    keep = np.isfinite(values)
    if exclusion is not None:
        mask = _values(exclusion, "exclusion").astype(bool)
        if mask.shape[-2:] != values.shape[-2:]:
            raise InputError(
                f": expected images of {values.shape[-2:]} pixels as in significance, got "
                f"shape {mask.shape}.",
                "exclusion",
            )
        try:
            keep &= mask
        except ValueError as error:
            raise InputError(
                f": shape {mask.shape} does not fit significances of {values.shape}; "
                "expected one image, or one for each of theirs.",
                "exclusion",
            ) from error
    return distribution_of(values, keep, kernel, core)


def distribution_of(
    values: NDArray[np.float64],
    keep: NDArray[np.bool_],
    kernel: Any = None,
    core: float | None = None,
) -> SignificanceDistribution:
    """Return mean and width of the values that are kept."""
    if core is not None:
        if not core > 0:
            raise InputError(f" is {core}; expected a number of standard deviations > 0.", "core")
        keep = keep & (np.abs(values) < core)
    kept = values[keep]
    number = len(kept)
    if number < 2:
        raise InputError(
            ": fewer than two pixels with a significance are left; the mask must be true "
            "(or 1) where pixels are kept.",
            "exclusion",
        )
    pairs, squared = float(number), float(number)
    if kernel is not None:
        pairs, squared = _pairs(keep.reshape(-1, *keep.shape[-2:]), kernel)
    mean, width = float(kept.mean()), float(kept.std())
    if core is not None:
        mean, width = _of_core(kept, core)
    return SignificanceDistribution(
        mean=mean,
        mean_err=float(width * np.sqrt(pairs) / number),
        width=width,
        width_err=float(width * np.sqrt(squared / 2) / number),
        n_pixels=number,
        n_independent=number**2 / pairs,
    )


def _of_core(kept: NDArray[np.float64], core: float) -> tuple[float, float]:
    """Return the normal distribution of which values between two ends are a sample."""
    from scipy.optimize import minimize
    from scipy.special import log_ndtr

    first, second = kept.mean(), (kept**2).mean()

    def minus_likelihood(parameters: Any) -> float:
        mean, width = parameters[0], np.exp(parameters[1])
        high, low = log_ndtr((core - mean) / width), log_ndtr((-core - mean) / width)
        inside = high + np.log1p(-np.exp(low - high))
        square = (second - 2 * mean * first + mean**2) / width**2
        return float(square / 2 + parameters[1] + inside)

    spread = max(float(kept.std()), 1e-9)
    # a distribution wider than this is flat between the ends
    bounds = [(-2 * core, 2 * core), (np.log(spread) - 0.1, np.log(4 * core))]
    found = minimize(minus_likelihood, (float(first), np.log(spread)), bounds=bounds)
    return float(found.x[0]), float(np.exp(found.x[1]))


def _values(image: Any, name: str) -> NDArray[Any]:
    array = np.asarray(image.data if isinstance(image, Map) else image)
    if array.dtype.kind not in "fiub":
        raise InputError(f": expected an array of numbers, got {array.dtype}.", name)
    return array


def _pairs(keep: NDArray[np.bool_], kernel: Any) -> tuple[float, float]:
    """Return the sums over all pairs of kept pixels of their correlation, and of its square."""
    k = np.asarray(getattr(kernel, "array", kernel), dtype=float)
    if k.ndim != 2 or not (np.all(np.isfinite(k)) and np.any(k)):
        raise InputError(
            f": expected an image of finite numbers, not all 0, got shape {k.shape}.", "kernel"
        )
    # shifted by up to its side minus one, the kernel overlaps with itself
    shape = tuple(max(n, s) + s - 1 for n, s in zip(keep.shape[-2:], k.shape, strict=True))
    overlap = _autocorrelation(k, shape)
    correlation = overlap / overlap[0, 0]
    numbers = np.sum([_autocorrelation(plane.astype(float), shape) for plane in keep], axis=0)
    reach = np.ix_(*(_lags(n, side) for n, side in zip(shape, k.shape, strict=True)))
    numbers, correlation = numbers[reach], correlation[reach]
    return float((numbers * correlation).sum()), float((numbers * correlation**2).sum())


def _autocorrelation(image: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the autocorrelation of an image, by each lag modulo a shape."""
    return np.fft.irfft2(np.abs(np.fft.rfft2(image, shape)) ** 2, shape)


def _lags(period: int, side: int) -> NDArray[np.int64]:
    """Return the lags at which a kernel overlaps with itself, modulo a period."""
    return np.arange(1 - side, side) % period
