"""Products of Fermi-LAT's tools in FITS: which file has what, and what each must have."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from os import fspath
from typing import Any, NamedTuple

from astropy.io import fits
from astropy.table import Table

from gammagrad.errors import FileMissingError, InputError
from gammagrad.io.fits_file import card_text, hdu_names, read_hdus
from gammagrad.io.map_dataset import read_table
from gammagrad.io.map_fits import map_from_hdus
from gammagrad.io.paths import Filename, expand_path
from gammagrad.io.reading import reads_file
from gammagrad.maps import Map

_TOOLS = {
    "counts": ("EBOUNDS", "a cube of counts, as gtbin makes it with algorithm=CCUBE"),
    "exposure": ("ENERGIES", "an exposure cube, as gtexpcube2 makes it"),
    "background": ("EBOUNDS", "a cube of predicted counts, as gtmodel makes it with outtype=CCUBE"),
}

_NAMES = {
    "ccube": ("ccube",),
    "bexpmap": ("bexpmap_roi", "bexpmap", "expcube"),
    "model": ("mcube",),
    "psf": ("gtpsf", "psf"),
    "mask": ("mask",),
}
"""How the files of a folder begin, the best first; as fermipy calls them."""


class FermiCubes(NamedTuple):
    """The cubes of one observation, and its times."""

    counts: Map
    exposure: Map
    background: Map | None
    gti: Table | None


def read_fermi_cubes(
    ccube: Filename, bexpmap: Filename, model: Filename | None, checksum: bool = True
) -> FermiCubes:
    """Read counts, exposure and predicted counts of the tools."""
    hdus = _read(ccube, "counts", checksum)
    counts = _map(ccube, hdus)
    gti = read_table(hdus["GTI"]) if "GTI" in hdus else None
    exposure = _map(bexpmap, _read(bexpmap, "exposure", checksum))
    if model is None:
        return FermiCubes(counts, exposure, None, gti)
    return FermiCubes(
        counts, exposure, _map(model, _read(model, "background", checksum, hdus)), gti
    )


@reads_file
def _read(
    filename: Filename, part: str, checksum: bool, counts: fits.HDUList | None = None
) -> fits.HDUList:
    """Read one of the cubes, and check that it is what it is taken for."""
    hdus = read_hdus(filename, checksum)
    for hdu in hdus:
        if card_text(hdu.header, "PIXTYPE").upper() == "HEALPIX":
            raise InputError(
                f"a HEALPix product (HDU {hdu.name!r}), which cannot be read; make it in a WCS "
                "projection: gtbin with algorithm=CCUBE, gtexpcube2 with proj=CAR."
            )
    table, what = _TOOLS[part]
    if part == "background" and (sources := _source_maps(hdus)):
        raise InputError(
            f"maps of sources ({', '.join(sources[:3])}), as gtsrcmaps makes them; expected "
            f"{what}. The first HDU here has the counts that were observed."
        )
    image = hdus[0].data
    if image is None or image.ndim != 3:
        shape = "no image" if image is None else f"an image of {image.ndim} axes"
        raise InputError(f"{shape} in the first HDU; expected {what}, in a WCS projection.")
    if table in hdus:
        return hdus
    if counts is not None and len(counts["EBOUNDS"].data) == len(image):
        return fits.HDUList([hdus[0], counts["EBOUNDS"]])  # some versions leave it out
    raise InputError(f"no table {table}; expected {what}. There are: {hdu_names(hdus)}.")


@reads_file
def _map(filename: Filename, hdus: fits.HDUList) -> Map:
    """Return the map of the first HDU, which `filename` is named for."""
    return map_from_hdus(hdus, 0)


def _source_maps(hdus: Iterable[Any]) -> list[str]:
    return [h.name for h in hdus if isinstance(h, fits.ImageHDU) and h.header["NAXIS"] == 3]


class FermiFiles(NamedTuple):
    """The files of one component of an analysis: the arguments of `MapDataset.from_fermi`."""

    name: str
    files: dict[str, Any]


def find_fermi_files(folder: Filename) -> list[FermiFiles]:
    """Return the products in a folder, by their names: for each component of the analysis."""
    path = expand_path(folder)
    if not path.is_dir():
        raise FileMissingError(f"no folder {fspath(folder)!r}; expected one of Fermi-LAT's cubes.")
    names = sorted(file.name for file in path.iterdir() if file.is_file())
    components = sorted(_matching(names, "ccube"), key=len)
    # ccube.fits is the sum of the components, where these are there
    numbered = [component for component in components if component] or components
    if not numbered:
        raise FileMissingError(
            f"{fspath(folder)!r} has no ccube.fits or ccube_00.fits; expected the cubes of "
            "Fermi-LAT's tools with the names that fermipy gives them."
        )
    found = []
    for component in numbered:
        files = {}
        for part in _NAMES:
            # without a number counts and predictions are sums over the components
            shared = part in ("psf", "mask") or len(numbered) == 1
            if name := _one(names, part, (component, "") if shared else (component,), folder):
                files[part] = path / name
        found.append(FermiFiles(f"{path.resolve().name}{component}", files))
    return found


def _one(names: list[str], part: str, ends: Sequence[str], folder: Filename) -> str | None:
    """Return the file of a part, with the first of some numbers of a component that there is."""
    for end, start in itertools.product(ends, _NAMES[part]):
        files = _matching(names, start).get(end, [])
        if len(files) > 1:
            raise InputError(
                f"{fspath(folder)!r} has {' and '.join(files)}; expected one of them. Move the "
                "others away, or name each file: --counts, --exposure, --background, --psf."
            )
        if files:
            return files[0]
    if part == "mask":
        return None
    starts = " or ".join(f"{start}{ends[0]}.fits" for start in _NAMES[part])
    raise FileMissingError(
        f"{fspath(folder)!r} has no {starts}; make it with {_MAKERS[part]}, or name each file: "
        "--counts, --exposure, --background, --psf."
    )


_MAKERS = {
    "ccube": "gtbin",
    "bexpmap": "gtexpcube2",
    "model": "gtmodel, or write_model_map of fermipy",
    "psf": "gtpsf",
}


def _matching(names: Iterable[str], start: str) -> dict[str, list[str]]:
    """Return the files that begin with a word, by the number of their component."""
    pattern = re.compile(rf"{start}(?:_(?!roi)\w*?)??(_\d\d)?\.(?:fits|fit)(?:\.gz)?")
    found: dict[str, list[str]] = {}
    for name in names:
        if match := pattern.fullmatch(name):
            found.setdefault(match[1] or "", []).append(name)
    return found
