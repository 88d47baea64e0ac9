"""`MapDataset`: one observation as maps, its prediction and its statistic."""

from __future__ import annotations

import html
import warnings
from os import PathLike, fspath
from typing import Any, Self

import numpy as np

from gammagrad.dataset.info import describe, summary
from gammagrad.dataset.masks import used_bins
from gammagrad.dataset.plain import parts_from_maps
from gammagrad.dataset.statistic import DatasetStatistic
from gammagrad.dataset.suspicion import NO_PSF
from gammagrad.errors import FileContentError, InputError, InputWarning
from gammagrad.io import read_map_dataset, read_plain, read_psf, reading, write_map_dataset
from gammagrad.maps import Map, PSFMap


class MapDataset(DatasetStatistic):
    """One observation: counts on the sky, what is expected of them, the instrument's response.

    Parameters
    ----------
    counts
        Observed counts, axes (energy): whole numbers, or expected ones (an Asimov dataset).
    exposure
        Effective area times time, axes (energy_true), any unit of area times time.
    background
        Expected counts that are not the sources searched for, axes (energy). NaN where unknown:
        such bins have weight zero in a fit.
    psf
        Point spread function, a `PSFMap`, in true or reconstructed energy; None for no blur.
    edisp
        Energy dispersion, an `EDispKernelMap` or `EDispMap`; None takes energies as measured.
    mask_safe, mask_fit
        Masks, axes (energy), or images for all energies: bins enter a fit where both are True.
        None masks nothing. Floating-point numbers that are not all 0 or 1 are weights: a bin's
        part of the likelihood is multiplied by them.
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
        If a part is of the wrong type.
    ValueError
        If units, axes or geometries of the parts do not fit together.

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

    def info_dict(self, in_safe_data_range: bool = True) -> dict[str, Any]:
        """Return the numbers that sum the dataset up.

        Parameters
        ----------
        in_safe_data_range
            Whether to sum only where `mask_safe` is True.

        Returns
        -------
        dict
            Sums of counts, background, excess and predictions, range of the exposure, times,
            numbers of bins, and the statistic.
        """
        safe = self.mask_safe if in_safe_data_range else None
        info = summary(self.parts, safe)
        use: Any = slice(None) if safe is None else used_bins(safe)
        signal, background = self.npred_signal(), self.npred_background()
        npred = self._add(signal, background)
        predictions = {"npred": npred, "npred_background": background, "npred_signal": signal}
        for key, m in predictions.items():
            info[key] = np.nan if m is None else float(np.nansum(m.data[use]))
        info["n_fit_bins"] = info["n_bins"] if self.mask is None else int(self.mask.data.sum())
        info["stat_type"] = "cash"
        info["stat_sum"] = np.nan if self.counts is None else self._sum(self._stat(npred))
        return info

    def __str__(self) -> str:
        return describe(self.parts, self.mask)

    def __repr__(self) -> str:
        first = next(iter(self._maps.values()), None)
        shape = "empty" if first is None else " x ".join(str(n) for n in first.data.shape)
        return f"<MapDataset {self.name!r}, {shape}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    @classmethod
    def read(
        cls, filename: str | PathLike[str], name: str | None = None, checksum: bool = True
    ) -> Self:
        """Read a dataset in gammapy's FITS layout.

        Parameters
        ----------
        filename
            The file, gzipped or not. ``$NAME`` of an environment variable and ``~`` are filled in.
        name
            Name of the dataset; by default the one in the file, or the file's own.
        checksum
            Compare what has a checksum with it.

        Returns
        -------
        MapDataset
            The dataset, with what is in the file.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not FITS, is damaged, holds no part of a dataset, or the parts do not fit
            together.

        Warns
        -----
        InputWarning
            If it has an energy dispersion and no PSF, or HDUs that are no part of a dataset.
        """
        parts = read_map_dataset(filename, checksum)
        if name is not None:
            parts["name"] = name
        with reading(filename):
            dataset = cls(**parts)
        if dataset.edisp is not None and dataset.psf is None:
            warnings.warn(
                f"{filename}: there is an energy dispersion and no PSF. {NO_PSF}",
                InputWarning,
                stacklevel=2,
            )
        return dataset

    def write(
        self, filename: str | PathLike[str], overwrite: bool = False, checksum: bool = False
    ) -> None:
        """Write the dataset in gammapy's FITS layout; its models are not part of that.

        Parameters
        ----------
        filename
            The file; a name ending in ".gz" is compressed.
        overwrite
            Whether an existing file may be replaced.
        checksum
            Whether each part gets its checksum.

        Raises
        ------
        OSError
            If the file is there and `overwrite` is false.
        """
        write_map_dataset(self.parts, filename, overwrite=overwrite, checksum=checksum)

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
            Area times time in true energy. One on the energy bins of the counts is taken to have
            the same bins in true energy. One at other energies is interpolated (power laws
            between them) at the logarithmic middles of the counts' bins, unless `edisp` is given
            or its bins are finer ones of the same edges: these are kept.
        psf_sigma
            Width of a Gaussian PSF: an angle (numbers are degrees), or one for each bin of true
            energy.
        psf_table
            Tabulated PSF: (rad, values) or (rad, energy, values); offsets in degrees, energies in
            TeV, density per sr of shape (rad,) or (energy, rad), unless they are quantities.
        edisp
            Energy dispersion, or None.
        mask, mask_fit
            Bins where the data are good and bins to fit, or weights; an image goes for all
            energies.
        energy_edges
            Edges of the energy bins (numbers are TeV) of maps that do not say them.
        exposure_unit
            Unit of an exposure that states none.
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
            If something is no map.
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
        parts = parts_from_maps(
            counts,
            background,
            exposure,
            psf=psf,
            psf_sigma=psf_sigma,
            psf_table=psf_table,
            edisp=edisp,
            mask=mask,
            mask_fit=mask_fit,
            energy_edges=energy_edges,
            exposure_unit=exposure_unit,
        )
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
        **kwargs: Any,
    ) -> Self:
        """Make a dataset from plain FITS files.

        Parameters
        ----------
        counts, background, exposure, mask, mask_fit
            FITS images or cubes; ``"file.fits[name]"`` is one extension of a file; ``$NAME`` of an
            environment variable and ``~`` are filled in. Energies come from EBOUNDS, ENERGIES or
            ``*_BANDS`` tables or the third axis of the header.
        psf
            A FITS file with a point spread function: of Fermi-LAT's ``gtpsf``, or a PSF map.
        checksum
            Compare what has a checksum with it.
        **kwargs
            Other arguments of `from_maps`, such as `psf_sigma` and `energy_edges`.

        Returns
        -------
        MapDataset
            The dataset, with the good time intervals of the counts' file.

        Raises
        ------
        FileNotFoundError
            If a file is not there.
        ValueError
            As in `from_maps`, or if a file is not FITS, is damaged or has no map.
        """
        files = {"background": background, "exposure": exposure, "mask": mask}
        files["mask_fit"] = mask_fit
        maps: dict[str, Any] = {
            key: read_plain(f, checksum).map for key, f in files.items() if f is not None
        }
        read = read_plain(counts, checksum)
        if psf is not None:
            kwargs["psf"] = read_psf(psf, checksum)
        files["counts"] = counts
        try:
            return cls.from_maps(read.map, gti=read.gti, **maps, **kwargs)
        except InputError as error:
            about = [part for part in files if f"{part}:" in str(error)]
            name = fspath(files[about[0]] or counts) if about else fspath(counts)
            raise FileContentError(f"{name}: {error}") from error
