"""From a list of pixels to a list of sources: every candidate is fitted to the data around it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from gammagrad.dataset import MapDataset
from gammagrad.errors import InputError, InputTypeError
from gammagrad.evaluate import is_compact
from gammagrad.fitting.candidate import Candidate, Settings
from gammagrad.fitting.cutouts import Field, typical_psf
from gammagrad.fitting.refined_table import refined_table
from gammagrad.fitting.setup import check_datasets, check_options
from gammagrad.maps import middle_shape, to_value
from gammagrad.models import (
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from gammagrad.peaks import SourceTable
from gammagrad.progress import progress_bar

_SOURCE = "source"
_INDEX = ("index", "alpha")
_SCALE = ("amplitude", "norm")
# Minimum of the distance that a source may move, in pixels.
_PIXELS = 3.0
# Radius of a circle with 68 % of a Gaussian, in its sigma.
_CIRCLE = 1.51
# Sizes that can be told from a point and fitted, in widths of the PSF.
_SMALLEST, _LARGEST = 0.3, 4.0
# Samples for one size are good down to this fraction of it.
_SHRINK = 0.71


def refine_peaks(
    peaks: Table,
    datasets: MapDataset | Iterable[MapDataset],
    model: SkyModel | Sequence[SkyModel] | None = None,
    *,
    free: Sequence[str] | None = None,
    passes: int = 2,
    max_shift: Any = None,
    max_iterations: int = 100,
    tolerance: float = 1e-6,
    sampling: str = "fine",
    progress: bool | None = None,
) -> QTable:
    """Fit position, flux, index and size of candidate sources, each to the data around it.

    A candidate starts at its pixel with the flux found there. L-BFGS and Newton's method with exact
    second derivatives, in float64, find the maximum of the likelihood; its curvature gives errors
    and error ellipses. The models of the datasets, with their parameters as they are, and all other
    candidates of the same energies are part of the background. All candidates have cutouts of one
    shape, so that code is compiled for the first one only, unless the PSF's kernels change their
    size across the map.

    Parameters
    ----------
    peaks
        Candidates, as `find_peaks` returns them: ``ra``, ``dec``, ``energy_min`` and
        ``energy_max`` if only some energies are to be used, and ``norm`` or ``flux``.
    datasets
        The data: one dataset or several, which are fitted together.
    model
        Shape and spectrum to start from, as in the search for the peaks: ``norm`` is a factor on
        this model. A list has one for each peak. By default a point source with a power law of
        index 2 and the ``flux`` at the pixel.
    free
        Parameters to fit besides the flux: any of "position", "index" and "size". By default
        position, and index if there are several energies. With "size" a point source becomes a
        Gaussian.
    passes
        Number of passes through the list. After the first pass, only sources whose neighbours have
        changed are fitted again.
    max_shift
        How far a source may move from its pixel: a quantity, or deg. By default three pixels, or
        the 68 % radius of the PSF and the source if that is larger.
    max_iterations
        Maximum number of steps for one source.
    tolerance
        As in `gammagrad.fit`.
    sampling
        As in `gammagrad.fit`.
    progress
        Whether to show a progress bar; None shows it where the standard error stream is a
        terminal.

    Returns
    -------
    astropy.table.QTable
        A copy of the peaks, where ``refined`` is True with fitted ``name``, ``ra``, ``dec``,
        ``glon``, ``glat``, ``ts`` (the statistic without the source minus that with it),
        ``sqrt_ts``, ``flux`` and ``flux_err``. New columns are ``ra_err``, ``dec_err``,
        ``glon_err``, ``glat_err`` (on the sky: errors of longitude times the cosine of latitude),
        ``ellipse_major_68``, ``ellipse_minor_68``, ``ellipse_major_95``, ``ellipse_minor_95``
        (semi-axes of the ellipses that contain the source with that probability), ``ellipse_angle``
        (of the major axis, from north to east, ICRS), ``shift`` (from the pixel), ``index``,
        ``index_err``, ``sigma`` and ``sigma_err`` if free, and ``message``, with the result or the
        problem. All other columns, and rows with ``refined`` False, are from the pixel. A size at
        its bound has no error.

    Raises
    ------
    ValueError
        If columns are missing, the datasets or the model cannot be used, `free` has an unknown
        name, or an option is not a valid number.
    TypeError
        If an argument is not a dataset or a model.

    References
    ----------
    Cash (1979), ApJ 228, 939.
    """
    check_options(max_iterations, tolerance, sampling)
    used = check_datasets(datasets)
    peaks = _checked_peaks(peaks, model is None)
    norm = "flux" if model is None or "norm" not in peaks.colnames else "norm"
    models = _models_of(model, len(peaks))
    _check_passes(passes)
    if not len(peaks):
        return refined_table(peaks, [], _names(models[0], free or ("position",))[0])
    with jax.enable_x64(True), progress_bar(passes * len(peaks), "refine", progress) as bar:
        steps = max_iterations, tolerance
        plan = _plan(peaks, norm, used, models, free, max_shift, sampling, steps)
        candidates = [_candidate(plan, i) for i in range(len(peaks))]
        for _ in range(passes):
            for candidate in candidates:
                if isinstance(candidate, Candidate):
                    candidate.refine()
                bar.update()
    names = dict.fromkeys(name for kind in plan.kinds for name in kind.settings.names)
    return refined_table(peaks, candidates, tuple(names))


class _Sizes(NamedTuple):
    """Sizes of Gaussians in deg: where to start, what to sample for, and the bounds."""

    start: float
    sampled: float
    least: float
    largest: float


class _Kind(NamedTuple):
    """Settings common to all candidates of one model."""

    model: SkyModel
    settings: Settings
    sizes: _Sizes | None


class _Plan(NamedTuple):
    """Settings for all candidates before the first fit; a kind and norm for each."""

    fields: tuple[Field, ...]
    positions: SkyCoord
    kinds: tuple[_Kind, ...]
    groups: tuple[tuple[float, float], ...]
    norms: tuple[float, ...]


def _plan(
    peaks: QTable,
    norm: str,
    datasets: Sequence[MapDataset],
    models: Sequence[SkyModel],
    free: Sequence[str] | None,
    max_shift: Any,
    sampling: str,
    steps: tuple[int, float],
) -> _Plan:
    positions = SkyCoord(peaks["ra"], peaks["dec"], unit="deg", frame="icrs")
    psf = max(typical_psf(dataset, positions[0]) for dataset in datasets)
    pixel = max(middle_shape(dataset.geom).size for dataset in datasets)
    shifts = [_shift(model, psf, pixel, max_shift) for model in models]
    reach = max(
        shift + 3 * max(_sigma(model), _scales(model))
        for model, shift in zip(models, shifts, strict=True)
    )
    fields = tuple(Field(dataset, sampling, positions[0], reach) for dataset in datasets)
    groups = _groups(peaks, datasets)
    if free is None:
        bins = [sum(field.used_bins(group) for field in fields) for group in set(groups)]
        has_index = all(any(hasattr(m.spectral_model, name) for name in _INDEX) for m in models)
        free = ("position", "index") if min(bins) > len(fields) and has_index else ("position",)
    kinds = tuple(
        _kind(model, free, math.hypot(psf, pixel), min(psf, pixel), shift, steps)
        for model, shift in zip(models, shifts, strict=True)
    )
    return _Plan(fields, positions, kinds, groups, _norms(peaks, norm, models, groups))


def _shift(model: SkyModel, psf: float, pixel: float, max_shift: Any) -> float:
    """Return how far in deg candidates of a model may move."""
    if max_shift is None:
        return max(_PIXELS * pixel, _CIRCLE * math.hypot(psf, _sigma(model)))
    shift = float(to_value(max_shift, "deg", "max_shift"))
    if not 0 < shift < math.inf:
        raise InputError(f"max_shift is {max_shift!r}; expected a positive angle.")
    return shift


def _kind(
    model: SkyModel,
    free: Sequence[str],
    size: float,
    fine: float,
    shift: float,
    steps: tuple[int, float],
) -> _Kind:
    """Decide how candidates of one model are fitted; sizes of an image and of samples in deg."""
    names, scale_name = _names(model, free)
    settings = Settings(names, scale_name, shift, *steps)
    if "size" not in free:
        return _Kind(model, settings, None)
    sigma = _sigma(model)
    start = sigma if sigma > 0 else size
    sampled = min(start, max(_SMALLEST * size, fine))
    sizes = _Sizes(start, sampled, _SHRINK * sampled, _LARGEST * max(start, size))
    return _Kind(model, settings, sizes)


def _sigma(model: SkyModel) -> float:
    """Return the size of a Gaussian in deg, 0 for any other source."""
    return float(getattr(model.spatial_model, "sigma", 0.0))


def _default_model() -> SkyModel:
    return SkyModel(PowerLawSpectralModel(index=2.0, amplitude=1e-12), PointSpatialModel())


def _scales(model: SkyModel) -> float:
    """Return how far a source extends that is not a Gaussian, deg; or raise if it has no edge."""
    spatial = model.spatial_model
    if not is_compact(spatial) or not hasattr(spatial, "lon_0"):
        kind = "no spatial model" if spatial is None else type(spatial).__name__
        raise InputError(
            f"the model of the sources has {kind}, which has no position to refine; pass a model "
            "with a position, such as a point source or a Gaussian, as model=..."
        )
    return 0.0 if hasattr(spatial, "sigma") else float(spatial.evaluation_radius) / 3


def _models_of(model: Any, n: int) -> list[SkyModel]:
    """Return the models of n peaks, at least one."""
    models = [_default_model()] if model is None else model
    models = list(models) if isinstance(models, Iterable) else [models]
    for one in models:
        if not isinstance(one, SkyModel):
            raise InputTypeError(f"model is a {type(one).__name__}; expected a SkyModel.")
    models = models * max(n, 1) if len(models) == 1 else models
    if len(models) != max(n, 1):
        raise InputError(
            f"there are {len(models)} models for {n} peaks; pass one, or one for each."
        )
    return models


def _check_passes(passes: Any) -> None:
    """Raise unless it is a number of passes."""
    if not isinstance(passes, int | np.integer) or passes < 1:
        raise InputError(f"passes is {passes!r}; expected a whole number, 1 or more.")


def _checked_peaks(peaks: Any, need_flux: bool) -> QTable:
    """Return peaks as a table of quantities, or say what is wrong with them."""
    there = getattr(peaks, "colnames", [])
    missing = [name for name in ("ra", "dec") if name not in there]
    if missing or not {"norm", "flux"} & set(there):
        wanted = ", ".join(missing) or "norm or flux"
        raise InputError(f"the table of peaks has no {wanted}; pass what find_peaks returns.")
    if need_flux and "flux" not in there:
        raise InputError(
            "the table of peaks has norms, but not the model they belong to; pass that as model=..."
        )
    table = SourceTable(peaks)
    for name in ("ra", "dec"):
        bad = np.flatnonzero(~np.isfinite(np.asarray(to_value(table[name], "deg", name))))
        if bad.size:
            raise InputError(f"the table of peaks has no number as {name} in row {bad[0]}.")
    return table


def _names(model: SkyModel, free: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return full names of the free parameters, and of the amplitude."""
    chosen = {free} if isinstance(free, str) else set(free)
    unknown = sorted(chosen - {"position", "index", "size"})
    if unknown:
        raise InputError(
            f"free names {', '.join(unknown)}; choose from 'position', 'index' and 'size'."
        )
    spectral = model.spectral_model
    scale = [name for name in _SCALE if hasattr(spectral, name)]
    index = [name for name in _INDEX if hasattr(spectral, name)]
    if not scale:
        raise InputError(
            f"{type(spectral).__name__} has no amplitude to fit; pass a model whose spectrum has "
            "one, such as a power law, as model=..."
        )
    if "index" in chosen and not index:
        raise InputError(f"{type(spectral).__name__} has no index; leave 'index' out of free.")
    if "size" in chosen and not isinstance(
        model.spatial_model, PointSpatialModel | GaussianSpatialModel
    ):
        raise InputError(
            f"the size of a {type(model.spatial_model).__name__} cannot be refined; pass a "
            "Gaussian as model=..., or leave 'size' out of free."
        )
    found = [*(index[:1] if "index" in chosen else []), scale[0]]
    found += ["lon_0", "lat_0"] * ("position" in chosen) + ["sigma"] * ("size" in chosen)
    return tuple(f"{_SOURCE}.{name}" for name in found), f"{_SOURCE}.{scale[0]}"


