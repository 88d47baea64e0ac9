"""The background estimator: counts in, background and exclusion mask out."""

from gammagrad.estimators.kernel_background.estimator import KernelBackgroundEstimator
from gammagrad.estimators.kernel_background.loop import BackgroundReport
from gammagrad.estimators.kernel_background.settings import SourceKernelWarning

__all__ = ["BackgroundReport", "KernelBackgroundEstimator", "SourceKernelWarning"]
