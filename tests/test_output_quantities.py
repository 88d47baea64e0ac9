"""The table of output maps: complete, consistent, and the source of every conversion."""

from __future__ import annotations

import astropy.units as u
import numpy as np

from gammagrad.maps import INTERNAL_UNITS
from gammagrad.output_quantities import FLUXES, QUANTITIES, STORED, MissingQuantityError


def test_stored_maps_come_in_the_order_that_gammapy_prints() -> None:
    basic = "ts norm niter norm_err npred npred_excess stat stat_null success"
    optional = "dnde_scan_values stat_scan norm_errp norm_errn norm_ul norm_sensitivity"
    free = "background_norm background_norm_err background_norm_pull background_norm_corr "
    free += "index index_err norm_index_corr ts_index"
    listed = [name for name in STORED if QUANTITIES[name].listed]
    assert " ".join(listed) == f"{basic} {optional} {free}"
    assert set(STORED) - set(listed) == {"status", "hypothesis"}


def test_every_norm_has_every_flux() -> None:
    norms = [n for n in STORED if QUANTITIES[n].is_norm]
    assert len(norms) == 6
    for flux, (unit, _) in FLUXES.items():
        for norm in norms:
            entry = QUANTITIES[flux + norm.removeprefix("norm")]
            assert entry.sources == (norm,)
            assert entry.reference == flux
            assert entry.unit == unit
            assert entry.option == QUANTITIES[norm].option
            assert entry.sigma == QUANTITIES[norm].sigma


def test_units_are_the_internal_ones() -> None:
    for flux, (unit, _) in FLUXES.items():
        assert u.Unit(unit) == u.Unit(INTERNAL_UNITS[flux])
    assert u.Unit(QUANTITIES["dnde_scan_values"].unit) == u.Unit(INTERNAL_UNITS["dnde"])


def test_every_entry_can_be_used() -> None:
    assert len({q.fits_name for q in QUANTITIES.values()}) == len(QUANTITIES)
    for name, q in QUANTITIES.items():
        assert q.name == name
        assert name.isidentifier()
        assert len(q.fits_name) <= 68
        assert q.meaning.endswith(".")
        assert q.meaning[0].isupper()
        assert q.label
        assert np.dtype(q.dtype)
        assert all(source in QUANTITIES for source in q.sources)


def test_a_missing_quantity_is_a_missing_key_and_attribute() -> None:
    assert issubclass(MissingQuantityError, KeyError)
    assert issubclass(MissingQuantityError, AttributeError)
