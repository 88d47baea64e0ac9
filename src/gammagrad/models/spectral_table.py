"""Spectral models given by a table: values or norms at energy nodes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad._pytree import pytree, static_field
from gammagrad.errors import InputError
from gammagrad.models.base import DNDE, assign, parameter
from gammagrad.models.integrals import exp_mean, interpolate_linear
from gammagrad.models.spectral import SpectralModel


def _check_table(model: str, energy: Any, values: Any, name: str) -> None:
    n_energy, n_values = np.shape(energy), np.shape(values)
    if len(n_energy) != 1 or n_energy != n_values or n_energy[0] < 2:
        raise InputError(
            f"{model}: energy has shape {n_energy} and {name} {n_values}; both must be "
            "one-dimensional, of one length, and hold at least 2 nodes."
        )
    if isinstance(energy, np.ndarray) and not np.all(np.diff(energy) > 0):
        raise InputError(f"{model}: energy must increase from node to node. Sort the table first.")


def _cast(energy: jax.Array, *tables: Any) -> tuple[jax.Array, ...]:
    """Return tables in the precision of the energies, unless these are Python numbers."""
    arrays = [jnp.asarray(table) for table in tables]
    dtype = jnp.result_type(energy, *arrays) if energy.weak_type else energy.dtype
    return tuple(array.astype(dtype) for array in arrays)


def _log(values: jax.Array) -> jax.Array:
    """Return the logarithm, with zero as the smallest number there is."""
    tiny = jnp.asarray(jnp.finfo(values.dtype).tiny, values.dtype)
    return jnp.log(jnp.maximum(values, tiny))


def _exp(logarithm: jax.Array) -> jax.Array:
    """Return the exponential, with the smallest number there is as zero."""
    result = jnp.exp(logarithm)
    tiny = jnp.asarray(jnp.finfo(result.dtype).tiny, result.dtype)
    return jnp.where(result <= 2 * tiny, jnp.zeros_like(result), result)


def _pieces(
    low: jax.Array, high: jax.Array, nodes: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Split bins at nodes: ends of each piece (..., n + 1) and the node it is measured from."""
    shape = (1,) * low.ndim + (-1,)
    end = jnp.full((1,), jnp.inf, nodes.dtype)
    starts = jnp.concatenate([-end, nodes]).reshape(shape)
    stops = jnp.concatenate([nodes, end]).reshape(shape)
    left = jnp.clip(starts, low[..., None], high[..., None])
    right = jnp.clip(stops, low[..., None], high[..., None])
    anchor = jnp.concatenate([nodes[:1], nodes]).reshape(shape)
    return left, right, anchor


def _integrate_log_log(
    low: jax.Array,
    high: jax.Array,
    nodes: jax.Array,
    values: jax.Array,
    outer: tuple[jax.Array, jax.Array],
    power: int,
) -> jax.Array:
    """Integrate a piecewise power law exactly; all arguments but power are logarithms."""
    slope = jnp.diff(values) / jnp.diff(nodes)
    left, right, anchor = _pieces(low, high, nodes)
    shape = (1,) * low.ndim + (-1,)
    slope = jnp.concatenate([outer[0][None], slope, outer[1][None]]).reshape(shape)
    value = jnp.concatenate([values[:1], values]).reshape(shape)
    # a piece outside the bin has no width, but its exponent there could overflow
    used = right > left
    exponents = [jnp.where(used, slope * (t - anchor), 0.0) for t in (left, right)]
    ends = [value + x + (1 + power) * t for x, t in zip(exponents, (left, right), strict=True)]
    return jnp.sum((right - left) * exp_mean(ends[0], ends[1]), axis=-1)


