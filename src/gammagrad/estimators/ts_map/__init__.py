"""The TS map estimator: datasets in, flux maps out."""

from gammagrad.estimators.ts_map.collect import Collector
from gammagrad.estimators.ts_map.estimator import TSMapEstimator

__all__ = ["Collector", "TSMapEstimator"]
