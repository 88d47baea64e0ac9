"""Sampling of spatial models: how fine, and where."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps import WcsGeom, middle_shape, quadrilateral_areas, unit_vectors
from gammagrad.models import (
    GaussianSpatialModel,
    PointSpatialModel,
    ShellSpatialModel,
    TemplateSpatialModel,
)

Floats = NDArray[np.float64]

SAMPLINGS = ("fine", "gammapy")

# Half width at half maximum of a Gaussian in units of its sigma.
_HALF_WIDTH = math.sqrt(2 * math.log(2))
# Finer pixels in units of the width of the PSF in a pixel: for a point source placed by cubic
# convolution, and for sources integrated over them. Either is then right to 2e-3 of the peak.
_STEP_POINT, _STEP_EDGE = 0.35, 0.5
# Finer pixels along a pixel: the PSF's kernels have so many more.
_MAX_OVERSAMPLING = 7
# Samples along the side of a (finer) pixel, and along the side of the block of samples.
_MAX_SUBSAMPLING, _MAX_SIDE = 128, 2000
# A PSF is resolved whose sigma is this many pixels; where it is not, a Gaussian of so many pixels
# is smooth enough for one sample a pixel.
_RESOLVED, _SMOOTH = 0.7, 3.0
# Samples are shared by finer pixels that are narrower than the PSF (its sigma) times this.
_SHARED_BELOW = 2.0
# Samples of a source with edges along its `scale` (without PSF, with one).
_EDGE_SAMPLES, _EDGE_SAMPLES_PSF = 64, 6
_GAMMAPY_MAX = 200
# Samples along a sigma, and along the radius of a source with edges, with which its sum comes out
# right: to 1e-4 and to 1e-2.
_PER_SIGMA, _PER_RADIUS = 0.7, 8.0
# Scale of a disk with an edge as wide as its radius, in units of the radius.
_SOFT_SCALE = 0.03


class Sampling(NamedTuple):
    """Numbers of samples of a spatial model."""

    oversampling: int = 1  # finer pixels along the side of a pixel, on which the PSF acts; odd
    subsampling: int = 1  # samples along the side of a finer pixel
    # whether the samples are Gauss-Legendre nodes of the pixels; else they are equidistant
    quadrature: bool = False
    # whether samples are shared by the finer pixels around them: their position counts
    share: bool = False

    @property
    def integrates(self) -> bool:
        """Whether a finer pixel's samples are summed there: an integral, not a value."""
        return self.subsampling > 1 and not self.share


def check_sampling(sampling: str) -> None:
    """Raise if a sampling is unknown."""
    if sampling not in SAMPLINGS:
        raise InputError(f" is {sampling!r}; expected one of {', '.join(SAMPLINGS)}.", "sampling")


def kind_of(spatial: Any) -> str:
    """Return how a spatial model is evaluated: the `kind` of `FoldInputs`."""
    if spatial is None:
        return "uniform"
    if isinstance(spatial, PointSpatialModel):
        return "point"
    return "template" if isinstance(spatial, TemplateSpatialModel) else "extended"


def _odd(value: float) -> int:
    """Return the smallest odd number not below a value."""
    return 2 * math.ceil((value - 1) / 2 - 1e-9) + 1 if value > 1 else 1


def _template_samples(spatial: TemplateSpatialModel, pixel: float) -> int:
    if spatial.geom is None:
        raise InputError(
            "the template model has no geometry; make it with TemplateSpatialModel.from_map."
        )
    own = middle_shape(spatial.geom).least
    return int(np.clip(math.ceil(pixel / own - 1e-9), 1, _MAX_SUBSAMPLING))


def choose_sampling(
    spatial: Any, pixel: float, half_width: float | None, sampling: str
) -> Sampling:
    """Choose how finely to sample a spatial model."""
    # A Gaussian needs no more than steps of its own sigma before a PSF: the error of the sum falls
    # as exp(-2 pi^2 sigma^2 / step^2). Any smaller source, and one with edges, is sampled within
    # finer pixels, small compared with the PSF. Without a PSF, or with one too narrow for them, the
    # integral over pixels itself must be right. The containment of Gaussians in squares of pixels
    # comes out right to 1e-3, for PSFs from a fiftieth of a pixel on.
    check_sampling(sampling)
    if kind_of(spatial) == "uniform":
        return Sampling()
    psf = width = None
    if half_width is not None and np.isfinite(half_width):
        psf = half_width / _HALF_WIDTH
        # once it is integrated over pixels
        width = math.hypot(psf, pixel / math.sqrt(12))
    if sampling == "gammapy":
        fine = 1.0 if spatial.scale is None else pixel / _scale(spatial)
        return Sampling(1, int(np.clip(math.ceil(fine), 1, _GAMMAPY_MAX)))
    if isinstance(spatial, PointSpatialModel):
        if width is None:
            return Sampling()
        return Sampling(min(_odd(pixel / (_STEP_POINT * width)), _MAX_OVERSAMPLING))
    if isinstance(spatial, TemplateSpatialModel):
        n = _template_samples(spatial, pixel)
        return Sampling(1, n) if psf is None or n == 1 else _finer(pixel, psf, n)
    if spatial.scale is None:
        return Sampling()
    choice = _extended_samples(spatial, pixel, psf)
    _check_size(spatial, pixel, choice)
    return choice


