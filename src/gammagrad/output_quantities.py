"""The table of output maps: meaning, unit, place in files, and option."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import MappingProxyType

FLUXES: MappingProxyType[str, tuple[str, str]] = MappingProxyType(
    {
        "dnde": ("cm-2 s-1 TeV-1", "differential flux at the centre of the energy group"),
        "e2dnde": ("TeV cm-2 s-1", "differential flux times energy squared, at the centre"),
        "flux": ("cm-2 s-1", "flux integrated over the energy group"),
        "eflux": ("TeV cm-2 s-1", "energy flux integrated over the energy group"),
    }
)
"""Unit and meaning of the fluxes derived from a norm with the reference spectrum."""


@dataclass(frozen=True)
class OutputMap:
    """One output map."""

    name: str  # its key in `FluxMaps`
    meaning: str  # its meaning, in one sentence
    unit: str = ""  # unit of its values; empty if dimensionless
    dtype: str = "float64"  # name of the numpy type of its values
    # its entry of ``selection_optional``; None if it is always computed
    option: str | None = None
    free: str | None = None  # what must be free in a fit that computes it, beside the norm
    sources: tuple[str, ...] = ()  # for a derived map: the names of its inputs
    # for a flux: which reference flux, a key of `FLUXES`, its source is multiplied with
    reference: str | None = None
    symbol: str = ""  # its label on the axis of a plot
    sigma: str | None = None  # the setting with its number of standard deviations
    listed: bool = True  # whether ``FluxMaps.available_quantities`` has it

    @property
    def fits_name(self) -> str:
        """Name of its extension in a FITS file."""
        return self.name.upper()

    @property
    def is_norm(self) -> bool:
        """True for the norm and its errors, limits and sensitivity."""
        return self.name == "norm" or (self.name.startswith("norm_") and "index" not in self.name)

    @property
    def label(self) -> str:
        """Label for a plot: the symbol, or else the name."""
        return self.symbol or self.name.replace("_", " ")


_STORED = (
    OutputMap(
        "ts",
        "Test statistic: Cash statistic without minus with the source, negative where norm is.",
        symbol="TS",
    ),
    OutputMap("norm", "Best fit of the norm of the reference model."),
    OutputMap("niter", "Number of iterations of the fit.", dtype="int32"),
    OutputMap("norm_err", "Symmetric error of the norm, n_sigma wide.", sigma="n_sigma"),
    OutputMap(
        "npred",
        "Predicted counts inside the kernel window, background and fitted source.",
        symbol="predicted counts",
    ),
    OutputMap(
        "npred_excess",
        "Predicted counts of the fitted source inside the kernel window.",
        symbol="predicted excess counts",
    ),
    OutputMap("stat", "Fit statistic at the best fit.", symbol="fit statistic"),
    OutputMap(
        "stat_null", "Fit statistic without the source.", symbol="fit statistic without source"
    ),
    OutputMap("success", "True where the fit converged.", dtype="bool"),
    OutputMap(
        "dnde_scan_values",
        "Differential fluxes at which the statistic was scanned.",
        FLUXES["dnde"][0],
        option="stat_scan",
        sources=("stat_scan",),
        symbol="$dN/dE$ of the scan",
    ),
    OutputMap(
        "stat_scan",
        "Fit statistic along a scan of the norm, minus the statistic without the source.",
        option="stat_scan",
        symbol=r"$C(x) - C(0)$",
    ),
    OutputMap(
        "norm_errp",
        "Error of the norm upwards, n_sigma wide.",
        option="errn-errp",
        sigma="n_sigma",
    ),
    OutputMap(
        "norm_errn",
        "Error of the norm downwards, n_sigma wide; it ends at the physical bound.",
        option="errn-errp",
        sigma="n_sigma",
    ),
    OutputMap(
        "norm_ul", "Upper limit of the norm, at n_sigma_ul.", option="ul", sigma="n_sigma_ul"
    ),
    OutputMap(
        "norm_sensitivity",
        "Norm detectable above the background at n_sigma_sensitivity.",
        option="sensitivity",
        sigma="n_sigma_sensitivity",
    ),
    OutputMap(
        "background_norm",
        "Best fit of the norm of the background.",
        free="background",
        symbol="background norm",
    ),
    OutputMap(
        "background_norm_err",
        "Error of the norm of the background, n_sigma wide.",
        free="background",
        symbol="error of the background norm",
        sigma="n_sigma",
    ),
    OutputMap(
        "background_norm_pull",
        "Norm of the background minus 1, over its uncertainty if that is given, or its error.",
        free="background",
        symbol="pull of the background norm",
    ),
    OutputMap(
        "background_norm_corr",
        "Correlation of the norms of source and background.",
        free="background",
        symbol="correlation of norm and background norm",
    ),
    OutputMap(
        "index",
        "Best fit of the spectral index; NaN where it is not determined.",
        free="index",
        symbol="spectral index",
    ),
    OutputMap(
        "index_err",
        "Symmetric error of the index, n_sigma wide.",
        free="index",
        sigma="n_sigma",
        symbol="error of the index",
    ),
    OutputMap(
        "norm_index_corr",
        "Correlation of norm and index.",
        free="index",
        symbol="correlation of norm and index",
    ),
    OutputMap(
        "ts_index",
        "Part of the test statistic that the fit of the index adds to that at the fixed index.",
        free="index",
        symbol="TS of the index",
    ),
    OutputMap(
        "status",
        "Code of how the fit ended; `FluxMaps.status_table` has a sentence for each.",
        dtype="int8",
        listed=False,
    ),
    OutputMap(
        "hypothesis",
        "Index (from 0) of the model with the largest test statistic; -1 where none was fitted.",
        dtype="int16",
        symbol="best model",
        listed=False,
    ),
)

STORED: tuple[str, ...] = tuple(q.name for q in _STORED)
"""Names of the maps an estimator returns, in the order they are printed and written in."""


_SYMBOLS = {"dnde": "$dN/dE$", "e2dnde": "$E^2\\,dN/dE$", "flux": "flux", "eflux": "energy flux"}
_WORDS = {
    "norm": ("", ""),
    "norm_err": ("Symmetric error of the ", " error"),
    "norm_errp": ("Error upwards of the ", " error upwards"),
    "norm_errn": ("Error downwards of the ", " error downwards"),
    "norm_ul": ("Upper limit of the ", " upper limit"),
    "norm_sensitivity": ("Sensitivity as ", " sensitivity"),
}


def _conversion(flux: str, norm: OutputMap) -> OutputMap:
    """Return the entry of a flux that a norm-like map is converted to."""
    unit, meaning = FLUXES[flux]
    words, symbol = _WORDS[norm.name]
    text = words + meaning + "."
    return replace(
        norm,
        name=norm.name.replace("norm", flux),
        meaning=text[0].upper() + text[1:],
        unit=unit,
        sources=(norm.name,),
        reference=flux,
        symbol=_SYMBOLS[flux] + symbol,
    )


_DERIVED = (
    OutputMap(
        "sqrt_ts",
        "Significance: square root of the test statistic, with the sign of norm.",
        sources=("ts",),
        symbol=r"significance $\sqrt{\mathrm{TS}}$",
    ),
    OutputMap(
        "is_ul",
        "True where the flux is a limit: the significance is below "
        "sqrt_ts_threshold_ul, or there is no norm if limits were not computed.",
        dtype="bool",
        sources=("norm",),
    ),
    OutputMap(
        "npred_background",
        "Predicted counts of the background inside the kernel window.",
        sources=("npred", "npred_excess"),
        symbol="predicted background counts",
    ),
    *(_conversion(flux, norm) for flux in FLUXES for norm in _STORED if norm.is_norm),
)

QUANTITIES: MappingProxyType[str, OutputMap] = MappingProxyType(
    {q.name: q for q in (*_STORED, *_DERIVED)}
)
"""Every map by its name: first the stored ones, then those derived from them."""


class MissingQuantityError(KeyError, AttributeError):
    """A map was asked for that was not computed, or that does not exist."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""
