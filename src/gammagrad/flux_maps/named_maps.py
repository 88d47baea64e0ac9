"""Maps by name, with what follows from them: the mapping that `FluxMaps` is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import astropy.units as u
from astropy.table import Table

from gammagrad.derive import check_maps, derivable, derive, reference_values, why_missing
from gammagrad.maps import Map, MapAxis, WcsGeom
from gammagrad.models import SkyModel
from gammagrad.quantities import FLUXES, QUANTITIES, STORED, MissingQuantityError


class NamedMaps(Mapping[str, Map]):
    """Maps by name, a reference model and metadata; the base of `FluxMaps`."""

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
        """Names of the maps that were computed, in gammapy's order.

        Those that follow from them come on top, and so does ``status``, which gammapy has not.
        """
        follows = ("dnde_scan_values",) if "dnde_scan_values" in self else ()
        names = [n for n in STORED if n in self._data or n in follows]
        names += [n for n in self._data if n not in STORED]
        return [n for n in names if n not in QUANTITIES or QUANTITIES[n].listed]

    @property
    def computed(self) -> dict[str, Map]:
        """The maps that were computed or read, by name, without those that follow from them."""
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
    def n_sigma_sensitivity(self) -> float | None:
        """Significance that the sensitivity is for."""
        return self.meta.get("n_sigma_sensitivity")

    @property
    def norm_min(self) -> float | None:
        """Norm below which limits do not start; None if only physics bounds them."""
        return self.meta.get("norm_min")

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


def _model_tag(model: Any) -> str | None:
    """Return the short name of the reference model's spectrum."""
    return None if model is None else model.spectral_model.tag[-1]
