"""Images smoothed with simple shapes, and convolved with kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps.units import to_value

Array = NDArray[Any]


def _in_pixels(geom: Any, width: Any) -> float:
    """Return a width, an angle or a number of pixels, in pixels."""
    if isinstance(width, str | u.Quantity):
        value = to_value(width, "deg", "width") / geom.pixel_scales.to_value("deg").mean()
    else:
        value = width
    if np.ndim(value) or not 0 < value < np.inf:
        raise InputError(f"width is {width!r}; expected an angle or a number of pixels above 0.")
    return float(value)


def smoothed(data: Array, geom: Any, width: Any, kernel: str, options: Mapping[str, Any]) -> Array:
    """Return images smoothed with a Gaussian, a disc or a box."""
    from scipy import ndimage

    size = _in_pixels(geom, width)
    disc = _disc(size).astype(float)
    filters = {
        "gauss": lambda image: ndimage.gaussian_filter(image, size, **options),
        "disk": lambda image: ndimage.convolve(image, disc / disc.sum(), **options),
        "box": lambda image: ndimage.uniform_filter(image, max(int(size), 1), **options),
    }
    if kernel not in filters:
        raise InputError(f"kernel is {kernel!r}; expected {', '.join(filters)}.")
    images = np.asarray(data, dtype=float).reshape(-1, *geom.shape_image)
    return np.stack([filters[kernel](image) for image in images]).reshape(data.shape)


def _disc(radius: float) -> Array:
    """Return a disc of ones on the pixels within a radius."""
    half = int(radius)
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return np.asarray(x**2 + y**2 <= radius**2)


def reshaped(data: Array, geom: Any, width: Any, kernel: str, grow: bool) -> Array:
    """Return masks grown or shrunk by a disc or a box."""
    from scipy import ndimage

    if data.dtype != np.bool_:
        raise InputTypeError(f"expected a mask, got {data.dtype}; make one by a comparison.")
    if kernel not in ("disk", "box"):
        raise InputError(f"kernel is {kernel!r}; expected 'disk' or 'box'.")
    size = int(2 * np.ceil((_in_pixels(geom, width) - 1) / 2 - 1e-9) + 1)
    structure = _disc(size) if kernel == "disk" else np.ones((size, size), bool)
    change = ndimage.binary_dilation if grow else ndimage.binary_erosion
    images = data.reshape(-1, *geom.shape_image)
    return np.stack([change(image, structure) for image in images]).reshape(data.shape)


def convolved(data: Array, geom: Any, kernel: Any, method: str, mode: str) -> tuple[Array, Any]:
    """Return images convolved with one kernel or one for each, and their geometry."""
    from scipy import signal

    convolve: Any = vars(signal)["convolve"]  # its types are not known
    if mode not in ("same", "full") or method not in ("fft", "direct", "auto"):
        raise InputError(
            f"mode is {mode!r} and method {method!r}; expected 'same' or 'full', and 'fft', "
            "'direct' or 'auto'."
        )
    axis = getattr(kernel, "energy_axis", None)
    if axis is not None:
        if kernel.oversampling != 1:
            raise InputError("kernel: its pixels are not those of the map; set oversampling=1.")
        kernel = kernel.data
        geom = geom.to_cube([axis]) if geom.is_image else geom
    kernel = np.asarray(kernel, dtype=float)
    rest = kernel.shape[:-2]
    if kernel.ndim < 2 or (rest and rest != geom.data_shape[:-2]):
        raise InputError(
            f"kernel has the shape {kernel.shape}; expected an image, or one for each bin of the "
            f"map's axes, {geom.data_shape[:-2]}."
        )
    rows, columns = kernel.shape[-2:]
    images = np.broadcast_to(np.asarray(data, dtype=float), geom.data_shape)
    images = images.reshape(-1, *geom.shape_image)
    kernels = np.broadcast_to(kernel, (*geom.data_shape[:-2], rows, columns))
    if mode == "full":
        if rows % 2 == 0 or columns % 2 == 0:
            raise InputError(f"kernel has {rows} x {columns} pixels; 'full' needs odd numbers.")
        geom = geom.pad((rows // 2, columns // 2))
    pairs = zip(images, kernels.reshape(-1, rows, columns), strict=True)
    found = [convolve(image, one, mode=mode, method=method) for image, one in pairs]
    return np.stack(found).reshape(geom.data_shape), geom
