"""The geometry of a map: coordinates, pixels and their shapes on the sky."""

from gammagrad.maps.geom.around import disc_around, fine_areas, grid_around, is_centred
from gammagrad.maps.geom.base import Geom, RegionGeom
from gammagrad.maps.geom.coordinates import angle_pair
from gammagrad.maps.geom.cutting import row_col_pair, sides
from gammagrad.maps.geom.derivative import PixelShape, pixel_matrices
from gammagrad.maps.geom.discs import disc_kernel
from gammagrad.maps.geom.kept import kept
from gammagrad.maps.geom.part_of import misalignment, rows_and_columns
from gammagrad.maps.geom.pixels import (
    common_place,
    middle,
    middle_shape,
    nearest_place,
    odd_shape,
    on_sky,
    pixel_shape,
    reach,
)
from gammagrad.maps.geom.sphere import angular_distance, quadrilateral_areas, unit_vectors
from gammagrad.maps.geom.uneven import SolidAngleWarning, warn_if_uneven
from gammagrad.maps.geom.wcs_geom import WcsGeom

__all__ = [
    "Geom",
    "PixelShape",
    "RegionGeom",
    "SolidAngleWarning",
    "WcsGeom",
    "angle_pair",
    "angular_distance",
    "common_place",
    "disc_around",
    "disc_kernel",
    "fine_areas",
    "grid_around",
    "is_centred",
    "kept",
    "middle",
    "middle_shape",
    "misalignment",
    "nearest_place",
    "odd_shape",
    "on_sky",
    "pixel_matrices",
    "pixel_shape",
    "quadrilateral_areas",
    "reach",
    "row_col_pair",
    "rows_and_columns",
    "sides",
    "unit_vectors",
    "warn_if_uneven",
]
