"""The arrays to predict one model, on the part of a map that it reaches."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad.core.fold import FoldInputs
from gammagrad.evaluate.local_responses import (
    Dispersion,
    check_geometries,
    finite,
    is_compact,
    model_position,
    narrowest_psf,
    responses,
)
from gammagrad.evaluate.sampled_psf import psf_for_samples
from gammagrad.evaluate.sampling import (
    Block,
    Sampling,
    check_sampling,
    choose_sampling,
    kind_of,
    lonlat,
)
from gammagrad.maps import (
    Map,
    MapAxis,
    PSFKernel,
    PSFMap,
    WcsGeom,
    conversion,
    nearest_place,
    pixel_shape,
    reach,
)

Floats = NDArray[np.float64]

CUTOUT_MARGIN = 0.1
"""Room in deg around a source and its PSF."""


class Circle(NamedTuple):
    """A part of the sky covered by a window, with a margin for the PSF."""

    centre: SkyCoord  # its middle
    radius: float  # its radius in deg


class Window(NamedTuple):
    """Where a model contributes to a map, and the arrays for it."""

    inputs: FoldInputs  # arrays of the window, see `FoldInputs`
    target: tuple[slice, slice]  # rows and columns of the map that the window covers
    source: tuple[slice, slice]  # the same pixels in the window


def prepare(
    model: Any,
    exposure: Map,
    psf: PSFMap | None,
    edisp: Dispersion | None,
    geom: WcsGeom,
    sampling: str = "fine",
    room: float = CUTOUT_MARGIN,
    around: Circle | None = None,
) -> Window | None:
    """Collect the data to predict the counts of a sky model on a map."""
    # A model with an edge is evaluated on a window around it: the width of the PSF, plus twice (its
    # radius + `room`), odd numbers of pixels. Any other is evaluated on the whole map and, with
    # "fine" sampling, half a PSF beyond its edges, which contributes counts.
    check_sampling(sampling)
    axis_true = check_geometries(exposure, geom)
    spatial = model.spatial_model
    position = model_position(spatial, geom)
    narrowest = narrowest_psf(model, psf, axis_true, geom.axes["energy"], position)
    pixel = pixel_shape(geom, nearest_place(geom, position)).size
    if sampling == "gammapy":
        pixel = geom.pixel_size
    choice = choose_sampling(spatial, pixel, narrowest, sampling)
    kernel, matrix = responses(
        model, psf, edisp, geom, axis_true, position, choice.oversampling, sampling
    )
    image = geom.to_image()
    if is_compact(spatial):
        if around is None:
            around = Circle(position, float(spatial.evaluation_radius) + room)
        window, core = _compact_blocks(image, kind_of(spatial), around, kernel)
    else:
        ny, nx = image.shape_image
        rows = cols = 0
        if kernel is not None and sampling != "gammapy":
            rows, cols = (n // 2 + 1 for n in kernel.shape)
        window = core = Block(image, -rows, -cols, (ny + 2 * rows, nx + 2 * cols))
    overlap = _overlap(window)
    if overlap is None:
        return None
    values = exposure_of(model, exposure, window)
    inputs = fold_inputs(spatial, window, core, choice, values, axis_true, kernel, matrix, sampling)
    return Window(inputs, *overlap)


def _compact_blocks(
    image: WcsGeom, kind: str, around: Circle, kernel: PSFKernel | None
) -> tuple[Block, Block]:
    """Return the window around a source, and the part in its middle that the source may fill."""
    x, y = (float(c) for c in image.sky_to_pix(around.centre))
    if not (np.isfinite(x) and np.isfinite(y)):
        return (Block(image, *image.shape_image, (1, 1)),) * 2  # not on the projection: outside
    centre = math.floor(y + 0.5), math.floor(x + 0.5)
    reached = reach(image, nearest_place(image, around.centre), around.radius)
    psf_shape = (0, 0) if kernel is None else kernel.shape
    spans = []
    for place, half_source, n_psf, n_map in zip(
        centre, reached, psf_shape, image.shape_image, strict=True
    ):
        n = math.ceil(2 * half_source - 1e-6) + n_psf
        half = max(n // 2, 1)  # a point source is placed among 3 x 3 pixels
        core = min(math.ceil(half_source + 0.5), half)
        start, length = place - half, 2 * half + 1
        margin = n_psf // 2
        if length > n_map + 2 * margin and kind == "extended":
            # sources further from the map than the PSF reaches do not matter
            start, length, core = -margin, n_map + 2 * margin, n_map
        core = min(core, length // 2)
        spans.append((start, length, core))
    (y, ny, core_y), (x, nx, core_x) = spans
    window = Block(image, y, x, (ny, nx))
    if kind == "point":
        return window, window
    cut_y, cut_x = max(ny // 2 - core_y, 0), max(nx // 2 - core_x, 0)
    shape = (ny - 2 * cut_y, nx - 2 * cut_x)
    return window, Block(image, y + cut_y, x + cut_x, shape)


def _overlap(window: Block) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
    """Return the pixels of the grid that a window covers, and the same in the window."""
    target, source = [], []
    for start, n, size in window.spans:
        low, high = max(start, 0), min(start + n, size)
        if low >= high:
            return None
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    return (target[0], target[1]), (source[0], source[1])


def exposure_of(model: Any, exposure: Map, window: Block) -> Floats:
    """Return the exposure in a window; beyond the map, that of the nearest pixel."""
    if not model.apply_irf["exposure"]:
        return np.ones((exposure.geom.axes["energy_true"].nbin, *window.shape))
    rows, columns = (np.clip(i + np.arange(n), 0, size - 1) for i, n, size in window.spans)
    values = np.asarray(exposure.data)[:, rows[:, None], columns[None, :]]
    return finite(values) * conversion(exposure.unit, "cm2 s")


def fold_inputs(
    spatial: Any,
    window: Block,
    core: Block,
    choice: Sampling,
    exposure: Floats,
    axis_true: MapAxis,
    kernel: PSFKernel | None,
    matrix: Floats,
    sampling: str,
) -> FoldInputs:
    """Put the arrays of a window together."""
    kind = kind_of(spatial)
    here = choice
    if kind == "point":
        core, here = window, Sampling()
        kind = "shared" if sampling == "gammapy" else kind
    x = y = solid_angle = np.zeros((1, 1))
    if kind != "uniform":
        sky = core.sky(here)
        solid_angle = core.solid_angle(here)
        if kind == "template":
            x, y = spatial.geom.sky_to_pix(sky)
        else:
            x, y = lonlat(sky, spatial.frame)
        if kind in ("extended", "template"):
            known = np.isfinite(x) & np.isfinite(y)
            solid_angle = np.where(known, solid_angle, 0.0)
            x, y = (np.where(known, c, 0.0) for c in (x, y))
    data = None if kernel is None else kernel.data
    of_samples = sampling == "fine" and not choice.integrates and kind in ("extended", "template")
    if data is not None and of_samples:
        sides = pixel_shape(window.grid, core.middle).sides
        data = psf_for_samples(data, sides[::-1])
    return FoldInputs(
        x=x,
        y=y,
        solid_angle=solid_angle,
        exposure=exposure,
        energy_edges=axis_true.edges_in("TeV"),
        psf=data,
        edisp=matrix,
        kind=kind,
        oversampling=choice.oversampling,
        subsampling=choice.subsampling,
        psf_after_edisp=kernel is not None and kernel.after_edisp,
        share=choice.share,
        exposure_at_bins=sampling == "gammapy",
    )
