"""Checks of a YAML text before parsing: its size, depth and names.

A few hundred bytes of aliases to aliases expand to billions of values, and the last of two equal
names silently hides the first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gammagrad.errors import InputError, short

_DEEPEST = 50
_MOST = 200_000
"""Maximum number of values of a text, with aliases expanded."""


class _Open:
    """A list or mapping that has not ended yet."""

    def __init__(self, anchor: str | None, is_mapping: bool) -> None:
        self.anchor = anchor
        self.is_mapping = is_mapping
        self.size = 1
        self.number = 0
        self.names: set[str] = set()

    def add(self, size: int, name: str | None, line: int) -> None:
        """Take in a value; every other one in a mapping is a name."""
        if self.is_mapping and self.number % 2 == 0 and name is not None:
            if name in self.names:
                raise InputError(
                    f"line {line}: {short(name)} is there twice; expected unique names."
                )
            self.names.add(name)
        self.number += 1
        self.size += size


def check_events(events: Iterable[Any], yaml: Any) -> None:
    """Check that a text is not nested too deeply and does not expand to too much."""
    sizes: dict[str, int] = {}
    stack: list[_Open] = []
    total = 0
    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 0
        name, size = None, 0
        if isinstance(event, yaml.ScalarEvent):
            name, size = event.value, 1
            if event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in (part.anchor for part in stack):
                raise InputError(f"line {line}: the alias *{event.anchor} refers to itself.")
            size = sizes.get(event.anchor, 1)
        elif isinstance(event, yaml.CollectionStartEvent):
            stack.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(stack) > _DEEPEST:
                raise InputError(f"line {line}: nested more than {_DEEPEST} levels deep.")
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = stack.pop()
            size = ended.size
            if ended.anchor:
                sizes[ended.anchor] = size
        total += size if isinstance(event, yaml.AliasEvent | yaml.ScalarEvent) else 1
        if total > _MOST:
            raise InputError(
                f"line {line}: more than {_MOST} values, with aliases expanded; expected a "
                "file of settings or models. Long tables can be written as JSON."
            )
        if size and stack:
            stack[-1].add(size, name, line)
