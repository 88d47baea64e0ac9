"""File names as users write them: with environment variables and a tilde."""

from __future__ import annotations

import os
import re
from pathlib import Path

from gammagrad.errors import FileAccessError, FileMissingError, short

Filename = str | os.PathLike[str]

FILE_VARIABLES = ("GAMMAPY_DATA",)
"""Environment variables allowed in paths within files, as in gammapy's models."""

_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^{}]+)\})")


def expand_path(filename: Filename) -> Path:
    """Return a path with environment variables and tilde expanded."""
    # Every function that opens a file calls it, so that ``"$GAMMAPY_DATA/dataset.fits.gz"`` and
    # ``"~/maps.fits"`` work wherever a file name does.
    path = Path(filename)
    if path.exists():
        return path
    text = os.path.expandvars(os.fspath(path))
    unset = [a or b for a, b in _VARIABLE.findall(text) if (a or b) not in os.environ]
    if unset:
        raise FileMissingError(
            f"{str(path)!r}: the environment variable {unset[0]} is not set; set it to a folder, "
            "or write the path without it."
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise FileMissingError(f"{str(path)!r}: no home folder for ~ ({error}).") from error


def existing_file(filename: Filename) -> Path:
    """Return the path of a file that must be there."""
    path = expand_path(filename)
    if path.is_dir():
        raise FileMissingError(f"{str(path)!r} is a folder; expected a file.")
    if not path.is_file():
        raise FileMissingError(f"no file {str(path)!r}.")
    return path


def stem(filename: Filename) -> str:
    """Return the name of a FITS file without folder and ending."""
    return re.sub(r"(\.(fits|fit|fts))?(\.gz)?$", "", Path(filename).name)


def path_in_file(name: str, folder: Path, outside: bool = False) -> Path:
    """Return the path of a file that another file names."""
    # The other file may come from anywhere. So only `FILE_VARIABLES` are expanded, their values are
    # never shown, and a relative path must stay within the folder.
    named = [a or b for a, b in _VARIABLE.findall(name)]
    if others := sorted(set(named) - set(FILE_VARIABLES)):
        raise FileAccessError(
            f"{short(name)}: it names the environment variable {others[0]}; a path within a file "
            f"may name {', '.join(FILE_VARIABLES)} only. Write the path without it."
        )
    if unset := [variable for variable in named if variable not in os.environ]:
        raise FileMissingError(
            f"{short(name)}: the environment variable {unset[0]} is not set; set it to a folder."
        )
    path = Path(os.path.expandvars(name) if named else name)
    if not path.is_absolute():
        path = folder / path
        if not outside and not path.resolve().is_relative_to(folder.resolve()):
            raise FileAccessError(
                f"{short(name)}: it leads out of the folder of the file that names it; copy it "
                "there, write its whole path, or read the file with outside=True."
            )
    if not path.is_file():
        raise FileMissingError(f"no file {short(name)}, which is named in another file.")
    return path
