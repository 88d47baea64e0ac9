"""The window of a source on a map, for predictions inside compiled and differentiated code."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from jax import Array
from jax.typing import ArrayLike

from gammagrad._pytree import pytree, replace, static_field
from gammagrad.core.fold import FoldInputs, add_window, cut_window, fold_bounded, prepare_psf
from gammagrad.errors import InputError
from gammagrad.evaluate.local_responses import Dispersion, is_compact
from gammagrad.evaluate.window import CUTOUT_MARGIN, Circle, prepare
from gammagrad.maps import Map, PSFMap, WcsGeom, angular_distance

# A source may shrink to this part of the size that its samples were chosen for: the error of the
# sum over a Gaussian sampled in steps of its sigma is then 6e-5.
_SHRINK = 0.7


@pytree
class SourceWindow:
    """The data to predict the counts of one source while its parameters change."""

    # arrays of the window without the exposure, which is cut from the map, unless the source does
    # not want it; None if the window lies outside the map
    inputs: FoldInputs | None
    # row and column of the map where the window begins, shape (2,), negative before its first one:
    # whole numbers, kept as floating ones so that the tree has a derivative as a whole
    start: Any
    # longitude, latitude, evaluation radius and scale (deg) the window was made for, and how far
    # the source may move or grow; shape (5,). None for a source without an edge.
    place: Any
    shape: tuple[int, int] = static_field()  # rows and columns of the window; static
    # whether it has all rows of the map, and all columns; static
    covers: tuple[bool, bool] = static_field()
    # what a source must have in common with the one the window was made for; static
    kind: tuple[Any, ...] = static_field()

    def check(self, model: Any) -> None:
        """Raise if a source differs in kind from the one that the window was made for."""
        if _kind(model) != self.kind:
            raise InputError(
                f"model {model.name!r} has {_words(_kind(model))}, but the prediction was "
                f"prepared for {_words(self.kind)}; prepare it anew with "
                "dataset.likelihood(models)."
            )

    def counts(self, spectral: Any, spatial: Any, exposure: ArrayLike) -> Array:
        """Predict the counts of a source on the pixels of the window."""
        assert self.inputs is not None
        inputs = self.inputs
        if inputs.exposure is None:
            cut = cut_window(exposure, self.start, self.shape, self.covers)
            inputs = replace(inputs, exposure=cut)
        return fold_bounded(spectral, spatial, inputs)

    def add_to(self, total: Array, counts: Array) -> Array:
        """Add predicted counts to those of a map."""
        return add_window(total, counts.astype(total.dtype), self.start, self.covers)

    def holds(self, model: Any) -> bool:
        """Return whether the window still fits a source."""
        if self.place is None:
            return True
        lon, lat, radius, scale, room = (float(x) for x in np.asarray(self.place))
        now = _place(model.spatial_model)
        if not np.isfinite(now).all():
            return False
        moved = float(angular_distance(now[0], now[1], lon, lat))
        # the place may be in single precision
        reach = room * (1 + 1e-3) + 1e-5
        return moved + max(now[2] - radius, 0.0) <= reach and bool(now[3] >= _SHRINK * scale)


def source_window(
    model: Any,
    exposure: Map,
    psf: PSFMap | None,
    edisp: Dispersion | None,
    geom: WcsGeom,
    sampling: str = "fine",
    room: float = CUTOUT_MARGIN,
    like: SourceWindow | None = None,
) -> SourceWindow:
    """Prepare the prediction of a source on a map."""
    spatial, kind = model.spatial_model, _kind(model)
    place = np.append(_place(spatial), room) if is_compact(spatial) else None
    around = None
    if place is not None and like is not None and like.kind == kind and like.holds(model):
        lon, lat, radius, _, room = (float(x) for x in np.asarray(like.place))
        around = Circle(SkyCoord(lon, lat, unit="deg", frame=spatial.frame), radius + room)
        place = np.array([lon, lat, radius, place[3], room])
    window = prepare(model, exposure, psf, edisp, geom, sampling, room, around)
    if window is None:
        return SourceWindow(None, np.zeros(2), place, (0, 0), (False, False), kind)
    inputs, target, source = window
    first = [on_map.start - here.start for on_map, here in zip(target, source, strict=True)]
    ny, nx = inputs.exposure.shape[1:]
    spans = zip(first, (ny, nx), geom.shape_image, strict=True)
    rows, cols = (start <= 0 and start + n >= n_map for start, n, n_map in spans)
    inputs = prepare_psf(inputs)
    if model.apply_irf["exposure"]:
        inputs = replace(inputs, exposure=None)
    return SourceWindow(inputs, np.array(first, float), place, (ny, nx), (rows, cols), kind)


def _place(spatial: Any) -> Any:
    """Return longitude, latitude, radius and scale of a source with an edge."""
    scale = 0.0 if spatial.scale is None else float(spatial.scale)
    names = ("lon_0", "lat_0", "evaluation_radius")
    return np.array([*(float(getattr(spatial, name)) for name in names), scale])


def _kind(model: Any) -> tuple[Any, ...]:
    """Return the properties of a source that must not change."""
    spatial = model.spatial_model
    geom = getattr(spatial, "opaque_geom", None)
    return type(spatial).__name__, getattr(spatial, "frame", None), model.irfs, geom


def _words(kind: tuple[Any, ...]) -> str:
    name, frame, irfs, geom = kind
    shape = "no spatial model" if frame is None else f"a {name} ({frame})"
    pixels = "" if geom is None else " on its own map"
    return f"{shape}{pixels} with {', '.join(irfs) or 'none'} of the responses"
