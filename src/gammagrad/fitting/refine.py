"""From a list of pixels to a list of sources: every candidate is fitted to the data around it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable

from gammagrad.dataset import MapDataset
from gammagrad.evaluate.responses import is_compact
from gammagrad.fitting.candidate import Candidate, Settings
from gammagrad.fitting.cutouts import Field, typical_psf
from gammagrad.fitting.refined_table import refined_table
from gammagrad.fitting.setup import check_datasets
from gammagrad.maps.units import to_value
from gammagrad.models import (
    GaussianSpatialModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
)
from gammagrad.peaks import install_refiner
from gammagrad.progress import progress_bar

__all__ = ["refine_peaks"]

_SOURCE = "source"
_INDEX = ("index", "alpha")
_SCALE = ("amplitude", "norm")
# Least distance that a source may move, in pixels.
_PIXELS = 3.0
# Radius of a circle with 68 % of a Gaussian, in its sigma.
_CIRCLE = 1.51
# Sizes that can be told from a point and fitted, in widths of the PSF.
_SMALLEST, _LARGEST = 0.3, 4.0
# Samples for one size will do down to this part of it.
_SHRINK = 0.71


def refine_peaks(
    peaks: QTable,
    datasets: MapDataset | Iterable[MapDataset],
    model: SkyModel | None = None,
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

    A candidate starts at its pixel with the flux found there. L-BFGS and Newton's method with
    exact second derivatives, in float64, lead to the maximum of the likelihood, whose curvature
    gives errors and error ellipses. The models of the datasets, with their parameters as they are,
    and all other candidates of the same energies are part of the background. All candidates have
    cutouts of one shape, so that code is compiled for the first one only, unless the PSF's kernels
    change their size across the map.

    Parameters
    ----------
    peaks
        Candidates, as `find_peaks` returns them: ``ra``, ``dec``, ``energy_min`` and
        ``energy_max`` if only some energies are to be used, and ``norm`` or ``flux``.
    datasets
        The data: one dataset or several, which are fitted together.
    model
        Shape and spectrum to start from, those that the peaks were searched with: it is the model
        that ``norm`` is a factor on. By default a point source with a power law of index 2 and the
        ``flux`` at the pixel.
    free
        What to fit besides the flux: any of "position", "index" and "size". By default position,
        and index where there are several energies. With "size" a point source becomes a Gaussian.
    passes
        How often to go through the list. After the first time, only those are fitted again whose
        neighbours have changed.
    max_shift
        How far a source may move from its pixel: a quantity, or deg. By default three pixels, or
        the 68 % radius of the PSF and the source where that is more.
    max_iterations
        Most steps for one source.
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
        ``glon``, ``glat``, ``ts`` (the statistic without the source less that with it),
        ``sqrt_ts``, ``flux`` and ``flux_err``. New are ``ra_err``, ``dec_err``, ``glon_err``,
        ``glat_err`` (on the sky: errors of longitude times the cosine of latitude),
        ``ellipse_major_68``, ``ellipse_minor_68``, ``ellipse_major_95``, ``ellipse_minor_95``
        (semi-axes of the ellipses that hold the source with that probability),
        ``ellipse_angle`` (of the major axis, from north to east, ICRS), ``shift`` (from the
        pixel), ``index``, ``index_err``, ``sigma`` and ``sigma_err`` where these are free, and
        ``message``, which says what was found or what went wrong. All other columns are those of
        the pixel, and so is the whole row where ``refined`` is False. A size at its bound has no
        error.

    Raises
    ------
    ValueError
        If columns are missing, the datasets or the model cannot be used, or `free` names something
        else.

    References
    ----------
    Cash (1979), ApJ 228, 939.
    """
    used = check_datasets(datasets)
    _check_columns(peaks, model is None)
    norm = "flux" if model is None or "norm" not in peaks.colnames else "norm"
    model = _default_model() if model is None else model
    if passes < 1:
        raise ValueError(f"passes is {passes!r}; expected 1 or more.")
    if not len(peaks):
        return refined_table(peaks, [], _names(model, free or ("position",))[0])
    with jax.enable_x64(True), progress_bar(passes * len(peaks), "refine", progress) as bar:
        plan = _plan(peaks, norm, used, model, free, max_shift, sampling, max_iterations, tolerance)
        candidates = [_candidate(plan, i) for i in range(len(peaks))]
        for _ in range(passes):
            for candidate in candidates:
                if candidate is not None:
                    candidate.refine()
                bar.update()
    return refined_table(peaks, candidates, plan.settings.names)


class _Sizes(NamedTuple):
    """Sizes of Gaussians in deg: where to start, what to sample for, and the bounds."""

    start: float
    sampled: float
    least: float
    largest: float


class _Plan(NamedTuple):
    """What is decided for all candidates before the first is fitted."""

    fields: tuple[Field, ...]
    positions: SkyCoord
    model: SkyModel
    settings: Settings
    sizes: _Sizes | None
    groups: tuple[tuple[float, float], ...]
    norms: Any


