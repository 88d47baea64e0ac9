"""Results that a geometry keeps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def kept(store: dict[Any, Any], key: Any, make: Callable[[], T], most: int = sys.maxsize) -> T:
    """Return the value of a key, or make it; of too many values the oldest are dropped."""
    found: T | None = store.get(key)
    if found is None:
        found = make()
        # other threads may change it meanwhile
        for old in list(store)[: max(len(store) + 1 - most, 0)]:
            store.pop(old, None)
        store[key] = found
    return found
