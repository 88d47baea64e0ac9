"""The progress bar: quiet when nobody watches."""

from __future__ import annotations

import sys
from typing import Any


def progress_bar(total: int, description: str, show: bool | None = None) -> Any:
    """Return a progress bar to `update` and `close`, usable in a ``with`` statement."""
    from tqdm import tqdm

    hidden = not (sys.stderr.isatty() if show is None else show)
    return tqdm(total=total, desc=description, disable=hidden, leave=False, file=sys.stderr)
