"""Base classes of the spatial models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import jax

from gammagrad._pytree import replace
from gammagrad.errors import InputError
from gammagrad.models.base import Model, promote

FRAMES = ("icrs", "galactic")


def check_frame(frame: str, model: str) -> str:
    """Return a frame's name, or say which ones there are."""
    if frame not in FRAMES:
        raise InputError(f"{model}: frame is {frame!r}; use one of {', '.join(FRAMES)}.")
    return frame


class SpatialModel(Model, ABC):
    """Base of the spatial models."""

    frame: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_frame(self.frame, type(self).__name__)

    @property
    def carries_flux(self) -> bool:
        """Whether values are a differential flux per solid angle, not sr-1."""
        return False

    @property
    def is_energy_dependent(self) -> bool:
        """Whether evaluation needs energies."""
        return False

    @property
    def evaluation_radius(self) -> Any:
        """Radius in deg that holds the model, or None where it has no edge."""
        return None

    @property
    def scale(self) -> Any:
        """Pixel size in deg up to which the rectangle rule is accurate; None: no limit."""
        return None

    @abstractmethod
    def integrate(self, lon: Any, lat: Any, solid_angle: Any) -> jax.Array:
        """Return the fraction of the model's flux in each pixel.

        Parameters
        ----------
        lon, lat
            Pixel centres in the model's frame, deg, of equal shape.
        solid_angle
            Pixel solid angles, sr, of the same shape.

        Returns
        -------
        array
            The fractions, of the same shape.
        """

    def with_position(self, lon: Any, lat: Any) -> Self:
        """Copy the model to another position.

        Parameters
        ----------
        lon, lat
            Position in the model's frame: numbers in deg, or quantities.

        Returns
        -------
        model
            The moved copy; a model without a position is returned as it is.

        Raises
        ------
        ValueError
            If a unit cannot be converted or a latitude lies outside +-90 deg.
        """
        if "lon_0" not in self._limits():
            return self
        return self.with_parameters(lon_0=lon, lat_0=lat)

    @classmethod
    def from_position(cls, position: Any, **kwargs: Any) -> Self:
        """Make a model at a sky coordinate, in the coordinate's frame.

        Parameters
        ----------
        position
            An `astropy.coordinates.SkyCoord`, ICRS or galactic.
        **kwargs
            The other parameters of the model.

        Returns
        -------
        model
            The model.
        """
        sphere = position.spherical
        place = {"lon_0": sphere.lon, "lat_0": sphere.lat, "frame": position.frame.name}
        return cls(**place, **kwargs)

    def with_frame(self, frame: str) -> Self:
        """Copy the model with another frame and unchanged numbers.

        Parameters
        ----------
        frame
            ``"icrs"`` or ``"galactic"``.

        Returns
        -------
        model
            The copy.
        """
        return replace(self, frame=check_frame(frame, type(self).__name__))


class ExtendedSpatialModel(SpatialModel):
    """Base of the models that have a value at each point of the sky."""

    @abstractmethod
    def evaluate(self, lon: Any, lat: Any) -> jax.Array:
        """Return the surface brightness at points of the sky."""

    def __call__(self, lon: Any, lat: Any) -> jax.Array:
        """Evaluate the model; see `evaluate`."""
        return self.evaluate(lon, lat)

    def integrate(self, lon: Any, lat: Any, solid_angle: Any) -> jax.Array:
        """Return the fraction of the model's flux in each pixel, by the rectangle rule.

        Parameters
        ----------
        lon, lat
            Pixel centres, deg, of shape (ny, nx) or any other.
        solid_angle
            Pixel solid angles, sr, of the same shape.

        Returns
        -------
        array
            Value times solid angle. Pixels should be no larger than `scale`: the caller divides
            them and sums.
        """
        return self.evaluate(lon, lat) * promote(solid_angle)[0]
