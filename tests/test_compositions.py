"""The examples of docs/examples do what they say, on small fields."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"


def load(name: str) -> ModuleType:
    """Import an example, which belongs to no package."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _flags_of_a_user() -> Iterator[None]:
    # optax and numpyro promote types and ranks
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_the_error_of_a_background_is_one_product_with_the_jacobian() -> None:
    example = load("background_error")
    field, norm_err = example.simulate(npix=21), 0.02
    flux, shift = example.propagate(jnp.asarray(1.0), jnp.asarray(norm_err), field)
    draws = np.random.default_rng(0).normal(size=40)
    draws = (draws - draws.mean()) / draws.std()
    norms = np.concatenate([[1.0, 1 + 1e-5, 1 - 1e-5], 1 + norm_err * draws])
    refits = np.asarray(example.toys(jnp.asarray(norms), field))
    np.testing.assert_allclose(flux, refits[0], rtol=1e-9)
    slope = (refits[1] - refits[2]) / 2e-5
    np.testing.assert_allclose(shift, norm_err * slope, rtol=1e-5, atol=1e-5 * abs(shift).max())
    # and by toys, but for a few pixels that meet the physical bound in some of them
    close = np.isclose(refits[3:].std(axis=0), abs(shift), rtol=0.05)
    assert close.mean() > 0.95
    assert close[10, 10]
    assert shift[10, 10] < 0


def test_time_goes_where_its_gradient_says() -> None:
    example = load("survey_design")
    survey, total = example.plan(n_pointings=4, npix=15), 40.0
    equal = example.share_out(jnp.zeros(4), total)
    before, slope = example.gain_per_hour(equal, survey)
    for i, shift in enumerate(1e-3 * np.eye(4)):
        high, low = (example.gain_per_hour(equal + s * shift, survey)[0] for s in (1, -1))
        assert abs(slope[i] - (high - low) / 2e-3) < 1e-6 * abs(slope).max()
    hours = example.optimise(total, survey)
    after, slope = example.gain_per_hour(hours, survey)
    assert abs(hours.sum() - total) < 1e-9 * total
    assert after < 0.95 * before
    # at the optimum an hour is worth the same wherever there are any, and no more elsewhere
    used = hours > 0.02 * total
    assert 1 < used.sum() < 4
    np.testing.assert_allclose(slope[used], slope.min(), rtol=0.02)
    assert (slope[~used] > slope.min()).all()


def test_the_broadening_of_a_psf_is_found_from_residual_significances() -> None:
    example = load("psf_broadening")
    data, truth = example.simulate(broadening=0.06, npix=25)
    found, before, after = example.fit(data, jnp.array([0.3, 3.0, 3.0, 3.0]))
    # its error is 0.02, see below
    assert abs(found[0] - truth[0]) < 0.06
    assert np.all(abs(found[1:] - truth[1:]) < 0.3)
    assert before.std() > 2
    assert 0.8 < after.std() < 1.2


@pytest.mark.slow
def test_the_broadening_and_its_error_agree_with_toys() -> None:
    example = load("psf_broadening")
    pulls, widths = [], []
    for seed in range(24):
        data, truth = example.simulate(broadening=0.06, seed=seed)
        found, _, after = example.fit(data, jnp.array([0.3, 3.0, 3.0, 3.0]))
        covariance = example.covariance(found, data)
        pulls.append((found - truth)[0] / jnp.sqrt(covariance[0, 0]))
        widths.append(after.std())
    assert abs(np.mean(pulls)) < 3 / np.sqrt(24)
    assert 0.6 < np.std(pulls) < 1.5
    assert 0.9 < np.mean(widths) < 1.05


@pytest.mark.slow
def test_a_posterior_has_the_width_of_the_error() -> None:
    pytest.importorskip("numpyro")
    example = load("sampling")
    dataset = example.simulate(npix=30)
    norms, errors = example.best_fit(dataset)
    samples = example.sample(dataset, n_samples=400)
    assert np.all(abs(norms - 1) < 3 * errors)
    for name, norm, error in zip(("source", "background"), norms, errors, strict=True):
        draws = samples[name]
        assert abs(draws.mean() - norm) < 0.3 * error
        assert 0.8 < draws.std() / error < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_an_example_runs_as_a_script(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    if name == "sampling":
        pytest.importorskip("numpyro")
    load(name).main()
    printed = capsys.readouterr().out
    assert len(re.findall(r"\d\.\d", printed)) > 5
    assert "nan" not in printed


def test_the_page_shows_every_example() -> None:
    page = (EXAMPLES.parent / "compositions.md").read_text(encoding="utf-8")
    shown = re.findall(r"\{literalinclude\} examples/(\w+)\.py", page)
    assert sorted(shown) == sorted(path.stem for path in EXAMPLES.glob("*.py"))
