"""Simulated products of Fermi-LAT's tools, with the HDUs, columns and cards that they write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray
from scipy.special import erf

Floats = NDArray[np.float64]

NPIX, BINSZ = 40, 0.1
EDGES = np.geomspace(1e3, 1e5, 5)  # MeV
SIGMA = 0.2  # deg, of the point spread function
EXPOSURE = 1e11  # cm2 s
FLUX = 1e-8  # of the source in the middle, cm-2 s-1 between the edges, with index 2
BACKGROUND = 0.5  # counts of each bin and pixel
TIMES = {
    "TELESCOP": "GLAST",
    "INSTRUME": "LAT",
    "TIMESYS": "TT",
    "TIMEREF": "LOCAL",
    "TIMEUNIT": "s",
    "MJDREFI": 51910,
    "MJDREFF": 7.428703703703703e-4,
    "TIMEZERO": 0.0,
    "DATE-OBS": "2008-08-04T15:43:36",
    "DATE-END": "2009-08-04T15:43:36",
}


def _image(data: NDArray[Any], lon: float, lat: float, binsz: float, proj: str) -> fits.PrimaryHDU:
    hdu = fits.PrimaryHDU(data)
    ny, nx = data.shape[-2:]
    for i, (name, n, value, step) in enumerate(
        (("GLON", nx, lon, -binsz), ("GLAT", ny, lat, binsz)), start=1
    ):
        hdu.header[f"CTYPE{i}"] = f"{name}-{proj}"
        hdu.header[f"CRPIX{i}"] = (n + 1) / 2
        hdu.header[f"CRVAL{i}"] = value
        hdu.header[f"CDELT{i}"] = step
        hdu.header[f"CUNIT{i}"] = "deg"
    hdu.header["CROTA2"] = 0.0
    hdu.header.update(TIMES)
    return hdu


def _ebounds() -> fits.BinTableHDU:
    """Return the energies as gtbin writes them: in keV, the unit in the header."""
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(1, len(EDGES))),
        fits.Column("E_MIN", "1E", unit="keV", array=1e3 * EDGES[:-1]),
        fits.Column("E_MAX", "1E", unit="keV", array=1e3 * EDGES[1:]),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="EBOUNDS")
    hdu.header.update({**TIMES, "CHANTYPE": "PI", "HDUCLASS": "OGIP", "HDUCLAS1": "RESPONSE"})
    return hdu


def _gti() -> fits.BinTableHDU:
    columns = [
        fits.Column("START", "D", unit="s", array=[239557417.0, 239563000.0]),
        fits.Column("STOP", "D", unit="s", array=[239562000.0, 239569000.0]),
    ]
    hdu = fits.BinTableHDU.from_columns(columns, name="GTI")
    hdu.header.update({**TIMES, "ONTIME": 10583.0})
    return hdu


def expected_source() -> Floats:
    """Return the counts of the source: a Gaussian integrated over flat pixels."""
    edges = (np.arange(NPIX + 1) - NPIX / 2) * BINSZ
    profile = 0.5 * np.diff(erf(edges / (np.sqrt(2) * SIGMA)))
    parts = np.diff(-1 / EDGES) / (1 / EDGES[0] - 1 / EDGES[-1])
    return EXPOSURE * FLUX * parts[:, None, None] * profile[:, None] * profile


def counts_cube(seed: int, **cards: Any) -> fits.HDUList:
    """Return what gtbin writes with algorithm=CCUBE."""
    counts = np.random.default_rng(seed).poisson(BACKGROUND + expected_source()).astype(np.int32)
    hdu = _image(counts, 0.0, 0.0, BINSZ, "CAR")
    third = {"CTYPE3": "Energy", "CRPIX3": 1, "CRVAL3": EDGES[0], "CDELT3": EDGES[1] - EDGES[0]}
    hdu.header.update({**third, "CUNIT3": "MeV", "CREATOR": "gtbin", "NDSKEYS": 0, **cards})
    return fits.HDUList([hdu, _ebounds(), _gti()])


def model_cube() -> fits.HDUList:
    """Return what gtmodel writes with outtype=CCUBE, for the background."""
    data = np.full((len(EDGES) - 1, NPIX, NPIX), BACKGROUND, dtype=np.float32)
    return fits.HDUList([_image(data, 0.0, 0.0, BINSZ, "CAR"), _ebounds(), _gti()])


def exposure_cube(all_sky: bool = False) -> fits.HDUList:
    """Return what gtexpcube2 writes: at energies, without a unit, with log_Energy as third axis."""
    energies = EDGES
    shape, binsz = ((180, 360), 1.0) if all_sky else ((NPIX, NPIX), BINSZ)
    data = np.full((len(energies), *shape), EXPOSURE, dtype=np.float32)
    hdu = _image(data, 0.0, 0.0, binsz, "CAR")
    del hdu.header["CUNIT1"], hdu.header["CUNIT2"], hdu.header["CROTA2"]
    step = float(np.log(energies[1] / energies[0]))
    third = {"CRVAL3": float(np.log(energies[0])), "CRPIX3": 1, "CDELT3": step}
    hdu.header.update({**third, "CTYPE3": "log_Energy"})
    table = fits.BinTableHDU.from_columns(
        [fits.Column("Energy", "1D", array=energies)], name="ENERGIES"
    )
    return fits.HDUList([hdu, table, _gti()])


def psf_table() -> fits.HDUList:
    """Return what gtpsf writes, without units: offsets in deg, energies in MeV, per sr."""
    energies, theta = np.geomspace(500, 2e5, 9), np.linspace(0, 2, 201)
    density = np.exp(-0.5 * (theta / SIGMA) ** 2) / (2 * np.pi * np.deg2rad(SIGMA) ** 2)
    columns = [
        fits.Column("Energy", "1D", array=energies),
        fits.Column("Exposure", "1D", array=np.full(9, EXPOSURE)),
        fits.Column("Psf", "201D", array=np.tile(density, (9, 1))),
    ]
    psf = fits.BinTableHDU.from_columns(columns, name="PSF")
    rad = fits.BinTableHDU.from_columns([fits.Column("Theta", "1D", array=theta)], name="THETA")
    return fits.HDUList([fits.PrimaryHDU(), psf, rad])


def write_analysis(
    folder: Path,
    components: tuple[str, ...] = ("",),
    names: tuple[str, str] = ("bexpmap_roi", "mcube_fit1"),
) -> Path:
    """Write a folder as fermipy leaves it, with the names of exposure and background."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, end in enumerate(components):
        counts_cube(seed).writeto(folder / f"ccube{end}.fits", checksum=True)
        if names[0] != "bexpmap":
            exposure_cube().writeto(folder / f"{names[0]}{end}.fits")
        exposure_cube(all_sky=True).writeto(folder / f"bexpmap{end}.fits")
        model_cube().writeto(folder / f"{names[1]}{end}.fits")
        psf_table().writeto(folder / f"gtpsf{end}.fits")
    return folder
