"""Units at the door: what comes in as text, quantity or number goes on as numbers."""

import jax
import numpy as np
import pytest
from astropy import units as u
from hypothesis import given
from hypothesis import strategies as st

from gammagrad._pytree import to_internal
from gammagrad.maps import INTERNAL_UNITS, parse_unit, quantity, to_value, without_count_units


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        ("1 deg", "deg", 1.0),
        ("30 arcmin", "deg", 0.5),
        ("1e-12 cm-2 s-1 TeV-1", "cm-2 s-1 TeV-1", 1e-12),
        ("1e-9 m-2 s-1 GeV-1", "cm-2 s-1 TeV-1", 1e-10),
        (3 * u.keV, "TeV", 3e-9),
        (1 * u.Unit("deg-2"), "sr-1", (180 / np.pi) ** 2),
        (2, "TeV", 2.0),
        (np.float32(0.5), "TeV", 0.5),
    ],
)
def test_scalars_become_floats_in_the_unit(value, unit, expected):
    result = to_value(value, unit)
    assert isinstance(result, float)
    assert result == pytest.approx(expected, rel=1e-14)


@given(st.floats(1e-20, 1e20))
def test_conversion_there_and_back_is_the_identity(x):
    there = to_value(x * u.TeV, "keV", "energy")
    assert to_value(there * u.keV, "TeV") == pytest.approx(x, rel=1e-14)


def test_lists_may_mix_units():
    result = to_value(["1 TeV", 500 * u.GeV, 2.0], "TeV")
    np.testing.assert_allclose(result, [1.0, 0.5, 2.0])


def test_arrays_are_copied():
    numbers = np.array([1.0, 2.0])
    for value in (numbers, u.Quantity(numbers, "TeV", copy=False)):
        result = to_value(value, "TeV")
        result[0] = 99
    assert numbers[0] == 1.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1 m", "lambda_: cannot convert 'm' to 'TeV'"),
        (1 * u.s, "lambda_: cannot convert 's' to 'TeV'"),
        ("5", "lambda_: cannot convert a dimensionless number to 'TeV'"),
        ("five TeV", "lambda_: cannot read 'five TeV'.*such as '1 TeV'"),
    ],
)
def test_errors_name_the_thing_and_both_units(value, message):
    with pytest.raises(ValueError, match=message):
        to_value(value, "TeV", "lambda_")


def test_quantity_attaches_the_unit_to_plain_numbers_only():
    assert quantity(2, "deg") == 2 * u.deg
    assert quantity("60 arcmin", "deg").unit == u.deg


def test_models_get_this_converter():
    assert to_internal("1 GeV", "TeV", "energy") == pytest.approx(1e-3)
    with pytest.raises(ValueError, match="energy: cannot convert"):
        to_internal("1 cm", "TeV", "energy")


def test_tracers_pass_untouched():
    assert float(jax.jit(lambda x: to_value(x, "TeV") * 2)(3.0)) == 6.0


def test_internal_units_are_units():
    for meaning, unit in INTERNAL_UNITS.items():
        assert str(u.Unit(unit)) is not None, meaning
    assert (u.Unit(INTERNAL_UNITS["flux"]) / u.Unit(INTERNAL_UNITS["dnde"])).is_equivalent(
        INTERNAL_UNITS["energy"]
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cm2 s", "cm2 s"),
        ("counts", "ct"),
        ("photons/cm**2/s/MeV/sr", "ph cm-2 s-1 MeV-1 sr-1"),
        ("counts/pixel", "ct / pix"),
        (None, ""),
        (" ", ""),
        (u.TeV, "TeV"),
    ],
)
def test_units_are_read_as_headers_spell_them(text, expected):
    assert parse_unit(text) == u.Unit(expected)


def test_nonsense_is_no_unit():
    with pytest.raises(ValueError, match=r"BUNIT: 'apples' is not a unit"):
        parse_unit("apples", "BUNIT")


@pytest.mark.parametrize(
    ("unit", "expected"),
    [("ct", ""), ("ph cm-2 s-1", "cm-2 s-1"), ("ct / pix", ""), ("m2 s", "m2 s"), ("TeV", "TeV")],
)
def test_counts_are_pure_numbers(unit, expected):
    assert without_count_units(u.Unit(unit)) == u.Unit(expected)


def test_a_scale_survives_the_removal_of_counts():
    assert without_count_units(u.Unit("1e-3 ph cm-2")).to("cm-2") == pytest.approx(1e-3)
