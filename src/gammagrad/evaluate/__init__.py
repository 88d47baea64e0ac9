"""Predicted counts of sky models, and kernels and exposures of source searches."""

from gammagrad.evaluate.containment import group_containment, has_total
from gammagrad.evaluate.kernel import KernelEstimate, estimate_kernel, with_shape
from gammagrad.evaluate.kernel_basis import (
    KernelBasis,
    kernel_basis,
    one_kernel_error,
    shifted_kernels,
)
from gammagrad.evaluate.kernel_field import KernelField, Positions, Rows, single_rows
from gammagrad.evaluate.local_responses import energies_without_psf, finite, is_compact
from gammagrad.evaluate.predict import (
    evaluate_npred,
    flux_of_reference,
    norm_weights,
    reco_exposure,
    source_flux,
    template_totals,
)
from gammagrad.evaluate.reference import reference_model
from gammagrad.evaluate.sampling import SAMPLINGS, check_sampling
from gammagrad.evaluate.source_response import SourceResponse, source_response
from gammagrad.evaluate.source_window import SourceWindow, source_window
from gammagrad.evaluate.window import CUTOUT_MARGIN, Window, prepare
from gammagrad.evaluate.window_group import WindowGroup, group_windows

__all__ = [
    "CUTOUT_MARGIN",
    "SAMPLINGS",
    "KernelBasis",
    "KernelEstimate",
    "KernelField",
    "Positions",
    "Rows",
    "SourceResponse",
    "SourceWindow",
    "Window",
    "WindowGroup",
    "check_sampling",
    "energies_without_psf",
    "estimate_kernel",
    "evaluate_npred",
    "finite",
    "flux_of_reference",
    "group_containment",
    "group_windows",
    "has_total",
    "is_compact",
    "kernel_basis",
    "norm_weights",
    "one_kernel_error",
    "prepare",
    "reco_exposure",
    "reference_model",
    "shifted_kernels",
    "single_rows",
    "source_flux",
    "source_response",
    "source_window",
    "template_totals",
    "with_shape",
]
