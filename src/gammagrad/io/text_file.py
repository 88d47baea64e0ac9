"""Writing of text files, whole or not at all."""

from __future__ import annotations

import os

from gammagrad.io.atomic import Content, write_files

__all__ = ["text_content", "write_text"]


def text_content(text: str) -> Content:
    """Return what writes a text, as UTF-8."""
    return lambda file: file.write(text.encode())


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
    write_files([(filename, text_content(text))], overwrite)
