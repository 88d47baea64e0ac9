"""File names as users write them: with environment variables and a tilde."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["expand_path"]

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^{}]+)\})")


def expand_path(filename: str | os.PathLike[str]) -> Path:
    """Return a path with its environment variables and the tilde of a home folder filled in.

    Every function that opens a file calls it, so that ``"$GAMMAPY_DATA/dataset.fits.gz"`` and
    ``"~/maps.fits"`` may stand wherever a file name does.

    Parameters
    ----------
    filename : str or path
        Name of a file or folder, which need not exist. One that exists as it is written is taken
        as such, whatever signs it has.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    FileNotFoundError
        If an environment variable in it is not set, or there is no such user.

    Examples
    --------
    >>> os.environ["GAMMAGRAD_EXAMPLE"] = "data"
    >>> expand_path("$GAMMAGRAD_EXAMPLE/maps.fits").as_posix()
    'data/maps.fits'
    """
    path = Path(filename)
    if path.exists():
        return path
    text = os.path.expandvars(os.fspath(path))
    unset = [a or b for a, b in _VARIABLE.findall(text) if (a or b) not in os.environ]
    if unset:
        raise FileNotFoundError(
            f"{str(path)!r}: the environment variable {unset[0]} is not set; set it to a folder, "
            "or write the path without it."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"{str(path)!r}: no home folder for ~ ({error}).") from error
