"""The number of pixels of a kernel."""

from __future__ import annotations

import math
from typing import Any

from gammagrad.errors import InputError
from gammagrad.evaluate.local_responses import is_compact
from gammagrad.evaluate.sampling import kind_of
from gammagrad.evaluate.window import CUTOUT_MARGIN
from gammagrad.maps import WcsGeom, middle, reach, to_value


def _odd(size: float, noise: float = 1e-6) -> int:
    """Return the odd number of pixels for a width in pixels, up to rounding."""
    return 2 * (math.ceil(size - noise) // 2) + 1


def kernel_shapes(
    spatial: Any,
    psf_shape: tuple[int, int] | None,
    geom: WcsGeom,
    kernel_width: Any,
    sampling: str,
    place: tuple[float, float] | None = None,
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return rows and columns of the kernel, and of the grid that it is cut out of."""
    like_gammapy = sampling == "gammapy"
    there = middle(geom) if place is None else place

    def across(width: float) -> list[float]:
        """Return the rows and columns for a width in deg."""
        if like_gammapy:
            return [width / geom.pixel_size] * 2
        return [float(n) for n in 2 * reach(geom, there, width / 2)]

    # as wide as the map, also where a degree takes more pixels than at its reference point
    largest = float(max(geom.npix))
    wide = zip(across(largest * geom.pixel_size), geom.shape_image, strict=True)
    limit = [max(largest, min(n, 2 * n_map + 1)) for n, n_map in wide]
    if kernel_width is not None:
        width = float(to_value(kernel_width, "deg", "kernel_width"))
        if not width > 0:
            raise InputError(f" is {kernel_width}; expected a positive width.", "kernel_width")
        limit = [min(n, 2 * most + 1) for n, most in zip(across(width), limit, strict=True)]
    n_psf = psf_shape or (0, 0)
    whole = [math.inf, math.inf]
    if is_compact(spatial):
        extent = 2 * (float(spatial.evaluation_radius) + CUTOUT_MARGIN)
        whole = [n + psf for n, psf in zip(across(extent), n_psf, strict=True)]
        if like_gammapy:
            # which adds in degrees and lets the sum's rounding make the kernel larger
            side = (n_psf[0] * geom.pixel_size + extent) / geom.pixel_size
            whole = [float(_odd(side, noise=0))] * 2
    shape = [_odd(min(most, n)) for most, n in zip(limit, whole, strict=True)]
    grid = shape
    if kind_of(spatial) != "point" and not like_gammapy and psf_shape is not None:
        # what the PSF, and the sharing of samples, bring into the kernel from outside
        sides = zip(shape, n_psf, whole, strict=True)
        grid = [max(n, _odd(min(n + 2 * (psf // 2 + 1), most))) for n, psf, most in sides]
    return (shape[0], shape[1]), (grid[0], grid[1])
