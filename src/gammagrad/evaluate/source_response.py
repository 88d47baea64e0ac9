"""The kernel and the exposure of a source search as traced functions of the source's model."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from gammagrad._pytree import pytree, replace, static_field
from gammagrad.core.fold import FoldInputs, apply_edisp, fold_model
from gammagrad.errors import InputError
from gammagrad.evaluate.kernel import plan_kernel
from gammagrad.evaluate.local_responses import Dispersion, edisp_matrix, finite
from gammagrad.evaluate.predict import template_totals
from gammagrad.evaluate.sampling import kind_of
from gammagrad.maps import Map, PSFMap, WcsGeom, conversion


@pytree
class SourceResponse:
    """Turns a source's model into the kernel and exposure of `gammagrad.ts_map`.

    Made by `MapDataset.source_response`. It is a tree of arrays, to be passed to compiled functions
    as an argument. `with_responses` replaces `psf` and `edisp` by others of the same shape, such as
    those of `gammagrad.responses`.

    Parameters
    ----------
    psf
        Images of a point source, shape (n, ky, kx), n true or reconstructed energies; for an
        extended source on pixels `oversampling` times finer. None for a perfect instrument.
    edisp
        Energy dispersion in the middle of the map, shape (n_true, n_reco).
    exposure
        Exposure in cm2 s, shape (n_true, rows, cols).
    edisp_of_map
        Energy dispersion applied to the exposure, shape (n_true, n_reco).
    at_centre
        Exposure in the middle of the map, shape (n_true,).
    energy_edges
        Edges of the bins of true energy in TeV, shape (n_true + 1,).
    totals
        Integral of the spatial model over the sky, shape (n_true,): 1 except for templates.
    spatial
        An extended model in the middle of its grid; None for a point.
    window
        Arrays for the fold of an extended model; None for a point.
    cut
        Rows and columns that are cut off either end of the grid; static.
    psf_after_edisp
        Whether the PSF is in reconstructed energy; static.
    """

    psf: Any
    edisp: Any
    exposure: Any
    edisp_of_map: Any
    at_centre: Any
    energy_edges: Any
    totals: Any
    spatial: Any
    window: FoldInputs | None
    cut: tuple[int, int] = static_field()
    psf_after_edisp: bool = static_field()

    @property
    def oversampling(self) -> int:
        """Ratio of the map's pixel size to the pixel size of the PSF."""
        return 1 if self.window is None else self.window.oversampling

    def with_responses(self, psf: Any = None, edisp: Any = None) -> SourceResponse:
        """Return a copy with another PSF or energy dispersion.

        Parameters
        ----------
        psf
            Kernels of sum 1, of the shape of `psf`; None keeps it.
        edisp
            Matrix of the shape of `edisp`, used for kernel and exposure; None keeps them.

        Returns
        -------
        SourceResponse
            The copy.

        Raises
        ------
        ValueError
            If a shape differs.
        """
        given = {"psf": psf, "edisp": edisp}
        changes = {name: value for name, value in given.items() if value is not None}
        for name, value in changes.items():
            own, shape = getattr(self, name), jnp.shape(value)
            wanted = None if own is None else jnp.shape(own)
            if wanted != shape:
                raise InputError(f": expected an array of shape {wanted}, got {shape}.", name)
        if edisp is not None:
            changes["edisp_of_map"] = edisp
        return replace(self, **changes)

    def kernel(self, model: Any) -> Array:
        """Return the shape of a source as seen, with sum 1 in each energy bin.

        Parameters
        ----------
        model
            A `SkyModel` of the kind that the response was made for; its position does not matter.
            Its size may change as long as the kernel contains it.

        Returns
        -------
        Array
            Shape (n_reco, rows, cols); 0 in energy bins without expected counts.
        """
        counts = self._counts(model)
        (rows, cols), (ny, nx) = self.cut, counts.shape[1:]
        counts = counts[:, rows : ny - rows, cols : nx - cols]
        total = counts.sum(axis=(1, 2), keepdims=True)
        return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1), 0)

    def reference_counts(self, model: Any) -> Array:
        """Return the counts at norm 1 if all fell in the pixel of the source.

        Parameters
        ----------
        model
            A `SkyModel`.

        Returns
        -------
        Array
            The exposure that `gammagrad.ts_map` takes, shape (n_reco, rows, cols).
        """
        flux = self._flux(model)
        return apply_edisp(flux[:, None, None] * jnp.asarray(self.exposure), self.edisp_of_map)

    def _flux(self, model: Any) -> Array:
        edges = jnp.asarray(self.energy_edges)
        return model.spectral_model.integral(edges[:-1], edges[1:]) * jnp.asarray(self.totals)

    def _counts(self, model: Any) -> Array:
        if self.window is not None:
            inputs = replace(self.window, psf=self.psf, edisp=self.edisp)
            own = model.spatial_model
            if hasattr(own, "lon_0"):
                own = own.with_position(self.spatial.lon_0, self.spatial.lat_0)
            return fold_model(model.spectral_model, own, inputs)
        expected = self._flux(model) * jnp.asarray(self.at_centre)
        images = jnp.asarray(self.psf)
        if self.psf_after_edisp:
            return apply_edisp(expected, self.edisp)[:, None, None] * images
        return apply_edisp(expected[:, None, None] * images, self.edisp)


def source_response(
    model: Any,
    exposure: Map,
    psf: PSFMap | None,
    edisp: Dispersion | None,
    geom: WcsGeom,
    kernel_width: Any = None,
) -> SourceResponse:
    """Prepare the kernel and exposure of a source search; see `estimate_kernel`."""
    plan = plan_kernel(model, exposure, psf, edisp, geom, kernel_width)
    spatial, window, cut = None, None, (0, 0)
    if kind_of(model.spatial_model) == "point":
        images = plan.point_images(plan.shape)
    else:
        spatial, window = plan.folded()
        images, cut = window.psf, plan.cut
    cube = finite(exposure.data) * conversion(exposure.unit, "cm2 s")
    if not model.apply_irf["exposure"]:
        cube = np.ones_like(cube)
    return SourceResponse(
        psf=images,
        edisp=plan.edisp,
        exposure=cube,
        edisp_of_map=edisp_matrix(edisp, plan.axis_true, geom.axes["energy"]),
        at_centre=plan.exposure,
        energy_edges=plan.axis_true.edges_in("TeV"),
        totals=template_totals(model.spatial_model, plan.axis_true),
        spatial=spatial,
        window=window,
        cut=cut,
        psf_after_edisp=plan.psf_after_edisp,
    )
