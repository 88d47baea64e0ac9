"""The kernel: the image of a source in a source search."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from gammagrad._pytree import replace
from gammagrad.core.fold import FoldInputs
from gammagrad.errors import InputError
from gammagrad.evaluate.containment import check_containment, has_total, spare_pixels
from gammagrad.evaluate.kernel_shape import kernel_shapes
from gammagrad.evaluate.local_responses import (
    Dispersion,
    check_geometries,
    energies_without_psf,
    finite,
    is_compact,
    narrowest_psf,
    responses,
)
from gammagrad.evaluate.predict import predict, source_flux
from gammagrad.evaluate.sampling import (
    Block,
    Sampling,
    check_sampling,
    choose_sampling,
    kind_of,
    lonlat,
)
from gammagrad.evaluate.window import fold_inputs
from gammagrad.maps import (
    Map,
    MapAxis,
    PixelShape,
    PSFKernel,
    PSFMap,
    WcsGeom,
    conversion,
    grid_around,
    middle,
    middle_shape,
    nearest_place,
    pixel_shape,
    reach,
)

Floats = NDArray[np.float64]

# Kernel values below this fraction of the peak are rounding noise of the convolution.
_NOISE = 1e-14


class KernelEstimate(NamedTuple):
    """A kernel and its containment."""

    # sum 1 in each energy bin, or the containment if it was not renormalised; 0 where no counts are
    # expected. Odd numbers of rows and columns.
    kernel: Map
    # containment, one per energy bin, 0 where no counts are expected; NaN for a model without a
    # total: one without an edge, or a template that is not normalised
    containment: Floats
    # rows and columns of the PSF's kernel made for each energy bin alone, shape (n, 2), if it is in
    # reconstructed energy; else None
    psf_shape: NDArray[np.int64] | None = None


def estimate_kernel(
    model: Any,
    exposure: Map,
    psf: PSFMap | None,
    edisp: Dispersion | None,
    geom: WcsGeom,
    kernel_width: Any = None,
    sampling: str = "fine",
    *,
    containment: float | None = None,
    renormalise: bool = True,
    position: SkyCoord | None = None,
) -> KernelEstimate:
    """Predict the shape of a source's counts around its pixel."""
    # The model is put at a position, or else at the middle of the map, on the pixels as they are
    # around it, and folded with exposure, PSF and energy dispersion as they are there (or at the
    # nearest position that has any; energies that are seen elsewhere only have the kernel of the
    # nearest position that sees them).
    check_containment(model.spatial_model, kernel_width, containment, renormalise)

    where = (psf, edisp, geom, kernel_width, sampling, position)
    how = (psf, containment, renormalise)
    estimate = _estimated(plan_kernel(model, exposure, *where), *how)
    empty = ~estimate.kernel.data.any(axis=(1, 2))
    elsewhere = None
    if empty.any() and sampling == "fine":
        elsewhere = exposure_elsewhere(exposure, position)
    if elsewhere is None:
        return estimate
    other = _estimated(plan_kernel(model, elsewhere, *where), *how)
    return _filled(estimate, other, empty)