def _groups(peaks: QTable, datasets: Sequence[MapDataset]) -> tuple[tuple[float, float], ...]:
    """Return the energies of each candidate in TeV."""
    if {"energy_min", "energy_max"} <= set(peaks.colnames):
        ends = [to_value(peaks[name], "TeV", name) for name in ("energy_min", "energy_max")]
        return tuple((float(low), float(high)) for low, high in zip(*ends, strict=True))
    edges = np.concatenate([dataset.energy_axis.edges_in("TeV") for dataset in datasets])
    return ((float(edges.min()), float(edges.max())),) * len(peaks)


def _norms(
    peaks: QTable, name: str, models: Sequence[SkyModel], groups: Sequence[Any]
) -> tuple[float, ...]:
    """Return the norms of the models at the pixels, from a column of norms or fluxes."""
    if name == "norm":
        return tuple(np.asarray(peaks["norm"], dtype=float).tolist())
    flux = np.atleast_1d(to_value(peaks["flux"], "cm-2 s-1", "flux"))
    edges = [np.array([end]) for group in groups for end in group]
    of_one = [
        float(np.asarray(model.spectral_model.integral(low, high))[0])
        for model, low, high in zip(models, edges[::2], edges[1::2], strict=True)
    ]
    return tuple((np.asarray(flux, dtype=float) / of_one).tolist())


