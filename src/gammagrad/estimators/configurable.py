"""An estimator whose settings are its attributes: checked when set, printed, copied."""

from __future__ import annotations

import copy
from typing import Any, ClassVar, Self

from gammagrad.estimators.settings import CONFIG_PARAMETERS, check_settings, choices, plain_setting

__all__ = ["Configurable"]

# not a setting of the result, and in no file
_SHOW = "show_progress"

_EXCLUSIVE = ("kernel_width", "kernel_containment")


class Configurable:
    """The settings of `TSMapEstimator`, which is the class to use."""

    tag: ClassVar[str] = ""
    config_parameters: ClassVar[tuple[str, ...]] = CONFIG_PARAMETERS

    def __setattr__(self, name: str, value: Any) -> None:
        name = "model" if name == "kernel_model" else name
        known = (*self.config_parameters, _SHOW)
        if name not in known:
            raise AttributeError(f"{self.tag} has no setting {name!r}{choices(name, known)}")
        value = check_settings(name, value)
        for other in _EXCLUSIVE:
            given = value is not None and getattr(self, other, None) is not None
            if given and name in _EXCLUSIVE and name != other:
                raise ValueError(
                    f"{name} and {other} both say how wide the kernel is; set {other} to None "
                    "first, or leave one of them out."
                )
        object.__setattr__(self, name, value)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting by name, as plain text and numbers."""
        return {name: plain_setting(name, getattr(self, name)) for name in self.config_parameters}

    def __str__(self) -> str:
        rows = [f"  {name:<24}: {value}" for name, value in self.settings.items()]
        return "\n".join([self.tag, "-" * len(self.tag), "", *rows])

    __repr__ = __str__

    def copy(self) -> Self:
        """Return an estimator with the same settings, independent of this one."""
        twin = copy.copy(self)
        for name in self.config_parameters:
            if name != "model":
                object.__setattr__(twin, name, copy.deepcopy(getattr(self, name)))
        return twin