def _estimated(
    plan: KernelPlan, psf: PSFMap | None, containment: float | None, renormalise: bool
) -> KernelEstimate:
    """Predict a source's counts with the exposure in the middle of the map."""
    model, axis = plan.model, plan.geom.axes["energy"]
    per_energy = source_flux(model, plan.axis_true) * plan.exposure
    if not plan.psf_after_edisp:
        no_psf = energies_without_psf(model, psf, plan.axis_true, axis, plan.position)
        per_energy = np.where(no_psf, 0.0, per_energy)
    if kind_of(model.spatial_model) == "point":
        images = plan.point_images(plan.grid_shape)
        if plan.psf_after_edisp:
            counts = (per_energy @ plan.edisp)[:, None, None] * images
        else:
            counts = np.einsum("tr,tyx->ryx", plan.edisp * per_energy[:, None], images)
    else:
        moved, inputs = plan.folded()
        counts = predict(model.spectral_model, moved, inputs)
    counts = _without_noise(counts)
    # wherever they fall
    total = per_energy @ plan.edisp if has_total(model.spatial_model) else None
    cut = plan.cut
    if containment is not None and total is not None:
        sides = plan.pixel.sides[::-1]
        spare = spare_pixels(_cropped(counts, cut), total, containment, sides)
        cut = (cut[0] + spare[0], cut[1] + spare[1])
    counts = _cropped(counts, cut)
    estimate = _normalised(counts, total, plan.grid(counts.shape[-2:]).to_cube([axis]), renormalise)
    if plan.psf is not None and plan.psf.after_edisp:
        estimate = estimate._replace(psf_shape=plan.psf.sizes)
    return estimate


def _filled(one: KernelEstimate, other: KernelEstimate, empty: Any) -> KernelEstimate:
    """Return a kernel with its missing energies taken from another."""
    wider = max(one, other, key=lambda estimate: estimate.kernel.data.shape[-2:])
    shape = wider.kernel.data.shape[-2:]
    mine, theirs = (with_shape(estimate.kernel.data, shape) for estimate in (one, other))
    data = np.where(empty[:, None, None], theirs, mine)
    kernel = Map(wider.kernel.geom, data, wider.kernel.unit)
    containment = np.where(empty, other.containment, one.containment)
    return one._replace(kernel=kernel, containment=containment)


