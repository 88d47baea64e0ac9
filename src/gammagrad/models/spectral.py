r"""Spectral models: functions of energy with one closed form each, and their bin integrals.

Energies are in TeV, differential fluxes in cm-2 s-1 TeV-1, integral fluxes in cm-2 s-1 and energy
fluxes in TeV cm-2 s-1. Models that scale another spectrum are dimensionless (``is_norm``), and
their integral is in TeV.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gammagrad._pytree import pytree, to_internal
from gammagrad.models.base import DNDE, Model, parameter, promote
from gammagrad.models.integrals import integrate_log_energy, power_law_integral


class SpectralModel(Model, ABC):
    """Base of the spectral models."""

    is_norm: ClassVar[bool] = False

    @abstractmethod
    def _value(self, energy: jax.Array) -> jax.Array:
        """Return the model at energies in TeV."""

    @abstractmethod
    def _moment(self, energy_min: jax.Array, energy_max: jax.Array, power: int) -> jax.Array:
        """Integrate energy to a power (0 or 1) times the model."""

    def _integrated(
        self, energy_min: jax.Array, energy_max: jax.Array, power: int, breaks: tuple[Any, ...]
    ) -> jax.Array:
        """Integrate energy to a power times the model by quadrature between breaks."""

        def integrand(energy: jax.Array) -> jax.Array:
            return energy**power * self._value(energy)

        like = tuple(self.parameters.values())
        return integrate_log_energy(integrand, energy_min, energy_max, breaks, like)

    def evaluate(self, energy: Any) -> jax.Array:
        """Evaluate the model.

        Parameters
        ----------
        energy
            Energies of any shape: numbers in TeV, or a quantity.

        Returns
        -------
        array
            Differential flux in cm-2 s-1 TeV-1 (a plain number for a norm model), in the shape
            and precision of `energy`.

        Raises
        ------
        ValueError
            If `energy` has a unit that is not one of energy.
        """
        (energy,) = promote(to_internal(energy, "TeV", "energy"))
        return self._value(energy)

    def __call__(self, energy: Any) -> jax.Array:
        """Evaluate the model; see `evaluate`."""
        return self.evaluate(energy)

    def integral(self, energy_min: Any, energy_max: Any) -> jax.Array:
        r"""Integrate the model over energy bins, :math:`\int_{E_1}^{E_2} \phi(E) dE`.

        Parameters
        ----------
        energy_min, energy_max
            Bin edges of equal shape: numbers in TeV, or quantities; above zero.

        Returns
        -------
        array
            Flux of each bin in cm-2 s-1 (TeV for a norm model).
        """
        return self._moment(*_bounds(energy_min, energy_max), 0)

    def energy_flux(self, energy_min: Any, energy_max: Any) -> jax.Array:
        r"""Integrate energy times the model, :math:`\int_{E_1}^{E_2} E \phi(E) dE`.

        Parameters
        ----------
        energy_min, energy_max
            Bin edges of equal shape: numbers in TeV, or quantities; above zero.

        Returns
        -------
        array
            Energy flux of each bin in TeV cm-2 s-1 (TeV2 for a norm model).
        """
        return self._moment(*_bounds(energy_min, energy_max), 1)


def _bounds(energy_min: Any, energy_max: Any) -> tuple[jax.Array, jax.Array]:
    low, high = promote(
        to_internal(energy_min, "TeV", "energy_min"), to_internal(energy_max, "TeV", "energy_max")
    )
    return low, high


def _power_law_moment(
    low: jax.Array, high: jax.Array, index: Any, reference: Any, power: int
) -> jax.Array:
    index, reference = promote(index, reference)
    return reference**power * power_law_integral(low, high, index - power, reference)


@pytree
class PowerLawSpectralModel(SpectralModel):
    r"""Power law.

    .. math:: \phi(E) = \phi_0 \left( \frac{E}{E_0} \right)^{-\Gamma}

    Bin integrals are closed forms, with derivatives, also at and near index 1 (and 2 for the energy
    flux).

    Parameters
    ----------
    index
        :math:`\Gamma`, a plain number.
    amplitude
        :math:`\phi_0`, cm-2 s-1 TeV-1.
    reference
        :math:`E_0`, TeV.

    Examples
    --------
    >>> model = PowerLawSpectralModel(index=2, amplitude=1e-12, reference=1)
    >>> print(model)
    PowerLawSpectralModel
    <BLANKLINE>
      name       value  unit
      ---------  -----  --------------
      index      2
      amplitude  1e-12  cm-2 s-1 TeV-1
      reference  1      TeV
    >>> print(f"{model.integral(1.0, 10.0):.2e}")
    9.00e-13
    """

    index: Any = parameter("", 2.0)
    amplitude: Any = parameter(DNDE, 1e-12)
    reference: Any = parameter("TeV", 1.0, frozen=True, above=0)

    tag = ("PowerLawSpectralModel", "pl")

    def _value(self, energy: jax.Array) -> jax.Array:
        return self.amplitude * jnp.exp(-self.index * jnp.log(energy / self.reference))

    def _moment(self, energy_min: jax.Array, energy_max: jax.Array, power: int) -> jax.Array:
        return self.amplitude * _power_law_moment(
            energy_min, energy_max, self.index, self.reference, power
        )


@pytree
class PowerLawNormSpectralModel(SpectralModel):
    r"""Power law without unit, to scale and tilt another spectrum or a background.

    .. math:: f(E) = N \left( \frac{E}{E_0} \right)^{-\Delta}

    Parameters
    ----------
    norm
        :math:`N`, a plain number.
    tilt
        :math:`\Delta`, a plain number.
    reference
        :math:`E_0`, TeV.
    """

    norm: Any = parameter("", 1.0)
    tilt: Any = parameter("", 0.0, frozen=True)
    reference: Any = parameter("TeV", 1.0, frozen=True, above=0)

    is_norm = True
    tag = ("PowerLawNormSpectralModel", "pl-norm")

    def _value(self, energy: jax.Array) -> jax.Array:
        return self.norm * jnp.exp(-self.tilt * jnp.log(energy / self.reference))

    def _moment(self, energy_min: jax.Array, energy_max: jax.Array, power: int) -> jax.Array:
        return self.norm * _power_law_moment(
            energy_min, energy_max, self.tilt, self.reference, power
        )


@pytree
class BrokenPowerLawSpectralModel(SpectralModel):
    r"""Power law with a sharp break.

    .. math:: \phi(E) = \phi_0 \left( \frac{E}{E_b} \right)^{-\Gamma}, \qquad
              \Gamma = \Gamma_1 \text{ for } E < E_b, \text{ else } \Gamma_2

    Bin integrals are closed forms, also for bins that contain the break.

    Parameters
    ----------
    index1, index2
        :math:`\Gamma_1, \Gamma_2`, plain numbers.
    amplitude
        :math:`\phi_0`, the flux at the break, cm-2 s-1 TeV-1.
    ebreak
        :math:`E_b`, TeV.
    """

    index1: Any = parameter("", 2.0)
    index2: Any = parameter("", 2.0)
    amplitude: Any = parameter(DNDE, 1e-12)
    ebreak: Any = parameter("TeV", 1.0, above=0)

    tag = ("BrokenPowerLawSpectralModel", "bpl")

    def _value(self, energy: jax.Array) -> jax.Array:
        index = jnp.where(energy < self.ebreak, self.index1, self.index2)
        return self.amplitude * jnp.exp(-index * jnp.log(energy / self.ebreak))

    def _moment(self, energy_min: jax.Array, energy_max: jax.Array, power: int) -> jax.Array:
        middle = jnp.clip(self.ebreak, energy_min, energy_max)
        below = _power_law_moment(energy_min, middle, self.index1, self.ebreak, power)
        above = _power_law_moment(middle, energy_max, self.index2, self.ebreak, power)
        return self.amplitude * (below + above)


@pytree
class ExpCutoffPowerLawSpectralModel(SpectralModel):
    r"""Power law with an exponential cut-off.

    .. math:: \phi(E) = \phi_0 \left( \frac{E}{E_0} \right)^{-\Gamma}
              \exp \left( -(\lambda E)^{\alpha} \right)

    Bin integrals are Gauss-Legendre sums in log energy, split around the cut-off.

    Parameters
    ----------
    index
        :math:`\Gamma`, a plain number.
    amplitude
        :math:`\phi_0`, cm-2 s-1 TeV-1.
    reference
        :math:`E_0`, TeV.
    lambda_
        :math:`\lambda`, the inverse of the cut-off energy, TeV-1; zero is no cut-off.
    alpha
        :math:`\alpha`, a plain number.
    """

    index: Any = parameter("", 1.5)
    amplitude: Any = parameter(DNDE, 1e-12)
    reference: Any = parameter("TeV", 1.0, frozen=True, above=0)
    lambda_: Any = parameter("TeV-1", 0.1, at_least=0)
    alpha: Any = parameter("", 1.0, frozen=True)

    tag = ("ExpCutoffPowerLawSpectralModel", "ecpl")

    def _value(self, energy: jax.Array) -> jax.Array:
        exponent = self.index * jnp.log(energy / self.reference)
        return self.amplitude * jnp.exp(-exponent - jnp.power(energy * self.lambda_, self.alpha))

    def _moment(self, energy_min: jax.Array, energy_max: jax.Array, power: int) -> jax.Array:
        # the cut-off's exponent grows by 8 and 60 over what it is at the lower edge, where the
        # integrand has fallen to 3e-4 and 1e-26
        lambda_, alpha = promote(self.lambda_, self.alpha)
        log_lambda = jnp.log(jnp.maximum(lambda_, 1e-30))
        inverse = 1.0 / jnp.where(alpha == 0, 1.0, alpha)
        start = jnp.power(energy_min * lambda_, alpha)
        exponents = (jnp.full_like(start, 0.05), start + 8.0, start + 60.0)
        breaks = tuple(inverse * jnp.log(x) - log_lambda for x in exponents)
        return self._integrated(energy_min, energy_max, power, breaks)


@pytree
class LogParabolaSpectralModel(SpectralModel):
    r"""Log parabola: a power law whose index grows with the logarithm of energy.

    .. math:: \phi(E) = \phi_0 \left( \frac{E}{E_0} \right)^{-\alpha - \beta \ln (E / E_0)}

    Bin integrals are Gauss-Legendre sums in log energy, split around the peak.

    Parameters
    ----------
    amplitude
        :math:`\phi_0`, cm-2 s-1 TeV-1.
    reference
        :math:`E_0`, TeV.
    alpha
        :math:`\alpha`, a plain number.
    beta
        :math:`\beta`, a plain number, with the natural logarithm.

    References
    ----------
    Massaro et al. (2004), A&A 413, 489, equation 1 (there with the decimal logarithm).
    """

    amplitude: Any = parameter(DNDE, 1e-12)
    reference: Any = parameter("TeV", 10.0, frozen=True, above=0)
    alpha: Any = parameter("", 2.0)
    beta: Any = parameter("", 1.0)

    tag = ("LogParabolaSpectralModel", "lp")

    def _value(self, energy: jax.Array) -> jax.Array:
        x = jnp.log(energy / self.reference)
        return self.amplitude * jnp.exp(-(self.alpha + self.beta * x) * x)

    def _moment(self, energy_min: jax.Array, energy_max: jax.Array, power: int) -> jax.Array:
        # in x = ln(E / E0) the integrand is a Gaussian of this centre and width
        alpha, beta, reference = promote(self.alpha, self.beta, self.reference)
        curvature = 2.0 * jnp.maximum(jnp.abs(beta), 1e-4)
        centre = jnp.log(reference) + (1.0 + power - alpha) * jnp.sign(beta) / curvature
        width = 1.0 / jnp.sqrt(curvature)
        breaks = tuple(centre + k * width for k in (-7.0, -2.5, 2.5, 7.0))
        return self._integrated(energy_min, energy_max, power, breaks)
