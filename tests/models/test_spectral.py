"""Spectral models against their formulae and scipy's adaptive quadrature."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

import gammagrad.maps.units  # noqa: F401
from gammagrad import models as gm

TABLE = np.geomspace(0.05, 50, 7)
VALUES = np.array([1.0, 2.0, 0.5, 0.3, 3.0, 3.0, 1.0])
ENERGY = np.geomspace(0.01, 100, 9)


def loglog(energy):
    """Interpolate the table in logarithms; outside, continue its first and last pieces."""
    x, y = np.log(TABLE), np.log(VALUES)
    i = np.clip(np.searchsorted(TABLE, energy, side="right") - 1, 0, len(TABLE) - 2)
    return y[i] + (y[i + 1] - y[i]) / (x[i + 1] - x[i]) * (np.log(energy) - x[i])


# model, formula written out with numpy, energies at which it is not smooth
CASES = {
    "power law": (
        gm.PowerLawSpectralModel(index=2.3, amplitude=3e-11, reference=2.0),
        lambda e: 3e-11 * (e / 2) ** -2.3,
        (),
    ),
    "index 1": (gm.PowerLawSpectralModel(index=1), lambda e: 1e-12 / e, ()),
    "norm": (gm.PowerLawNormSpectralModel(2, 0.4, 3), lambda e: 2 * (e / 3) ** -0.4, ()),
    "broken": (
        gm.BrokenPowerLawSpectralModel(1.5, 3, 1e-12, "900 GeV"),
        lambda e: 1e-12 * (e / 0.9) ** np.where(e < 0.9, -1.5, -3.0),
        (0.9,),
    ),
    "cut-off": (
        gm.ExpCutoffPowerLawSpectralModel(),
        lambda e: 1e-12 * e**-1.5 * np.exp(-0.1 * e),
        (),
    ),
    "slow cut-off": (
        gm.ExpCutoffPowerLawSpectralModel(2.2, lambda_=3, alpha=0.5),
        lambda e: 1e-12 * e**-2.2 * np.exp(-np.sqrt(3 * e)),
        (),
    ),
    "fast cut-off": (
        gm.ExpCutoffPowerLawSpectralModel(0.2, lambda_=0.1, alpha=2),
        lambda e: 1e-12 * e**-0.2 * np.exp(-((0.1 * e) ** 2)),
        (),
    ),
    "no cut-off": (
        gm.ExpCutoffPowerLawSpectralModel(2.2, lambda_=0),
        lambda e: 1e-12 * e**-2.2,
        (),
    ),
    **{
        f"log parabola {beta}": (
            gm.LogParabolaSpectralModel(alpha=2.1, beta=beta),
            lambda e, beta=beta: 1e-12 * (e / 10) ** (-2.1 - beta * np.log(e / 10)),
            (),
        )
        for beta in (1, 0.1, 0, -0.1, 8)
    },
    "piecewise": (
        gm.PiecewiseNormSpectralModel(TABLE, VALUES),
        lambda e: np.exp(np.interp(np.log(e), np.log(TABLE), np.log(VALUES))),
        TABLE,
    ),
    "piecewise lin": (
        gm.PiecewiseNormSpectralModel(TABLE, VALUES, interp="lin"),
        lambda e: np.interp(e, TABLE, VALUES),
        TABLE,
    ),
    "template": (
        gm.TemplateSpectralModel(TABLE, VALUES * 1e-12),
        lambda e: 1e-12 * np.exp(loglog(e)),
        TABLE,
    ),
}


@jax.jit
def values(model, energy):
    return model.evaluate(energy)


@jax.jit
def everything(model, low, high):
    """Compile once for each kind of model, however many of them there are."""
    return model.integral(low, high), model.energy_flux(low, high), model(low)


def oracle(formula, low, high, kinks, power):
    """Integrate numerically in log energy, between the places that need care."""
    inner = [x for x in (*kinks, *np.geomspace(1e-3, 1e3, 13)) if low < x < high]
    edges = np.log(np.sort([low, high, *inner]))
    scale = formula(low) + formula(high)

    def integrand(x):
        return np.exp((1 + power) * x) * formula(np.exp(x)) / scale

    pieces = [
        quad(integrand, a, b, epsabs=0, epsrel=1e-11, limit=200)[0]
        for a, b in itertools.pairwise(edges)
    ]
    return scale * sum(pieces)


@pytest.mark.parametrize("name", CASES)
def test_value_is_the_formula(name):
    model, formula, _ = CASES[name]
    np.testing.assert_allclose(values(model, ENERGY), formula(ENERGY), rtol=1e-12)
    cube = np.asarray(values(model, ENERGY.reshape(3, 3)))
    np.testing.assert_allclose(cube.ravel(), formula(ENERGY), rtol=1e-12)


@pytest.mark.parametrize("power", [0, 1], ids=["flux", "energy flux"])
@pytest.mark.parametrize("name", CASES)
def test_integrals_of_narrow_and_broad_bins(name, power):
    model, formula, kinks = CASES[name]
    low = np.array([*ENERGY[:-1], 0.01, 1e-3, 2.0])
    high = np.array([*ENERGY[1:], 100.0, 1e3, 2.0])
    result = np.asarray(everything(model, low, high)[power])
    exact = [oracle(formula, a, b, kinks, power) for a, b in zip(low, high, strict=True)]
    np.testing.assert_allclose(result, exact, rtol=1e-9)
    assert result[-1] == 0


def test_integral_of_a_bin_far_beyond_the_cutoff():
    model = gm.ExpCutoffPowerLawSpectralModel(0.2, lambda_=0.5, alpha=2)
    exact = oracle(lambda e: e**-0.2 * np.exp(250 - (e / 2) ** 2), 31.7, 100, (32, 33, 35), 0)
    np.testing.assert_allclose(model.integral(31.7, 100.0), 1e-12 * exact * np.exp(-250), rtol=1e-8)


@given(st.floats(-1, 6), st.floats(-1, 6), st.floats(0.02, 50))
def test_broken_power_law_of_two_halves(index1, index2, ebreak):
    # a bin cut at any energy has the sum of its parts, with the break inside, outside, on an edge
    model = gm.BrokenPowerLawSpectralModel(index1, index2, 1e-12, ebreak)
    for cut in (0.3, ebreak, 7.0):
        cut = float(np.clip(cut, 0.1, 10))
        parts = model.integral(0.1, cut) + model.integral(cut, 10.0)
        np.testing.assert_allclose(parts, model.integral(0.1, 10.0), rtol=1e-12)
    assert np.isclose(model(ebreak), 1e-12)


@jax.jit
@jax.grad
def awkward_gradient(arguments):
    flux, energy_flux, value = everything(*arguments)
    return jnp.sum(flux + energy_flux + value)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_finite_at_awkward_bins(name):
    model = CASES[name][0]
    # narrow to nothing, on a node or break, beyond all nodes
    low = jnp.array([1.0, 0.9, 0.05, 1e-3, 60.0])
    high = jnp.array([1.0, 2.0, 0.05, 1e-2, 600.0])

    gradient = awkward_gradient((model, low, high))
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@jax.jit
def slope(arguments, direction):
    outputs = jax.jvp(lambda a: everything(*a), (arguments,), (direction,))[1]
    return jnp.stack(outputs)


@pytest.mark.parametrize("name", [name for name in CASES if name != "no cut-off"])
def test_gradients_are_those_of_finite_differences(name):
    model = CASES[name][0]
    arguments = (model, np.array([0.11, 0.37, 2.1]), np.array([0.37, 2.1, 18.0]))
    leaves, tree = jax.tree.flatten(arguments)
    reverse = jax.tree.leaves(awkward_gradient(arguments))
    for i, leaf in enumerate(leaves):
        step = 1e-5 * np.where(np.asarray(leaf) == 0, 1.0, leaf)

        def moved(by, i=i, leaf=leaf, step=step):
            leaf = leaf + by * step
            changed = [*leaves[:i], float(leaf) if leaf.ndim == 0 else leaf, *leaves[i + 1 :]]
            return np.stack(everything(*jax.tree.unflatten(tree, changed)))

        zeros = [np.zeros_like(x) if np.ndim(x) else 0.0 for x in leaves]
        zeros[i] = step if step.ndim else float(step)
        forward = slope(arguments, jax.tree.unflatten(tree, zeros))
        differences = 0.5 * (moved(1.0) - moved(-1.0))
        scale = np.max(np.abs(moved(0.0)), axis=1, keepdims=True)
        np.testing.assert_allclose(forward / scale, differences / scale, rtol=1e-5, atol=1e-10)
        # forward and reverse mode agree
        np.testing.assert_allclose(np.sum(forward), np.sum(reverse[i] * step), rtol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e-15, -1e-12, 1e-8, -1e-4])
def test_index_one_has_right_gradients(offset):
    def flux(index):
        return gm.PowerLawSpectralModel(index=index, amplitude=1.0).integral(0.1, 100.0)

    # d/d index of the integral is minus that of ln(E) / E: half the difference of squared logs
    logs = np.log([0.1, 100.0])
    expected = -0.5 * (logs[1] ** 2 - logs[0] ** 2)
    curvature = (logs[1] ** 3 - logs[0] ** 3) / 3
    np.testing.assert_allclose(flux(1 + offset), logs[1] - logs[0] + offset * expected, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(flux)(1 + offset), expected + offset * curvature, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(jax.grad(flux))(1 + offset), curvature, rtol=1e-2)


def test_vmap_over_models():
    index = jnp.array([1.0, 1.5, 2.0])
    models = gm.PowerLawSpectralModel(index=index)
    axes = gm.PowerLawSpectralModel(index=2.0)
    axes = jax.tree.unflatten(jax.tree.structure(axes), [0, None, None])
    flux = jax.vmap(lambda model: model.integral(ENERGY[:-1], ENERGY[1:]), (axes,))(models)
    for i, value in enumerate(index):
        expected = gm.PowerLawSpectralModel(float(value)).integral(ENERGY[:-1], ENERGY[1:])
        np.testing.assert_allclose(flux[i], expected, rtol=1e-14)


def test_new_values_do_not_compile_again():
    count = []

    @jax.jit
    def flux(model, low, high):
        count.append(1)
        return model.integral(low, high)

    for index in (2, 2.5, "3"):
        flux(gm.PowerLawSpectralModel(index=index), ENERGY[:-1], ENERGY[1:])
    assert len(count) == 1


def test_norm_models_say_so():
    assert {name for name, case in CASES.items() if case[0].is_norm} == {
        "norm",
        "piecewise",
        "piecewise lin",
    }


class TestTemplate:
    model = gm.TemplateSpectralModel(TABLE, VALUES * 1e-12)

    def test_nodes_are_met(self):
        np.testing.assert_allclose(values(self.model, TABLE), VALUES * 1e-12, rtol=1e-13)

    def test_a_power_law_is_reproduced_inside_and_outside(self):
        power_law = gm.PowerLawSpectralModel(index=2.7)
        table = gm.TemplateSpectralModel(TABLE, np.asarray(power_law(TABLE)))
        energy = np.geomspace(1e-3, 1e3, 23)
        mine = everything(table, energy[:-1], energy[1:])
        np.testing.assert_allclose(mine, everything(power_law, energy[:-1], energy[1:]), rtol=1e-12)

    def test_empty_nodes_are_empty(self):
        table = np.array([1.0, 2.0, 0.0, 0.0, 3.0, 3.0, 0.0]) * 1e-12
        model = gm.TemplateSpectralModel(TABLE, table)
        np.testing.assert_allclose(values(model, TABLE), table, rtol=1e-9)
        assert values(model, np.sqrt(TABLE[2] * TABLE[3])) == 0
        assert np.all(np.isfinite(everything(model, ENERGY[:-1], ENERGY[1:])[0]))
        gradient = awkward_gradient((model, ENERGY[:-1], ENERGY[1:]))[0]
        assert np.all(np.isfinite(gradient.values))
