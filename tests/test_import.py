"""Importing the package loads JAX and astropy, and nothing else that takes time."""

from __future__ import annotations

import subprocess
import sys

NOT_NEEDED = (
    *("gammapy", "matplotlib", "multiprocessing.pool", "optax", "ray", "regions", "scipy"),
    *("tqdm", "gammagrad.cli", "gammagrad.demo", "gammagrad.plot", "gammagrad.simulate"),
)


def test_what_is_not_needed_is_not_imported() -> None:
    code = "import sys, gammagrad; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "gammagrad" in found
    assert sorted(set(NOT_NEEDED) & set(found)) == []
