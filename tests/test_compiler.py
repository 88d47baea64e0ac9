"""The tests' compiler: quick where JAX knows its settings, and as users have it when asked."""

from __future__ import annotations

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import compiler


def test_the_variable_leaves_the_compiler_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiler.VARIABLE, "full")
    assert compiler.settings() == ""


def test_a_version_that_may_not_know_the_settings_gets_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(compiler.VARIABLE, "quick")
    for version, expected in (("0.8.0", ""), ("0.10.9", compiler.QUICK), ("0.11.0", "")):
        monkeypatch.setattr(compiler, "version", lambda name, v=version: v)
        assert compiler.settings() == expected


def test_another_word_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiler.VARIABLE, "slow")
    with pytest.raises(ValueError, match="GAMMAGRAD_TEST_COMPILER: expected 'full' or 'quick'"):
        compiler.settings()


def test_the_settings_are_in_effect_and_each_is_there_once() -> None:
    there = os.environ["XLA_FLAGS"].split()
    assert {*compiler.settings().split(), "--xla_force_host_platform_device_count=4"} <= {*there}
    assert len(there) == len({*there})
    assert compiler.flags() == " ".join(there)


def test_both_compilers_find_the_same() -> None:
    x = jnp.linspace(0.1, 20.0, 200)
    program = jax.jit(lambda x: jnp.cumsum(jnp.log(x) * jnp.exp(-x)))
    full = program.lower(x).compile({"xla_backend_optimization_level": 3})
    rtol = 1e3 * float(jnp.finfo(x.dtype).eps)
    np.testing.assert_allclose(program(x), full(x), rtol=rtol, atol=rtol)
