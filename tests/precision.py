"""The precision that this run of the tests is in."""

from __future__ import annotations

import os

PRECISION = os.environ.get("GAMMAGRAD_TEST_PRECISION", "float64")
DOUBLE = PRECISION == "float64"
