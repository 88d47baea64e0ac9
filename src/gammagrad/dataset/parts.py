"""The maps and models of a dataset, each checked when it is set."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from gammagrad.dataset.checks import (
    check_map,
    check_same_energies,
    check_sky_map,
    on_same_pixels,
)
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import Map, MapAxis
from gammagrad.models import Models

log = logging.getLogger(__name__)


@contextlib.contextmanager
def named_errors(name: str, part: str = "") -> Iterator[None]:
    """Add the name of a dataset to the errors of a block, and keep the name of the argument."""
    where = f"dataset {name!r}, {part}"
    try:
        yield
    except (InputError, InputTypeError) as error:
        message, argument, within = error.args
        kind = InputError if isinstance(error, InputError) else InputTypeError
        raise kind(message, argument, where + within) from error
    except ValueError as error:
        raise InputError(f"{where}{error}") from error
    except TypeError as error:
        raise InputTypeError(f"{where}{error}") from error


def map_part(name: str, doc: str) -> Any:
    """Return a property of a dataset: a map, checked against the other maps when it is set.

    Maps that are larger than the counts are cut out then.
    """

    def get(dataset: Any) -> Any:
        return dataset._maps.get(name)

    def put(dataset: Any, value: Map | None) -> None:
        if value is None:
            dataset._maps.pop(name, None)
            return
        with named_errors(dataset.name):
            dataset._maps = _with_map(dataset._maps, name, value)

    return property(get, put, doc=doc)


def response_part(name: str, doc: str, check: Callable[..., Any], *axes: str) -> Any:
    """Return a property of a dataset: a response, checked against axes of the maps."""

    def get(dataset: Any) -> Any:
        return getattr(dataset, f"_{name}")

    def put(dataset: Any, value: Any) -> None:
        known = (axis_of(dataset._maps, axis) for axis in axes)
        with named_errors(dataset.name):
            setattr(dataset, f"_{name}", check(value, *known))

    return property(get, put, doc=doc)


def _with_map(maps: Mapping[str, Map], name: str, value: Any) -> dict[str, Map]:
    """Return the maps of a dataset with one of them set, all on the pixels of the counts."""
    axis = axis_of(maps, "energy")
    found = on_same_pixels({**maps, name: check_sky_map(value, name)})
    value = found[name]
    if name.startswith(("mask", "acceptance")) and axis is not None and value.geom.is_image:
        # an image of a mask or an acceptance is for all energies
        data = np.repeat(value.data[None], axis.nbin, axis=0)
        value = Map(value.geom.to_cube([axis]), data, unit=value.unit, meta=value.meta)
    found[name] = check_map(value, name)
    others = {key: m for key, m in found.items() if key != name}
    # the new map comes last, so that the error is about it
    check_same_energies({**others, name: found[name]})
    return found


def axis_of(maps: Mapping[str, Map], name: str) -> MapAxis | None:
    """Return the axis of a name from the first map with such an axis."""
    axes = (m.geom.axes for m in maps.values())
    return next((own[name] for own in axes if name in own.names), None)


def models_for(name: str, models: Any) -> Models:
    """Return the models that apply to a dataset, with a log record if none applies."""
    with named_errors(name, "models: "):
        given = Models(models)
    chosen = given.for_dataset(name)
    if len(given) and not len(chosen):
        text = "dataset %r: none of the models %s applies to it (datasets_names)."
        log.warning(text, name, ", ".join(given.names))
    return chosen