def _check_size(spatial: Any, pixel: float, choice: Sampling) -> None:
    """Raise if a source is too small for its samples."""
    # Legendre's nodes are furthest apart in the middle
    step = pixel / (choice.oversampling * choice.subsampling)
    step *= math.pi / 2 if choice.quadrature else 1.0
    if isinstance(spatial, GaussianSpatialModel):
        size, least = 3 * _scale(spatial), _PER_SIGMA * step
    else:
        size, least = float(spatial.evaluation_radius), _PER_RADIUS * step
    if size < least * (1 - 1e-9):
        raise InputError(
            f"a {type(spatial).__name__} of {size:.3g} deg is too small to be integrated over "
            f"pixels of {pixel:.3g} deg, which needs {least:.2g} deg or more; use a "
            "PointSpatialModel, which looks the same."
        )


def _finer(pixel: float, psf: float, n: float) -> Sampling:
    """Share a number of samples along a pixel among finer pixels that resolve the PSF."""
    width = math.hypot(psf, pixel / math.sqrt(12))
    fine = min(_odd(pixel / (_STEP_EDGE * width)), _MAX_OVERSAMPLING)
    n = min(math.ceil(n / fine), _MAX_SUBSAMPLING)
    return Sampling(fine, n, share=n > 1 and pixel / fine < _SHARED_BELOW * psf)


def _scale(spatial: Any) -> float:
    """Return a model's scale, which a disk with an edge as wide as the disk does not have."""
    scale = float(spatial.scale)
    return scale if scale > 0 else _SOFT_SCALE * float(spatial.evaluation_radius)


def _extended_samples(spatial: Any, pixel: float, psf: float | None) -> Sampling:
    if isinstance(spatial, GaussianSpatialModel):
        sigma = 3 * _scale(spatial)
        if psf is None:
            nodes = math.ceil(2 * pixel / sigma) + 3
            return Sampling(1, min(nodes, _MAX_SUBSAMPLING), quadrature=True)
        smooth = sigma * (1 + 1e-9) >= pixel * (1 if psf >= _RESOLVED * pixel else _SMOOTH)
        return Sampling() if smooth else _finer(pixel, psf, pixel / sigma)
    # the brightness of a shell has a vertical slope at both its radii
    scale = _scale(spatial) * (0.5 if isinstance(spatial, ShellSpatialModel) else 1.0)
    if psf is None:
        return Sampling(1, _bounded(_EDGE_SAMPLES * pixel / scale, spatial, pixel))
    return _finer(pixel, psf, _bounded(_EDGE_SAMPLES_PSF * pixel / scale, spatial, pixel))


def _bounded(n: float, spatial: Any, pixel: float) -> int:
    """Round up the samples along a pixel, within the limits of a pixel and of the source."""
    side = 2 * float(spatial.evaluation_radius) / pixel + 1
    return int(np.clip(math.ceil(n), 1, max(min(_MAX_SUBSAMPLING, _MAX_SIDE // side), 1)))


class Block(NamedTuple):
    """A rectangle of pixels of a grid, which may reach beyond it."""

    grid: WcsGeom  # the grid
    # row, column: first pixel; may be negative
    row: int
    column: int
    shape: tuple[int, int]  # rows and columns

    @property
    def spans(self) -> list[tuple[int, int, int]]:
        """First pixel, number of pixels, and pixels of the grid, of rows and of columns."""
        first = (self.row, self.column)
        return list(zip(first, self.shape, self.grid.shape_image, strict=True))

    @property
    def middle(self) -> tuple[float, float]:
        """Row and column of its middle."""
        return self.row + (self.shape[0] - 1) / 2, self.column + (self.shape[1] - 1) / 2

    def _points(self, sampling: Sampling) -> tuple[Floats, Floats, Floats, Floats]:
        """Return row and column coordinates of the samples, and their weights in a pixel."""
        n = sampling.oversampling * sampling.subsampling
        if sampling.quadrature:
            points, weights = np.polynomial.legendre.leggauss(n)
            points, weights = points / 2, weights / 2
        else:
            points, weights = (np.arange(n) + 0.5) / n - 0.5, np.full(n, 1 / n)
        ny, nx = self.shape
        y = (self.row + np.arange(ny)[:, None] + points).ravel()
        x = (self.column + np.arange(nx)[:, None] + points).ravel()
        return y, x, np.tile(weights, ny), np.tile(weights, nx)

    def sky(self, sampling: Sampling) -> SkyCoord:
        """Return the positions of the samples."""
        y, x, _, _ = self._points(sampling)
        return self.grid.pix_to_sky(x[None, :], y[:, None])

    def solid_angle(self, sampling: Sampling) -> Floats:
        """Return the solid angles of the samples."""
        ny, nx = self.shape
        y, x = self.row + np.arange(ny + 1) - 0.5, self.column + np.arange(nx + 1) - 0.5
        corners = unit_vectors(*self.grid.pix_to_lonlat(x[None, :], y[:, None]))
        areas = quadrilateral_areas(corners)
        n = sampling.oversampling * sampling.subsampling
        _, _, weights_y, weights_x = self._points(sampling)
        fine = np.repeat(np.repeat(np.nan_to_num(areas), n, axis=0), n, axis=1)
        return fine * weights_y[:, None] * weights_x[None, :]


def lonlat(sky: SkyCoord, frame: str | None = None) -> tuple[Floats, Floats]:
    """Return longitude and latitude in degrees."""
    if frame is not None and frame != sky.frame.name:
        sky = sky.transform_to(frame)
    data = sky.represent_as(UnitSphericalRepresentation)
    return np.asarray(data.lon.deg, dtype=float), np.asarray(data.lat.deg, dtype=float)
