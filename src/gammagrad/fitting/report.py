"""The result of a fit, in numbers and in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from gammagrad.fitting.covariance import Covariance, covariance_of
from gammagrad.fitting.newton import Found
from gammagrad.fitting.result import FitResult
from gammagrad.fitting.run import Run
from gammagrad.models import Models


def make_result(
    run: Run, found: Found, names: Sequence[str], models: Models, covariance: bool
) -> FitResult:
    """Assemble the result of a fit."""
    values, n = found.point.values, len(names)
    fixed = found.fixed(run)
    unknown = np.full((n, n), np.nan)
    errors = None if found.bowl is None else covariance_of(found.bowl, fixed)
    best = models
    if found.point.is_finite:
        best = models.with_parameters(dict(zip(names, values.tolist(), strict=True)))
    success, message = _verdict(run, found, names, fixed, errors)
    return FitResult(
        models=best,
        names=tuple(names),
        covariance=errors.matrix if covariance and errors is not None else unknown,
        stat=found.point.stat + run.problem.offset(),
        stat_start=run.start,
        success=success,
        message=message,
        niter=run.niter,
        n_evaluations=run.n_evaluations,
        edm=found.edm,
        history=np.array([run.start, *run.history]),
        at_bound=tuple(_those(names, fixed)),
    )


def _those(names: Iterable[str], chosen: NDArray[np.bool_]) -> list[str]:
    return [name for name, yes in zip(names, chosen, strict=True) if yes]


def _verdict(
    run: Run,
    found: Found,
    names: Sequence[str],
    fixed: NDArray[np.bool_],
    errors: Covariance | None,
) -> tuple[bool, str]:
    """Return whether the fit can be trusted, and its result in a sentence."""
    if errors is None or not np.isfinite(found.edm):
        where = "at the start" if run.niter == 0 else f"after {run.niter} steps"
        return False, (
            f"the statistic or a derivative of it is not a number {where}; check the values of "
            "the parameters there, and the counts, background and exposure for infinite numbers."
        )
    if not run.holds(found.point.values):
        return False, (
            f"stopped after {run.niter} steps where a source has moved or changed its size so far "
            "that its prediction is not accurate; fit again from the models found."
        )
    if found.edm > run.tolerance:
        left = f"with the statistic an estimated {found.edm:.2g} above the minimum"
        if run.niter >= run.max_iterations:
            return False, f"stopped after {run.niter} steps, {left}; raise max_iterations."
        return False, f"stopped where no step lowers the statistic, {left}."
    if errors.saddle.any():
        bent = ", ".join(_those(names, errors.saddle))
        return False, f"no minimum was found: the statistic falls off along {bent}."
    if errors.undetermined.any():
        unknown = ", ".join(_those(names, errors.undetermined))
        return False, f"a minimum was found, but the data do not determine {unknown}; freeze some."
    if fixed.any():
        return True, f"the minimum was found, with {', '.join(_those(names, fixed))} at a bound."
    return True, "the minimum was found."
