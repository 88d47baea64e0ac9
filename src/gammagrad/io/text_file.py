"""Writing of text files, whole or not at all."""

from __future__ import annotations

import os
import uuid

from gammagrad.io.paths import expand_path

__all__ = ["write_text"]


def write_text(text: str, filename: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a text file, whole or not at all.

    Parameters
    ----------
    text : str
        What to write, as UTF-8.
    filename : str or path
        Path of the file.
    overwrite : bool
        Replace a file that is there.

    Raises
    ------
    FileExistsError
        If the file is there and is not to be replaced.
    FileNotFoundError
        If its folder does not exist.
    """
    path = expand_path(filename)
    if path.exists() and not overwrite:
        raise FileExistsError(f"{str(path)!r} is there already; use overwrite=True to replace it.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {str(path.parent)!r} to write {path.name!r} into.")
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}-{path.name[-100:]}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
