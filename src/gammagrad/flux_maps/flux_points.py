"""The spectrum at one position of flux maps, as a table with gammapy's names of columns."""

from __future__ import annotations

from typing import Any

from astropy import units as u
from astropy.table import QTable

from gammagrad.errors import InputError, choices
from gammagrad.maps import readable_energies
from gammagrad.output_quantities import FLUXES, QUANTITIES

_ENDINGS = ("", "_err", "_errn", "_errp", "_ul", "_sensitivity")
_SHARED = ("ts", "sqrt_ts", "npred", "npred_excess", "stat", "stat_null", "success", "status")
_SHARED_LAST = ("is_ul", "niter")


class FluxPointTable(QTable):
    """A spectrum: a row for each energy group, with gammapy's names of columns.

    It is a table of astropy. ``for row in table`` goes through the energies, and
    ``table["dnde"]`` is a quantity.
    """

    def to_table(self, sed_type: str | None = None, formatted: bool = False) -> QTable:
        """Return the columns of one kind of flux.

        Parameters
        ----------
        sed_type
            "likelihood", "dnde", "flux", "eflux" or "e2dnde"; by default all columns.
        formatted
            Print numbers with few digits.

        Returns
        -------
        astropy.table.QTable
            Energies, the flux with its errors and limits, and the test statistic.

        Raises
        ------
        ValueError
            If there is no such kind of flux.
        """
        names = self.colnames
        if sed_type is not None:
            kinds = ("likelihood", *FLUXES)
            if sed_type not in kinds:
                raise InputError(f" is {sed_type!r}{choices(sed_type, kinds)}", "sed_type")
            kind = "norm" if sed_type == "likelihood" else sed_type
            own = [f"{kind}{end}" for end in _ENDINGS]
            references = [n for n in names if n.startswith("ref_") and sed_type == "likelihood"]
            wanted = {"e_ref", "e_min", "e_max", *references, *own, *_SHARED, *_SHARED_LAST}
            names = [name for name in names if name in wanted]
        table = QTable(self[names])
        table.meta = {**self.meta, "SED_TYPE": sed_type or "likelihood"}
        if formatted:
            for name in names:
                if table[name].dtype.kind == "f":
                    table[name].info.format = ".3f" if name.startswith(("e_m", "e_r")) else ".3e"
        return table


class FluxMapsHabits:
    """Short methods of flux maps that follow from their values."""

    def get_flux_points(self, position: Any = None) -> FluxPointTable:
        """Return the spectrum at a position as a table.

        Parameters
        ----------
        position
            A `SkyCoord`, or (lon, lat) in degrees in the frame of the maps; by default their
            middle. The values are those of the pixel it falls on.

        Returns
        -------
        FluxPointTable
            A table with a row for each energy group, and gammapy's names of columns: ``e_ref``,
            ``e_min``, ``e_max``, ``ref_dnde``, ``norm``, ``dnde``, ``flux``, ``eflux`` and
            ``e2dnde`` with their errors and limits, ``ts``, ``sqrt_ts``, and what else was
            computed. Its `to_table` picks one kind of flux. ``ts`` has the sign of the norm.

        Raises
        ------
        ValueError
            If the position is outside of the maps.
        """
        maps: Any = self
        geom = maps.geom
        position = geom.center_skydir if position is None else geom.position(position)
        if not bool(geom.contains(position)):
            raise InputError(f": {position} is outside of the maps.", "position")
        table = FluxPointTable(meta={"SED_TYPE": "likelihood"})
        edges = readable_energies(maps.energy_axis.edges)
        table["e_ref"] = maps.energy_ref.to(edges.unit)
        table["e_min"], table["e_max"] = edges[:-1], edges[1:]
        if maps.reference_model is not None:
            for kind in ("dnde", "flux", "eflux"):
                table[f"ref_{kind}"] = getattr(maps, f"{kind}_ref").ravel()
        fluxes = [f"{kind}{end}" for kind in ("norm", *FLUXES) for end in _ENDINGS]
        first = dict.fromkeys([*fluxes, *_SHARED, *_SHARED_LAST, *maps.available_quantities])
        for name in (name for name in first if name in maps):
            m = maps[name]
            if m.geom.axes.names != ["energy"]:
                continue
            values = m.get(position)
            plain = m.unit == u.dimensionless_unscaled
            table[name] = values if plain else u.Quantity(values, m.unit)
            if name in QUANTITIES and QUANTITIES[name].meaning:
                table[name].info.description = QUANTITIES[name].meaning
        return table

    get_flux_point = get_flux_points
