"""The TS map estimator: datasets in, flux maps out."""

from gammagrad.estimators.ts_map.estimator import TSMapEstimator
from gammagrad.estimators.ts_map.settings import CONFIG_PARAMETERS, check_settings

__all__ = ["CONFIG_PARAMETERS", "TSMapEstimator", "check_settings"]
