"""Makers where gammapy's scripts look for them: the ring background."""

from gammagrad.estimators.ring_background import RingBackgroundMaker

__all__ = ["RingBackgroundMaker"]
