"""Maps of the sky with their geometry and units, on the host."""

from gammagrad.maps.axes import MapAxes, MapAxis
from gammagrad.maps.geom import Geom, RegionGeom, WcsGeom
from gammagrad.maps.map import Map
from gammagrad.maps.uneven import SolidAngleWarning, warn_if_uneven

__all__ = [
    "Geom",
    "Map",
    "MapAxes",
    "MapAxis",
    "RegionGeom",
    "SolidAngleWarning",
    "WcsGeom",
    "warn_if_uneven",
]
