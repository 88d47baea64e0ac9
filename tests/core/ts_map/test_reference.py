"""The fit alone on the arrays that entered gammapy's, pixel by pixel."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from precision import DOUBLE
from reference import TS_TOLERANCE, case_names, compare

DATA = os.environ.get("GAMMAPY_DATA")
FOLDER = Path(os.environ.get("GAMMAGRAD_REFERENCE", Path(DATA or "absent").parent / "reference"))

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DOUBLE, reason="the references are in double precision"),
]


# each of another kind; all others are much like one of them: with the long studies
KINDS = (
    "fake_exposurehole_thr1",
    "fake_maskfit_hole_nan_sumF",
    "fermicut_energy_nosum",
    "hawc_joint_sumF",
    "hesscrab_nanbkg_sumT",
    "pois_gauss0.1_ds4",
)
CASES = case_names(FOLDER)


def _marked(case: str):
    return case if case in KINDS else pytest.param(case, marks=pytest.mark.slow)


def test_each_kind_is_there(reference_dir: Path) -> None:
    assert set(KINDS) < set(case_names(reference_dir))


@pytest.mark.parametrize("case", [_marked(name) for name in CASES] or ["none"])
def test_norm_and_ts_are_those_of_gammapy_where_it_is_right(case: str, reference_dir: Path) -> None:
    for row in compare(reference_dir, case):
        assert row.norm < 1e-6
        assert row.ts < TS_TOLERANCE.get(case, 1e-6)
