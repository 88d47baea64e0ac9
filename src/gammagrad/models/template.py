"""A map as spatial model."""

from __future__ import annotations

from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad._pytree import pytree, static_field, to_internal
from gammagrad.errors import InputError
from gammagrad.models.base import SURFACE_DNDE, as_number, assign, format_value, promote
from gammagrad.models.spatial_base import FRAMES, SpatialModel

# rounding must not cut off the border of a map evaluated on its own pixels and energies
_NOISE = 1e-6


class Opaque:
    """Holder of an object that traced code passes along without using."""

    # It compares and hashes by the identity of what it holds, so that it can be part of a tree's
    # structure whatever the object is.

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.value is self.value

    def __hash__(self) -> int:
        return hash(id(self.value))

    def __repr__(self) -> str:
        return f"Opaque({type(self.value).__name__})"


@pytree
class TemplateSpatialModel(SpatialModel):
    r"""Map of surface brightness: one image for all energies, or one for each energy.

    Between pixels the map is bilinear in pixel coordinates, and a power law between energies
    (a straight line in energy where either value is zero). It is zero outside: more than half a
    pixel from the outermost pixel centres, half a step in log energy from the outermost energies.

    Parameters
    ----------
    data
        Values of shape (ny, nx) or (n energies, ny, nx): numbers in `unit`, or a quantity.
    energy
        Energies of the images, increasing, TeV; None for a map without energies.
    normalize
        Divide each image by its integral over the sky, so that the unit becomes sr-1. Needs
        `solid_angle`.
    geom
        The geometry of the map, to turn sky coordinates into pixel coordinates.
    solid_angle
        Pixel solid angles, sr, shape (ny, nx) or a number.
    frame
        Frame of the geometry: ``"icrs"``, ``"galactic"``, ``"fk5"`` or ``"fk4"``.
    unit
        ``"sr-1"``, or ``"cm-2 s-1 TeV-1 sr-1"`` for a map with a spectrum at each position, used
        with a norm model as spectral model. By default the unit of a quantity, else sr-1.
    filename
        Where the map was read from, for writing the model.
    evaluation_radius
        Radius in deg around the map's centre that contains the map, if known.
    """

    frame: str = static_field()
    unit: str = static_field()
    normalize: bool = static_field()
    filename: str | None = static_field()
    opaque_geom: Opaque = static_field()
    radius: float | None = static_field()
    data: Any
    energy: Any

    tag = ("TemplateSpatialModel", "template")

    def __init__(
        self,
        data: Any,
        energy: Any = None,
        normalize: bool = True,
        geom: Any = None,
        *,
        solid_angle: Any = None,
        frame: str = "icrs",
        unit: str | None = None,
        filename: str | None = None,
        evaluation_radius: float | None = None,
    ) -> None:
        values, unit = _brightness(data, unit)
        if energy is not None:
            energy = as_number(to_internal(energy, "TeV", "energy"), "energy")
        values, energy = _check_cube(values, energy)
        if normalize:
            values, unit = _normalise(values, solid_angle), "sr-1"
        assign(
            self,
            frame=_frame(frame),
            unit=unit,
            normalize=bool(normalize),
            filename=filename,
            opaque_geom=Opaque(geom),
            radius=evaluation_radius,
            data=values,
            energy=energy,
        )

    @classmethod
    def from_map(cls, template: Any, normalize: bool = True, filename: str | None = None) -> Self:
        """Make the model from a map.

        Parameters
        ----------
        template
            A map (``.quantity``, ``.geom``) without axes or with one energy axis. A map without
            unit is taken to be in sr-1. Pixels that are not finite, or negative, count as zero.
        normalize
            As for the class.
        filename
            Where the map was read from.

        Returns
        -------
        model
            The model, in the frame of the map.

        Raises
        ------
        ValueError
            If the map has an axis other than energy, or its unit is not a surface brightness.
        """
        geom, axes = template.geom, list(template.geom.axes)
        if len(axes) > 1 or (axes and "energy" not in axes[0].name):
            names = ", ".join(axis.name for axis in axes)
            raise InputError(
                f"the template map has axes {names}; expected one energy axis or none."
            )
        plain = str(template.unit) == ""
        values, unit = _brightness(template.data if plain else template.quantity, None)
        values = np.nan_to_num(np.maximum(values, 0), nan=0.0, posinf=0.0)
        return cls(
            values,
            axes[0].center_in("TeV") if axes else None,
            normalize,
            geom,
            solid_angle=to_internal(geom.solid_angle(), "sr", "solid angle"),
            frame=geom.frame,
            unit=unit,
            filename=filename,
            evaluation_radius=0.5 * float(np.max(to_internal(geom.width, "deg", "width"))),
        )

    @property
    def geom(self) -> Any:
        """The geometry that was passed, or None."""
        return self.opaque_geom.value

    @property
    def carries_flux(self) -> bool:
        """Whether the map has the unit of a differential flux per solid angle."""
        return self.unit == SURFACE_DNDE

    @property
    def is_energy_dependent(self) -> bool:
        """Whether there is an image for each of several energies."""
        return self.energy is not None

    @property
    def evaluation_radius(self) -> Any:
        """Half the larger side of the map, deg, if known."""
        return self.radius

    def parameter_rows(self) -> list[tuple[str, str, str]]:
        """Return name, value and unit of the map and its energies as text."""
        rows = [("data", format_value(self.data), self.unit)]
        if self.energy is not None:
            rows.append(("energy", format_value(self.energy), "TeV"))
        return rows

    def evaluate(self, x: Any, y: Any, energy: Any = None) -> jax.Array:
        """Evaluate the model at pixel coordinates of its map.

        Parameters
        ----------
        x, y
            Column and row, counted from 0 at the first pixel's centre, of one shape; NaN is
            outside.
        energy
            Energies, TeV, a number or shape (n,); only for a map with energies.

        Returns
        -------
        array
            Surface brightness in `unit`, of the shape of `energy` (if the map has energies)
            followed by that of `x`, in the precision of `x`.

        Raises
        ------
        ValueError
            If the map has energies and none are given.
        """
        x, y = promote(x, y)
        inside, corners, fractions = _corners(x, y, np.shape(self.data)[-2:])
        if self.energy is None:
            image = _bilinear(jnp.asarray(self.data), (), corners, fractions)
            return jnp.where(inside, image, jnp.zeros_like(image))
        if energy is None:
            raise InputError("the template has one image per energy; pass `energy` as well.")
        (energy,) = promote(to_internal(energy, "TeV", "energy"))
        shape = energy.shape + x.shape
        column = (-1,) + (1,) * x.ndim
        nodes = jnp.log(jnp.asarray(self.energy).astype(x.dtype))
        position = jnp.log(energy.astype(x.dtype)).reshape(column)
        left = jnp.clip(jnp.searchsorted(nodes, position, side="right") - 1, 0, len(nodes) - 2)
        step = (position - nodes[left]) / (nodes[left + 1] - nodes[left])
        low, high = (
            _bilinear(jnp.asarray(self.data), (plane,), corners, fractions)
            for plane in (left, left + 1)
        )
        known = inside[None] & (step >= -0.5 - _NOISE) & (step <= 1.5 + _NOISE)
        cube = _between(low, high, step)
        return jnp.where(known, cube, jnp.zeros_like(cube)).reshape(shape)

    def __call__(self, x: Any, y: Any, energy: Any = None) -> jax.Array:
        """Evaluate the model; see `evaluate`."""
        return self.evaluate(x, y, energy)

    def integrate(self, lon: Any, lat: Any, solid_angle: Any, energy: Any = None) -> jax.Array:
        """Return the fraction of the model's flux in each pixel, by the rectangle rule.

        Parameters
        ----------
        lon, lat
            Pixel coordinates (column, row) in the model's own map of the centres of the pixels to
            fill, shape (ny, nx); not angles as for other models.
        solid_angle
            Solid angles of the pixels to fill, sr, shape (ny, nx).
        energy
            As in `evaluate`.

        Returns
        -------
        array
            Value times solid angle.
        """
        values = self.evaluate(lon, lat, energy)
        (solid_angle,) = promote(solid_angle)
        return values * solid_angle.reshape(
            (1,) * (values.ndim - solid_angle.ndim) + solid_angle.shape
        )


