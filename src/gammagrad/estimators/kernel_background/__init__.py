"""The background estimator: counts in, background and exclusion mask out."""

from gammagrad.estimators.kernel_background.checks import SourceKernelWarning
from gammagrad.estimators.kernel_background.estimator import KernelBackgroundEstimator
from gammagrad.estimators.kernel_background.report import BackgroundReport

__all__ = ["BackgroundReport", "KernelBackgroundEstimator", "SourceKernelWarning"]
