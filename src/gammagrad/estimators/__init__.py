"""Estimators: maps in, maps out. The maths of ``estimators/ts_map`` is in ``core/ts_map``."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gammagrad.estimators.kernel_background import KernelBackgroundEstimator
    from gammagrad.estimators.ts_map import TSMapEstimator
    from gammagrad.flux_maps import FluxMaps

__all__ = ["FluxMaps", "KernelBackgroundEstimator", "TSMapEstimator"]


def __getattr__(name: str) -> Any:
    """Import an estimator, or its result, on its first use."""
    # each imports this package first, so that it cannot import them at once
    if name == "TSMapEstimator":
        from gammagrad.estimators.ts_map import TSMapEstimator

        return TSMapEstimator
    if name == "KernelBackgroundEstimator":
        from gammagrad.estimators.kernel_background import KernelBackgroundEstimator

        return KernelBackgroundEstimator
    if name == "FluxMaps":
        from gammagrad.flux_maps import FluxMaps

        return FluxMaps
    raise AttributeError(f"module 'gammagrad.estimators' has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, those not imported yet included."""
    return sorted({*globals(), *__all__})