def _candidate(plan: _Plan, i: int) -> Candidate | str:
    """Prepare the fit of a candidate; or say why it cannot be fitted."""
    position, norm, kind, group = plan.positions[i], plan.norms[i], plan.kinds[i], plan.groups[i]
    if not (np.isfinite(norm) and norm > 0):
        return "there is no flux at the pixel to start from."
    if not any(field.has_data(position, group) for field in plan.fields):
        return "there are no data around it."
    settings = kind.settings
    models, room = _placed(kind, position, norm), settings.max_shift
    prepared = models
    if kind.sizes is not None:
        # samples for a small size are good for all
        prepared = models.with_parameters({f"{_SOURCE}.sigma": kind.sizes.sampled})
        largest = models.with_parameters({f"{_SOURCE}.sigma": kind.sizes.largest})
        room += float(largest[0].evaluation_radius) - float(prepared[0].evaluation_radius)
    cutouts = [field.cut(position, group, prepared, room) for field in plan.fields]
    return Candidate(plan.fields, cutouts, models, group, settings)


def _placed(kind: _Kind, position: SkyCoord, norm: float) -> Models:
    """Return the source at its pixel, with free parameters and bounds."""
    model, settings = kind.model, kind.settings
    there = position.transform_to(model.spatial_model.frame).spherical
    lon, lat = float(there.lon.deg), float(there.lat.deg)
    spatial = model.spatial_model
    if kind.sizes is not None and isinstance(spatial, PointSpatialModel):
        spatial = GaussianSpatialModel(lon, lat, sigma=kind.sizes.start, frame=spatial.frame)
    source = SkyModel(
        model.spectral_model,
        spatial.with_position(lon, lat),
        name=_SOURCE,
        apply_irf=model.apply_irf,
    )
    models = Models([source]).freeze("*").thaw(*settings.names)
    scale = settings.scale_name
    models = models.with_parameters({scale: float(models.parameters[scale]) * norm})
    if f"{_SOURCE}.lon_0" in settings.names:
        shift = settings.max_shift
        wide = min(shift / max(math.cos(math.radians(lat)), 1e-6), 180.0)
        models = models.bound(f"{_SOURCE}.lon_0", lon - wide, lon + wide)
        models = models.bound(f"{_SOURCE}.lat_0", max(lat - shift, -90), min(lat + shift, 90))
    if kind.sizes is not None:
        models = models.bound(f"{_SOURCE}.sigma", *kind.sizes[2:])
    return models
