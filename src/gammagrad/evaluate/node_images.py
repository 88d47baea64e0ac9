"""Images of a source of unit counts, for the responses and pixel shapes of the nodes of a map."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gammagrad._pytree import replace
from gammagrad.core.fold import FoldInputs
from gammagrad.evaluate.kernel import centred, centred_template, with_shape
from gammagrad.evaluate.kernel_shape import kernel_shapes
from gammagrad.evaluate.predict import predict, source_flux
from gammagrad.evaluate.sampling import Block, Sampling, choose_sampling, kind_of
from gammagrad.evaluate.window import fold_inputs
from gammagrad.maps import MapAxis, PSFKernel, PSFMap, WcsGeom, grid_around, pixel_shape

Floats = NDArray[np.float64]
Place = tuple[float, float]
Nodes = dict[Place, list[tuple[int, int]]]
"""For places with pixels of their own shape: pixels of the response's map that are taken there."""


class NodeImages(NamedTuple):
    """Images of a source, of the pairs of a place and a pixel of the response's map."""

    # sum 1 if all of the source is inside; shape (pairs, energies, rows, cols); energies as the PSF
    # has them
    images: Floats
    totals: Floats  # integrals of the PSF before it was normalised, shape (pairs, energies)
    # rows and columns that an image of each energy needs, if the PSF is in reconstructed energy
    sizes: NDArray[np.int64] | None


def node_images(
    model: Any,
    psf: PSFMap | None,
    axis: MapAxis,
    geom: WcsGeom,
    nodes: Nodes,
    kernel_width: Any = None,
    shift: Place = (0.0, 0.0),
) -> NodeImages:
    """Fold a source of unit counts at every energy of an axis with the responses of nodes."""
    spatial, cube = model.spatial_model, geom.to_image().to_cube([axis])
    choice = Sampling()
    if kind_of(spatial) != "point":
        choice = _common_sampling(spatial, psf, cube, nodes)
    kernels: dict[Place, tuple[PSFKernel, Floats]] = {}
    if psf is not None:
        # an extended source is moved itself
        off = shift if kind_of(spatial) == "point" else (0.0, 0.0)
        kernels = {
            place: psf.pixel_kernels(cube, place, pixels, choice.oversampling, off)
            for place, pixels in nodes.items()
        }
    shapes = []
    for place in nodes:
        own = kernels[place][0].shape if psf is not None else None
        shapes.append(kernel_shapes(spatial, own, geom, kernel_width, "fine", place))
    shape, grid_shape = (
        (max(s[which][0] for s in shapes), max(s[which][1] for s in shapes)) for which in (0, 1)
    )
    images: list[Floats] = []
    totals: list[Floats] = []
    for place, pixels in nodes.items():
        total = np.ones((len(pixels), axis.nbin))
        blurs: list[PSFKernel | None] = [None] * len(pixels)
        if psf is not None:
            kernel, total = kernels[place]
            blurs = [dataclasses.replace(kernel, data=data) for data in kernel.data]
        totals.append(total)
        for blur in blurs:
            if kind_of(spatial) == "point":
                image = np.ones((axis.nbin, 1, 1)) if blur is None else blur.data
                images.append(with_shape(image, shape))
            else:
                image = _folded(model, blur, axis, geom, place, choice, grid_shape, shift)
                images.append(with_shape(image, shape))
    sizes = None
    if psf is not None and psf.energy_name == "energy":
        own_sizes = [k.sizes.max(axis=0) for k, _ in kernels.values() if k.sizes is not None]
        sizes = np.max(own_sizes, axis=0)
    return NodeImages(np.stack(images), np.concatenate(totals), sizes)


def _common_sampling(spatial: Any, psf: PSFMap | None, cube: WcsGeom, nodes: Nodes) -> Sampling:
    """Choose samples that are fine enough at all nodes."""
    pixel = min(pixel_shape(cube, place).size for place in nodes)
    narrowest = None
    if psf is not None:
        widths = [
            psf.pixel_kernels(cube, place, pixels)[0].half_width for place, pixels in nodes.items()
        ]
        finite = [width for width in widths if np.isfinite(width)]
        narrowest = min(finite) if finite else None
    return choose_sampling(spatial, pixel, narrowest, "fine")


def _folded(
    model: Any,
    blur: PSFKernel | None,
    axis: MapAxis,
    geom: WcsGeom,
    place: Place,
    choice: Sampling,
    grid_shape: tuple[int, int],
    shift: Place,
) -> Floats:
    """Fold an extended source, with the same counts at every energy."""
    grid = grid_around(geom.to_image(), place, grid_shape)
    flux = source_flux(model, axis)
    per_count = np.divide(1.0, flux, out=np.zeros_like(flux), where=flux > 0)
    exposure = np.broadcast_to(per_count[:, None, None], (axis.nbin, *grid.shape_image))
    moved, core = centred(model.spatial_model, grid, shift)
    window = Block(grid, 0, 0, grid.shape_image)
    inputs: FoldInputs = fold_inputs(
        moved, window, core, choice, exposure, axis, blur, np.eye(axis.nbin), "fine"
    )
    if kind_of(moved) == "template":
        inputs = centred_template(moved, inputs, core, choice, shift)
    # the exposure is the same at all pixels
    inputs = replace(inputs, exposure_at_bins=True)
    return predict(model.spectral_model, moved, inputs)
