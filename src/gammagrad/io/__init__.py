"""Reading and writing files."""

from gammagrad.io.atomic import Content, write_files
from gammagrad.io.dataset_list import (
    dataset_filename,
    is_yaml,
    one_dataset,
    read_dataset_list,
)
from gammagrad.io.ds9 import import_regions, parse_ds9, read_ds9, write_ds9_polygons
from gammagrad.io.fermi_fits import find_fermi_files, read_fermi_cubes
from gammagrad.io.fits_file import file_sha256, hdu_names, read_hdus, write_hdus
from gammagrad.io.flux_maps import model_filename, read_flux_maps, write_flux_maps
from gammagrad.io.hypothesis_maps import Hypothesis, read_hypotheses, write_hypotheses
from gammagrad.io.map_dataset import (
    dataset_content,
    read_map_dataset,
    read_table,
    table_to_hdu,
    write_map_dataset,
)
from gammagrad.io.map_fits import map_to_hdus, read_map, write_map
from gammagrad.io.paths import existing_file, expand_path, path_in_file, stem
from gammagrad.io.peak_tables import read_peaks, write_peaks
from gammagrad.io.plain_fits import read_plain
from gammagrad.io.psf_fits import read_psf
from gammagrad.io.reading import reading, reads_file
from gammagrad.io.source_tables import TABLE_SUFFIXES, read_source_table
from gammagrad.io.yaml_file import read_yaml, write_yaml, yaml_content

__all__ = [
    "TABLE_SUFFIXES",
    "Content",
    "Hypothesis",
    "dataset_content",
    "dataset_filename",
    "existing_file",
    "expand_path",
    "file_sha256",
    "find_fermi_files",
    "hdu_names",
    "import_regions",
    "is_yaml",
    "map_to_hdus",
    "model_filename",
    "one_dataset",
    "parse_ds9",
    "path_in_file",
    "read_dataset_list",
    "read_ds9",
    "read_fermi_cubes",
    "read_flux_maps",
    "read_hdus",
    "read_hypotheses",
    "read_map",
    "read_map_dataset",
    "read_peaks",
    "read_plain",
    "read_psf",
    "read_source_table",
    "read_table",
    "read_yaml",
    "reading",
    "reads_file",
    "stem",
    "table_to_hdu",
    "write_ds9_polygons",
    "write_files",
    "write_flux_maps",
    "write_hdus",
    "write_hypotheses",
    "write_map",
    "write_map_dataset",
    "write_peaks",
    "write_yaml",
    "yaml_content",
]
