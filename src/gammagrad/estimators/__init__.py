"""Estimators: maps in, maps out. The maths of ``estimators/x.py`` is in ``core/x.py``."""
