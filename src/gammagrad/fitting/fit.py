"""The fit of models to datasets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from gammagrad.dataset import MapDataset
from gammagrad.errors import InputTypeError
from gammagrad.fitting.common_size import on_common_size
from gammagrad.fitting.descent import descend
from gammagrad.fitting.frame import error_scales, make_frame, plain_frame
from gammagrad.fitting.newton import Found, polish
from gammagrad.fitting.problem import Problem, make_problem
from gammagrad.fitting.report import make_result
from gammagrad.fitting.result import FitResult
from gammagrad.fitting.run import Run
from gammagrad.fitting.setup import (
    check_datasets,
    check_models,
    check_options,
    fit_bounds,
    free_names,
)
from gammagrad.maps import middle_shape
from gammagrad.models import Models
from gammagrad.progress import progress_bar

Floats = NDArray[np.float64]

# Descents before the fit gives up: with new data where sources went far, or a new scaling.
_MAX_ROUNDS = 8
# How often the data are prepared again at the end, if sources moved by this fraction of their
# error.
_MAX_REFRESHES, _STILL = 3, 0.01


def fit(
    datasets: MapDataset | Iterable[MapDataset],
    models: Any = None,
    *,
    optimiser: Any = None,
    max_iterations: int = 200,
    tolerance: float = 1e-6,
    covariance: bool = True,
    sampling: str = "fine",
    progress: bool | None = None,
) -> FitResult:
    """Fit models to one or several datasets by maximum likelihood.

    The sum of the Cash statistics of all datasets is minimised over the free parameters of the
    models: by L-BFGS in coordinates in which it is close to a round bowl, whatever the units and
    correlations, and then by Newton's method with exact second derivatives. These also give the
    errors. Everything is computed in float64.

    Parameters
    ----------
    datasets
        One dataset or several; their counts, masks, weights and instrument responses are used.
    models
        The models, with their start values; by default those of the datasets. `Models` has the free
        parameters and their bounds. A model that names datasets applies to these only; a model for
        none of the datasets is not fitted.
    optimiser
        An ``optax.GradientTransformation`` to use instead of L-BFGS, in coordinates in which a step
        of 1 is of the order of the errors. Newton's method has the rest of `max_iterations`.
    max_iterations
        Maximum number of steps.
    tolerance
        Estimated distance to the minimum, in the statistic, at which the fit is done.
    covariance
        Whether to compute the covariance at the end, at no extra cost.
    sampling
        "fine" integrates models over pixels accurately and takes the exposure at the position of
        the source; "gammapy" samples models, and takes the exposure, as gammapy 2.1 does, for
        comparison.
    progress
        Whether to show a progress bar; None shows it where the standard error stream is a
        terminal.

    Returns
    -------
    FitResult
        Best-fit models, errors, and convergence. A failed fit does not raise: see ``success`` and
        ``message``.

    Raises
    ------
    ValueError
        If there is nothing to fit, a parameter starts outside its bounds, the datasets and models
        are incompatible, or an option is not a valid number.
    TypeError
        If an argument is not a dataset, a model or an optimiser.

    References
    ----------
    Cash (1979), ApJ 228, 939.
    Liu and Nocedal (1989), Mathematical Programming 45, 503.

    Examples
    --------
    >>> from gammagrad import Map, MapDataset, fit
    >>> from gammagrad.maps import MapAxis
    >>> from gammagrad.models import FoVBackgroundModel
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    >>> background = Map.create(npix=(5, 4), binsz=0.1, axes=[axis])
    >>> background.data += 2.0
    >>> dataset = MapDataset(3 * background, background=background, name="example")
    >>> result = fit(dataset, FoVBackgroundModel("example"))
    >>> print(result.message)
    the minimum was found.
    >>> norm = result.models["example-bkg"].spectral_model.norm
    >>> print(f"{norm:.4f} +- {result.errors['example-bkg.norm']:.4f}")
    3.0000 +- 0.1936
    """
    check_options(max_iterations, tolerance, sampling)
    _check_optimiser(optimiser)
    used = check_datasets(datasets)
    start = check_models(models, used)
    names = free_names(start, used)
    pixel = max(middle_shape(dataset.geom).size for dataset in used)
    lower, upper = fit_bounds(start, names, pixel)
    with jax.enable_x64(True), progress_bar(max_iterations, "fit", progress) as bar:

        def show(stat: float) -> None:
            bar.set_postfix_str(f"stat {stat:.3f}", refresh=False)
            bar.update()

        data = _Data([on_common_size(dataset, start) for dataset in used], names, sampling)
        problem = data.prepare(start)
        run = Run(problem, lower, upper, max_iterations, tolerance, show, data.holds)
        found = _minimise(run, data, optimiser)
        return make_result(run, found, names, data.models, covariance)


def _check_optimiser(optimiser: Any) -> None:
    """Raise if an argument is not an optax optimiser."""
    if optimiser is not None and not (hasattr(optimiser, "init") and hasattr(optimiser, "update")):
        raise InputTypeError(
            f"optimiser is {optimiser!r}; expected an optax.GradientTransformation such as "
            "optax.adam(0.1), or None for L-BFGS."
        )


class _Data:
    """The datasets, and the models as they were when the datasets were last prepared."""

    def __init__(self, datasets: list[MapDataset], names: tuple[str, ...], sampling: str) -> None:
        self.datasets, self.names, self.sampling = datasets, names, sampling
        self.models = Models()
        self.likelihoods: tuple[Any, ...] = ()

    def prepare(self, models: Models) -> Problem:
        """Prepare the datasets for models where they are now."""
        self.models = models
        before = self.likelihoods or (None,) * len(self.datasets)
        self.likelihoods = tuple(
            dataset.likelihood(models, sampling=self.sampling, like=like)
            for dataset, like in zip(self.datasets, before, strict=True)
        )
        return make_problem(self.likelihoods, models, self.names)

    def at(self, values: Floats) -> Models:
        """Return the models with other values of the free parameters."""
        return self.models.with_parameters(dict(zip(self.names, values.tolist(), strict=True)))

    def start(self) -> Floats:
        """Return the values of the free parameters that the datasets are prepared for."""
        values = self.models.parameters
        return np.array([float(values[name]) for name in self.names])

    def moved(self, values: Floats, errors: Floats) -> bool:
        """Return whether positions or sizes are not those that the datasets are prepared for."""
        places = self.models.places()
        angles = np.array([places[name].limits.unit == "deg" for name in self.names])
        return bool(np.any(angles & (np.abs(values - self.start()) > _STILL * errors)))

    def holds(self, values: Floats) -> bool:
        """Return whether the datasets need not be prepared anew."""
        models = self.at(values)
        return all(likelihood.holds(models) for likelihood in self.likelihoods)


def _minimise(run: Run, data: _Data, optimiser: Any) -> Found:
    """Descend to the minimum; again if sources left their windows or it was not a minimum."""
    values = data.start()
    for _ in range(_MAX_ROUNDS):
        point = run.evaluate(plain_frame(len(values)), values)
        if not point.is_finite:
            return Found(point, None, np.inf)
        information = run.information(point)
        scale = error_scales(values, information)
        point = descend(run, make_frame(values, information, run.lower, run.upper), optimiser)
        if data.holds(point.values):
            found = polish(run, point.values, scale)
            if not run.may_go_on or found.bowl is None:
                return found
            if data.holds(found.point.values) and (
                found.is_minimum(run) or np.array_equal(found.point.values, values)
            ):
                return _settle(run, data, found, scale)
            point = found.point
        values = point.values
        if not data.holds(values):
            run.problem = data.prepare(data.at(values))
    return polish(run, values, scale)


def _settle(run: Run, data: _Data, found: Found, scale: Floats) -> Found:
    """Prepare the data at the current positions of the sources, for the final result."""
    for _ in range(_MAX_REFRESHES):
        values = found.point.values
        if not data.moved(values, found.bowl.scale if found.bowl else scale):
            break
        run.problem = data.prepare(data.at(values))
        found = polish(run, values, scale)
    return found
