"""Axes that are not on the sky, such as energy."""

from gammagrad.maps.axes.axes import MapAxes
from gammagrad.maps.axes.axis import MapAxis
from gammagrad.maps.axes.nodes import check_factor

__all__ = ["MapAxes", "MapAxis", "check_factor"]
