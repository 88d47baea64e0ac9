"""The result of a map of sources: its maps by name, and the fluxes they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

import astropy.units as u
from astropy.table import QTable, Table

from gammagrad._plots import call_plot
from gammagrad.derive import (
    check_maps,
    derivable,
    derive,
    model_from_content,
    model_to_content,
    norms_from_fluxes,
    reference_values,
    why_missing,
)
from gammagrad.io.flux_maps import read_flux_maps, write_flux_maps
from gammagrad.maps.axes import MapAxis
from gammagrad.maps.geom import WcsGeom
from gammagrad.maps.map import Map
from gammagrad.models import SkyModel
from gammagrad.peaks import find_peaks
from gammagrad.quantities import FLUXES, QUANTITIES, STORED, MissingQuantityError

__all__ = ["FluxMaps"]


class FluxMaps(Mapping[str, Map]):
    """Maps of sources by name, with the model that turns their norms into fluxes.

    ``maps["flux"]`` and ``maps.flux`` are the same. As a mapping it holds the maps that were
    computed and all that follows from them: `sqrt_ts`, and flux, dnde, eflux and e2dnde with
    their errors and limits. The table of them is `gammagrad.quantities.QUANTITIES`.
    ``maps.dnde_ref``, ``flux_ref``, ``eflux_ref`` and ``e2dnde_ref`` are the reference model's
    fluxes in every energy group, as quantities of shape (groups, 1, 1).

    Parameters
    ----------
    data : Mapping of str to Map
        Maps on one geometry with an energy axis, of one bin per energy group. ``ts`` is negative
        where ``norm`` is.
    reference_model : SkyModel, optional
        The model whose norm was fitted. A spectral model alone will do. Without it there are
        norms but no fluxes.
    meta : dict, optional
        What is known about the run: ``n_sigma``, ``n_sigma_ul``, ``n_sigma_sensitivity``,
        ``sqrt_ts_threshold_ul``, ``settings`` (a dict), ``input`` (file name or names),
        ``input_sha256``, and whatever else can be written as JSON. Copied.
    gti : astropy.table.Table, optional
        Good time intervals of the data.

    Raises
    ------
    ValueError
        If there are no maps, or their geometries differ, or have no energy axis.
    TypeError
        If an entry is not a map.

    Examples
    --------
    >>> from gammagrad.maps.axes import MapAxis
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
    gammagrad.quantities.MissingQuantityError: norm_ul was not computed: run the estimator with
    selection_optional=["ul"], or "all".
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
        yield from self._data
        yield from (name for name in QUANTITIES if name not in self._data and name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    # comparing means comparing maps, which has no single answer
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name.endswith("_ref") and name.removesuffix("_ref") in FLUXES:
            return self._reference_flux(name.removesuffix("_ref"))
        return self[name]

    def _reference_flux(self, kind: str) -> u.Quantity:
        """Return a flux of the reference model, shape (groups, 1, 1)."""
        if self._spectrum is None:
            raise MissingQuantityError(why_missing(kind, self._data, None))
        values = reference_values(self._spectrum, self.energy_axis, kind)
        return u.Quantity(values[:, None, None], FLUXES[kind][0])

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self, *(f"{flux}_ref" for flux in FLUXES)})

    # -- what they are ---------------------------------------------------------------------------

    @property
    def available_quantities(self) -> list[str]:
        """Names of the maps that were computed; those that follow from them come on top."""
        return list(self._data)

    @property
    def geom(self) -> WcsGeom:
        """Geometry of the maps."""
        return self._data.get("norm", next(iter(self._data.values()))).geom

    @property
    def energy_axis(self) -> MapAxis:
        """Energy axis, with one bin per energy group."""
        return self.geom.axes["energy"]

    @property
    def energy_ref(self) -> u.Quantity:
        """Centres of the energy groups, at which dnde is given."""
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
        """Model whose norm was fitted."""
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
    def sqrt_ts_threshold_ul(self) -> float:
        """Significance below which a flux is to be read as a limit; may be set."""
        return self.meta.get("sqrt_ts_threshold_ul", 2)

    @sqrt_ts_threshold_ul.setter
    def sqrt_ts_threshold_ul(self, value: float) -> None:
        self.meta["sqrt_ts_threshold_ul"] = float(value)

    def __str__(self) -> str:
        lines = {
            "geom": type(self.geom).__name__,
            "axes": ["lon", "lat", *self.geom.axes.names],
            "shape": tuple(int(n) for n in self.geom.data_shape[::-1]),
            "quantities": self.available_quantities,
            "ref. model": _model_tag(self._reference_model),
            "n_sigma": self.n_sigma,
            "n_sigma_ul": self.n_sigma_ul,
            "sqrt_ts_threshold_ul": self.sqrt_ts_threshold_ul,
            "sed type init": self.meta["sed_type_init"],
        }
        title = type(self).__name__
        body = "\n".join(f"  {name:<22} : {value}" for name, value in lines.items())
        return f"{title}\n{'-' * len(title)}\n\n{body}\n"

    __repr__ = __str__

    # -- what to do with them --------------------------------------------------------------------

    def _with_maps(self, data: dict[str, Map]) -> FluxMaps:
        return type(self)(data, self._reference_model, dict(self.meta), self.gti)

    def copy(self) -> FluxMaps:
        """Return maps whose data can be changed without changing these.

        Returns
        -------
        FluxMaps
            The copy.
        """
        return self._with_maps({name: m.copy() for name, m in self._data.items()})

    def slice_by_idx(self, slices: dict[str, slice | int]) -> FluxMaps:
        """Return a part of the energy groups.

        Parameters
        ----------
        slices : dict
            Slice by name of axis, such as ``{"energy": slice(0, 2)}``.

        Returns
        -------
        FluxMaps
            The part.
        """
        return self._with_maps({name: m.slice_by_idx(slices) for name, m in self._data.items()})

    def cutout(self, position: Any, width: Any, mode: str = "trim") -> FluxMaps:
        """Return a part of the sky.

        Parameters
        ----------
        position : SkyCoord
            Centre of the part.
        width : Quantity or str
            Its width, or widths in longitude and latitude.
        mode : str
            ``"trim"`` or ``"strict"``, for parts that reach beyond the maps.

        Returns
        -------
        FluxMaps
            The part.
        """
        return self._with_maps({n: m.cutout(position, width, mode) for n, m in self._data.items()})

    def find_peaks(
        self, threshold: Any = 5, min_distance: Any = 5, quantity: str = "sqrt_ts"
    ) -> QTable:
        """List the sources; see `gammagrad.peaks.find_peaks`.

        Parameters
        ----------
        threshold : float or Quantity
            Peaks are higher than this.
        min_distance : str, Quantity or float
            No higher pixel lies within this angle, or number of pixels.
        quantity : str
            Name of the map to search.

        Returns
        -------
        astropy.table.QTable
            One row per source, the most significant first.
        """
        return find_peaks(self, threshold, min_distance, quantity)

    def write(self, filename: str | PathLike[str], overwrite: bool = False) -> None:
        """Write a FITS file that gammapy reads too, and the model beside it.

        Test statistics are written without their sign, as gammapy does; `read` restores it.

        Parameters
        ----------
        filename : str or path
            File to write; ``_model.yaml`` is appended to its stem for the model.
        overwrite : bool
            Replace existing files.

        Raises
        ------
        FileExistsError
            If a file is there and `overwrite` is false.
        """
        maps = self._data | {name: self[name] for name in ("sqrt_ts",) if name in self}
        model = model_to_content(self._reference_model)
        write_flux_maps(filename, maps, model, self.meta, self.gti, overwrite=overwrite)

    @classmethod
    def read(cls, filename: str | PathLike[str]) -> FluxMaps:
        """Read a file written by this library or by gammapy.

        Parameters
        ----------
        filename : str or path
            File to read.

        Returns
        -------
        FluxMaps
            The maps, with the reference model of the header, or else of the file it names.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it does not hold flux maps.
        """
        content = read_flux_maps(filename)
        model = model_from_content(content.model)
        maps = content.maps
        if content.sed_type in FLUXES:
            if model is None:
                raise ValueError(
                    f"{filename}: a file of {content.sed_type} needs its reference model, which is "
                    "neither in its header nor in the file that its card MODEL names."
                )
            maps = norms_from_fluxes(maps, content.sed_type, model.spectral_model)
        return cls(maps, model, content.meta, content.gti)

    # -- pictures --------------------------------------------------------------------------------

    def plot(self, quantity: str = "sqrt_ts", ax: Any = None, **kwargs: Any) -> Any:
        """Draw a map; see `gammagrad.plot.plot_flux_maps` for the options.

        Parameters
        ----------
        quantity : str
            Name of the map.
        ax : WCSAxes, optional
            Where to draw; new axes by default.
        **kwargs
            Options, such as ``energy=0``, ``contours=[5, 10]`` or ``peaks=table``.

        Returns
        -------
        WCSAxes or array of them
            The axes, one per energy group shown.
        """
        return call_plot("plot_flux_maps", self, quantity, ax=ax, **kwargs)

    def plot_significance_histogram(self, exclusion: Any = None, **kwargs: Any) -> Any:
        """Draw the distribution of significances over a standard normal.

        Parameters
        ----------
        exclusion : Map, ndarray or Table, optional
            Mask that is false (or zero) where there are sources, or a table of peaks.
        **kwargs
            Options of `gammagrad.plot.plot_significance_histogram`.

        Returns
        -------
        SignificanceFit
            Fitted mean and width, number of pixels, axes.
        """
        return call_plot("plot_significance_histogram", self, exclusion, **kwargs)

    def plot_residuals(self, dataset: Any, **kwargs: Any) -> Any:
        """Draw what the counts have over the predicted ones, as a significance.

        Parameters
        ----------
        dataset : MapDataset
            The data that were fitted.
        **kwargs
            Options of `gammagrad.plot.plot_residuals`, such as ``peaks=table`` to take out the
            sources found.

        Returns
        -------
        WCSAxes
            The axes.
        """
        return call_plot("plot_residuals", self, dataset, **kwargs)


def _model_tag(model: Any) -> str | None:
    """Return the short name of the reference model's spectrum."""
    return None if model is None else model.spectral_model.tag[-1]
