"""`MapDataset`: one observation as maps, its prediction and its statistic."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from typing import Any, Self

import numpy as np
from astropy.table import Table

from gammagrad._programs import is_traced, to_device
from gammagrad.dataset import plain, transforms
from gammagrad.dataset.base import BaseMapDataset
from gammagrad.dataset.checks import MAP_NAMES, OFF_NAMES, check_fit
from gammagrad.dataset.fermi import fermi_parts, on_pixels
from gammagrad.dataset.info import count_rows, info_of
from gammagrad.dataset.likelihood import DatasetLikelihood, prepare_likelihood
from gammagrad.dataset.map_habits import MapDatasetHabits
from gammagrad.dataset.parts import map_part, named_errors
from gammagrad.dataset.predict import background_npred, signal_npred, sky_models, total_npred
from gammagrad.dataset.statistic import stat_of_bins, sum_of_bins
from gammagrad.errors import InputError
from gammagrad.evaluate import CUTOUT_MARGIN
from gammagrad.maps import EDispKernelMap, EDispMap, Map, PSFMap
from gammagrad.models import Component, Models


class MapDataset(MapDatasetHabits, BaseMapDataset):
    """One observation: counts on the sky, expected counts, and the instrument's response.

    Parameters
    ----------
    counts
        Observed counts, axes (energy): whole numbers, or expected counts (an Asimov dataset).
    exposure
        Effective area times time, axes (energy_true), any unit of area times time.
    background
        Expected counts without the sources searched for, axes (energy). NaN where unknown: such
        bins have weight zero in a fit.
    psf
        Point spread function, a `PSFMap`, in true or reconstructed energy; None for no blur.
    edisp
        Energy dispersion, an `EDispKernelMap` or `EDispMap`; None if the measured energy is
        the true energy.
    mask_safe, mask_fit
        Masks, axes (energy), or images for all energies: bins enter a fit where both are True.
        None masks nothing. Floating-point numbers that are not all 0 or 1 are weights: the
        statistic of a bin is multiplied by its weight.
    gti
        Good time intervals, an astropy table with columns START and STOP.
    models
        Models of the field, one or a list; see `models`.
    name
        Name of the dataset, by default numbered.
    meta_table
        Further information, an astropy table.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If units, axes or geometries of the parts do not fit together.

    Notes
    -----
    A map that is larger than the counts and aligned with them (equal pixels after a shift by whole
    pixels) is cut out, also when a part is set later. Any other difference of the pixels is an
    error. Without counts, the background or else the first mask takes their place. PSF and energy
    dispersion have pixels of their own.

    Examples
    --------
    >>> from gammagrad.maps import Map, MapAxis
    >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
    >>> counts = Map.create(npix=(4, 3), binsz=0.1, axes=[axis])
    >>> background = Map.from_geom(counts.geom, data=np.full((2, 3, 4), 0.5))
    >>> dataset = MapDataset(counts=counts, background=background, name="example")
    >>> float(dataset.npred().data.sum()), dataset.stat_sum()
    (12.0, 24.0)
    """

    tag = "MapDataset"
    map_names = MAP_NAMES

    background: Map | None = map_part(
        "background", "Expected counts without the sources searched for."
    )

    def __init__(
        self,
        counts: Map | None = None,
        exposure: Map | None = None,
        background: Map | None = None,
        psf: PSFMap | None = None,
        edisp: EDispKernelMap | EDispMap | None = None,
        mask_safe: Map | None = None,
        mask_fit: Map | None = None,
        gti: Table | None = None,
        models: Component | Iterable[Component] | None = None,
        name: str | None = None,
        meta_table: Table | None = None,
    ) -> None:
        maps = {"counts": counts, "exposure": exposure, "background": background}
        maps |= {"mask_safe": mask_safe, "mask_fit": mask_fit}
        parts = {"psf": psf, "edisp": edisp, "models": models, "gti": gti}
        self._set_parts(maps, {**parts, "name": name, "meta_table": meta_table})

    def check(self, for_fit: bool = True) -> None:
        """Check that the values of the maps can be used.

        A background may be NaN: its bins have weight zero in a fit.

        Parameters
        ----------
        for_fit
            Whether the dataset must have counts, an exposure, a background or models, and at
            least one bin to fit.

        Raises
        ------
        ValueError
            If a required map is missing; counts or background are negative, or counts NaN, in a
            fitted bin; a weight is negative or not finite; the exposure is zero everywhere,
            negative or not finite.
        """
        if for_fit:
            self.require("counts")
            self.require("exposure")
            if self.background is None and not self.models:
                raise InputError(
                    f"dataset {self.name!r} has neither a background nor models, so nothing says "
                    "how many counts to expect without a source; give it a background, or models "
                    "that predict one."
                )
        with named_errors(self.name):
            check_fit(self._maps, self.mask, for_fit)

    # -- prediction and statistic ----------------------------------------------------------------

    # With traced parameters (under `jax.jit`, `jax.grad`, ...) the results are JAX arrays instead
    # of maps and numbers. The windows of the prediction are then at the positions of the dataset's
    # own models of the same names. `likelihood` prepares the prediction once, for many calls.

    def likelihood(
        self,
        models: Any = None,
        *,
        room: float = CUTOUT_MARGIN,
        sampling: str = "fine",
        like: DatasetLikelihood | None = None,
    ) -> DatasetLikelihood:
        """Prepare the likelihood of models with varying parameters, for compiled code.

        Parameters
        ----------
        models
            The models with their present parameters; by default the models of the dataset.
            Windows and instrument responses are computed for their present positions and sizes.
        room
            How far in deg a source may move or grow before `DatasetLikelihood.holds` is false.
        sampling
            As in `npred_signal`.
        like
            An earlier likelihood of this dataset. A source that is still within its window keeps
            the pixels of the window and its `room`; only the instrument's responses are updated
            to the present position. Functions compiled for the earlier likelihood are reused.

        Returns
        -------
        DatasetLikelihood
            A tree of arrays, in the precision set in JAX; its methods `npred`,
            `stat_array` and `stat_sum` take models.

        Raises
        ------
        ValueError
            If there are sources but no exposure, or a template does not fit the geometry.

        Examples
        --------
        >>> import jax
        >>> from gammagrad import Map, MapDataset
        >>> from gammagrad.maps import MapAxis
        >>> from gammagrad.models import FoVBackgroundModel
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=2)
        >>> counts = Map.create(npix=(4, 3), binsz=0.1, axes=[axis])
        >>> counts.data += 1
        >>> dataset = MapDataset(counts, background=counts, name="example")
        >>> model = FoVBackgroundModel("example")
        >>> likelihood = dataset.likelihood(model)
        >>> value, slope = jax.jit(jax.value_and_grad(likelihood.stat_sum))(model)
        >>> float(value), float(slope.spectral_model.norm)
        (48.0, 0.0)
        """
        prepared = prepare_likelihood(self, self._chosen(models), sampling, room, like)
        return prepared if is_traced(prepared) else to_device(prepared)

    def npred_background(self, models: Any = None) -> Any:
        """Return the background with its model applied, in counts per bin.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        Map, Array or None
            The background times the `FoVBackgroundModel` of `models` if there is one; None
            without a background. An array if a parameter is traced.
        """
        chosen = self._chosen(models)
        if self.background is not None and is_traced(chosen):
            return prepare_likelihood(self, chosen).npred_background(chosen)
        return background_npred(self.background, chosen)

    def npred(self, models: Any = None, sampling: str = "fine") -> Any:
        """Return all predicted counts: background and models.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.
        sampling
            As in `npred_signal`.

        Returns
        -------
        Map or Array
            Predicted counts per bin, never below 0; NaN where the background is NaN. An array if
            a parameter is traced.
        """
        chosen = self._chosen(models)
        if is_traced(chosen):
            return prepare_likelihood(self, chosen, sampling).npred(chosen)
        background = background_npred(self.background, chosen)
        if background is not None and not sky_models(chosen):
            return Map(self.geom, np.maximum(background.data, 0.0, dtype=float), copy=False)
        return total_npred(signal_npred(self, chosen, sampling), background)

    def stat_array(self, models: Any = None) -> Any:
        """Return the Cash statistic of each bin.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        ndarray or Array
            ``2 (npred - counts log npred)``, shape (energy, row, col), float64; times `weights`
            if there are weights. Boolean masks are not applied. A JAX array if a parameter is
            traced.

        References
        ----------
        Cash (1979), ApJ 228, 939, equation 5.
        """
        return stat_of_bins(self.npred(models), self.require("counts"), self.weights)

    def stat_sum(self, models: Any = None) -> Any:
        """Return the Cash statistic summed over the fitted bins.

        Parameters
        ----------
        models
            Models to use instead of the dataset's own.

        Returns
        -------
        float or Array
            The sum, weighted by `weights` if there are weights, without bins whose background is
            unknown (NaN). A JAX scalar if a parameter is traced.
        """
        chosen = self._chosen(models)
        if is_traced(chosen):
            return prepare_likelihood(self, chosen).stat_sum(chosen)
        return sum_of_bins(self.stat_array(chosen), self.mask)

    def downsample(self, factor: int, *, name: str | None = None) -> Self:
        """Return the dataset with blocks of pixels merged.

        Counts and background are summed over the pixels in `mask_safe` with a known background.
        The exposure is averaged over all pixels of a block: in a partly masked block the predicted
        counts of a source are too high. A mask is true if any pixel of the block is true; weights
        are averaged over the pixels with a positive weight.

        Parameters
        ----------
        factor
            Pixels along the side of a block; it must divide rows and columns. `pad` helps.
        name
            Name of the new dataset; by default the same.

        Returns
        -------
        MapDataset
            The coarser dataset, with the same instrument's response.

        Raises
        ------
        ValueError
            If the factor does not divide the number of rows and columns.

        Examples
        --------
        >>> from gammagrad.dataset import MapDataset
        >>> from gammagrad.maps import Map, MapAxis
        >>> axis = MapAxis.from_energy_bounds("1 TeV", "100 TeV", nbin=1)
        >>> dataset = MapDataset(counts=Map.create(npix=(6, 4), axes=[axis], data=2))
        >>> dataset.downsample(2).counts.data
        array([[[8, 8, 8],
                [8, 8, 8]]])
        """
        return self._made_of(transforms.downsampled(self, factor), name)

    # -- summary and plain maps ------------------------------------------------------------------

    def _check_models(self, models: Models | None) -> None:
        """Any model is of use."""

    def _own_info(self, safe: Map | None) -> dict[str, Any]:
        return info_of(self, safe)

    def _count_rows(self) -> list[tuple[str, str]]:
        return count_rows(self)

    @classmethod
    def _own_parts(cls, parts: dict[str, Any]) -> dict[str, Any]:
        if found := [name.upper() for name in OFF_NAMES if name in parts]:
            raise InputError(
                f"an ON/OFF dataset (it has {', '.join(found)}); read it with MapDatasetOnOff.read "
                "or gammagrad.read_dataset. Its to_map_dataset() makes a MapDataset of it."
            )
        return parts

    @classmethod
    def from_maps(
        cls,
        counts: Map,
        background: Map | None = None,
        exposure: Map | None = None,
        psf_sigma: Any = None,
        psf_table: Any = None,
        edisp: Any = None,
        mask: Map | None = None,
        mask_fit: Map | None = None,
        energy_edges: Any = None,
        *,
        exposure_unit: Any = None,
        psf: PSFMap | None = None,
        models: Any = None,
        gti: Any = None,
        name: str | None = None,
    ) -> Self:
        """Make a dataset from plain maps, images or cubes.

        Parameters
        ----------
        counts
            Observed counts: a cube (energy, row, col), or an image with `energy_edges`.
        background
            Expected background counts, on the bins of the counts.
        exposure
            Area times time in true energy. An exposure on the energy bins of the counts has the
            same bins in true energy. An exposure at other energies is interpolated (power laws
            between nodes) at the logarithmic centres of the counts' bins; its energies are kept if
            `edisp` is given, or if its bins subdivide the bins of the counts.
        psf_sigma
            Width of a Gaussian PSF: an angle (numbers are degrees), or an angle for each bin of
            true energy.
        psf_table
            Tabulated PSF: (rad, values) or (rad, energy, values); offsets in degrees, energies in
            TeV, density per sr of shape (rad,) or (energy, rad), unless they are quantities.
        edisp
            Energy dispersion, or None.
        mask, mask_fit
            Bins where the data are good and bins to fit, or weights; an image is a mask for all
            energies.
        energy_edges
            Edges of the energy bins (numbers are TeV) of maps without an energy axis.
        exposure_unit
            Unit of an exposure without a unit.
        psf
            A `PSFMap`, instead of `psf_sigma` or `psf_table`.
        models, gti, name
            As in the class.

        Returns
        -------
        MapDataset
            The dataset.

        Raises
        ------
        TypeError
            If an argument that must be a map is not a `Map`.
        ValueError
            If energies or units are missing, or the maps do not fit together.

        Examples
        --------
        >>> from gammagrad.maps import Map
        >>> counts = Map.create(npix=5, binsz=0.1)
        >>> exposure = Map.create(npix=5, binsz=0.1, unit="m2 s")
        >>> MapDataset.from_maps(
        ...     counts, exposure=exposure, psf_sigma="0.1 deg", energy_edges=["1 TeV", "10 TeV"],
        ...     name="image",
        ... )
        <MapDataset 'image', 1 x 5 x 5>
        """
        axis = plain.energy_axis_of(counts, energy_edges)
        maps = {"counts": counts, "background": background, "mask_safe": mask, "mask_fit": mask_fit}
        parts = plain.maps_on_axis(maps, axis)
        axis_true = axis.rename("energy_true")
        if exposure is not None:
            exposure = plain.exposure_on_axis(
                exposure, exposure_unit, axis, interpolate=edisp is None
            )
            axis_true = exposure.geom.axes["energy_true"]
        psf = plain.psf_from(axis_true, psf=psf, psf_sigma=psf_sigma, psf_table=psf_table)
        parts |= {"exposure": exposure, "psf": psf, "edisp": edisp}
        return cls(**parts, models=models, gti=gti, name=name)

    @classmethod
    def from_files(
        cls,
        counts: str | PathLike[str],
        background: str | PathLike[str] | None = None,
        exposure: str | PathLike[str] | None = None,
        psf: str | PathLike[str] | None = None,
        mask: str | PathLike[str] | None = None,
        mask_fit: str | PathLike[str] | None = None,
        checksum: bool = True,
        *,
        energy_edges: Any = None,
        exposure_unit: Any = None,
        psf_sigma: Any = None,
        psf_table: Any = None,
        edisp: Any = None,
        models: Any = None,
        name: str | None = None,
    ) -> Self:
        """Make a dataset from plain FITS files.

        Parameters
        ----------
        counts, background, exposure, mask, mask_fit
            FITS images or cubes; ``"file.fits[name]"`` is one extension of a file. Environment
            variables (``$NAME``) and ``~`` are expanded. Energies come from EBOUNDS, ENERGIES or
            ``*_BANDS`` tables or the third axis of the header.
        psf
            A FITS file with a point spread function: from Fermi-LAT's ``gtpsf``, or a PSF map.
        checksum
            Whether to verify the checksums in the files.
        energy_edges
            Edges of the energy bins, such as ``"10 GeV, 500 GeV"``, of files without energies.
        exposure_unit
            Unit of an exposure whose file names none, such as "cm2 s".
        psf_sigma, psf_table, edisp
            Response, as in `from_maps`; instead of `psf`.
        models, name
            As in the class.

        Returns
        -------
        MapDataset
            The dataset, with the good time intervals of the counts' file.

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            As in `from_maps`, or if a file is not FITS, is damaged or has no map.
        """
        files = {"background": background, "exposure": exposure, "mask": mask}
        files |= {"mask_fit": mask_fit, "counts": counts}
        parts, gti = plain.maps_of_files(files, checksum)
        psf_map = plain.psf_of_file(psf, checksum)
        with plain.naming_files(files):
            return cls.from_maps(
                **parts,
                **psf_map,
                energy_edges=energy_edges,
                exposure_unit=exposure_unit,
                psf_sigma=psf_sigma,
                psf_table=psf_table,
                edisp=edisp,
                models=models,
                gti=gti,
                name=name,
            )

    @classmethod
    def from_fermi(
        cls,
        ccube: str | PathLike[str],
        bexpmap: str | PathLike[str],
        model: str | PathLike[str] | None = None,
        psf: str | PathLike[str] | None = None,
        mask: str | PathLike[str] | None = None,
        mask_fit: str | PathLike[str] | None = None,
        *,
        models: Any = None,
        name: str | None = None,
        checksum: bool = True,
    ) -> Self:
        """Make a dataset from products of Fermi-LAT's tools, or of fermipy, in a WCS projection.

        Parameters
        ----------
        ccube
            Counts: a cube of ``gtbin`` (algorithm CCUBE). The counts in a file of ``gtsrcmaps``
            will do.
        bexpmap
            Exposure: a cube of ``gtexpcube2``. It is interpolated between its energies, and between
            its pixels where these are not those of the counts, as in an exposure of all the sky.
        model
            Background: the counts that ``gtmodel`` predicts (outtype CCUBE) for all sources but
            those to search for. Without it, pass `models`.
        psf
            Point spread function: a table of ``gtpsf``.
        mask, mask_fit
            FITS images or cubes, not zero where the data are good, and in the bins to fit.
        models, name
            As in the class.
        checksum
            Whether to verify the checksums in the files.

        Returns
        -------
        MapDataset
            The dataset, without energy dispersion, with the good time intervals of the counts.

        Raises
        ------
        FileNotFoundError
            If a file does not exist.
        ValueError
            If a file is not the product expected, is in HEALPix, or does not fit to the counts.
        """
        files = {"counts": ccube, "exposure": bexpmap, "background": model}
        masks = {"mask": mask, "mask_fit": mask_fit}
        parts = fermi_parts(ccube, bexpmap, model, psf, masks, checksum)
        with plain.naming_files({**files, **masks}):
            parts["exposure"] = on_pixels(parts["exposure"], parts["counts"].geom)
            return cls.from_maps(**parts, models=models, name=name)
