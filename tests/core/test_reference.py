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


# much like another case: with the long studies
ALIKE = [
    "ext_gauss0.11_kw10",
    "ext_gauss0.31_kwNone",
    "fake_asimov_sumT",
    "fake_joint_onemasked",
    "fake_joint_twodiff_all",
    "fake_maskfit_bighole_sumT",
    "fake_withmodel_ds2",
    "fermicut_energy_sum_masked",
    "fermicut_perbin_ul",
    "fermicut_psf_ul_errnp",
    "hawc_joint_sumT",
    "hesscrab200_gauss0.1_ds2_ul_errnp",
    "hesscrab200_gauss0.2_ds4_ul",
    "hesscrab_disk0.1_ul",
    "hesscrab_maskfit_sumF",
    "hesscrab_perbin_ul_errnp",
    "hesscrab_point_all_nosum",
    "hesscrab_withmodel",
    "pois_gauss0.11_ds2_ul",
    "pois_gauss0.1_thr1",
]


def _marked(case: str):
    return pytest.param(case, marks=pytest.mark.slow) if case in ALIKE else case


@pytest.mark.parametrize("case", [_marked(name) for name in case_names(FOLDER) or ["none"]])
def test_norm_and_ts_are_those_of_gammapy_where_it_is_right(case: str, reference_dir: Path) -> None:
    for row in compare(reference_dir, case):
        assert row.norm < 1e-6
        assert row.ts < TS_TOLERANCE.get(case, 1e-6)
