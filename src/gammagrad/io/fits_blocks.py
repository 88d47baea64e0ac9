"""The structure of a FITS file, checked before its use.

A damaged header hides its HDU and all that follow, and declared sizes may be wrong. So the blocks
of a file are checked first: each header up to its end, each size against the file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gammagrad.errors import InputError, short

_BLOCK, _CARD = 2880, 80
_KINDS = {"IMAGE", "IUEIMAGE", "TABLE", "BINTABLE", "A3DTABLE", "FOREIGN", "DUMP"}
_WITHOUT_VALUE = {"", "COMMENT", "HISTORY", "CONTINUE", "HIERARCH"}
_BITPIX = (8, 16, 32, 64, -32, -64)
_END = b"END     "
_MOST_HEADER = 1500  # blocks
_SMALL = 10 * 2**20
_SMALL_UNPACKED = 256 * 2**20

# bytes of one element of a binary table's column
_WIDTHS = dict(zip("LBIJKAEDCMPQ", (1, 1, 2, 4, 8, 1, 4, 8, 8, 16, 8, 16), strict=True))
_FORM = re.compile(r"'\s*(\d*)([LXBIJKAEDCMPQ])")
# what may stand behind "=": a text, a truth, a number, two of them, or nothing; and a comment
_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?"
_VALUE = re.compile(
    rf"[ \0]*(?:'(?:[^']|'')*'|[TF]|{_NUMBER}|\( *{_NUMBER} *, *{_NUMBER} *\))?[ \0]*(?:/.*)?"
)
_INTEGER = re.compile(r"\s*([+-]?\d{1,18})\s*(?:/.*)?")
_TEXT_CARDS = re.compile(
    r"XTENSION|EXTNAME|BUNIT|RADESYS|BANDSHDU|DATASUM|CHECKSUM"
    r"|(TTYPE|TUNIT|TFORM|TDISP|TDIM|AXCOLS|INTERP|CTYPE|CUNIT)\d+"
)
_TEXT = re.compile(r"\s*'((?:[^']|'')*)'")


class Block(NamedTuple):
    """The place of an HDU in a file, and its header cards as written."""

    label: str  # its label: name, or number
    # start, data, stop: where its header, its data and the next HDU begin
    start: int
    data: int
    stop: int
    cards: Mapping[str, str]  # what stands behind ``=``, by keyword


def read_blocks(content: bytes, size: int, packed: bool) -> list[Block]:
    """Find the HDUs of a FITS file."""
    blocks: list[Block] = []
    start = 0
    while start < len(content):
        number = len(blocks)
        _check_start(content[start : start + _BLOCK], number, blocks)
        label = f"number {number}"
        data = _end_of_header(content, start, label)
        cards = _cards(content[start:data], label)
        label = text_of(cards, "EXTNAME") or label
        _check_texts(cards, label)
        length = _data_size(cards, label, number)
        _check_columns(cards, label)
        _check_memory(label, data + length, size, packed)
        _check_memory(label, _unpacked_size(cards, label), size, True)
        if data + length > len(content):
            raise InputError(
                f"HDU {label!r} declares {length} bytes of data, and the file has "
                f"{len(content) - data} from there: it is cut off, or the header is damaged; get "
                "it again."
            )
        # the last block of a file is sometimes not filled up
        stop = min(data + length + -length % _BLOCK, len(content))
        blocks.append(Block(label, start, data, stop, cards))
        start = stop
    if not blocks:
        raise InputError("cannot be read as FITS: it is empty.")
    return blocks


def _check_start(first: bytes, number: int, blocks: list[Block]) -> None:
    """Check that a header begins here."""
    if number == 0:
        if first[:9] != b"SIMPLE  =" or first[10:80].partition(b"/")[0].strip() != b"T":
            raise InputError("cannot be read as FITS: expected SIMPLE = T at its start.")
    elif first[:10] != b"XTENSION= ":
        raise InputError(
            f"after HDU {blocks[-1].label!r} there are bytes outside any HDU: the header before "
            "or after them is damaged; get the file again."
        )


def _end_of_header(content: bytes, start: int, label: str) -> int:
    """Return where a header ends and its data begin."""
    for block in range(start, start + _MOST_HEADER * _BLOCK, _BLOCK):
        if len(content) < block + _BLOCK:
            raise InputError(f"the header of HDU {label} is cut off; get the file again.")
        for at in range(block, block + _BLOCK, _CARD):
            if content[at : at + 8] == _END:
                if content[at + 8 : block + _BLOCK].strip(b" \0"):
                    raise InputError(f"HDU {label}: its header continues after END; it is damaged.")
                return block + _BLOCK
    raise InputError(f"HDU {label}: no END in the first {_MOST_HEADER} blocks of its header.")


def _cards(header: bytes, label: str) -> dict[str, str]:
    """Return the values of a header as they are written."""
    cards: dict[str, str] = {}
    for at in range(0, len(header), _CARD):
        card = header[at : at + _CARD]
        if card[:8] == _END:
            break
        keyword = card[:8].decode("latin-1").rstrip()
        if card[8:10] == b"= ":
            value = card[10:].decode("latin-1")
            if not _VALUE.fullmatch(value):
                raise InputError(
                    f"HDU {label}: its card {short(keyword + '= ' + value.strip())} cannot be "
                    "read; the header is damaged."
                )
            cards.setdefault(keyword, value)
        elif keyword not in _WITHOUT_VALUE:
            raise InputError(
                f"HDU {label}: its card {short(card.decode('latin-1').rstrip())} has no value; the "
                "header is damaged."
            )
    return cards


def _check_texts(cards: Mapping[str, str], label: str) -> None:
    """Check that text cards are texts."""
    for keyword, value in cards.items():
        if _TEXT_CARDS.fullmatch(keyword) and not _TEXT.match(value):
            found = short(value.partition("/")[0].strip())
            raise InputError(
                f"HDU {label!r}: {keyword} is {found}; expected a text in quotes. The header is "
                "damaged."
            )


def text_of(cards: Mapping[str, str], keyword: str) -> str:
    """Return the text of a card, empty if there is none."""
    found = _TEXT.match(cards.get(keyword, ""))
    return found[1].replace("''", "'").rstrip() if found else ""


def _whole(cards: Mapping[str, str], keyword: str, label: str, low: int, default: int) -> int:
    """Return a whole number from a header, or raise an error."""
    if keyword not in cards:
        if default < low:
            raise InputError(f"HDU {label!r}: no {keyword} in its header; it is damaged.")
        return default
    found = _INTEGER.fullmatch(cards[keyword].rstrip("\0"))
    if found is None or int(found[1]) < low:
        value = cards[keyword].partition("/")[0].strip()[:40]
        raise InputError(
            f"HDU {label!r}: {keyword} is {short(value)}; expected a whole number of at least "
            f"{low}. The header is damaged."
        )
    return int(found[1])


def _data_size(cards: Mapping[str, str], label: str, number: int) -> int:
    """Return the number of bytes that a header declares, without padding."""
    kind = text_of(cards, "XTENSION")
    if number and kind not in _KINDS:
        raise InputError(f"HDU {label!r}: XTENSION is {kind!r}; expected IMAGE or BINTABLE.")
    bits = _whole(cards, "BITPIX", label, -64, -99)
    if bits not in _BITPIX:
        known = ", ".join(map(str, _BITPIX))
        raise InputError(f"HDU {label!r}: BITPIX is {bits}; expected one of {known}.")
    n_axes = _whole(cards, "NAXIS", label, 0, -1)
    if n_axes > 64:
        raise InputError(f"HDU {label!r}: NAXIS is {n_axes}; expected at most 64.")
    if kind in ("BINTABLE", "TABLE", "A3DTABLE") and (n_axes, bits) != (2, 8):
        raise InputError(
            f"HDU {label!r}: a table with NAXIS = {n_axes} and BITPIX = {bits}; expected 2 and 8."
        )
    sizes = [_whole(cards, f"NAXIS{i}", label, 0, -1) for i in range(1, n_axes + 1)]
    if "GROUPS" in cards and cards["GROUPS"][:20].strip() == "T":
        raise InputError(f"HDU {label!r}: random groups are not supported; expected an image.")
    extra = _whole(cards, "PCOUNT", label, 0, 0 if number == 0 or kind == "IMAGE" else -1)
    groups = _whole(cards, "GCOUNT", label, 1, 1)
    if not sizes:
        return 0
    return abs(bits) // 8 * groups * (extra + math.prod(sizes))


def _check_columns(cards: Mapping[str, str], label: str) -> None:
    """Check that the columns of a binary table fill its rows."""
    if text_of(cards, "XTENSION") != "BINTABLE":
        return
    n_fields = _whole(cards, "TFIELDS", label, 0, -1)
    if n_fields > 999:
        raise InputError(f"HDU {label!r}: TFIELDS is {n_fields}; expected at most 999.")
    width = 0
    for i in range(1, n_fields + 1):
        form = _FORM.match(cards.get(f"TFORM{i}", "").strip())
        if form is None:
            value = cards.get(f"TFORM{i}", "missing").partition("/")[0].strip()[:40]
            raise InputError(f"HDU {label!r}: TFORM{i} is {value}; expected a format such as '1D'.")
        many = int(form[1] or 1)
        width += -(-many // 8) if form[2] == "X" else many * _WIDTHS[form[2]]
    row = _whole(cards, "NAXIS1", label, 0, -1)
    if width != row:
        raise InputError(
            f"HDU {label!r}: its columns take {width} bytes a row and NAXIS1 is {row}; expected "
            "the same. The header is damaged."
        )


def _unpacked_size(cards: Mapping[str, str], label: str) -> int:
    """Return the size of an image that is stored compressed in a table."""
    if cards.get("ZIMAGE", "")[:20].strip() != "T":
        return 0
    n_axes = min(_whole(cards, "ZNAXIS", label, 0, -1), 64)
    sizes = [_whole(cards, f"ZNAXIS{i}", label, 0, -1) for i in range(1, n_axes + 1)]
    return abs(_whole(cards, "ZBITPIX", label, -64, -99)) // 8 * math.prod(sizes)


def most_unpacked(size: int) -> int:
    """Return the bytes that a compressed file of a size may unpack to."""
    if size < _SMALL:
        return _SMALL_UNPACKED
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError):  # not a system of that kind
        memory = 8 * 2**30
    return max(_SMALL_UNPACKED, memory // 4)


def _check_memory(label: str, total: int, size: int, packed: bool) -> None:
    """Check that the unpacked size of a file is acceptable."""
    if packed and total > (most := most_unpacked(size)):
        raise InputError(
            f"HDU {label!r} takes the file to {total / 1e6:.4g} MB, from {size / 1e6:.3g} MB "
            f"compressed; at most {most / 1e6:.4g} MB are unpacked. If it is right, unpack it "
            "(gunzip, funpack) and read that."
        )


def missing_extensions(blocks: list[Block]) -> int:
    """Return how many of the extensions counted by NEXTEND are missing."""
    wanted = _whole(blocks[0].cards, "NEXTEND", blocks[0].label, 0, 0)
    return max(wanted - (len(blocks) - 1), 0)


def check_sums(content: bytes, blocks: list[Block]) -> tuple[list[str], list[str]]:
    """Compare the checksums of a file with its bytes."""
    data, headers = [], []
    for block in blocks:
        stored = text_of(block.cards, "DATASUM").strip()
        if not stored and "CHECKSUM" not in block.cards:
            continue
        own = _sum(content, block.data, block.stop)
        if "DATASUM" in block.cards and not (stored.isdecimal() and int(stored[:20]) == own):
            data.append(block.label)
        elif "CHECKSUM" in block.cards:
            total = _sum(content, block.start, block.data) + own
            if total % 0xFFFFFFFF:
                headers.append(block.label)
    return data, headers


def _sum(content: bytes, start: int, stop: int) -> int:
    """Return the sum of the words of 32 bits in ones' complement, as the FITS standard has it."""
    view = memoryview(content)[start : start + (stop - start) // 4 * 4]
    total = int(np.frombuffer(view, ">u4").sum(dtype=np.uint64))
    while total > 0xFFFFFFFF:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total
