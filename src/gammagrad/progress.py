"""The progress bar: quiet when nobody watches."""

from __future__ import annotations

import sys
from typing import Any

_OF_ONE = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
"""What a bar shows that goes from 0 to 1: steps and their rate would mean nothing."""


def progress_bar(
    total: int, description: str, show: bool | None = None, *, fraction: bool = False
) -> Any:
    """Return a progress bar to `update` and `close`, usable in a ``with`` statement."""
    # fraction: whether updates are parts of the whole, the first of which may have to compile
    from tqdm import tqdm

    hidden = not (sys.stderr.isatty() if show is None else show)
    layout: dict[str, Any] = {"bar_format": _OF_ONE, "postfix": "compiling"} if fraction else {}
    bar: Any = tqdm(
        total=total, desc=description, disable=hidden, leave=False, file=sys.stderr, **layout
    )
    if hidden or not fraction:
        return bar
    advance = bar.update

    def first(part: float) -> Any:
        """Take back that it compiles, and count as usual from then on."""
        bar.update = advance
        bar.set_postfix_str("", refresh=False)
        return advance(part)

    bar.update = first
    return bar