class KernelPlan(NamedTuple):
    """The inputs of the fold of a kernel."""

    model: Any
    geom: WcsGeom  # of the counts
    position: SkyCoord  # of the source
    place: tuple[float, float]  # row and column of it
    sampling: str
    axis_true: MapAxis  # true energies
    choice: Sampling  # numbers of samples
    # psf, edisp: instrument responses at the position
    psf: PSFKernel | None
    edisp: Floats
    exposure: Floats  # exposure there in cm2 s, shape (n_true,)
    pixel: PixelShape  # a pixel there
    # shape, grid_shape: rows and columns of the kernel, and of the grid that it is cut out of
    shape: tuple[int, int]
    grid_shape: tuple[int, int]

    @property
    def cut(self) -> tuple[int, int]:
        """Rows and columns of the grid on either side of the kernel."""
        rows, cols = ((g - n) // 2 for g, n in zip(self.grid_shape, self.shape, strict=True))
        return rows, cols

    @property
    def psf_after_edisp(self) -> bool:
        """Whether the PSF is in reconstructed energy."""
        return self.psf is not None and self.psf.after_edisp

    def grid(self, shape: tuple[int, int]) -> WcsGeom:
        """Return the pixels around the position."""
        if self.sampling == "gammapy":
            return self.geom.centred_square(shape[0])
        return grid_around(self.geom.to_image(), self.place, shape)

    def point_images(self, shape: tuple[int, int]) -> Floats:
        """Return the image of a point source in the middle of a rectangle: the PSF itself."""
        images = np.ones((len(self.exposure), 1, 1)) if self.psf is None else self.psf.data
        return with_shape(images, shape)

    def folded(self) -> tuple[Any, FoldInputs]:
        """Return an extended model moved to the middle of a grid, and the arrays for its fold."""
        grid = self.grid(self.grid_shape)
        shape = (len(self.exposure), *grid.shape_image)
        cube = np.broadcast_to(self.exposure[:, None, None], shape)
        moved, core = centred(self.model.spatial_model, grid)
        window = Block(grid, 0, 0, grid.shape_image)
        others = (self.axis_true, self.psf, self.edisp, self.sampling)
        inputs = fold_inputs(moved, window, core, self.choice, cube, *others)
        if kind_of(moved) == "template":
            inputs = centred_template(moved, inputs, core, self.choice)
        # the exposure is the same at all pixels
        return moved, replace(inputs, exposure_at_bins=True)


def plan_kernel(
    model: Any,
    exposure: Map,
    psf: PSFMap | None,
    edisp: Dispersion | None,
    geom: WcsGeom,
    kernel_width: Any = None,
    sampling: str = "fine",
    position: SkyCoord | None = None,
) -> KernelPlan:
    """Collect what a kernel is folded with; arguments and errors as in `estimate_kernel`."""
    check_sampling(sampling)
    axis_true = check_geometries(exposure, geom)
    spatial = model.spatial_model
    if spatial is None:
        raise InputError("the kernel model has no spatial model; give it one, e.g. a point source.")
    place, pixel = middle(geom), middle_shape(geom)
    centre = geom.center_skydir
    if position is not None:
        place, centre = nearest_place(geom, position), position
        pixel = pixel_shape(geom, place)
    if sampling == "gammapy":
        pixel = PixelShape(np.diag([geom.pixel_size, geom.pixel_size]))
    choice = Sampling()
    if kind_of(spatial) != "point":
        narrowest = narrowest_psf(model, psf, axis_true, geom.axes["energy"], centre)
        choice = choose_sampling(spatial, pixel.size, narrowest, sampling)
    psf_kernel, matrix = responses(
        model, psf, edisp, geom, axis_true, centre, choice.oversampling, sampling
    )
    psf_shape = None if psf_kernel is None else psf_kernel.shape
    shapes = kernel_shapes(spatial, psf_shape, geom, kernel_width, sampling, place)
    values = exposure_at(exposure, position)
    if not model.apply_irf["exposure"]:
        values = np.ones_like(values)
    return KernelPlan(
        *(model, geom, centre, place, sampling, axis_true, choice, psf_kernel, matrix, values),
        *(pixel, *shapes),
    )


def _distance(geom: WcsGeom, position: SkyCoord | None) -> Floats:
    """Return the distances of pixels from a position, or from the middle of a map."""
    return geom.center_distance if position is None else geom.separation(position).value


def exposure_at(exposure: Map, position: SkyCoord | None = None) -> Floats:
    """Return the exposure at a position or in the middle, or at the nearest pixel that has any."""
    data, distance = np.asarray(exposure.data), _distance(exposure.geom, position)
    # the middle of an even map is equally far from four pixels: the first of them
    tied = _nearest(distance)
    valid = np.flatnonzero(_has_exposure(data.reshape(len(data), -1)[:, tied]))
    if not valid.size:
        everywhere = _has_exposure(data)
        tied = _nearest(np.where(everywhere, distance, np.inf)) if everywhere.any() else tied[:0]
        valid = np.arange(tied.size)
    if not valid.size:
        raise InputError(
            "No valid exposure: it is zero or not finite everywhere, so that there is no kernel. "
            "Check the exposure map and its unit."
        )
    row, column = np.unravel_index(tied[valid[0]], distance.shape)
    return finite(data[:, row, column]) * conversion(exposure.unit, "cm2 s")


def exposure_elsewhere(exposure: Map, position: SkyCoord | None = None) -> Map | None:
    """Return an exposure with that of elsewhere at energies without any at a position."""
    data, distance = finite(np.asarray(exposure.data)), _distance(exposure.geom, position)
    values = exposure_at(exposure, position) / conversion(exposure.unit, "cm2 s")
    lacking = np.flatnonzero((values <= 0) & (data > 0).any(axis=(1, 2)))
    if not lacking.size:
        return None
    for energy in lacking:
        nearest = np.nanargmin(np.where(data[energy] > 0, distance, np.inf))
        values[energy] = data[energy].flat[nearest]
    everywhere = np.broadcast_to(values[:, None, None], data.shape)
    return Map(exposure.geom, everywhere, exposure.unit)


def _has_exposure(data: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where there is exposure at any of the energies, the first axis."""
    return np.asarray(((data > 0) & np.isfinite(data)).any(axis=0))


def _nearest(distance: Floats) -> NDArray[np.int64]:
    """Return the nearest pixels, up to rounding, as indices of the flat map."""
    return np.flatnonzero(distance.ravel() <= np.nanmin(distance) * (1 + 1e-9) + 1e-12)


def with_shape(images: Floats, shape: tuple[int, int]) -> Floats:
    """Return images cropped or zero-padded equally on all sides."""
    more = [(n - own) // 2 for n, own in zip(shape, images.shape[1:], strict=True)]
    images = _cropped(images, (max(-more[0], 0), max(-more[1], 0)))
    return np.pad(images, ((0, 0), *((max(n, 0),) * 2 for n in more)))


def _source_at(grid: WcsGeom, shift: tuple[float, float]) -> SkyCoord:
    """Return the position so many rows and columns off the middle of a grid."""
    if not any(shift):
        return grid.center_skydir
    row, column = np.add(middle(grid), shift)
    return grid.pix_to_sky(column, row)


def centred(
    spatial: Any, grid: WcsGeom, shift: tuple[float, float] = (0.0, 0.0)
) -> tuple[Any, Block]:
    """Return the model moved to the middle of a grid, or off it, and the pixels it fills."""
    ny, nx = grid.shape_image
    if not is_compact(spatial):
        return spatial, Block(grid, 0, 0, (ny, nx))
    lon, lat = lonlat(_source_at(grid, shift), spatial.frame)
    reached = reach(grid, middle(grid), float(spatial.evaluation_radius))
    y, x = (
        n // 2 - min(math.ceil(half + 0.5 + abs(off)), n // 2)
        for half, n, off in zip(reached, (ny, nx), shift, strict=True)
    )
    moved = spatial.with_position(float(lon), float(lat))
    return moved, Block(grid, y, x, (ny - 2 * y, nx - 2 * x))


def centred_template(
    spatial: Any,
    inputs: FoldInputs,
    core: Block,
    choice: Any,
    shift: tuple[float, float] = (0.0, 0.0),
) -> FoldInputs:
    """Sample a template with the middle of its map at the middle of the grid, or off it."""
    # both middles in the template's frame, so that north is unchanged
    frame = spatial.geom.frame_object
    here = _source_at(core.grid, shift).transform_to(frame).skyoffset_frame()
    there = spatial.geom.center_skydir.skyoffset_frame()
    lon, lat = lonlat(core.sky(choice).transform_to(here))
    x, y = spatial.geom.sky_to_pix(SkyCoord(lon, lat, unit="deg", frame=there).transform_to(frame))
    return replace(inputs, x=x, y=y, solid_angle=core.solid_angle(choice))


def _cropped(counts: Floats, cut: tuple[int, int]) -> Floats:
    """Take some rows and columns off every side."""
    (rows, cols), (ny, nx) = cut, counts.shape[-2:]
    return counts[:, rows : ny - rows, cols : nx - cols]


def _without_noise(counts: Floats) -> Floats:
    counts = np.nan_to_num(counts)
    peak = counts.max(axis=(1, 2), keepdims=True)
    return np.where(counts > _NOISE * peak, counts, 0.0)


def _normalised(
    counts: Floats, total: Floats | None, geom: WcsGeom, renormalise: bool
) -> KernelEstimate:
    inside = counts.sum(axis=(1, 2))
    kernel = counts / np.where(inside > 0, inside, 1.0)[:, None, None]
    if total is None:
        return KernelEstimate(Map(geom, kernel), np.full(len(inside), np.nan))
    containment = np.divide(inside, total, where=total > 0, out=np.zeros_like(inside))
    # sampling a sharp edge may find a little more than there is
    containment = np.minimum(containment, 1.0)
    if not renormalise:
        kernel *= containment[:, None, None]
    return KernelEstimate(Map(geom, kernel), containment)
