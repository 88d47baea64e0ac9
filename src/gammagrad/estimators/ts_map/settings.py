"""Settings of the map estimator: checked when set, frozen when a run begins."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Self

import astropy.units as u
import numpy as np

from gammagrad.core.norm import parse_selection
from gammagrad.core.ts_map import KERNEL_WEIGHTINGS
from gammagrad.errors import InputError, InputTypeError, choices, short
from gammagrad.estimators.ts_map.hypotheses import as_hypotheses, check_hypothesis
from gammagrad.estimators.ts_map.scan_norms import plain_scan, scan_values
from gammagrad.evaluate import check_sampling
from gammagrad.models import Models, SkyModel
from gammagrad.parallel import check_backend, check_n_jobs, requested_jobs

CONFIG_PARAMETERS = (
    "model",
    "kernel_width",
    "downsampling_factor",
    "n_sigma",
    "n_sigma_ul",
    "threshold",
    "rtol",
    "selection_optional",
    "energy_edges",
    "sum_over_energy_groups",
    "n_jobs",
    "parallel_backend",
    "norm",
    "max_niter",
    "n_sigma_sensitivity",
    "norm_min",
    "gamma_min",
    "bkg_syst_fraction",
    "background_floor",
    "kernel_containment",
    "renormalise",
    "kernel_weighting",
    "kernel_sampling",
    "memory",
)
"""Settings of the map estimator, by name."""


def plain_setting(name: str, value: Any) -> Any:
    """Return a setting as text, numbers and lists of them."""
    if name == "norm":
        return plain_scan(value)
    if isinstance(value, u.Quantity):
        return [str(edge) for edge in value] if value.ndim else str(value)
    if isinstance(value, list):
        return list(value)
    if isinstance(value, Models):
        return value.names
    return value.name if isinstance(value, SkyModel) else value


def _number(value: Any, name: str, expected: str, allowed: Callable[[float], bool]) -> Any:
    """Return a setting as a finite number that is allowed; a whole one stays whole."""
    try:
        number = np.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = np.nan
    if not (np.isfinite(number) and allowed(number)):
        raise InputError(f"{name} is {short(value)}; expected {expected}.")
    return value if isinstance(value, int) else number


def _positive(value: Any, name: str) -> Any:
    return _number(value, name, "a positive number", lambda x: x > 0)


def _not_negative(value: Any, name: str) -> Any:
    return _number(value, name, "a number of at least 0 (0 switches it off)", lambda x: x >= 0)


def _threshold(value: Any, name: str) -> Any:
    return _number(value, name, "a number, or None to fit every pixel", lambda x: True)


def _norm_min(value: Any, name: str) -> Any:
    wanted = "None (limits start at the fit, however negative) or 0 (limits are never negative)"
    return _number(value, name, wanted, lambda x: x == 0)


def _floor(value: Any, name: str) -> Any:
    wanted = "a positive number of counts per bin, or None for none"
    return _number(value, name, wanted, lambda x: x > 0)


def _containment(value: Any, name: str) -> Any:
    wanted = "a fraction between 0 and 1 such as 0.95, or None for the width alone"
    return _number(value, name, wanted, lambda x: 0 < x < 1)


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name} is {short(value)}; expected True or False.")
    return bool(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _max_niter(value: Any, name: str) -> int:
    if not _is_whole(value) or value < 1:
        raise InputError(f"{name} is {short(value)}; expected a whole number of at least 1.")
    return int(value)


def _downsampling(value: Any, name: str) -> int:
    """Return the factor: 1, or an even number."""
    if not _is_whole(value) or value < 1:
        raise InputError(f"{name} is {short(value)}; expected an even number such as 2, or None.")
    if value > 1 and value % 2:
        raise InputError(
            f"{name} is {value}, which is odd; expected an even number, such as {value - 1} or "
            f"{value + 1}, or None to fit every pixel."
        )
    return int(value)


def _kernel_width(value: Any, name: str) -> u.Quantity:
    """Return the width of the kernel as one angle in deg."""
    wrong = f"{name} is {short(value)}; expected one positive angle such as '1 deg'."
    try:
        if isinstance(value, list | tuple | dict):
            raise InputTypeError("several angles")
        width = u.Quantity(value).to("deg")
    except (TypeError, ValueError, OverflowError, u.UnitConversionError) as error:
        raise InputError(wrong) from error
    if width.ndim or not 0 < width.value < np.inf:
        raise InputError(wrong)
    return width


def _memory(value: Any, name: str) -> int:
    """Return an amount of memory in bytes."""
    try:
        amount = np.nan if isinstance(value, bool) else u.Quantity(value)
        if getattr(amount, "unit", None) == u.dimensionless_unscaled:
            amount = amount * u.byte
        size = float(amount.to_value(u.byte)) if isinstance(amount, u.Quantity) else np.nan
    except (TypeError, ValueError, OverflowError, u.UnitConversionError):
        size = np.nan
    if not 10**6 <= size < np.inf:
        raise InputError(
            f"{name} is {short(value)}; expected an amount of memory such as '500 MB' (at least "
            "1 MB), or None."
        )
    return int(size)


def _energy_edges(value: Any, name: str) -> u.Quantity | str | None:
    """Return energy edges as a quantity, or "all"."""
    if isinstance(value, str) and value == "all":
        return value
    try:
        parts = value.split(",") if isinstance(value, str) else value
        if not isinstance(parts, u.Quantity | np.ndarray):
            parts = u.Quantity([u.Quantity(part) for part in parts])
        edges = u.Quantity(parts)
        edges.to("TeV")
    except (TypeError, ValueError, OverflowError, u.UnitConversionError) as error:
        raise InputError(
            f"{name} are {short(value)}; expected energies with their units, such as "
            "'10 GeV, 500 GeV', or 'all' for one group per bin."
        ) from error
    if edges.ndim != 1 or edges.size < 2 or not np.all(np.diff(edges.value) > 0):
        raise InputError(f"{name} are {edges}; expected two or more, increasing.")
    return edges


def _weighting(value: Any, name: str) -> str:
    if value not in KERNEL_WEIGHTINGS:
        raise InputError(f"{name} is {short(value)}{choices(value, KERNEL_WEIGHTINGS)}")
    return str(value)


def _sampling(value: Any, name: str) -> str:
    check_sampling(value)
    return str(value)


def _model(value: Any, name: str) -> SkyModel | Models:
    if isinstance(value, list | tuple | Models):
        return as_hypotheses(value, name)
    return check_hypothesis(value, name)


def _scan(value: Any, name: str) -> Any:
    """Return what says where to scan, a copy unless it is an object of its own kind."""
    scan_values(value)
    return copy.deepcopy(value) if isinstance(value, Mapping | list | tuple) else value


def _selection(value: Any, name: str) -> list[str]:
    return list(parse_selection(value))


_CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "model": _model,
    "downsampling_factor": _downsampling,
    "kernel_width": _kernel_width,
    "threshold": _threshold,
    "selection_optional": _selection,
    "energy_edges": _energy_edges,
    "max_niter": _max_niter,
    "norm": _scan,
    "norm_min": _norm_min,
    "background_floor": _floor,
    "kernel_containment": _containment,
    "kernel_weighting": _weighting,
    "kernel_sampling": _sampling,
    "memory": _memory,
    "n_jobs": check_n_jobs,
    "parallel_backend": check_backend,
    **dict.fromkeys(("n_sigma", "n_sigma_ul", "n_sigma_sensitivity", "rtol"), _positive),
    **dict.fromkeys(("gamma_min", "bkg_syst_fraction"), _not_negative),
    **dict.fromkeys(("sum_over_energy_groups", "renormalise"), _flag),
}

_MAY_BE_NONE = {
    *("kernel_width", "downsampling_factor", "threshold", "energy_edges", "n_jobs"),
    *("parallel_backend", "norm", "norm_min", "background_floor", "kernel_containment"),
    "memory",
}


def check_settings(name: str, value: Any) -> Any:
    """Check and convert one setting of `TSMapEstimator`."""
    if (value is None and name in _MAY_BE_NONE) or name not in _CHECKS:
        return value
    return _CHECKS[name](value, name)


# not a setting of the result, and in no file
_SHOW = "show_progress"

_EXCLUSIVE = ("kernel_width", "kernel_containment")


class Configurable:
    """The settings of `TSMapEstimator`, which is the class to use."""

    tag: ClassVar[str] = ""

    def __setattr__(self, name: str, value: Any) -> None:
        name = "model" if name == "kernel_model" else name
        known = (*CONFIG_PARAMETERS, _SHOW)
        if name not in known:
            raise AttributeError(f"{self.tag} has no setting {name!r}{choices(name, known)}")
        value = check_settings(name, value)
        for other in _EXCLUSIVE:
            given = value is not None and getattr(self, other, None) is not None
            if given and name in _EXCLUSIVE and name != other:
                raise InputError(
                    f"{name} and {other} both say how wide the kernel is; set {other} to None "
                    "first, or leave one of them out."
                )
        object.__setattr__(self, name, value)

    @property
    def n_jobs(self) -> int:
        """Number of processes; where it is not set, `gammagrad.parallel.N_JOBS_DEFAULT` of now."""
        return requested_jobs(n_jobs=self._as_set("n_jobs")).n_jobs

    @n_jobs.setter
    def n_jobs(self, value: int | None) -> None:
        object.__setattr__(self, "_n_jobs", value)

    @property
    def parallel_backend(self) -> str:
        """What runs them; where it is not set, `gammagrad.parallel.BACKEND_DEFAULT` of now."""
        return requested_jobs(backend=self._as_set("parallel_backend")).backend

    @parallel_backend.setter
    def parallel_backend(self, value: str | None) -> None:
        object.__setattr__(self, "_parallel_backend", value)

    @property
    def config_parameters(self) -> dict[str, Any]:
        """Every setting by name, as the attribute of that name has it."""
        return {name: getattr(self, name) for name in CONFIG_PARAMETERS}

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by name, as plain text and numbers: None where a default was left alone."""
        return {name: plain_setting(name, self._as_set(name)) for name in CONFIG_PARAMETERS}

    def _as_set(self, name: str) -> Any:
        """Return a setting before a default of the session takes the place of None."""
        return vars(self)[name if name in vars(self) else f"_{name}"]

    def __str__(self) -> str:
        rows = [f"  {name:<24}: {value}" for name, value in self.settings.items()]
        return "\n".join([self.tag, "-" * len(self.tag), "", *rows])

    __repr__ = __str__

    def copy(self) -> Self:
        """Return an estimator with the same settings, independent of this one."""
        twin = copy.copy(self)
        others = {name: value for name, value in vars(self).items() if name != "model"}
        vars(twin).update(copy.deepcopy(others))
        return twin