def _frame(frame: str) -> str:
    """Return a frame's name, which is only passed on."""
    known = (*FRAMES, "fk5", "fk4")
    if frame not in known:
        raise InputError(
            f"TemplateSpatialModel: frame is {frame!r}; use one of {', '.join(known)}."
        )
    return frame


def _brightness(data: Any, unit: str | None) -> tuple[Any, str]:
    """Return values and their unit, one of the two a template can have."""
    allowed = ("sr-1", SURFACE_DNDE)
    if unit not in (None, *allowed):
        raise InputError(f"TemplateSpatialModel: unit is {unit!r}; use one of {allowed}.")
    candidates = allowed if unit is None else (unit,)
    for candidate in candidates:
        try:
            number = to_internal(data, candidate, "template map")
            return as_number(number, "template map"), candidate
        except ValueError as error:
            failure = error
    raise InputError(f"{failure} Expected a unit like one of {candidates}.") from failure


def _check_cube(values: Any, energy: Any) -> tuple[Any, Any]:
    """Return values and energies of matching shapes; a single energy counts as none."""
    n_energies = 1 if energy is None else np.size(energy)
    if np.ndim(values) == 3 and values.shape[0] == 1 == n_energies:
        values = values[0]
    fits = np.ndim(values) == 2 if n_energies == 1 else np.shape(values)[:-2] == (n_energies,)
    if not fits:
        raise InputError(
            f"TemplateSpatialModel: data has shape {np.shape(values)} and there are {n_energies} "
            "energies; expected (ny, nx), or (n energies, ny, nx) with as many energies."
        )
    if isinstance(energy, np.ndarray) and not (energy.min() > 0 and np.all(np.diff(energy) > 0)):
        raise InputError("TemplateSpatialModel: energy must be positive and increasing.")
    return values, None if n_energies == 1 else energy


