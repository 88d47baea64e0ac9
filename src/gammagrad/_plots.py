"""Where the plotting layer enters its functions, so that what is below it can call them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["call_plot", "register_plots"]

_plots: dict[str, Callable[..., Any]] = {}


def register_plots(*functions: Callable[..., Any]) -> None:
    """Enter functions that draw, by their names.

    Parameters
    ----------
    *functions
        The functions.
    """
    _plots.update({function.__name__: function for function in functions})


def call_plot(name: str, *args: Any, **kwargs: Any) -> Any:
    """Call a function that draws.

    Parameters
    ----------
    name : str
        Its name.
    *args, **kwargs
        Its arguments.

    Returns
    -------
    object
        What it returns.

    Raises
    ------
    ValueError
        If the plotting layer is not loaded.
    """
    if name not in _plots:
        raise ValueError("nothing is there to draw with; import gammagrad.plot first.")
    return _plots[name](*args, **kwargs)
