"""Reading and writing of files."""

from gammagrad.io.map_fits import read_map, write_map

__all__ = ["read_map", "write_map"]
