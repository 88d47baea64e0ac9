"""An estimator whose settings are its attributes: checked when set, printed, copied."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

from gammagrad.errors import InputError
from gammagrad.estimators.settings import CONFIG_PARAMETERS, check_settings, choices, plain_setting
from gammagrad.parallel import requested_jobs

__all__ = ["Configurable"]

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
