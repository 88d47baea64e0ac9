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


@pytest.mark.parametrize("case", case_names(FOLDER) or ["none"])
def test_norm_and_ts_are_those_of_gammapy_where_it_is_right(case: str, reference_dir: Path) -> None:
    for row in compare(reference_dir, case):
        assert row.norm < 1e-6
        assert row.ts < TS_TOLERANCE.get(case, 1e-6)
