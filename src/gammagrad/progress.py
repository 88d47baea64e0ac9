"""The progress bar: quiet when nobody watches."""

from __future__ import annotations

import sys
from typing import Any


def progress_bar(total: int, description: str, show: bool | None = None) -> Any:
    """Return a progress bar to `update` and `close`, usable in a ``with`` statement.

    Parameters
    ----------
    total
        Number of steps.
    description
        What is being done, in a word or two.
    show
        True or False; None shows it where the standard error stream is a terminal.

    Returns
    -------
    tqdm
        The bar.
    """
    from tqdm import tqdm

    hidden = not (sys.stderr.isatty() if show is None else show)
    return tqdm(total=total, desc=description, disable=hidden, leave=False, file=sys.stderr)
