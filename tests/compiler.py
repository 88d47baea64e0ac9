"""How XLA compiles for the tests: in less time, unless a variable asks for code as fast as users'.

Most of the tests' time goes into compiling code that runs for milliseconds. XLA's settings change
the rounding of a last digit at most, so most tests need not pay for code as fast as users have it.
"""

from __future__ import annotations

import os
from importlib.metadata import version

VARIABLE = "GAMMAGRAD_TEST_COMPILER"
"""`full` in it leaves the compiler as users have it."""

QUICK = "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false"
KNOWN = "0.10."  # jaxlib ends the process at a setting that it does not know


def settings() -> str:
    """Return the settings for `XLA_FLAGS`."""
    chosen = os.environ.get(VARIABLE, "quick")
    if chosen not in ("full", "quick"):
        raise ValueError(f"{VARIABLE}: expected 'full' or 'quick', got {chosen!r}")
    return QUICK if chosen == "quick" and version("jaxlib").startswith(KNOWN) else ""


def flags(*others: str) -> str:
    """Return `XLA_FLAGS` with the settings and others, each once.

    A process of pytest-xdist has them already; repeated, they would be another key of kept code.
    """
    wanted = [*os.environ.get("XLA_FLAGS", "").split(), *settings().split(), *others]
    return " ".join(dict.fromkeys(wanted))