def _plan(
    peaks: QTable,
    norm: str,
    datasets: Sequence[MapDataset],
    model: SkyModel,
    free: Sequence[str] | None,
    max_shift: Any,
    sampling: str,
    max_iterations: int,
    tolerance: float,
) -> _Plan:
    positions = SkyCoord(peaks["ra"], peaks["dec"], unit="deg", frame="icrs")
    psf = max(typical_psf(dataset, positions[0]) for dataset in datasets)
    pixel = max(dataset.geom.pixel_size for dataset in datasets)
    sigma = float(getattr(model.spatial_model, "sigma", 0.0))
    shift = max(_PIXELS * pixel, _CIRCLE * math.hypot(psf, sigma))
    if max_shift is not None:
        shift = float(to_value(max_shift, "deg", "max_shift"))
    scale, size = _scales(model), math.hypot(psf, pixel)
    start = sigma if sigma > 0 else size
    sampled = min(start, max(_SMALLEST * size, min(pixel, psf)))
    sizes = _Sizes(start, sampled, _SHRINK * sampled, _LARGEST * max(start, size))
    reach = shift + 3 * max(sigma, scale)
    fields = tuple(Field(dataset, sampling, positions[0], reach) for dataset in datasets)
    groups = _groups(peaks, datasets)
    if free is None:
        bins = [sum(field.used_bins(group) for field in fields) for group in set(groups)]
        has_index = any(hasattr(model.spectral_model, name) for name in _INDEX)
        free = ("position", "index") if min(bins) > len(fields) and has_index else ("position",)
    names, scale_name = _names(model, free)
    return _Plan(
        fields,
        positions,
        model,
        Settings(names, scale_name, shift, max_iterations, tolerance),
        sizes if "size" in free else None,
        groups,
        _norms(peaks, norm, model, groups),
    )


def _default_model() -> SkyModel:
    return SkyModel(PowerLawSpectralModel(index=2.0, amplitude=1e-12), PointSpatialModel())


def _scales(model: SkyModel) -> float:
    """Return how far a source extends that is not a Gaussian, deg; or raise if it has no edge."""
    spatial = model.spatial_model
    if not is_compact(spatial) or not hasattr(spatial, "lon_0"):
        kind = "no spatial model" if spatial is None else type(spatial).__name__
        raise ValueError(
            f"the model of the sources has {kind}, which has no position to refine; pass a model "
            "with a position, such as a point source or a Gaussian, as model=..."
        )
    return 0.0 if hasattr(spatial, "sigma") else float(spatial.evaluation_radius) / 3


def _check_columns(peaks: Any, need_flux: bool) -> None:
    """Raise if a table is not one of peaks."""
    there = getattr(peaks, "colnames", [])
    missing = [name for name in ("ra", "dec") if name not in there]
    if missing or not {"norm", "flux"} & set(there):
        wanted = ", ".join(missing) or "norm or flux"
        raise ValueError(f"the table of peaks has no {wanted}; pass what find_peaks returns.")
    if need_flux and "flux" not in there:
        raise ValueError(
            "the table of peaks has norms, but not the model they belong to; pass that as model=..."
        )


def _names(model: SkyModel, free: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Return full names of the free parameters, and that of the one that scales the flux."""
    chosen = {free} if isinstance(free, str) else set(free)
    unknown = sorted(chosen - {"position", "index", "size"})
    if unknown:
        raise ValueError(
            f"free names {', '.join(unknown)}; choose from 'position', 'index' and 'size'."
        )
    spectral = model.spectral_model
    scale = [name for name in _SCALE if hasattr(spectral, name)]
    index = [name for name in _INDEX if hasattr(spectral, name)]
    if not scale:
        raise ValueError(
            f"{type(spectral).__name__} has no amplitude to fit; pass a model whose spectrum has "
            "one, such as a power law, as model=..."
        )
    if "index" in chosen and not index:
        raise ValueError(f"{type(spectral).__name__} has no index; leave 'index' out of free.")
    if "size" in chosen and not isinstance(
        model.spatial_model, PointSpatialModel | GaussianSpatialModel
    ):
        raise ValueError(
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


def _norms(peaks: QTable, name: str, model: SkyModel, groups: Sequence[Any]) -> Any:
    """Return the norms of the model at the pixels, from a column of norms or fluxes."""
    if name == "norm":
        return np.asarray(peaks["norm"], dtype=float)
    low, high = np.array(groups).T
    flux = to_value(peaks["flux"], "cm-2 s-1", "flux")
    return np.asarray(flux) / np.asarray(model.spectral_model.integral(low, high))


def _candidate(plan: _Plan, i: int) -> Candidate | None:
    """Prepare the fit of a candidate; None for one that cannot be fitted."""
    position, norm, settings = plan.positions[i], float(plan.norms[i]), plan.settings
    if not (np.isfinite(norm) and norm > 0):
        return None
    models, room = _placed(plan, position, norm), settings.max_shift
    prepared = models
    if plan.sizes is not None:
        # samples for a small size will do for all
        prepared = models.with_parameters({f"{_SOURCE}.sigma": plan.sizes.sampled})
        largest = models.with_parameters({f"{_SOURCE}.sigma": plan.sizes.largest})
        room += float(largest[0].evaluation_radius) - float(prepared[0].evaluation_radius)
    group = plan.groups[i]
    cutouts = [field.cut(position, group, prepared, room) for field in plan.fields]
    return Candidate(plan.fields, cutouts, models, group, settings)


def _placed(plan: _Plan, position: SkyCoord, norm: float) -> Models:
    """Return the source at its pixel, with what is free and its bounds."""
    model, settings = plan.model, plan.settings
    there = position.transform_to(model.spatial_model.frame).spherical
    lon, lat = float(there.lon.deg), float(there.lat.deg)
    spatial = model.spatial_model
    if plan.sizes is not None and isinstance(spatial, PointSpatialModel):
        spatial = GaussianSpatialModel(lon, lat, sigma=plan.sizes.start, frame=spatial.frame)
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
    if plan.sizes is not None:
        models = models.bound(f"{_SOURCE}.sigma", *plan.sizes[2:])
    return models


install_refiner(refine_peaks)