@pytree
class PiecewiseNormSpectralModel(SpectralModel):
    r"""Norms at energy nodes, interpolated between them and constant outside.

    .. math:: \ln f(E) = \ln N_i + \ln \frac{N_{i+1}}{N_i}
              \frac{\ln (E / E_i)}{\ln (E_{i+1} / E_i)}, \qquad E_i \le E < E_{i+1}

    Bin integrals are closed forms.

    Parameters
    ----------
    energy
        :math:`E_i`, increasing, shape (n,), TeV.
    norms
        :math:`N_i`, plain numbers, shape (n,); 1 by default.
    interp
        ``"log"`` for logarithms of energy and norm as above, ``"lin"`` for straight lines.
    """

    interp: str = static_field()
    energy: Any = parameter("TeV", frozen=True, above=0)
    norms: Any = parameter(element="norm")

    is_norm = True
    tag = ("PiecewiseNormSpectralModel", "piecewise-norm")

    def __init__(self, energy: Any, norms: Any = None, interp: str = "log") -> None:
        if interp not in ("log", "lin"):
            raise InputError(
                f"PiecewiseNormSpectralModel: interp is {interp!r}; use 'log' or 'lin'."
            )
        energy = self._convert("energy", energy)
        norms = np.ones(np.shape(energy)) if norms is None else norms
        assign(self, energy=energy, norms=norms, interp=interp)
        self.__post_init__()

    def _check(self) -> None:
        _check_table(type(self).__name__, self.energy, self.norms, "norms")

    def _value(self, energy: jax.Array) -> jax.Array:
        nodes, norms = _cast(energy, self.energy, self.norms)
        energy = jnp.clip(energy, nodes[0], nodes[-1])
        if self.interp == "lin":
            return interpolate_linear(energy, nodes, norms)
        return _exp(interpolate_linear(jnp.log(energy), jnp.log(nodes), _log(norms)))

    def _moment(self, energy_min: jax.Array, energy_max: jax.Array, power: int) -> jax.Array:
        nodes, norms = _cast(energy_min, self.energy, self.norms)
        if self.interp == "log":
            flat = jnp.zeros_like(norms[0])
            low, high = jnp.log(energy_min), jnp.log(energy_max)
            return _integrate_log_log(low, high, jnp.log(nodes), _log(norms), (flat, flat), power)
        left, right, _ = _pieces(energy_min, energy_max, nodes)
        # Simpson's rule is exact for energy times a straight line
        total = sum(
            weight * energy**power * self._value(energy)
            for weight, energy in ((1.0, left), (4.0, 0.5 * (left + right)), (1.0, right))
        )
        return jnp.sum((right - left) * total, axis=-1) / 6.0


@pytree
class TemplateSpectralModel(SpectralModel):
    r"""Spectrum given as a table, a power law between nodes.

    .. math:: \ln \phi(E) = \ln \phi_i + \ln \frac{\phi_{i+1}}{\phi_i}
              \frac{\ln (E / E_i)}{\ln (E_{i+1} / E_i)}, \qquad E_i \le E < E_{i+1}

    The first and last pieces continue outside the table. Bin integrals are closed forms.

    Parameters
    ----------
    energy
        :math:`E_i`, increasing, shape (n,), TeV.
    values
        :math:`\phi_i`, not negative, shape (n,), cm-2 s-1 TeV-1.
    """

    energy: Any = parameter("TeV", frozen=True, above=0)
    values: Any = parameter(DNDE, frozen=True, at_least=0)

    tag = ("TemplateSpectralModel", "template")

    def _check(self) -> None:
        _check_table(type(self).__name__, self.energy, self.values, "values")

    def _value(self, energy: jax.Array) -> jax.Array:
        nodes, values = _cast(energy, self.energy, self.values)
        return _exp(interpolate_linear(jnp.log(energy), jnp.log(nodes), _log(values)))

    def _moment(self, energy_min: jax.Array, energy_max: jax.Array, power: int) -> jax.Array:
        nodes, values = _cast(energy_min, self.energy, self.values)
        nodes, values = jnp.log(nodes), _log(values)
        slope = jnp.diff(values) / jnp.diff(nodes)
        low, high = jnp.log(energy_min), jnp.log(energy_max)
        return _integrate_log_log(low, high, nodes, values, (slope[0], slope[-1]), power)
