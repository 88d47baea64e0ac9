"""Maps: data on a geometry with a unit, and operations on them."""

from gammagrad.maps.map.cut_to import cut_to
from gammagrad.maps.map.disc_sum import disc_sum
from gammagrad.maps.map.map import Map
from gammagrad.maps.map.maxima import local_maxima, sky_maxima
from gammagrad.maps.map.rebin import block_sum, repeat_blocks, zoom_bilinear

__all__ = [
    "Map",
    "block_sum",
    "cut_to",
    "disc_sum",
    "local_maxima",
    "repeat_blocks",
    "sky_maxima",
    "zoom_bilinear",
]
