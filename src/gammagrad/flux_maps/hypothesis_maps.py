"""Flux maps of several models of a source, and the best model at each pixel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from numpy.typing import NDArray

from gammagrad._html import as_html, named_values
from gammagrad._upper import given
from gammagrad.derive import model_from_content, model_to_content, same_spectrum
from gammagrad.errors import InputError, InputTypeError, short
from gammagrad.flux_maps.flux_maps import FluxMaps, titled
from gammagrad.io import Hypothesis, expand_path, read_hypotheses, reading, write_hypotheses
from gammagrad.maps import Map, MapAxis, WcsGeom
from gammagrad.models import Models, SkyModel
from gammagrad.output_quantities import QUANTITIES
from gammagrad.peaks import MIN_DISTANCE


class HypothesisMaps(Mapping[str, FluxMaps]):
    """Maps of several models of a source, such as sizes or spectral indices, on the same pixels.

    ``maps["gauss"]`` and ``maps[1]`` are the `FluxMaps` of one model. ``maps.best()`` are the
    `FluxMaps` of the model with the largest test statistic at each pixel. ``maps.stack("ts")`` is
    an array with the models as its first axis.

    The largest test statistic of several models is **not** distributed like the test statistic of
    one model. Without a source it exceeds a chi-square with one degree of freedom, and the excess
    grows with the number of models and with their differences. Its root overestimates the
    significance; simulations of the background alone show by how much. With n models the
    probability to exceed a threshold is at most n times the probability for one model. The
    difference of two test statistics is not a chi-square either, unless one model is a special case
    of the other inside the range of its parameters.

    Parameters
    ----------
    maps : Mapping of str to FluxMaps
        The maps of each model, by its name. All `FluxMaps` have the same geometry and the same
        maps.

    Raises
    ------
    ValueError
        If there are no maps, or their geometries or names differ.
    TypeError
        If an entry is not a `FluxMaps`.

    Examples
    --------
    >>> from gammagrad import TSMapEstimator
    >>> from gammagrad.models import GaussianSpatialModel, PointSpatialModel, PowerLawSpectralModel
    >>> from gammagrad.simulate import simulate_field
    >>> shapes = PointSpatialModel(), GaussianSpatialModel(sigma="0.2 deg")
    >>> models = [SkyModel(PowerLawSpectralModel(), shape) for shape in shapes]
    >>> estimator = TSMapEstimator(models, kernel_width="0.6 deg")
    >>> maps = estimator.run(simulate_field(seed=1, npix=40).dataset)
    >>> maps.names, maps.stack("ts").shape
    (['point', 'gauss'], (2, 1, 40, 40))
    >>> best = maps.best()
    >>> bool((best["ts"].data == maps.stack("ts").max(axis=0)).all())
    True
    >>> int(best["hypothesis"].data.max())
    1
    """

    def __init__(self, maps: Mapping[str, FluxMaps]) -> None:
        if not maps:
            raise InputError(": expected the FluxMaps of one model or more, got none.", "maps")
        self._maps = dict(maps)
        first = next(iter(self._maps))
        for name, one in self._maps.items():
            if not isinstance(one, FluxMaps):
                raise InputTypeError(f": expected FluxMaps, got {type(one).__name__}.", name)
            if one.geom != self[first].geom:
                raise InputError(f": its geometry differs from the geometry of {first}.", name)
            if one.computed.keys() != self[first].computed.keys():
                raise InputError(f": it has other maps than {first}.", name)

    # -- the mapping -----------------------------------------------------------------------------

    def __getitem__(self, key: str | int) -> FluxMaps:
        if isinstance(key, int | np.integer):
            return self._maps[self.names[key]]
        if key not in self._maps:
            hint = ""
            if key in QUANTITIES:
                hint = (
                    f" {key!r} is a map: of one model maps[{self.names[0]!r}][{key!r}], of the "
                    f"best maps.best()[{key!r}], of all as an array maps.stack({key!r})."
                )
            raise KeyError(f"no model named {key!r}; there are {', '.join(self.names)}.{hint}")
        return self._maps[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._maps)

    def __len__(self) -> int:
        return len(self._maps)

    # maps are compared pixel by pixel, so that two results are not simply equal or different
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    # -- properties ------------------------------------------------------------------------------

    @property
    def names(self) -> list[str]:
        """Names of the models, in order: the first axis of `stack`, and the codes of `best`."""
        return list(self._maps)

    @property
    def models(self) -> Models:
        """The tested models."""
        models = [one.reference_model for one in self._maps.values()]
        return Models([model for model in models if model is not None])

    @property
    def geom(self) -> WcsGeom:
        """Geometry of the maps: the sky and the energy groups."""
        return self[0].geom

    @property
    def energy_axis(self) -> MapAxis:
        """Energy axis, with one bin per energy group."""
        return self[0].energy_axis

    def _summary(self) -> dict[str, Any]:
        return {
            "models": self.names,
            "shape": tuple(int(n) for n in self.geom.data_shape[::-1]),
            "quantities": self[0].quantities,
        }

    def __str__(self) -> str:
        return titled(type(self).__name__, self._summary())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return as_html(type(self).__name__, named_values(self._summary()))

    def _ipython_key_completions_(self) -> list[str]:
        return self.names

    # -- operations ------------------------------------------------------------------------------

    def stack(self, quantity: str) -> NDArray[Any]:
        """Return a map of all models as one array.

        Parameters
        ----------
        quantity : str
            Name of the map.

        Returns
        -------
        numpy.ndarray
            Shape (models, groups, rows, cols).

        Raises
        ------
        MissingQuantityError
            If there is no such map.
        """
        return np.stack([one[quantity].data for one in self._maps.values()])

    def best(self) -> FluxMaps:
        """Return the maps of the model with the largest test statistic at each pixel.

        Test statistics are compared with their sign: any source is better than a deficit. The class
        describes the distribution of the largest test statistic.

        Returns
        -------
        FluxMaps
            The computed maps, each from the best model at each pixel of each energy group. The map
            ``hypothesis`` is the index of the best model in `names`, -1 where no model was fitted;
            ``meta["hypotheses"]`` has the names. Norms and fluxes refer to the spectrum of the best
            model. If the spectra differ, norms of different pixels cannot be compared: there is no
            reference model, and the fluxes are maps of their own.
        """
        known = np.isfinite(self.stack("norm")) & np.isfinite(self.stack("ts"))
        values = np.where(known, self.stack("ts"), -np.inf)
        index = values.argmax(axis=0)
        spectrum = self._common_spectrum()
        data = {}
        names = dict.fromkeys(self[0].computed)
        if spectrum is None:
            names |= dict.fromkeys(filter(_is_flux, self[0]))
        for name in names:
            planes, one = self.stack(name), self[0][name]
            # a scan has an axis of norms between the energies and the pixels
            which = index if planes.ndim == 4 else index[:, None]
            chosen = np.take_along_axis(planes, which[None], axis=0)[0]
            data[name] = Map(one.geom, chosen, unit=one.unit)
        found = np.where(known.any(axis=0), index, -1).astype(np.int16)
        data["hypothesis"] = Map(self.geom, found)
        return FluxMaps(data, spectrum, self._common_meta(), self[0].gti)

    def best_model(self, position: Any, energy: int = 0) -> SkyModel:
        """Return the model with the largest test statistic at a position, moved to the position.

        Parameters
        ----------
        position : SkyCoord or tuple of int
            A position, or a pixel as (row, column).
        energy : int
            Energy group.

        Returns
        -------
        SkyModel
            The tested model, without its norm applied.

        Raises
        ------
        ValueError
            If the position is outside the maps or not a single position, no model was fitted
            there, or there is no such energy group.
        """
        if energy not in range(self.energy_axis.nbin):
            raise InputError(f" is {energy!r}; there are {self.energy_axis.nbin} groups.", "energy")
        if not isinstance(position, SkyCoord) and np.shape(position) == (2,):
            row, col = position
            position = self.geom.pix_to_sky(float(col), float(row))
        if not (isinstance(position, SkyCoord) and position.isscalar):
            raise InputError(
                f" is {short(position)}; expected a SkyCoord or (row, column).", "position"
            )
        x, y = self.geom.sky_to_pix(position)
        rows, cols = self.geom.shape_image
        if not (-0.5 <= x < cols - 0.5 and -0.5 <= y < rows - 0.5):
            raise InputError(f": {position.to_string()} is outside of the maps.", "position")
        index = int(self.best()["hypothesis"].data[energy, round(float(y)), round(float(x))])
        if index < 0:
            raise InputError(f": nothing was fitted at {position.to_string()}.", "position")
        model = self[index].reference_model
        if model is None or model.spatial_model is None:
            raise InputError(f"{self.names[index]}: its maps have no model with a shape.")
        there = position.transform_to(model.frame).spherical
        placed: SkyModel = model.with_position(float(there.lon.deg), float(there.lat.deg))
        return placed

    def cutout(self, position: Any, width: Any, mode: str = "trim") -> HypothesisMaps:
        """Return a cutout of the maps around a position.

        Parameters
        ----------
        position : SkyCoord
            Centre of the cutout.
        width : Quantity or str
            Width of the cutout, or widths in longitude and latitude.
        mode : str
            ``"trim"`` trims a cutout at the edge of the maps, ``"strict"`` raises an error there.

        Returns
        -------
        HypothesisMaps
            The cutout.
        """
        parts = {name: one.cutout(position, width, mode) for name, one in self._maps.items()}
        return HypothesisMaps(parts)

    def find_peaks(
        self,
        threshold: Any = 5,
        min_distance: Any = MIN_DISTANCE,
        quantity: str = "sqrt_ts",
        refine: bool = False,
        datasets: Any = None,
        **options: Any,
    ) -> QTable:
        """List the sources of `best`, with the names of their models in a column ``model``.

        Parameters
        ----------
        threshold : float or Quantity
            Peaks are above this value.
        min_distance : str, Quantity or float
            A peak has no higher pixel within this angle, or within this number of pixels.
        quantity : str
            Name of the map to search.
        refine : bool
            Fit position, flux and index of every peak to the data, from the best model of its
            pixel; see `gammagrad.fitting.refine_peaks`.
        datasets : MapDataset or several
            The data of the maps; needed with `refine` only.
        **options
            Further arguments of `gammagrad.fitting.refine_peaks`, such as ``free``.

        Returns
        -------
        astropy.table.QTable
            One row per source, the most significant first.

        Raises
        ------
        ValueError
            As `FluxMaps.find_peaks`.
        """
        best = self.best()
        if refine and "model" not in options:
            index = best.find_peaks(threshold, min_distance, quantity)["hypothesis"]
            models = [self[max(int(i), 0)].reference_model for i in (index if len(index) else [0])]
            options["model"] = None if any(model is None for model in models) else models
        return best.find_peaks(threshold, min_distance, quantity, refine, datasets, **options)

    def plot(
        self,
        quantity: str = "sqrt_ts",
        ax: Any = None,
        *,
        energy: int | Sequence[int] | None = None,
        stretch: str = "auto",
        cmap: Any = None,
        norm: Any = None,
        vmin: float | None = None,
        vmax: float | None = None,
        interpolation: str = "nearest",
        colorbar: bool = True,
        label: str | None = None,
        title: str | None = None,
        contours: Sequence[float] | None = None,
        contour_color: str = "black",
        peaks: Any = None,
        peak_names: bool = True,
        resolution: Any = None,
    ) -> Any:
        """Draw a map of `best`; ``"hypothesis"`` is the index of the best model.

        Parameters
        ----------
        quantity : str
            Name of the map.
        ax : WCSAxes, optional
            Axes to draw on; new axes by default.
        energy : int or sequence of int, optional
            Energy groups to draw; all by default.
        stretch : str
            ``"linear"``, ``"sqrt"``, ``"log"``, ``"asinh"``, ``"diverging"``, or ``"auto"``.
        cmap : str or Colormap, optional
            Colour map.
        norm : matplotlib.colors.Normalize, optional
            Colour scale, in place of `stretch`, `vmin` and `vmax`.
        vmin, vmax : float, optional
            Ends of the colour scale.
        interpolation : str
            ``"nearest"`` shows the pixels; ``"bilinear"`` or ``"bicubic"`` a smooth image.
        colorbar : bool
            Draw a colour bar.
        label : str, optional
            Label of the colour bar; the unit is appended.
        title : str, optional
            Title; by default the energy range.
        contours : sequence of float, optional
            Levels at which to draw contours.
        contour_color : str
            Colour of the contours.
        peaks : astropy.table.Table, optional
            Sources to circle, as `find_peaks` returns them.
        peak_names : bool
            Write their names, or for more than 12 sources their numbers in the table.
        resolution : str, Quantity or float, optional
            Radius of the circle in the lower left corner. By default it holds 68 % of the kernel;
            0 leaves it out.

        Returns
        -------
        WCSAxes or array of WCSAxes
            The axes, one for each energy group.

        Raises
        ------
        ValueError
            As `Map.plot`, or if it is a likelihood scan (use `FluxMaps.plot_profile`).
        """
        return self.best().plot(**given(locals()))

    def write(
        self, filename: str | PathLike[str], overwrite: bool = False, checksum: bool = False
    ) -> None:
        """Write the maps of all models to one FITS file.

        gammapy cannot read this file; it can read the file of the `FluxMaps` of one model.

        Parameters
        ----------
        filename : str or path
            File to write.
        overwrite : bool
            Whether to replace an existing file.
        checksum : bool
            Whether to write checksums.

        Raises
        ------
        FileExistsError
            If the file exists and `overwrite` is false.
        """
        content = {
            name: Hypothesis(one.computed, model_to_content(one.reference_model), one.meta)
            for name, one in self._maps.items()
        }
        write_hypotheses(filename, content, self[0].gti, overwrite, checksum)

    @classmethod
    def read(cls, filename: str | PathLike[str], checksum: bool = True) -> HypothesisMaps:
        """Read a file written by `write`.

        Parameters
        ----------
        filename : str or path
            File to read.
        checksum : bool
            Whether to verify the checksums in the file.

        Returns
        -------
        HypothesisMaps
            The maps.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file does not have maps of several models.
        """
        with reading(filename):
            content, gti = read_hypotheses(filename, checksum)
            folder = expand_path(filename).parent
            models = {name: model_from_content(one.model, folder) for name, one in content.items()}
            return cls(
                {n: FluxMaps(one.maps, models[n], one.meta, gti) for n, one in content.items()}
            )

    # -- common properties of the models ---------------------------------------------------------

    def _common_spectrum(self) -> Any:
        """Return the spectral model if all models have the same one; else None."""
        models = [one.reference_model for one in self._maps.values()]
        if any(model is None for model in models):
            return None
        first, *others = (model.spectral_model for model in models)
        return first if all(same_spectrum(first, other) for other in others) else None

    def _common_meta(self) -> dict[str, Any]:
        """Return the common metadata of all models, and the names of the models."""
        first = self[0].meta
        metas = [one.meta for one in self._maps.values()]
        common = {k: v for k, v in first.items() if all(m.get(k) == v for m in metas)}
        if "settings" in first:
            common["settings"] = {**first["settings"], "model": self.names}
        return {**common, "hypotheses": self.names}


def _is_flux(name: str) -> bool:
    """Return whether a map is derived from norms and the reference model."""
    return name == "dnde_scan_values" or bool(name in QUANTITIES and QUANTITIES[name].reference)
