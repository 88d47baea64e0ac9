"""Point spread functions in FITS files: a table of Fermi-LAT's tools, or a map."""

from __future__ import annotations

import numpy as np
from astropy import units as u
from astropy.io import fits

from gammagrad.errors import InputError
from gammagrad.io.fits_file import hdu_names, read_hdus
from gammagrad.io.map_fits import map_from_hdus
from gammagrad.io.paths import Filename
from gammagrad.io.reading import reads_file
from gammagrad.maps import Map, MapAxis, PSFMap, RegionGeom


@reads_file
def read_psf(filename: Filename, checksum: bool = True) -> PSFMap:
    """Read a point spread function."""
    hdus = read_hdus(filename, checksum)
    if "PSF" in hdus and "THETA" in hdus:
        return _from_gtpsf(hdus)
    if "PSF" in hdus and "PSF_BANDS" in hdus:
        exposure = map_from_hdus(hdus, "PSF_EXPOSURE") if "PSF_EXPOSURE" in hdus else None
        return PSFMap(map_from_hdus(hdus, "PSF"), exposure)
    raise InputError(
        f"no point spread function; expected HDUs PSF and THETA (gtpsf) or PSF and "
        f"PSF_BANDS (a PSF map), and found {hdu_names(hdus)}."
    )


def _column(hdu: fits.BinTableHDU, name: str, unit: str) -> u.Quantity:
    # gtpsf writes no units; its documentation defines them
    given = hdu.columns[name].unit or unit
    return u.Quantity(np.array(hdu.data[name], dtype=float), given).to(unit)


def _from_gtpsf(hdus: fits.HDUList) -> PSFMap:
    table, theta = hdus["PSF"], hdus["THETA"]
    for hdu, wanted in ((table, ("Energy", "Psf")), (theta, ("Theta",))):
        if not isinstance(hdu, fits.BinTableHDU) or hdu.data is None:
            raise InputError(f"HDU {hdu.name!r}: expected a table, as gtpsf writes it.")
        missing = {name.lower() for name in wanted} - {name.lower() for name in hdu.columns.names}
        if missing:
            raise InputError(
                f"extension {hdu.name}: no column {', '.join(sorted(missing))}; "
                f"there are {', '.join(hdu.columns.names)}."
            )
    rad = MapAxis.from_nodes(_column(theta, "Theta", "deg"), name="rad")
    energy = MapAxis.from_nodes(_column(table, "Energy", "MeV"), name="energy_true", interp="log")
    values = _column(table, "Psf", "sr-1").value[:, :, None, None]
    psf_map = Map(RegionGeom([rad, energy]), values, unit="sr-1")
    exposure_map = None
    if "exposure" in (name.lower() for name in table.columns.names):
        geom = RegionGeom([rad.squash(), energy])
        exposure = _column(table, "Exposure", "cm2 s").value[:, None, None, None]
        exposure_map = Map(geom, exposure, unit="cm2 s")
    return PSFMap(psf_map, exposure_map)
