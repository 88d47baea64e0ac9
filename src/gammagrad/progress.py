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

    class Bar(tqdm):  # type: ignore[type-arg]
        """A bar that says "compiling" until there is something to count."""

        def update(self, n: float | None = 1) -> bool | None:
            if not self.disable and self.postfix:
                self.set_postfix_str("", refresh=False)
            return super().update(n)

    hidden = not (sys.stderr.isatty() if show is None else show)
    layout = {"bar_format": _OF_ONE, "postfix": "compiling"} if fraction else {}
    kind = Bar if fraction else tqdm
    return kind(
        total=total, desc=description, disable=hidden, leave=False, file=sys.stderr, **layout
    )
