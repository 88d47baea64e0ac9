"""The norms of a likelihood scan."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.estimators.ts_map.scan_norms import SCAN_DEFAULTS, plain_scan, scan_values

BOUNDS = st.floats(-1e4, 1e4, allow_subnormal=False).filter(lambda x: x == 0 or abs(x) > 1e-6)


def test_default_has_both_signs_zero_and_equal_factors() -> None:
    values = scan_values()
    assert values[0] == -100
    assert values[-1] == 100
    np.testing.assert_array_equal(values, -values[::-1])
    positive = values[values > 0]
    np.testing.assert_allclose(np.diff(np.log10(positive)), 1 / 16, rtol=1e-9)
    assert positive[0] == pytest.approx(1e-4)
    assert 0.0 in values
    assert len(values) == SCAN_DEFAULTS["scan_n_values"]
    np.testing.assert_array_equal(scan_values({}), values)


@given(low=BOUNDS, high=BOUNDS, many=st.integers(2, 60), interp=st.sampled_from(["lin", "log"]))
def test_a_range_keeps_its_ends_and_its_number(
    low: float, high: float, many: int, interp: str
) -> None:
    low, high = min(low, high), max(low, high)
    if high - low < 1e-3:
        high = low + 1
    norm = {"scan_min": low, "scan_max": high, "scan_n_values": many, "interp": interp}
    values = scan_values(norm)
    assert np.all(np.isfinite(values))
    assert np.all(np.diff(values) > 0)
    assert values[0] == pytest.approx(low)
    assert values[-1] == pytest.approx(high)
    assert len(values) <= many
    if interp == "lin":
        np.testing.assert_allclose(values, np.linspace(low, high, many), atol=1e-9)
    elif low > 0:
        np.testing.assert_allclose(values, np.geomspace(low, high, many), rtol=1e-9)
    elif low <= 0 <= high and many > 2:
        assert 0.0 in values
    np.testing.assert_array_equal(scan_values(json.loads(json.dumps(plain_scan(norm)))), values)


def test_values_of_any_kind_are_sorted_and_once() -> None:
    wanted = [-1.0, 0.0, 2.0]
    for norm in (
        [2, 0, -1, 0],
        (2.0, 0.0, -1.0),
        np.array([2, -1, -0.0]),
        {"scan_values": np.array([2.0, 0.0, -1.0])},
        {"scan_values": [2, 0, -1], "scan_min": 5},
        SimpleNamespace(scan_values=np.array([2.0, 0.0, -1.0]), interp="log"),
    ):
        values = scan_values(norm)
        assert values.dtype == np.float64
        assert values.tolist() == wanted
        plain = json.loads(json.dumps(plain_scan(norm)))
        assert scan_values(plain).tolist() == wanted
    assert not np.signbit(scan_values([-0.0]))[0]


def test_none_stays_none_in_a_file() -> None:
    assert plain_scan(None) is None
    assert plain_scan({"scan_n_values": np.int64(5), "scan_max": 10}) == {
        "scan_max": 10.0,
        "scan_n_values": 5,
    }


@pytest.mark.parametrize(
    ("norm", "message"),
    [
        ({"scan_mim": 1}, "norm has no 'scan_mim'; did you mean 'scan_min'"),
        ({"scan_min": 3, "scan_max": 3}, "expected scan_min below scan_max"),
        ({"scan_min": "low"}, r"norm\['scan_min'\] is 'low'; expected a finite number"),
        ({"scan_max": np.inf}, r"norm\['scan_max'\] is inf"),
        ({"scan_n_values": 1}, "expected a whole number above 1"),
        ({"scan_n_values": 2.5}, "expected a whole number above 1"),
        ({"interp": "sqrt"}, "expected 'lin' or 'log'"),
        ({"scan_values": [1, np.nan]}, r"norm\['scan_values'\] .* finite numbers"),
        ([], "norm is .*; expected norms to scan"),
        (SimpleNamespace(scan_values=[np.inf]), r"norm\.scan_values is"),
    ],
)
def test_values_that_cannot_be_used(norm: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scan_values(norm)


@pytest.mark.parametrize("norm", ["1, 2", 3.0, True, [[1, 2]], [1, "a"]])
def test_things_that_are_no_scan(norm: object) -> None:
    with pytest.raises(TypeError, match=r"norm is .*; expected norms to scan.*or pass a dict"):
        scan_values(norm)
