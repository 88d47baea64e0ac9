"""The only place where FITS files are opened and written."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from astropy.io import fits
from astropy.utils.exceptions import AstropyUserWarning

from gammagrad.errors import InputError, InputWarning, short
from gammagrad.io.atomic import Content, write_files
from gammagrad.io.fits_blocks import (
    Block,
    check_sums,
    missing_extensions,
    most_unpacked,
    read_blocks,
)
from gammagrad.io.paths import Filename, existing_file, expand_path
from gammagrad.io.reading import reads_file

_GZIP = b"\x1f\x8b"


@reads_file
def read_hdus(filename: Filename, checksum: bool = True) -> fits.HDUList:
    """Read a FITS file into memory."""
    path = existing_file(filename)
    content, blocks = _content(path)
    if missing := missing_extensions(blocks):
        warnings.warn(
            f"{path}: {missing} of the extensions that its card NEXTEND counts are not there: it "
            "is cut off between two of them, or they were removed.",
            InputWarning,
            stacklevel=3,
        )
    if checksum:
        _check_sums(path, content, blocks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False) as hdus:
                for hdu in hdus:
                    _ = hdu.data
        except (OSError, TypeError, ValueError, KeyError, fits.VerifyError) as error:
            raise InputError(f"cannot be read as FITS ({short(str(error))}).") from error
    if len(hdus) != len(blocks):
        said = [str(w.message) for w in caught if issubclass(w.category, AstropyUserWarning)]
        raise InputError(
            f"HDU {blocks[len(hdus)].label!r} cannot be read ({short('; '.join(said))})."
        )
    return hdus


def _content(path: Path) -> tuple[bytes, list[Block]]:
    """Return the bytes of a file, unpacked, and its HDUs."""
    content = path.read_bytes()
    if not content.startswith(_GZIP):
        return content, read_blocks(content, len(content), packed=False)
    most = most_unpacked(len(content))
    try:
        unpacked = _unpacked(content, most)
    except (EOFError, zlib.error) as error:
        raise InputError("the compressed file is cut off or damaged; get it again.") from error
    # a file that is too large is reported below, unless its HDUs end before
    blocks = read_blocks(unpacked, len(content), packed=True)
    if len(unpacked) > most:
        raise InputError(f"it unpacks to more than {most / 1e6:.4g} MB, and its HDUs do not.")
    return unpacked, blocks


def _unpacked(packed: bytes, most: int) -> bytes:
    """Return the content of a gzip file, up to one byte above the limit."""
    pieces: list[bytes] = []
    total = 0
    while packed and total <= most:
        unpacking = zlib.decompressobj(wbits=31)
        pieces.append(unpacking.decompress(packed, most + 1 - total))
        total += len(pieces[-1])
        if total <= most and not unpacking.eof:
            raise EOFError
        packed = unpacking.unused_data.lstrip(b"\0")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _check_sums(path: Path, content: bytes, blocks: list[Block]) -> None:
    """Compare the checksums of a file."""
    data, headers = check_sums(content, blocks)
    if data:
        raise InputError(
            f"the data of {_hdus(data)} do not have the sum that DATASUM says: they are "
            "damaged, or were changed by a program that left the sum as it was. Get the file "
            "again; checksum=False reads it as it is."
        )
    if headers:
        warnings.warn(
            f"{path}: {_hdus(headers)}: the data have their checksum, the header does not: "
            "somebody edited it, or it is damaged.",
            InputWarning,
            stacklevel=4,
        )


def _hdus(labels: Sequence[str]) -> str:
    return f"HDU{'s' * (len(labels) > 1)} {', '.join(map(repr, labels))}"


def write_hdus(
    hdus: Sequence[Any], filename: Filename, overwrite: bool = False, checksum: bool = False
) -> None:
    """Write HDUs to a FITS file atomically."""
    write_files([(filename, fits_content(hdus, filename, checksum))], overwrite)


def fits_content(hdus: Sequence[Any], filename: Filename, checksum: bool = False) -> Content:
    """Return a writer of HDUs, compressed if the file name ends in ".gz"."""
    hdus = list(hdus)
    if not hdus or not isinstance(hdus[0], fits.PrimaryHDU):
        hdus.insert(0, fits.PrimaryHDU())
    if len(hdus) > 1:
        # a file that is cut off between two HDUs looks whole without
        hdus[0].header["NEXTEND"] = (len(hdus) - 1, "number of extensions")
    packed = os.fspath(filename).endswith(".gz")

    def write(file: BinaryIO) -> None:
        if not packed:
            fits.HDUList(hdus).writeto(file, checksum=checksum)
            return
        # level 9, the default, takes several times as long for 1 % less; no name, no time stamp
        with gzip.GzipFile("", "wb", compresslevel=6, fileobj=file, mtime=0) as packing:
            fits.HDUList(hdus).writeto(packing, checksum=checksum)

    return write


def card_text(header: Any, keyword: str, default: str = "", label: str = "") -> str:
    """Return a card that must be a text, without blanks around it."""
    value = header.get(keyword, default)
    if not isinstance(value, str):
        where = f"HDU {label!r}: " if label else ""
        raise InputError(f"{where}{keyword} is {short(value)}; expected a text.")
    return value.strip()


def card_json(header: Any, keyword: str) -> Any:
    """Return a card that must be JSON; None where it is missing."""
    if keyword not in header:
        return None
    try:
        return json.loads(card_text(header, keyword))
    except json.JSONDecodeError as error:
        raise InputError(
            f"the card {keyword} of the primary header is not JSON ({error}); the header is "
            "damaged, or was edited."
        ) from error


def hdu_names(hdus: fits.HDUList) -> str:
    """Return the names of HDUs for an error message."""
    return ", ".join(hdu.name or f"number {i}" for i, hdu in enumerate(hdus))


def get_hdu(hdus: fits.HDUList, name: str | int) -> Any:
    """Return one HDU."""
    try:
        return hdus[name]
    except (KeyError, IndexError) as error:
        raise InputError(f"no HDU {short(name)}; there are: {hdu_names(hdus)}.") from error


def file_sha256(filename: Filename) -> str:
    """Return the SHA-256 checksum of a file."""
    with open(expand_path(filename), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
