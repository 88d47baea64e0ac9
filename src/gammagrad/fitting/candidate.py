"""The fit of one candidate source in the data around it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from astropy.coordinates import SkyCoord
from jax import Array
from numpy.typing import NDArray

from gammagrad._programs import compiled
from gammagrad.fitting.cutouts import Cutout, Field
from gammagrad.fitting.descent import descend
from gammagrad.fitting.frame import error_scales, make_frame, plain_frame
from gammagrad.fitting.newton import Found, polish
from gammagrad.fitting.problem import make_problem, with_values
from gammagrad.fitting.report import make_result
from gammagrad.fitting.result import FitResult
from gammagrad.fitting.run import Point, Run
from gammagrad.fitting.setup import fit_bounds
from gammagrad.models import Models

Floats = NDArray[np.float64]

# Descents before giving up.
_ROUNDS = 3
# Change of the counts of its neighbours above which a source is fitted again.
_NOTICEABLE = 0.05


class Settings(NamedTuple):
    """Settings common to all candidates."""

    names: tuple[str, ...]  # full names of the free parameters
    scale_name: str  # full name of the parameter that fluxes are proportional to
    max_shift: float  # how far in deg a source may move
    # max_iterations, tolerance: as in `gammagrad.fit`
    max_iterations: int
    tolerance: float


class Tried(NamedTuple):
    """Result of the fit of a candidate."""

    result: FitResult  # the fit
    ts: float  # statistic without the source minus that with it
    # flux, flux_err: integral flux in the candidate's energies and its error, cm-2 s-1
    flux: float
    flux_err: float


class Candidate:
    """A candidate, its data, and its current fit."""

    def __init__(
        self,
        fields: Sequence[Field],
        cutouts: Sequence[Cutout],
        models: Models,
        group: tuple[float, float],
        settings: Settings,
    ) -> None:
        self.fields, self.cutouts, self.group = fields, cutouts, group
        self.models, self.settings = models, settings
        self.tried: Tried | None = None
        self._background: list[Floats] = []
        start = models.parameters
        values = np.array([float(start[name]) for name in settings.names])
        run = self._run([field.own_background(cut) for field, cut in self._places()])
        self._signal = self._signal_of(run, run.evaluate(plain_frame(len(values)), values))
        self._values = values
        for (field, cut), signal in zip(self._places(), self._signal, strict=True):
            field.add(group, cut, signal)

    def _places(self) -> list[tuple[Field, Cutout]]:
        return list(zip(self.fields, self.cutouts, strict=True))

    def _run(self, background: Sequence[Floats]) -> Run:
        """Return a fit with some background, not started."""
        s = self.settings
        likelihoods = [
            cut.likelihood.with_data(background=own)
            for cut, own in zip(self.cutouts, background, strict=True)
        ]
        problem = make_problem(likelihoods, self.models, s.names)
        bounds = fit_bounds(self.models, s.names)
        return Run(problem, *bounds, s.max_iterations, s.tolerance, lambda stat: None)

    def _signal_of(self, run: Run, point: Point) -> list[Floats]:
        """Return the counts of the source in each cutout."""
        counts = []
        for likelihood, npred in zip(run.problem.likelihoods, point.npred, strict=True):
            signal = np.asarray(npred) - np.asarray(likelihood.background)
            counts.append(np.where(np.isfinite(signal), signal, 0.0))
        return counts

    def refine(self) -> None:
        """Fit the source with the current state of all others, unless none has changed."""
        background = [
            field.own_background(cut) + field.others(self.group, cut, signal)
            for (field, cut), signal in zip(self._places(), self._signal, strict=True)
        ]
        if self.tried is not None:
            pairs = zip(background, self._background, strict=True)
            if sum(float(np.abs(new - old).sum()) for new, old in pairs) < _NOTICEABLE:
                return
        self._background = background
        run = self._run(background)
        found = _minimise(run, self._values)
        result = make_result(run, found, self.settings.names, self.models, True)
        flux, flux_err = self._flux(run, result)
        self.tried = Tried(result, self._ts(run, found), flux, flux_err)
        if self.mistake:
            return
        self._values = found.point.values
        new = self._signal_of(run, found.point)
        for (field, cut), after, before in zip(self._places(), new, self._signal, strict=True):
            field.add(self.group, cut, after - before)
        self._signal = new

    def _ts(self, run: Run, found: Found) -> float:
        """Return the statistic without the source minus that with it."""
        values = found.point.values.copy()
        values[self.settings.names.index(self.settings.scale_name)] = 0.0
        without = run.evaluate(plain_frame(len(values)), values)
        return without.stat - found.point.stat

    def _flux(self, run: Run, result: FitResult) -> tuple[float, float]:
        """Return the integral flux and its error."""
        problem = run.problem
        edges = np.array(self.group)
        found = _flux_and_slope(problem.models, problem.places, result.values, edges)
        flux, slope = jax.device_get(found)
        # a parameter held by a bound counts as known
        return float(flux), float(np.sqrt(slope @ result.covariance @ slope))

    @property
    def mistake(self) -> str:
        """What is wrong with the fit, empty if nothing is."""
        if self.tried is None:
            return "it was not fitted."
        result, limit = self.tried.result, self.settings.max_shift
        if not result.success:
            return result.message
        places = [name for name in result.names if name.endswith((".lon_0", ".lat_0"))]
        moved = self.position_of(self.models).separation(self.position_of(result.models))
        if moved.deg > limit or set(places) & set(result.at_bound):
            return f"it moved more than {limit:.3g} deg from its pixel: raise max_shift?"
        if not self.tried.ts > 0 or not result.models.parameters[self.settings.scale_name] > 0:
            return "there is no excess at the fitted position."
        return ""

    @staticmethod
    def position_of(models: Models) -> SkyCoord:
        """Return the position of the source in a set of models."""
        spatial = models[0].spatial_model
        return SkyCoord(float(spatial.lon_0), float(spatial.lat_0), unit="deg", frame=spatial.frame)


def _minimise(run: Run, values: Floats) -> Found:
    """Descend from a start to the minimum."""
    for _ in range(_ROUNDS):
        point = run.evaluate(plain_frame(len(values)), values)
        if not point.is_finite:
            return Found(point, None, np.inf)
        information = run.information(point)
        point = descend(run, make_frame(values, information, run.lower, run.upper))
        found = polish(run, point.values, error_scales(values, information))
        if found.is_minimum(run) or not run.may_go_on:
            break
        values = found.point.values
    return found


@compiled(static=("places",))
def _flux_and_slope(models: Models, places: Any, values: Any, edges: Any) -> tuple[Array, Array]:
    """Return the integral flux of the first model, and its slope in the free parameters."""

    def flux(values: Array) -> Array:
        spectrum = with_values(models, places, values)[0].spectral_model
        return jnp.asarray(spectrum.integral(edges[:1], edges[1:])).sum()

    return jax.value_and_grad(flux)(values)
