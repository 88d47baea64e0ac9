"""The fit of models to datasets: parameters, errors and results."""

from gammagrad.fitting.fit import fit
from gammagrad.fitting.refine import refine_peaks
from gammagrad.fitting.result import FitResult

__all__ = ["FitResult", "fit", "refine_peaks"]
