"""A source folded with the instrument: flux, PSF, exposure and energy dispersion to counts."""

from gammagrad.core.fold.fold import (
    FoldInputs,
    apply_edisp,
    fold,
    fold_bounded,
    fold_model,
    prepare_psf,
)
from gammagrad.core.fold.gaussian_responses import broaden_psf, gaussian_edisp, gaussian_psf
from gammagrad.core.fold.place import PointKernel, add_window, cut_window

__all__ = [
    "FoldInputs",
    "PointKernel",
    "add_window",
    "apply_edisp",
    "broaden_psf",
    "cut_window",
    "fold",
    "fold_bounded",
    "fold_model",
    "gaussian_edisp",
    "gaussian_psf",
    "prepare_psf",
]
