"""Strict JAX for every test, four simulated devices, and the places of the real data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import compiler

os.environ["XLA_FLAGS"] = compiler.flags("--xla_force_host_platform_device_count=4")
os.environ.setdefault("MPLBACKEND", "Agg")

import jax
import pytest
from hypothesis import settings

from kept_code import KeptCode, kept_folder, prune
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


KEPT = pytest.StashKey[KeptCode]()

# Each piece of compiled code takes some of the mappings of memory that a process may have.
MAPPINGS = Path("/proc/self/maps")
MOST_MAPPINGS = 30_000  # under half of what Linux allows, since one file of tests may add as many


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that draws a small part of the tests, evenly from all of them."""
    parser.addoption("--every", type=int, default=1, metavar="N", help="run every Nth test only")


LONG_TESTS = Path(__file__).with_name("long_tests.txt")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Mark tests that are listed as slow, and leave out all but every Nth of those asked for."""
    lines = LONG_TESTS.read_text(encoding="utf-8").splitlines()
    listed = tuple(line for line in lines if not line.startswith("#"))
    for item in items:
        if item.nodeid.startswith(listed):
            item.add_marker(pytest.mark.slow)
    yield
    step = config.getoption("--every")
    left_out = [item for number, item in enumerate(items) if number % step]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = items[::step]


def pytest_configure(config: pytest.Config) -> None:
    """Let this process, and those that its tests start, use the code that earlier runs compiled."""
    kept = kept_folder()
    hands_out_tests = getattr(config.option, "numprocesses", None) and not is_worker(config)
    if kept is None or hands_out_tests:
        return
    code = config.stash[KEPT] = KeptCode(kept)
    settings = code.settings()
    for name, value in settings.items():
        os.environ[name.upper()] = str(value)
        jax.config.update(name, value)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Keep what was compiled, up to a size."""
    if KEPT in config.stash:
        config.stash[KEPT].close()
    kept = None if is_worker(config) else kept_folder()
    if kept is not None:
        prune(kept)


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture(autouse=True, scope="module")
def _compiled_code(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hand on what the tests of a file compiled, and drop it when the process nears a limit."""
    yield
    if KEPT in request.config.stash:
        request.config.stash[KEPT].exchange()
    if crowded():
        jax.clear_caches()


def crowded() -> bool:
    """Say whether the process nears its number of mappings, or half its share of the memory."""
    if not MAPPINGS.exists():
        return True
    with MAPPINGS.open("rb") as lines:
        many = sum(1 for _ in lines)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    share = os.sysconf("SC_PHYS_PAGES") // (os.cpu_count() or 1)
    return many > MOST_MAPPINGS or pages > share // 2
