"""Estimators: maps in, maps out. The maths of ``estimators/ts_map`` is in ``core/ts_map``."""
