"""The result of an estimator: maps by name, and their fluxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import QTable, Table

from gammagrad._html import as_html, named_values, rows_below
from gammagrad._upper import given, upper
from gammagrad.derive import (
    check_maps,
    derivable,
    derive,
    fluxes_from_norms,
    model_from_content,
    model_to_content,
    norms_from_fluxes,
    reference_values,
    why_missing,
)
from gammagrad.errors import InputError
from gammagrad.flux_maps.flux_points import FluxMapsHabits
from gammagrad.flux_maps.status import StatusTable, status_table
from gammagrad.io import expand_path, read_flux_maps, reading, write_flux_maps
from gammagrad.maps import Map, MapAxis, WcsGeom, readable_energies
from gammagrad.models import SkyModel
from gammagrad.output_quantities import FLUXES, QUANTITIES, STORED, MissingQuantityError
from gammagrad.peaks import MIN_DISTANCE, find_peaks


class FluxMaps(FluxMapsHabits, Mapping[str, Map]):
    """Maps of sources by name, with the reference model that converts norms to fluxes.

    ``maps["flux"]`` and ``maps.flux`` are the same. The mapping has the computed maps and the
    maps derived from them: `sqrt_ts`, and flux, dnde, eflux and e2dnde with their errors and
    limits. `gammagrad.output_quantities.QUANTITIES` is the table of all maps. ``maps.dnde_ref``,
    ``flux_ref``, ``eflux_ref`` and ``e2dnde_ref`` are the fluxes of the reference model in every
    energy group, as quantities of shape (groups, 1, 1).

    Parameters
    ----------
    data : Mapping of str to Map
        Maps on one geometry, with an energy axis of one bin per energy group. ``ts`` is negative
        where ``norm`` is negative. The likelihood scan has an axis ``norm`` before the energies.
    reference_model : SkyModel, optional
        The model with the fitted norm; a spectral model is enough. Without it there are norms but
        no fluxes.
    meta : dict, optional
        Metadata of the run: ``n_sigma``, ``n_sigma_ul``, ``n_sigma_sensitivity``,
        ``norm_min``, ``containment_per_group``, ``kernel_error_per_group``,
        ``sqrt_ts_threshold_ul``, ``settings`` (a dict), ``input`` (file name or names),
        ``input_sha256``, and other values that JSON can represent. Copied.
    gti : astropy.table.Table, optional
        Good time intervals of the data.

    Raises
    ------
    ValueError
        If there are no maps, or their geometries differ or have no energy axis.
    TypeError
        If an entry is not a map.

    Examples
    --------
    >>> from gammagrad.maps.axes.axes import MapAxis
    >>> from gammagrad.models.spectral import PowerLawSpectralModel
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    >>> norm = Map.create(npix=(4, 3), binsz=0.1, axes=[axis])
    >>> norm.data += 2
    >>> maps = FluxMaps({"norm": norm}, PowerLawSpectralModel(index=2, amplitude=1e-12))
    >>> print(f"{maps.flux.data[0, 1, 2]:.2e}")
    1.80e-12
    >>> maps["norm_ul"]
    Traceback (most recent call last):
        ...
    gammagrad.output_quantities.MissingQuantityError: norm_ul was not computed: run the estimator
    with selection_optional=["ul"], or "all".
    """

    def __init__(
        self,
        data: Mapping[str, Map],
        reference_model: Any = None,
        meta: Mapping[str, Any] | None = None,
        gti: Table | None = None,
    ) -> None:
        check_maps(data)
        names = [*(n for n in STORED if n in data), *(n for n in data if n not in STORED)]
        self._data = {name: data[name] for name in names}
        if reference_model is not None and not hasattr(reference_model, "spectral_model"):
            reference_model = SkyModel(spectral_model=reference_model)
        self._reference_model = reference_model
        self.meta: dict[str, Any] = {"sed_type_init": "likelihood", **(meta or {})}
        self.gti = gti

    # -- the mapping -----------------------------------------------------------------------------

    def __getitem__(self, name: str) -> Map:
        return derive(name, self._data, self._spectrum, self.sqrt_ts_threshold_ul)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and derivable(name, self._data, self._spectrum)

    def __iter__(self) -> Iterator[str]:
        first = self.available_quantities
        yield from first
        rest = dict.fromkeys((*self._data, *QUANTITIES))
        yield from (name for name in rest if name not in first and name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # maps are compared pixel by pixel, so that two results are not simply equal or different
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        kind = name.removesuffix("_ref")
        if kind == name or kind not in FLUXES:
            return self[name]
        if self._spectrum is None:
            raise MissingQuantityError(why_missing(kind, self._data, None))
        values = reference_values(self._spectrum, self.energy_axis, kind)
        return u.Quantity(values[:, None, None], FLUXES[kind][0])

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self, *(f"{flux}_ref" for flux in FLUXES)})

    # -- properties ------------------------------------------------------------------------------

    @property
    def available_quantities(self) -> list[str]:
        """Names of the computed maps, in gammapy's order.

        ``dnde_scan_values`` is listed with a likelihood scan, and so is ``status``, which gammapy
        does not have.
        """
        follows = ("dnde_scan_values",) if "dnde_scan_values" in self else ()
        names = [n for n in STORED if n in self._data or n in follows]
        names += [n for n in self._data if n not in STORED]
        return [n for n in names if n not in QUANTITIES or QUANTITIES[n].listed]

    @property
    def computed(self) -> dict[str, Map]:
        """The maps that were computed or read, by name, without derived maps."""
        return dict(self._data)

    @property
    def geom(self) -> WcsGeom:
        """Geometry of the maps: the sky and the energy groups."""
        geom = self._data.get("norm", next(iter(self._data.values()))).geom
        return geom.to_image().to_cube([geom.axes["energy"]])

    @property
    def energy_axis(self) -> MapAxis:
        """Energy axis, with one bin per energy group."""
        return self.geom.axes["energy"]

    @property
    def energy_ref(self) -> u.Quantity:
        """Centres of the energy groups, the reference energies of dnde."""
        return self.energy_axis.center

    @property
    def energy_min(self) -> u.Quantity:
        """Lower edges of the energy groups."""
        return self.energy_axis.edges[:-1]

    @property
    def energy_max(self) -> u.Quantity:
        """Upper edges of the energy groups."""
        return self.energy_axis.edges[1:]

    @property
    def reference_model(self) -> Any:
        """Model with the fitted norm."""
        return self._reference_model

    @property
    def _spectrum(self) -> Any:
        return None if self._reference_model is None else self._reference_model.spectral_model

    @property
    def n_sigma(self) -> float:
        """Width of the errors in sigma."""
        return self.meta.get("n_sigma", 1)

    @property
    def n_sigma_ul(self) -> float | None:
        """Confidence of the upper limits in sigma."""
        return self.meta.get("n_sigma_ul")

    @property
    def n_sigma_sensitivity(self) -> float | None:
        """Significance that defines the sensitivity."""
        return self.meta.get("n_sigma_sensitivity")

    @property
    def norm_min(self) -> float | None:
        """Lowest norm that limits are counted from; None if only the physical bound applies."""
        return self.meta.get("norm_min")

    @property
    def sqrt_ts_threshold_ul(self) -> float:
        """Significance below which a flux is treated as an upper limit; it can be set."""
        return self.meta.get("sqrt_ts_threshold_ul", 2)

    @sqrt_ts_threshold_ul.setter
    def sqrt_ts_threshold_ul(self, value: float) -> None:
        self.meta["sqrt_ts_threshold_ul"] = float(value)

    @property
    def containment(self) -> float | None:
        """Least part of a source that the kernels of the run hold; None if it is not known."""
        parts = [part for group in self.meta.get("containment_per_group") or [] for part in group]
        known = [part for part in parts if part is not None and np.isfinite(part)]
        return float(min(known)) if known else None

    @property
    def quantities(self) -> list[str]:
        """Names of the maps that people look at first: significance, flux, and what was computed.

        All names, those of derived maps included, are ``list(maps)``.
        """
        first = [name for name in ("sqrt_ts", "flux", "flux_err", "flux_ul") if name in self]
        return first + [name for name in self.available_quantities if name not in first]

    @property
    def missing_flux(self) -> str:
        """How much norm and flux are low by the kernel, as the end of a sentence; or nothing."""
        held = self.containment
        settings = dict(self.meta.get("settings") or {})
        if held is None or held > 0.9995 or not settings.get("renormalise", True):
            return ""
        return f"; norm and flux are low by up to {100 * (1 - held):.2g} %"

    def _summary(self) -> dict[str, Any]:
        lines: dict[str, Any] = {
            "geom": type(self.geom).__name__,
            "axes": ["lon", "lat", *self.geom.axes.names],
            "shape": tuple(int(n) for n in self.geom.data_shape[::-1]),
            "quantities": self.quantities,
            "ref. model": None if self._spectrum is None else self._spectrum.tag[-1],
            "n_sigma": self.n_sigma,
            "n_sigma_ul": self.n_sigma_ul,
            "sqrt_ts_threshold_ul": self.sqrt_ts_threshold_ul,
            "sed type init": self.meta["sed_type_init"],
            "energies": " - ".join(f"{e:.4g}" for e in readable_energies(self.energy_axis.edges)),
        }
        if self.containment is not None:
            held = f"{100 * self.containment:.3g} % of a source, or more"
            lines["kernel holds"] = held + self.missing_flux
        return lines

    def __str__(self) -> str:
        return titled(type(self).__name__, self._summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = self._summary()
        rows = []
        for name in lines.pop("quantities"):
            m = self[name]
            finite = m.data[np.isfinite(m.data)]
            ends = (f"{finite.min():.4g}", f"{finite.max():.4g}") if finite.size else ("", "")
            rows.append((name, str(m.unit), *ends))
        shown = rows_below(("map", "unit", "least", "greatest"), rows)
        return as_html(type(self).__name__, named_values(lines), shown)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    # -- operations ------------------------------------------------------------------------------

    def _with_maps(self, data: dict[str, Map]) -> FluxMaps:
        return type(self)(data, self._reference_model, dict(self.meta), self.gti)

    def copy(self) -> FluxMaps:
        """Return a copy that shares no data with these maps.

        Returns
        -------
        FluxMaps
            The copy.
        """
        return self._with_maps({name: m.copy() for name, m in self._data.items()})

    def slice_by_idx(self, slices: dict[str, slice | int]) -> FluxMaps:
        """Return some of the energy groups, or some of the values of a likelihood scan.

        Parameters
        ----------
        slices : dict
            Slices by name of axis, such as ``{"energy": slice(0, 2)}``. A number selects one bin
            and keeps the axis. Maps without the axis are not sliced.

        Returns
        -------
        FluxMaps
            The sliced maps.

        Raises
        ------
        ValueError
            If no map has such an axis or bin.
        """
        axes = {axis.name: axis for m in self._data.values() for axis in m.geom.axes}
        parts: dict[str, slice | int] = {}
        for name, part in slices.items():
            if name not in axes:
                raise InputError(f": no axis {name!r}; there are: {', '.join(axes)}.", "slices")
            nbin = axes[name].nbin
            if not isinstance(part, slice):
                if not -nbin <= part < nbin:
                    raise InputError(
                        f": axis {name!r} has {nbin} bins, there is none of number {part}.",
                        "slices",
                    )
                part = slice(part % nbin, part % nbin + 1)
            parts[name] = part

        def sliced(m: Map) -> Map:
            return m.slice_by_idx({n: parts[n] for n in m.geom.axes.names if n in parts})

        return self._with_maps({name: sliced(m) for name, m in self._data.items()})

    def cutout(self, position: Any, width: Any, mode: str = "trim") -> FluxMaps:
        """Return a cutout of the maps around a position.

        Parameters
        ----------
        position : SkyCoord
            Centre of the cutout.
        width : Quantity or str
            Width of the cutout, or widths in longitude and latitude.
        mode : str
            ``"trim"`` trims a cutout at the edge of the maps, ``"strict"`` raises an error there.

        Returns
        -------
        FluxMaps
            The cutout.
        """
        return self._with_maps({n: m.cutout(position, width, mode) for n, m in self._data.items()})

    def status_table(self) -> StatusTable:
        """Count the pixels of every status code in every energy group.

        Returns
        -------
        StatusTable
            A row for each code in an energy group: code, number of pixels and meaning.

        Raises
        ------
        MissingQuantityError
            If the maps have no status, such as maps from a file of gammapy.

        Examples
        --------
        >>> from gammagrad.maps.axes.axes import MapAxis
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
        >>> status = Map.create(npix=(4, 3), axes=[axis], dtype="int8")
        >>> print(FluxMaps({"status": status}).status_table()["code", "pixels", "meaning"])
        code pixels                             meaning
        ---- ------ ----------------------------------------------------------------
           0     12 fitted: the derivative of the fit statistic vanishes at the norm
        """
        return status_table(self["status"])

    def find_peaks(
        self,
        threshold: Any = 5,
        min_distance: Any = MIN_DISTANCE,
        quantity: str = "sqrt_ts",
        refine: bool = False,
        datasets: Any = None,
        **options: Any,
    ) -> QTable:
        """List the sources; see `gammagrad.peaks.find_peaks`.

        Parameters
        ----------
        threshold : float or Quantity
            Peaks are above this value.
        min_distance : str, Quantity or float
            A peak has no higher pixel within this angle, or within this number of pixels.
        quantity : str
            Name of the map to search.
        refine : bool
            Fit the position, flux and index of every source to the data.
        datasets : MapDataset or several
            The data of the maps; needed with `refine` only.
        **options
            Further arguments of `gammagrad.fitting.refine_peaks`, such as ``free``.

        Returns
        -------
        astropy.table.QTable
            One row per source, the most significant first.
        """
        return find_peaks(self, threshold, min_distance, quantity, refine, datasets, **options)

    def write(
        self,
        filename: str | PathLike[str],
        filename_model: str | PathLike[str] | None = None,
        overwrite: bool = False,
        sed_type: str | None = None,
        checksum: bool = False,
        *,
        relative_model: bool = False,
    ) -> None:
        """Write a FITS file that gammapy can read, and a file of the reference model.

        Test statistics are written without their sign, as in gammapy; `read` restores the sign.

        Parameters
        ----------
        filename : str or path
            File to write.
        filename_model : str or path, optional
            File for the model; by default ``_model.yaml`` is appended to the stem of `filename`.
        overwrite : bool
            Replace existing files.
        sed_type : str, optional
            ``"likelihood"`` (the default) writes norms; ``"dnde"``, ``"e2dnde"``, ``"flux"`` or
            ``"eflux"`` writes these fluxes with their errors and limits instead. `read` converts
            fluxes to norms.
        checksum : bool
            Whether to write checksums.
        relative_model : bool
            How the FITS file names the file of the model for gammapy. A whole path (the default) is
            found from every working directory, until the files move. A relative path is found
            after a move too, but only if Python works in the folder of the files. `read` needs
            neither.

        Raises
        ------
        FileExistsError
            If a file exists and `overwrite` is false.
        ValueError
            If `sed_type` is unknown.
        MissingQuantityError
            If `sed_type` is a flux and there is no reference model.
        """
        if sed_type not in (None, "likelihood", *FLUXES):
            raise InputError(
                f" is {sed_type!r}; choose likelihood, {', '.join(FLUXES)}, or None.", "sed_type"
            )
        written = {*self._data, "sqrt_ts", "dnde_scan_values"}  # gammapy needs the last two
        maps = {name: self[name] for name in self if name in written}
        if "dnde_scan_values" in maps.keys() - self._data.keys():
            m = maps["dnde_scan_values"]  # the axis of the scan has full precision
            maps["dnde_scan_values"] = Map(m.geom, m.data.astype(np.float32), unit=m.unit)
        if sed_type is not None and sed_type in FLUXES:
            maps = fluxes_from_norms(maps, sed_type, self._spectrum)
        write_flux_maps(
            filename,
            maps,
            model_to_content(self._reference_model),
            self.meta,
            self.gti,
            overwrite,
            sed_type=sed_type or "likelihood",
            filename_model=filename_model,
            relative_model=relative_model,
            checksum=checksum,
        )

    @classmethod
    def read(cls, filename: str | PathLike[str], checksum: bool = True) -> FluxMaps:
        """Read a file written by this library or by gammapy.

        Files of gammapy do not state the confidence of errors and limits: ``n_sigma`` is then 1,
        and ``n_sigma_ul`` is None.

        Parameters
        ----------
        filename : str or path
            File to read.
        checksum : bool
            Whether to verify the checksums in the file.

        Returns
        -------
        FluxMaps
            The maps as norms, with the reference model from the header, or else from the file that
            the header names.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file has no flux maps, or is damaged.
        """
        with reading(filename):
            content = read_flux_maps(filename, checksum)
            model = model_from_content(content.model, expand_path(filename).parent)
            maps = content.maps
            if "stat_scan" in maps and "norm" in maps["stat_scan"].geom.axes.names:
                maps.pop("dnde_scan_values", None)  # derived from the axis
            if content.sed_type in FLUXES:
                if model is None:
                    raise InputError(
                        f"a file of {content.sed_type} needs its reference model, which is "
                        "neither in its header nor in the file that its card MODEL names."
                    )
                maps = norms_from_fluxes(maps, content.sed_type, model.spectral_model)
            return cls(maps, model, content.meta, content.gti)

    @classmethod
    def from_gammapy(cls, maps: Any) -> FluxMaps:
        """Make flux maps of gammapy's.

        Parameters
        ----------
        maps : gammapy.estimators.FluxMaps
            The maps; they stay as they are.

        Returns
        -------
        FluxMaps
            The maps as norms; the test statistic gets the sign of the norm.
        """
        found: FluxMaps = upper("flux_maps_from_gammapy")(maps)
        return found

    def to_gammapy(self) -> Any:
        """Return the maps as gammapy's; the status and the sign of the TS have no place there.

        Returns
        -------
        gammapy.estimators.FluxMaps
            The maps, with reference model and good time intervals.
        """
        return upper("flux_maps_to_gammapy")(self)

    # -- figures ---------------------------------------------------------------------------------

    def plot(
        self,
        quantity: str = "sqrt_ts",
        ax: Any = None,
        *,
        energy: int | Sequence[int] | None = None,
        stretch: str = "auto",
        cmap: Any = None,
        norm: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        interpolation: str = "nearest",
        colorbar: bool = True,
        label: str | None = None,
        title: str | None = None,
        contours: Sequence[float] | None = None,
        contour_color: str = "black",
        peaks: Any = None,
        peak_names: bool = True,
        resolution: Any = None,
    ) -> Any:
        """Draw a map.

        Parameters
        ----------
        quantity : str
            Name of the map.
        ax : WCSAxes, optional
            Axes to draw on; new axes by default.
        energy : int or sequence of int, optional
            Energy groups to draw; all by default.
        stretch : str
            ``"linear"``, ``"sqrt"``, ``"log"``, ``"asinh"``, ``"diverging"``, or ``"auto"``.
        cmap : str or Colormap, optional
            Colour map.
        norm : matplotlib.colors.Normalize, optional
            Colour scale, in place of `stretch`, `vmin` and `vmax`.
        vmin, vmax : float, optional
            Ends of the colour scale.
        interpolation : str
            ``"nearest"`` shows the pixels; ``"bilinear"`` or ``"bicubic"`` a smooth image.
        colorbar : bool
            Draw a colour bar.
        label : str, optional
            Label of the colour bar; the unit is appended.
        title : str, optional
            Title; by default the energy range.
        contours : sequence of float, optional
            Levels at which to draw contours.
        contour_color : str
            Colour of the contours.
        peaks : astropy.table.Table, optional
            Sources to circle, as `find_peaks` returns them.
        peak_names : bool
            Write their names, or for more than 12 sources their numbers in the table.
        resolution : str, Quantity or float, optional
            Radius of the circle in the lower left corner. By default it holds 68 % of the kernel;
            0 leaves it out.

        Returns
        -------
        WCSAxes or array of WCSAxes
            The axes, one for each energy group.

        Raises
        ------
        ValueError
            As `Map.plot`, or if it is a likelihood scan (use `FluxMaps.plot_profile`).
        """
        return upper("plot_flux_maps")(self, **given(locals()))

    def plot_profile(self, position: Any, ax: Any = None, **kwargs: Any) -> Any:
        """Draw the likelihood profile of one pixel, with its best fit, errors and limit.

        Parameters
        ----------
        position : SkyCoord or tuple of int
            A position, or a pixel as (row, column).
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; new axes by default.
        **kwargs
            Options of `gammagrad.plot.plot_profile`, such as ``energy=0`` or ``quantity="flux"``.

        Returns
        -------
        matplotlib.axes.Axes
            The axes.
        """
        return upper("plot_profile")(self, position, ax=ax, **kwargs)

    def plot_significance_histogram(self, exclusion: Any = None, **kwargs: Any) -> Any:
        """Draw the distribution of significances over a standard normal.

        Parameters
        ----------
        exclusion : Map, ndarray or Table, optional
            Mask that is false (or zero) at sources, or a table of peaks.
        **kwargs
            Options of `gammagrad.plot.plot_significance_histogram`.

        Returns
        -------
        SignificanceFit
            Fitted mean and width, number of pixels, axes.
        """
        return upper("plot_significance_histogram")(self, exclusion, **kwargs)

    def plot_residuals(self, dataset: Any, **kwargs: Any) -> Any:
        """Draw the significance of the excess over the predicted counts.

        Parameters
        ----------
        dataset : MapDataset
            The fitted data.
        **kwargs
            Options of `gammagrad.plot.plot_residuals`, such as ``peaks=table`` to subtract the
            sources of a table.

        Returns
        -------
        WCSAxes
            The axes.
        """
        return upper("plot_residuals")(self, dataset, **kwargs)


def titled(title: str, lines: Mapping[str, Any]) -> str:
    """Return the text of printed maps: a title and named values."""
    body = "\n".join(f"  {name:<22} : {value}" for name, value in lines.items())
    return f"{title}\n{'-' * len(title)}\n\n{body}\n"
