"""Opening and writing of FITS files: the one place where it is done."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import uuid
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from gammagrad.io.paths import expand_path

__all__ = ["file_sha256", "get_hdu", "hdu_names", "read_hdus", "write_hdus"]

Filename = str | os.PathLike[str]
_GZIP = b"\x1f\x8b"


def read_hdus(filename: Filename) -> fits.HDUList:
    """Read a FITS file into memory.

    Parameters
    ----------
    filename
        Path of the file, compressed or not.

    Returns
    -------
    HDUList
        All of its HDUs with their data; the file is closed.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not FITS, or is cut off.
    """
    path = expand_path(filename)
    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            content = path.read_bytes()
            if content.startswith(_GZIP):  # whole, so that a missing end is noticed
                content = gzip.decompress(content)
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as hdus:
                for hdu in hdus:
                    _ = hdu.data
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path}: the compressed file is cut off or damaged; get it again."
            ) from error
        except (OSError, TypeError, ValueError, fits.VerifyError) as error:
            raise ValueError(f"{path}: cannot be read as FITS ({error}).") from error
    messages = [str(w.message) for w in caught if issubclass(w.category, AstropyUserWarning)]
    if any("truncated" in message for message in messages):
        raise ValueError(f"{path}: the file is cut off; get it again.")
    return hdus


def write_hdus(
    hdus: Sequence[Any], filename: Filename, overwrite: bool = False, checksum: bool = False
) -> None:
    """Write HDUs to a FITS file, whole or not at all.

    Parameters
    ----------
    hdus
        The HDUs; an empty primary one is put first if it is missing.
    filename
        Path of the file; one ending in ".gz" is compressed.
    overwrite
        Replace a file that is there.
    checksum
        Give each HDU its checksum.

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
    hdus = list(hdus)
    if not hdus or not isinstance(hdus[0], fits.PrimaryHDU):
        hdus.insert(0, fits.PrimaryHDU())
    temporary = path.with_name(f".{uuid.uuid4().hex[:12]}.tmp")
    try:
        with _open_to_write(temporary, compress=path.suffix == ".gz") as file:
            fits.HDUList(hdus).writeto(file, checksum=checksum)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _open_to_write(path: Path, compress: bool) -> BinaryIO:
    if compress:
        # level 9, the default, takes several times as long for 1 % less; no time stamp
        return cast(BinaryIO, gzip.GzipFile(path, "wb", compresslevel=6, mtime=0))
    return open(path, "wb")


def hdu_names(hdus: fits.HDUList) -> str:
    """Return the names of HDUs for an error message.

    Parameters
    ----------
    hdus
        The HDUs.

    Returns
    -------
    str
        Names, or numbers of those that have none, with commas.
    """
    return ", ".join(hdu.name or f"number {i}" for i, hdu in enumerate(hdus))


def get_hdu(hdus: fits.HDUList, name: str | int) -> Any:
    """Return one HDU.

    Parameters
    ----------
    hdus
        The HDUs.
    name
        Name or number.

    Returns
    -------
    HDU
        The HDU.

    Raises
    ------
    ValueError
        If it is not there; the message names those that are.
    """
    try:
        return hdus[name]
    except (KeyError, IndexError) as error:
        raise ValueError(f"no HDU {name!r}; there are: {hdu_names(hdus)}.") from error


def file_sha256(filename: Filename) -> str:
    """Return the SHA-256 checksum of a file.

    Parameters
    ----------
    filename
        Path of the file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with open(expand_path(filename), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
