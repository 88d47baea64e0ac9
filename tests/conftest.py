"""Strict JAX for every test, four simulated devices, and the places of the real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
).strip()
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest
from hypothesis import settings

from precision import DOUBLE

jax.config.update("jax_enable_x64", DOUBLE)
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# compiling makes the first example slow, and that is no failure
settings.register_profile("gammagrad", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("gammagrad")


def _folder(path: Path | None, what: str) -> Path:
    if path is None or not path.is_dir():
        pytest.skip(f"{what} not found")
    return path


@pytest.fixture(scope="session")
def gammapy_data() -> Path:
    """Return the folder of public data sets, `$GAMMAPY_DATA`, or skip."""
    value = os.environ.get("GAMMAPY_DATA")
    return _folder(Path(value).resolve() if value else None, "the data folder $GAMMAPY_DATA")


@pytest.fixture(scope="session")
def reference_dir(gammapy_data: Path) -> Path:
    """Return the folder of stored gammapy results, or skip."""
    default = gammapy_data.parent / "reference"
    return _folder(
        Path(os.environ.get("GAMMAGRAD_REFERENCE", default)), "the folder of reference results"
    )


@pytest.fixture
def rtol() -> float:
    """Return the relative tolerance that fits the precision the tests run in."""
    return 1e-9 if DOUBLE else 1e-4


@pytest.fixture(autouse=True, scope="module")
def _compiled_code_of_one_file_at_a_time() -> Iterator[None]:
    """Drop compiled code: each piece takes some of the mappings that a process may have."""
    yield
    jax.clear_caches()
