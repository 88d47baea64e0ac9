"""Options of the command line that are settings of an estimator: made from its table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from gammagrad.errors import InputError, InputTypeError
from gammagrad.estimators.settings import Estimator, Setting


def add_setting_options(
    parser: argparse.ArgumentParser,
    estimator: type[Estimator],
    groups: Mapping[str, Any] | None = None,
    more: Mapping[str, str] | None = None,
) -> None:
    """Add an option for each setting that has one, with `more` help, to the titled groups."""
    groups, places = dict(groups or {}), dict[frozenset[str], Any]()
    for name, row in estimator.table.items():
        option = row.option
        if option is None:
            continue
        place = groups.setdefault(option.group, None) or parser.add_argument_group(option.group)
        groups[option.group] = place
        if row.excludes:
            pair = frozenset({name, row.excludes})
            place = places.setdefault(pair, None) or place.add_mutually_exclusive_group()
            places[pair] = place
        text = (row.sentence + (more or {}).get(name, "")).replace("%", "%%")
        place.add_argument(option.flag, dest=option.dest or name, help=text, **_how(row))


def _how(row: Setting[Any]) -> dict[str, Any]:
    """Return how the text of an option becomes the value of a setting."""
    assert row.option is not None
    if isinstance(row.default, bool):
        return {"action": argparse.BooleanOptionalAction}
    if row.values:
        return {"choices": tuple(row.values)}
    return {"type": _reader(row), "metavar": row.option.metavar}


def _reader(row: Setting[Any]) -> Callable[[str], Any]:
    """Return the type of an option."""
    option = row.option
    assert option is not None

    def read(text: str) -> Any:
        try:
            return row.checked(option.read(text))
        except (TypeError, ValueError, OverflowError) as error:
            told = f"cannot read {text!r}; expected such as {option.example}"
            if isinstance(error, InputError | InputTypeError) and error.argument:
                told = error.called(option.flag).rstrip(".")
            raise argparse.ArgumentTypeError(told) from error

    return read


def given_settings(args: argparse.Namespace, estimator: type[Estimator]) -> dict[str, Any]:
    """Return the settings that options give."""
    places = {
        name: (row.option and row.option.dest) or name for name, row in estimator.table.items()
    }
    found = {name: getattr(args, place, None) for name, place in places.items()}
    return {name: value for name, value in found.items() if value is not None}
