"""Point spread functions on the sky, and their kernels on the pixels of a map."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.errors import InputError
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import (
    RegionGeom,
    WcsGeom,
    common_place,
    fine_areas,
    grid_around,
    is_centred,
    kept,
    middle,
    nearest_place,
    odd_shape,
    reach,
)
from gammagrad.maps.irf.habits import PSFHabits
from gammagrad.maps.irf.irf_map import IRFMap, cumulative
from gammagrad.maps.irf.psf_kernel import PSFKernel, RadialProfiles, integrate_pixels
from gammagrad.maps.map import Map
from gammagrad.maps.units import to_value

Floats = NDArray[np.float64]

# Number of kernels that a geometry keeps, and the largest size of a kept kernel.
_KEPT, _MAX_KEPT = 4, 500_000
# Part of the events inside a kernel.
_CONTAINMENT = 0.999
# Steps of the table of containment in a bin of offset.
_STEPS_PER_BIN = 20


class PSFMap(PSFHabits, IRFMap):
    """Point spread function by offset, energy and position.

    Parameters
    ----------
    psf_map
        Values per solid angle (any unit such as sr-1 or deg-2), with the axes ("rad",
        "energy_true") or, for one that is applied after the energy dispersion, ("rad", "energy").
    exposure_map
        Exposure on the same pixels; kept for files.

    Raises
    ------
    ValueError
        If the map has other axes.

    Examples
    --------
    >>> from gammagrad.maps import MapAxis
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2, name="energy_true")
    >>> psf = PSFMap.from_gauss(axis, sigma="0.1 deg")
    >>> psf.containment_radius(0.393).round(2)
    <Quantity [0.1, 0.1] deg>
    """

    _axes: ClassVar[tuple[tuple[str, str], ...]] = (("rad", "energy_true"), ("rad", "energy"))

    def __init__(self, psf_map: Map, exposure_map: Map | None = None) -> None:
        super().__init__(psf_map, exposure_map)

    @property
    def psf_map(self) -> Map:
        """The values."""
        return self._irf_map

    @property
    def energy_name(self) -> str:
        """Name of the energy axis: "energy_true" or "energy"."""
        return self._irf_map.geom.axes.names[1]

    @property
    def energy_axis(self) -> MapAxis:
        """Energies of the table."""
        return self._irf_map.geom.axes[self.energy_name]

    def profile(self, position: Any = None, energy_axis: MapAxis | None = None) -> Floats:
        """Return the point spread function by offset at a position.

        Parameters
        ----------
        position
            A `SkyCoord` or (lon, lat) in deg; None for the middle of the map. Where there is no
            response, the response at the nearest position is taken.
        energy_axis
            Energies wanted; by default the energies of the table. Values are interpolated
            linearly in log energy between bin centres and constant outside.

        Returns
        -------
        ndarray
            Values in sr-1 at the centres of the "rad" axis, shape (n_energy, n_rad).
        """
        table = self._at(position, "sr-1", linear=True)
        if energy_axis is None:
            return table
        return _interpolate_energy(table, self.energy_axis, energy_axis)

    def profiles(self, positions: SkyCoord, energy_axis: MapAxis | None = None) -> Floats:
        """Return the point spread function by offset at several positions.

        Parameters
        ----------
        positions
            Positions, shape (n,).
        energy_axis
            As in `profile`.

        Returns
        -------
        ndarray
            Values in sr-1, shape (n, n_energy, n_rad), or (1, n_energy, n_rad) if one response
            holds for the whole sky.
        """
        geom = self._irf_map.geom
        if self.is_single or not isinstance(geom, WcsGeom):
            return self.profile(None, energy_axis)[None]
        pixels = zip(*(c.tolist() for c in self.pixels_at(positions)), strict=True)
        tables = [self._at_pixel(geom, pixel, "sr-1", linear=True) for pixel in pixels]
        if energy_axis is not None:
            tables = [_interpolate_energy(t, self.energy_axis, energy_axis) for t in tables]
        return np.stack(tables)

    def containment(self, rad: Any, position: Any = None) -> Floats:
        """Return the fraction of events within an offset.

        Parameters
        ----------
        rad
            Offset, a quantity or deg.
        position
            As in `profile`.

        Returns
        -------
        ndarray
            One fraction per energy of the table.
        """
        edges, below = self._cumulative(self.profile(position))
        value = float(to_value(rad, "deg", "rad"))
        return np.array([np.interp(value, edges, row) for row in below])

    def _radii(self, profile: Floats, fraction: float) -> Floats:
        if not 0 < fraction <= 1:
            raise InputError(f"containment is {fraction!r}; expected a number between 0 and 1.")
        edges, below = self._cumulative(profile)
        steps = self._irf_map.geom.axes["rad"].upsample(_STEPS_PER_BIN).center_in("deg")
        found = [np.argmin(np.abs(np.interp(steps, edges, row) - fraction)) for row in below]
        return np.maximum(steps[found], 0.0)

    def _cumulative(self, profile: Floats) -> tuple[Floats, Floats]:
        rad = self._irf_map.geom.axes["rad"]
        edges, centres = rad.edges_in("deg"), rad.center_in("deg")
        ring = 2 * np.pi * centres * np.diff(edges) * np.deg2rad(1.0) ** 2
        return edges, cumulative(profile * ring)

    def half_widths(self, position: Any = None, energy_axis: MapAxis | None = None) -> Floats:
        """Return the half widths at half maximum.

        Parameters
        ----------
        position, energy_axis
            As in `profile`.

        Returns
        -------
        ndarray
            Deg, shape (n_energy,); NaN where there is no response.
        """
        return self._half_widths(self.profile(position, energy_axis))

    def _half_widths(self, profile: Floats) -> Floats:
        rad = self._irf_map.geom.axes["rad"].center_in("deg")
        widths = np.full(len(profile), np.nan)
        for i, row in enumerate(profile):
            below = np.flatnonzero(row[np.argmax(row) :] <= 0.5 * row.max())
            if row.max() > 0:
                widths[i] = rad[np.argmax(row) + below[0]] if below.size else rad[-1]
        return widths

    def get_psf_kernel(
        self,
        geom: WcsGeom,
        position: Any = None,
        max_radius: Any = None,
        containment: float = 0.999,
        oversampling: int = 1,
        sampling: str = "fine",
    ) -> PSFKernel:
        """Integrate the point spread function over the pixels of a map.

        Parameters
        ----------
        geom
            Geometry of the map. The kernel has the pixels of the map at the position. If the
            geometry has an axis of the PSF's energy, the kernels are for its energies.
        position
            Position on the sky, as in `profile`. For a position outside the map the nearest pixels
            of the map are taken.
        max_radius
            Largest half width of the kernel, a quantity or deg.
        containment
            At each energy the kernel is a rectangle around the circle that contains this fraction
            of the events. The largest rectangle is the shape of all kernels. It never reaches
            further than from one edge of the map to the other.
        oversampling
            Odd number of kernel pixels along the side of a pixel.
        sampling
            "fine" integrates each pixel by Gauss-Legendre quadrature, to 1e-4 of the peak for
            PSFs as narrow as a tenth of a pixel. "gammapy" is for comparison with gammapy 2.1. All
            its pixels are squares with the largest side at the reference point of the map. It
            averages as few equidistant samples as gammapy (12 across the diameter of 68 %
            containment, 1 to 4 along the side of a pixel), with errors of up to 12 % of the
            peak for a PSF with a narrow core. It continues the table in straight lines beyond
            its end. The size of each kernel follows from the energy of the table with the same
            index, so energies beyond the number of energies in the table have no kernel.

        Returns
        -------
        PSFKernel
            The kernels, each of sum 1 (0 where there is no response).

        Raises
        ------
        ValueError
            If `oversampling` is not odd, `containment` not between 0 and 1, or `sampling` unknown.
        """
        if sampling not in ("fine", "gammapy"):
            raise InputError(f"sampling is {sampling!r}; expected 'fine' or 'gammapy'.")
        if oversampling < 1 or oversampling % 2 == 0:
            raise InputError(f"oversampling is {oversampling!r}; expected an odd number.")
        axis = self.energy_axis
        if self.energy_name in geom.axes.names:
            axis = geom.axes[self.energy_name]
        profile = self.profile(position, axis)
        own = None if sampling == "fine" else self.profile(position)
        limit = np.inf if max_radius is None else float(to_value(max_radius, "deg", "max_radius"))
        place = middle(geom)
        if own is None:
            place = common_place(geom, nearest_place(geom, position))
        # the pixels keep the last few kernels: the same table gives the same kernels on them
        store: dict[Any, PSFKernel] = geom.derived.setdefault("psf kernels", {})
        rad = self._irf_map.geom.axes["rad"]
        tables = [profile, rad.edges_in("deg"), rad.center_in("deg"), *([] if own is None else own)]
        where = tuple(round(c, 4) for c in place)
        texts = (table.tobytes() for table in tables)
        key = rad.interp, limit, containment, oversampling, where, *texts
        if (kernel := store.get(key)) is None:
            kernel, _ = self._integrated(
                profile, own, axis, (geom.to_image(), place), limit, containment, oversampling
            )
            if kernel.data.size > _MAX_KEPT:
                return kernel
            kept(store, key, lambda: kernel, _KEPT)
        return dataclasses.replace(kernel, data=kernel.data.copy(), energy_axis=axis)

    def pixel_kernels(
        self,
        geom: WcsGeom,
        place: tuple[float, float],
        pixels: Sequence[tuple[int, int]],
        oversampling: int = 1,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[PSFKernel, Floats]:
        """Integrate the responses of several pixels of this map over the pixels around a place.

        Parameters
        ----------
        geom
            Geometry whose pixels the kernels have, as in `get_psf_kernel`.
        place
            Row and column in it: its pixels are taken as they are there.
        pixels
            Row and column of each response in the map of this point spread function; of one that
            holds for the whole sky, (0, 0).
        oversampling
            As in `get_psf_kernel`.
        shift
            Rows and columns that the source is off the middle of the kernel.

        Returns
        -------
        tuple
            A `PSFKernel` whose data have an axis for the pixels in front, with `sizes` alike, and
            the integral of each response before its kernel was normalised, shape (n, n_energy).
        """
        axis = self.energy_axis
        if self.energy_name in geom.axes.names:
            axis = geom.axes[self.energy_name]
        tables = [self._pixel_data(row, column, "sr-1") for row, column in pixels]
        profiles = np.concatenate([_interpolate_energy(t, self.energy_axis, axis) for t in tables])
        there = geom.to_image(), common_place(geom, place)
        kernel, total = self._integrated(
            profiles, None, axis, there, np.inf, _CONTAINMENT, oversampling, shift
        )
        shape = len(tables), axis.nbin
        kernel = dataclasses.replace(
            kernel,
            data=kernel.data.reshape(*shape, *kernel.data.shape[1:]),
            sizes=None if kernel.sizes is None else kernel.sizes.reshape(*shape, 2),
        )
        return kernel, total.reshape(shape)

    def _integrated(
        self,
        profile: Floats,
        own: Floats | None,
        axis: MapAxis,
        there: tuple[WcsGeom, tuple[float, float]],
        limit: float,
        containment: float,
        oversampling: int,
        shift: tuple[float, float] = (0.0, 0.0),
    ) -> tuple[PSFKernel, Floats]:
        """Integrate profiles over pixels, of which `own`, if given, limits the number."""
        radii = self._radii(profile, containment)
        if own is not None:
            sized = self._radii(own, containment)[: len(radii)]
            profile = profile.copy()
            radii[: len(sized)], profile[len(sized) :] = sized, 0.0
        radii = np.minimum(radii, limit)
        if own is None:
            grid, sizes = _kernel_grid(*there, radii, room=2 if any(shift) else 0)
        else:
            grid, sizes = _square_grid(there[0], radii)
        sizes.flags.writeable = False  # kernels share them
        widths = self._half_widths(profile)
        half_width = float(np.nanmin(widths)) if np.isfinite(widths).any() else float("nan")
        rad = self._irf_map.geom.axes["rad"]
        end = float(rad.edges_in("deg")[-1]) if own is None else np.inf
        profiles = RadialProfiles(rad.center_in("deg"), end, profile, half_width)
        samples = None if own is None else self._few_samples(profile, grid.pixel_size)
        data = integrate_pixels(grid, profiles, oversampling, samples, shift)
        if own is None and not is_centred(grid):
            data *= fine_areas(grid, oversampling)
        for plane, size in zip(data, sizes, strict=True):
            rows, cols = ((np.array(grid.shape_image) - size) // 2 * oversampling).tolist()
            inside = np.zeros(plane.shape, dtype=bool)
            inside[rows : len(plane) - rows, cols : plane.shape[1] - cols] = True
            plane[~inside] = 0.0
        total = data.sum(axis=(1, 2))
        data /= np.where(total > 0, total, 1.0)[:, None, None]
        return PSFKernel(data, axis, oversampling, half_width, sizes), total

    def _few_samples(self, profile: Floats, pixel: float) -> list[int]:
        diameters = 2 * self._radii(profile, 0.68) / pixel
        return [int(np.clip(np.ceil(12 / max(d, 1e-9)), 1, 4)) for d in diameters]

    @classmethod
    def from_gauss(cls, energy_axis_true: MapAxis, sigma: Any) -> PSFMap:
        """Make a Gaussian point spread function, the same everywhere.

        Parameters
        ----------
        energy_axis_true
            True energies (or energies, for one applied after the energy dispersion).
        sigma
            Width along each direction, a quantity, text or deg: one, or one per energy.

        Returns
        -------
        PSFMap
            The point spread function, tabulated out to six sigma.

        Raises
        ------
        ValueError
            If a width is not positive, or the number of widths is not the number of energies.
        """
        widths = np.atleast_1d(np.asarray(to_value(sigma, "deg", "sigma"), dtype=float))
        if widths.shape not in ((1,), (energy_axis_true.nbin,)) or not np.all(widths > 0):
            raise InputError(
                f"sigma is {sigma}; expected one positive width or {energy_axis_true.nbin}."
            )
        widths = np.broadcast_to(widths, energy_axis_true.nbin)
        rad = _fine_offsets(float(widths.min()), 6 * float(widths.max()))
        values = np.exp(-0.5 * (rad[None, :] / widths[:, None]) ** 2)
        values /= 2 * np.pi * np.deg2rad(widths[:, None]) ** 2
        return cls.from_table(rad, energy_axis_true, values)

    @classmethod
    def from_table(cls, rad: Any, energy: Any, values: Any) -> PSFMap:
        """Make a point spread function from a table, the same everywhere.

        Parameters
        ----------
        rad
            Offsets, a quantity or deg, shape (n_rad,).
        energy
            True energies, a quantity or TeV, shape (n_energy,); or an axis named "energy_true",
            or "energy" for one applied after the energy dispersion.
        values
            Values at these offsets, a quantity or sr-1, shape (n_energy, n_rad) or (n_rad,).

        Returns
        -------
        PSFMap
            The point spread function.

        Raises
        ------
        ValueError
            If the shapes do not fit, or a value is negative or not finite.
        """
        if not isinstance(energy, MapAxis):
            nodes = np.atleast_1d(np.asarray(to_value(energy, "TeV", "energy"), dtype=float))
            energy = MapAxis(
                nodes, name="energy_true", unit="TeV", interp="log", node_type="center"
            )
        offsets = np.atleast_1d(np.asarray(to_value(rad, "deg", "rad"), dtype=float))
        axis = MapAxis(offsets, name="rad", unit="deg", node_type="center")
        table = np.array(to_value(values, "sr-1", "values"), dtype=float)
        if table.ndim == 1:
            table = np.broadcast_to(table, (energy.nbin, table.size)).copy()
        if table.shape != (energy.nbin, axis.nbin):
            raise InputError(
                f"values have the shape {table.shape}; expected (n_energy, n_rad) = "
                f"({energy.nbin}, {axis.nbin})."
            )
        if not np.all(np.isfinite(table)) or np.any(table < 0):
            raise InputError("values: a point spread function is finite and not negative.")
        geom = RegionGeom([axis, energy])
        return cls(Map(geom, table[:, :, None, None], "sr-1"))


def _kernel_grid(
    image: WcsGeom, place: tuple[float, float], radii: Floats, room: int = 0
) -> tuple[WcsGeom, NDArray[np.int64]]:
    """Return the pixels around a place for circles, and rows and columns that each one needs."""
    # where the sky is squeezed, as at a pole, the map is the limit
    most = np.maximum(2 * np.array(image.shape_image) + 1, image.odd_npix(radii)[:, None])
    sizes = np.minimum(odd_shape(reach(image, place, radii)), most) + room
    rows, cols = (int(n) for n in sizes.max(axis=0))
    return grid_around(image, place, (rows, cols)), sizes


def _square_grid(image: WcsGeom, radii: Floats) -> tuple[WcsGeom, NDArray[np.int64]]:
    """Return the square pixels that gammapy makes a kernel on, and how many each circle needs."""
    sizes = image.odd_npix(radii)
    return image.to_odd_npix(u.Quantity(radii.max(), "deg")), np.stack([sizes, sizes], axis=1)


def _interpolate_energy(table: Floats, axis: MapAxis, wanted: MapAxis) -> Floats:
    """Interpolate rows linearly in log energy."""
    have, want = np.log(axis.center_in("TeV")), np.log(wanted.center_in("TeV"))
    if len(have) == len(want) and np.all(np.abs(have - want) <= 1e-6):
        return table
    if len(have) == 1:
        return np.repeat(table, len(want), axis=0)
    low = np.clip(np.searchsorted(have, want, side="right") - 1, 0, len(have) - 2)
    fraction = np.clip((want - have[low]) / (have[low + 1] - have[low]), 0, 1)[:, None]
    return (1 - fraction) * table[low] + fraction * table[low + 1]


def _fine_offsets(scale: float, end: float) -> Floats:
    """Return offsets from 0, dense on the given scale and in proportion further out."""
    offsets = [0.0]
    while offsets[-1] < end:
        offsets.append(offsets[-1] + 0.03 * max(scale, offsets[-1] / 4))
    return np.array(offsets)
