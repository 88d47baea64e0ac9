"""Datasets, both ways."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from astropy.table import Table
from gammapy import datasets as gp
from gammapy.data import GTI

from gammagrad.dataset import AnyMapDataset, MapDataset, MapDatasetOnOff
from gammagrad.errors import InputError, InputTypeError
from gammagrad.interop.maps import map_from_gammapy, map_to_gammapy
from gammagrad.interop.models import models_from_gammapy, models_to_gammapy
from gammagrad.interop.responses import (
    edisp_from_gammapy,
    edisp_to_gammapy,
    psf_from_gammapy,
    psf_to_gammapy,
)
from gammagrad.io import read_table, table_to_hdu
from gammagrad.maps import Map

_MAPS = ("counts", "exposure", "mask_safe", "mask_fit")
_OFF = ("counts_off", "acceptance", "acceptance_off")


def dataset_from_gammapy(dataset: Any) -> AnyMapDataset:
    """Return a dataset of gammapy as one of ours, which shares nothing with it.

    Models that have no counterpart here, such as ones that change with time or are classes of their
    own, are evaluated by gammapy and become part of the background.

    Parameters
    ----------
    dataset
        gammapy's `MapDataset` or `MapDatasetOnOff`.

    Returns
    -------
    MapDataset or MapDatasetOnOff
        The dataset, with its models.

    Raises
    ------
    TypeError
        If it is another kind of dataset.
    """
    _check_kind(dataset)
    is_off = isinstance(dataset, gp.MapDatasetOnOff)
    models, rest = _models(dataset)
    names = (*_MAPS, *(_OFF if is_off else ()))
    maps = {name: _maybe(getattr(dataset, name)) for name in names}
    if not is_off:
        maps["background"] = _background(dataset, rest)
    elif rest:
        raise InputError(
            f"dataset {dataset.name!r}: its models {', '.join(rest)} have no counterpart, and OFF "
            "counts no background that they could be added to."
        )
    kind: Any = MapDatasetOnOff if is_off else MapDataset
    made: AnyMapDataset = kind(
        **maps,
        psf=psf_from_gammapy(dataset.psf),
        edisp=edisp_from_gammapy(dataset.edisp),
        gti=_gti(dataset.gti),
        meta_table=dataset.meta_table,
        models=models_from_gammapy(models) if models else None,
        name=dataset.name,
    )
    return made


def plain_dataset(dataset: Any) -> AnyMapDataset:
    """Return a dataset whose background has all that its models predict, evaluated by gammapy."""
    _check_kind(dataset)
    for name in ("counts", "background", "exposure"):
        if getattr(dataset, name) is None:
            raise InputError(f"dataset {dataset.name!r} has no {name}; expected a map.", "datasets")
    background = dataset.npred() if dataset.models else dataset.background
    maps: dict[str, Any] = {name: _maybe(getattr(dataset, name)) for name in _MAPS}
    return MapDataset(
        **maps,
        background=_maybe(background),
        psf=psf_from_gammapy(dataset.psf),
        edisp=edisp_from_gammapy(dataset.edisp),
        gti=_gti(dataset.gti),
        name=dataset.name,
    )


def _check_kind(dataset: Any) -> None:
    # spectra and flux points are datasets of gammapy, too
    if not isinstance(dataset, gp.MapDataset) or "spectrum" in str(dataset.tag).lower():
        raise InputTypeError(
            f"expected a MapDataset of gammapy, got {type(dataset).__name__}: a map needs counts "
            "on the sky."
        )


def _maybe(m: Any) -> Map | None:
    return None if m is None else map_from_gammapy(m)


def _models(dataset: Any) -> tuple[list[Any], list[str]]:
    """Return the models that have a counterpart, and the names of the others."""
    found, rest = [], []
    for model in dataset.models or []:
        try:
            models_from_gammapy(model)
            found.append(model)
        except InputError:
            rest.append(model.name)
    return found, rest


def _background(dataset: Any, rest: Sequence[str]) -> Map | None:
    """Return the background, with models evaluated by gammapy added to it."""
    background = _maybe(dataset.background)
    if not rest:
        return background
    predicted = map_from_gammapy(dataset.npred_signal(model_names=list(rest)))
    return predicted if background is None else background + predicted


def _gti(gti: Any) -> Table | None:
    return None if gti is None else read_table(gti.to_table_hdu(format="gadf"))


def dataset_to_gammapy(dataset: AnyMapDataset) -> Any:
    """Return a dataset as one of gammapy's, which shares nothing with it.

    Parameters
    ----------
    dataset
        The dataset.

    Returns
    -------
    gammapy.datasets.MapDataset or MapDatasetOnOff
        The dataset, with its models.
    """
    is_off = isinstance(dataset, MapDatasetOnOff)
    names = (*_MAPS, *(_OFF if is_off else ("background",)))
    maps = {name: getattr(dataset, name) for name in names}
    kind = gp.MapDatasetOnOff if is_off else gp.MapDataset
    gti = dataset.gti
    return kind(
        **{name: None if m is None else map_to_gammapy(m) for name, m in maps.items()},
        psf=psf_to_gammapy(dataset.psf),
        edisp=edisp_to_gammapy(dataset.edisp),
        gti=None if gti is None else GTI.from_table_hdu(table_to_hdu(gti, "GTI")),
        meta_table=dataset.meta_table,
        models=None if dataset.models is None else models_to_gammapy(dataset.models),
        name=dataset.name,
    )
