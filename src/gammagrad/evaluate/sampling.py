"""How finely a spatial model is sampled, and where."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
from numpy.typing import NDArray

from gammagrad.maps.geom import WcsGeom
from gammagrad.maps.sphere import quadrilateral_areas, unit_vectors
from gammagrad.models.point import PointSpatialModel
from gammagrad.models.spatial import GaussianSpatialModel
from gammagrad.models.template import TemplateSpatialModel

__all__ = ["SAMPLINGS", "Block", "Sampling", "check_sampling", "choose_sampling", "kind_of"]

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
# Samples of a source with edges along its `scale` (without PSF, with one).
_EDGE_SAMPLES, _EDGE_SAMPLES_PSF = 64, 6
_GAMMAPY_MAX = 200


class Sampling(NamedTuple):
    """Numbers of samples of a spatial model.

    Parameters
    ----------
    oversampling
        Finer pixels along the side of a pixel, on which the PSF acts; odd.
    subsampling
        Samples along the side of a finer pixel.
    quadrature
        Whether the samples are Gauss-Legendre nodes of the pixels; else they are equidistant.
    narrow
        Whether the width of the finer pixels is taken off the PSF.
    """

    oversampling: int = 1
    subsampling: int = 1
    quadrature: bool = False
    narrow: bool = False


def check_sampling(sampling: str) -> None:
    """Raise if a way of sampling is not known.

    Parameters
    ----------
    sampling
        Its name.

    Raises
    ------
    ValueError
        If it is neither "fine" nor "gammapy".
    """
    if sampling not in SAMPLINGS:
        raise ValueError(f"sampling is {sampling!r}; expected one of {', '.join(SAMPLINGS)}.")


def kind_of(spatial: Any) -> str:
    """Return how a spatial model is evaluated: the `kind` of `FoldInputs`.

    Parameters
    ----------
    spatial
        A spatial model or None.

    Returns
    -------
    str
        "uniform", "point", "template" or "extended".
    """
    if spatial is None:
        return "uniform"
    if isinstance(spatial, PointSpatialModel):
        return "point"
    return "template" if isinstance(spatial, TemplateSpatialModel) else "extended"


def _odd(value: float) -> int:
    """Return the smallest odd number that is not below a value."""
    return 2 * math.ceil((value - 1) / 2 - 1e-9) + 1 if value > 1 else 1


def _template_samples(spatial: TemplateSpatialModel, pixel: float) -> int:
    if spatial.geom is None:
        raise ValueError(
            "the template model has no geometry; make it by TemplateSpatialModel.from_map."
        )
    own = float(np.min(spatial.geom.pixel_scales.to_value("deg")))
    return int(np.clip(math.ceil(pixel / own - 1e-9), 1, _MAX_SUBSAMPLING))


def choose_sampling(
    spatial: Any, pixel: float, half_width: float | None, sampling: str, centred: bool = False
) -> Sampling:
    """Choose how finely to sample a spatial model.

    A Gaussian needs no more than steps of its own sigma before a PSF whose kernel is integrated
    over pixels: the error of the sum falls as exp(-2 pi^2 sigma^2 / step^2). A source with edges
    is integrated over finer pixels, small compared with the PSF. Without a PSF the integral over
    pixels itself must be right.

    Parameters
    ----------
    spatial
        Spatial model, or None.
    pixel
        Size of the map's pixels in deg.
    half_width
        Half width at half maximum of the narrowest PSF in deg; None without one.
    sampling
        "fine", or "gammapy": the samples that gammapy 2.1 takes, averaged over pixels before the
        PSF; a point source between pixels is shared by four.
    centred
        Whether the source lies on a pixel centre.

    Returns
    -------
    Sampling
        The numbers of samples.
    """
    check_sampling(sampling)
    if kind_of(spatial) == "uniform":
        return Sampling()
    width = None
    if half_width is not None and np.isfinite(half_width):
        # width of the PSF once it is integrated over pixels
        width = math.hypot(half_width / _HALF_WIDTH, pixel / math.sqrt(12))
    if sampling == "gammapy":
        return Sampling(1, _gammapy_samples(spatial, pixel))
    if isinstance(spatial, PointSpatialModel):
        if width is None or centred:
            return Sampling()
        return Sampling(min(_odd(pixel / (_STEP_POINT * width)), _MAX_OVERSAMPLING))
    if isinstance(spatial, TemplateSpatialModel):
        n = _template_samples(spatial, pixel)
        return Sampling(1, n, narrow=n > 1 and width is not None)
    if spatial.scale is None:
        return Sampling()
    return _extended_samples(spatial, pixel, width)


def _gammapy_samples(spatial: Any, pixel: float) -> int:
    if spatial.scale is None:
        return 1
    return int(np.clip(math.ceil(pixel / float(spatial.scale)), 1, _GAMMAPY_MAX))


def _extended_samples(spatial: Any, pixel: float, width: float | None) -> Sampling:
    scale = float(spatial.scale)
    if isinstance(spatial, GaussianSpatialModel):
        sigma = 3 * scale
        if width is None:
            nodes = math.ceil(2 * pixel / sigma) + 3
            return Sampling(1, min(nodes, _MAX_SUBSAMPLING), quadrature=True)
        if pixel <= sigma:
            return Sampling()
        fine = min(_odd(pixel / (_STEP_EDGE * width)), _MAX_OVERSAMPLING)
        n = math.ceil(pixel / (fine * sigma))
        return Sampling(fine, min(n, _MAX_SUBSAMPLING), narrow=n > 1)
    if width is None:
        return Sampling(1, _bounded(_EDGE_SAMPLES * pixel / scale, spatial, pixel))
    fine = min(_odd(pixel / (_STEP_EDGE * width)), _MAX_OVERSAMPLING)
    n = math.ceil(_bounded(_EDGE_SAMPLES_PSF * pixel / scale, spatial, pixel) / fine)
    return Sampling(fine, n, narrow=True)


def _bounded(n: float, spatial: Any, pixel: float) -> int:
    """Round up the samples along a pixel, within the limits of a pixel and of the source."""
    side = 2 * float(spatial.evaluation_radius) / pixel + 1
    return int(np.clip(math.ceil(n), 1, max(min(_MAX_SUBSAMPLING, _MAX_SIDE // side), 1)))


class Block(NamedTuple):
    """A rectangle of pixels of a grid, which may reach beyond it.

    Parameters
    ----------
    grid
        The grid.
    row, column
        First pixel; may be negative.
    shape
        Rows and columns.
    """

    grid: WcsGeom
    row: int
    column: int
    shape: tuple[int, int]

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
        """Return the positions of the samples.

        Parameters
        ----------
        sampling
            Their numbers.

        Returns
        -------
        SkyCoord
            Positions, shape (ny n, nx n); NaN where there is no sky.
        """
        y, x, _, _ = self._points(sampling)
        return self.grid.pix_to_sky(x[None, :], y[:, None])

    def solid_angle(self, sampling: Sampling) -> Floats:
        """Return the solid angles of the samples.

        Parameters
        ----------
        sampling
            Their numbers.

        Returns
        -------
        ndarray
            Sr, shape (ny n, nx n); the solid angle of each pixel times the weights of its
            samples, 0 where there is no sky.
        """
        ny, nx = self.shape
        y, x = self.row + np.arange(ny + 1) - 0.5, self.column + np.arange(nx + 1) - 0.5
        corners = self.grid.pix_to_sky(x[None, :], y[:, None])
        areas = quadrilateral_areas(unit_vectors(*lonlat(corners)))
        n = sampling.oversampling * sampling.subsampling
        _, _, weights_y, weights_x = self._points(sampling)
        fine = np.repeat(np.repeat(np.nan_to_num(areas), n, axis=0), n, axis=1)
        return fine * weights_y[:, None] * weights_x[None, :]


def lonlat(sky: SkyCoord, frame: str | None = None) -> tuple[Floats, Floats]:
    """Return longitude and latitude in degrees.

    Parameters
    ----------
    sky
        Positions.
    frame
        "icrs", "galactic", ...; by default their own.

    Returns
    -------
    (ndarray, ndarray)
        Degrees.
    """
    if frame is not None and frame != sky.frame.name:
        sky = sky.transform_to(frame)
    data = sky.represent_as(UnitSphericalRepresentation)
    return np.asarray(data.lon.deg, dtype=float), np.asarray(data.lat.deg, dtype=float)
