"""The precision that this run of the tests is in."""

from __future__ import annotations

import os

import pytest

PRECISION = os.environ.get("GAMMAGRAD_TEST_PRECISION", "float64")
DOUBLE = PRECISION == "float64"

double_only = pytest.mark.skipif(not DOUBLE, reason="states double precision")
"""For tests of what single precision does not reach; it has tests of its own."""
