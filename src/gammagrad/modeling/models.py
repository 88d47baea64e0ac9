"""Models where gammapy's scripts look for them: the names of `gammagrad.models`."""

from typing import Any

import gammagrad.models

__all__ = gammagrad.models.__all__


def __getattr__(name: str) -> Any:
    """Return a name of `gammagrad.models`."""
    return getattr(gammagrad.models, name)


def __dir__() -> list[str]:
    """List the names of `gammagrad.models`."""
    return sorted(__all__)