def _normalise(values: Any, solid_angle: Any) -> Any:
    """Divide each image by its integral; an empty image stays empty."""
    if solid_angle is None:
        raise InputError(
            "TemplateSpatialModel: normalize=True needs solid_angle. Pass it, or normalize=False "
            "for a map in sr-1 already, or use TemplateSpatialModel.from_map."
        )
    solid_angle = as_number(to_internal(solid_angle, "sr", "solid_angle"), "solid_angle")
    if np.ndim(solid_angle):
        solid_angle = solid_angle.reshape((1,) * (values.ndim - 2) + solid_angle.shape)
    total = (values * solid_angle).sum(axis=(-2, -1), keepdims=True)
    return values / (total + (total == 0))


def _corners(
    x: jax.Array, y: jax.Array, shape: tuple[int, ...]
) -> tuple[jax.Array, tuple[Any, Any], tuple[jax.Array, jax.Array]]:
    """Return a mask of inside points, and neighbours and fractions for rows and columns."""
    inside = jnp.ones(x.shape, bool)
    corners, fractions = [], []
    for position, size in ((y, shape[0]), (x, shape[1])):
        within = (position >= -0.5 - _NOISE) & (position <= size - 0.5 + _NOISE)
        position = jnp.clip(jnp.where(within, position, 0.0), 0.0, size - 1.0)
        first = jnp.clip(jnp.floor(position).astype(jnp.int32), 0, max(size - 2, 0))
        inside = inside & within
        corners.append((first, jnp.minimum(first + 1, size - 1)))
        fractions.append(position - first.astype(position.dtype))
    return inside, (corners[0], corners[1]), (fractions[0], fractions[1])


def _bilinear(
    data: jax.Array,
    plane: tuple[jax.Array, ...],
    corners: tuple[Any, Any],
    fractions: tuple[jax.Array, jax.Array],
) -> jax.Array:
    """Interpolate an image, or one image of a cube for each index in `plane`."""
    rows, cols = ([index[None] if plane else index for index in pair] for pair in corners)
    f_row, f_col = (f[None] if plane else f for f in fractions)
    total = jnp.zeros((), f_row.dtype)
    for row, w_row in zip(rows, (1.0 - f_row, f_row), strict=True):
        for col, w_col in zip(cols, (1.0 - f_col, f_col), strict=True):
            # gather first, then convert: the map may be far larger than the request
            total = total + w_row * w_col * data[(*plane, row, col)].astype(f_row.dtype)
    return total


def _between(low: jax.Array, high: jax.Array, step: jax.Array) -> jax.Array:
    """Interpolate between two images: a power law, or a line where one of them is empty."""
    both = (low > 0) & (high > 0)
    log_low = jnp.log(jnp.where(both, low, 1.0))
    log_high = jnp.log(jnp.where(both, high, 1.0))
    line = jnp.maximum(low + step * (high - low), 0.0)
    return jnp.where(both, jnp.exp(log_low + step * (log_high - log_low)), line)
