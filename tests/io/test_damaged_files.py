"""Files that are damaged, cut off or edited: an error that names what is wrong, in little time."""

from __future__ import annotations

import gzip
import re
import time
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from datasets import make_dataset
from gammagrad import FluxMaps, MapDataset
from gammagrad.errors import FileContentError, GammagradError, InputWarning
from gammagrad.io import read_hdus, write_hdus
from gammagrad.io.fits_blocks import check_sums, read_blocks
from gammagrad.maps import EDispKernelMap, Map, MapAxis, RegionGeom
from gammagrad.models import PowerLawSpectralModel, SkyModel


@pytest.fixture
def dataset() -> MapDataset:
    made = make_dataset(npix=(7, 5), mask=True, name="whole")
    axis = made.energy_axis
    made.edisp = EDispKernelMap.from_diagonal(axis.rename("energy_true"), axis)
    return made


@pytest.fixture
def path(dataset: MapDataset, tmp_path: Path) -> Path:
    dataset.write(tmp_path / "d.fits")
    return tmp_path / "d.fits"


def edited(path: Path, hdu: str, old: bytes, new: bytes) -> Path:
    """Change bytes of the header of an HDU, as no program does."""
    content = path.read_bytes()
    start = content.index(f"EXTNAME = '{hdu.ljust(8)}'".encode())
    start = content.rindex(b"XTENSION", 0, start)
    at = content.index(old, start)
    path.write_bytes(content[:at] + new + content[at + len(old) :])
    return path


def test_a_file_may_be_cut_off_anywhere(path: Path) -> None:
    """The issue's instance: within a header that HDU and all that follow were dropped."""
    content = path.read_bytes()
    last = len(content) - 2880  # where the data of the last HDU begin, which fit into a block
    for stop in (*range(0, last + 1, 1440), last + 50):
        path.write_bytes(content[:stop])
        # between two extensions nothing tells it from a file of which some were removed
        with pytest.raises((FileContentError, InputWarning), match=r"d\.fits: .*(cut off|empty)"):
            MapDataset.read(path)


def test_a_file_whose_last_block_is_not_filled_up_is_whole(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])
    assert MapDataset.read(path).psf is not None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            b"NAXIS2  =                    5",
            b"NAXIS2  =                  INF",
            "NAXIS2= INF. cannot",
        ),
        (b"NAXIS2  =                    5", b"NAXIS2  =                  -32", "NAXIS2 is '-32'"),
        (b"NAXIS3  =                    3", b"NAXIS3  =           1000000000", "declares"),
        (b"BITPIX  =", b"BITPIY  =", "no BITPIX"),
        (b"BITPIX  =                  -64", b"BITPIX  =                   13", "BITPIX is 13"),
        (b"NAXIS1  =", b"NAXIZ1  =", "no NAXIS1"),
        (b"XTENSION= 'IMAGE   '", b"XTENSION= 'IMAGF   '", "XTENSION is 'IMAGF'"),
        (b"END     ", b"ENDE    ", "its card 'ENDE' has no value"),
        (b"CRVAL1  =  ", b"CRVAL1  ='a", "CRVAL1 .*has no value"),
        (b"CRVAL1  =  ", b"CRVAL1  <  ", "CRVAL1 .*has no value"),
        (b"CRVAL1  =  ", b"CRVAL1  = '", "CRVAL1.*cannot be read"),
        (b"AXCOLS1 = 'ENER", b"AXCOLS1 = 12 / ", "AXCOLS1 is '12'"),
        (b"INTERP1 = 'log     '", b"INTERP1 = 'lug     '", "interp is 'lug'"),
    ],
)
def test_a_header_that_cannot_be_parsed_is_an_error(
    path: Path, old: bytes, new: bytes, message: str
) -> None:
    hdu = "EXPOSURE_BANDS" if old.startswith((b"AXCOLS", b"INTERP")) else "EXPOSURE"
    with pytest.raises(FileContentError, match=rf"d\.fits: .*({message})"):
        MapDataset.read(edited(path, hdu, old, new))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"TFIELDS =                    4", b"TFIELDS =           1000000000", "TFIELDS is 10"),
        (b"TFORM1  = 'K       '", b"TFORM1  = '99999K  '", "columns take .* bytes a row"),
        (b"TFORM1  = 'K       '", b"TFORM1  =          7", "TFORM1 is '7'"),
        (b"TTYPE1  = 'CHANNEL '", b"TTYPE1  =          7", "TTYPE1 is '7'"),
        (b"PCOUNT  =", b"PCOUNU  =", "no PCOUNT"),
        (b"NAXIS1  =                   32", b"NAXIS1  =                   31", "columns take 32"),
    ],
)
def test_a_table_that_cannot_be_parsed_is_an_error(
    path: Path, old: bytes, new: bytes, message: str
) -> None:
    start = time.perf_counter()
    with pytest.raises(FileContentError, match=rf"d\.fits: .*({message})"):
        MapDataset.read(edited(path, "COUNTS_BANDS", old, new))
    assert time.perf_counter() - start < 10


def test_a_table_of_bins_without_its_map_is_an_error(path: Path) -> None:
    with pytest.raises(FileContentError, match="a table 'PSF_BANDS' without its map 'PSF'"):
        MapDataset.read(edited(path, "PSF", b"'PSF     '", b"'PSG     '"))


def test_what_is_no_part_of_a_dataset_is_said(path: Path) -> None:
    with fits.open(path) as hdus:
        hdus.append(fits.ImageHDU(np.ones((2, 2)), name="OTHER"))
        hdus.writeto(path.with_name("e.fits"))
    with pytest.warns(InputWarning, match="OTHER: not a part of a map dataset"):
        MapDataset.read(path.with_name("e.fits"))


def test_an_energy_dispersion_without_a_psf_is_said(dataset: MapDataset, tmp_path: Path) -> None:
    dataset.psf = None
    dataset.write(tmp_path / "d.fits")
    with pytest.warns(InputWarning, match="no PSF. Sources are not blurred"):
        MapDataset.read(tmp_path / "d.fits")


def test_two_hdus_of_one_name_are_an_error(path: Path) -> None:
    with fits.open(path) as hdus:
        hdus.append(hdus["PSF"].copy())
        hdus.writeto(path.with_name("e.fits"))
    with pytest.raises(FileContentError, match="several HDUs 'PSF'"):
        MapDataset.read(path.with_name("e.fits"))


# ---------------------------------------------------------------- checksums


def test_the_sums_are_those_of_astropy(dataset: MapDataset, tmp_path: Path) -> None:
    dataset.write(tmp_path / "d.fits", checksum=True)
    content = (tmp_path / "d.fits").read_bytes()
    blocks = read_blocks(content, len(content), packed=False)
    assert check_sums(content, blocks) == ([], [])
    with fits.open(tmp_path / "d.fits", checksum=True) as hdus:
        for hdu, block in zip(hdus, blocks, strict=True):
            assert hdu.verify_datasum() == hdu.verify_checksum() == 1
            assert block.cards["DATASUM"].split("'")[1].strip() == hdu.header["DATASUM"]


def test_every_flipped_bit_of_the_data_is_noticed(dataset: MapDataset, tmp_path: Path) -> None:
    path = tmp_path / "d.fits"
    dataset.write(path, checksum=True)
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    blocks = read_blocks(content, len(content), packed=False)
    for block in blocks:
        for at in rng.integers(block.data, max(block.stop, block.data + 1), size=3):
            if block.stop == block.data:
                continue
            bit = bytes([content[at] ^ (1 << int(rng.integers(8)))])
            path.write_bytes(content[:at] + bit + content[at + 1 :])
            with pytest.raises(FileContentError, match=f"HDU '{block.label}' do not have the sum"):
                MapDataset.read(path)
            MapDataset.read(path, checksum=False) if block.label == "COUNTS" else None


def test_an_edited_header_is_a_warning(dataset: MapDataset, tmp_path: Path) -> None:
    path = tmp_path / "d.fits"
    dataset.write(path, checksum=True)
    edited(path, "COUNTS", b"BUNIT   = ''  ", b"BUNIT   = 'ct'")
    with pytest.warns(InputWarning, match="HDU 'COUNTS': the data have their checksum"):
        MapDataset.read(path)
    with pytest.warns(InputWarning, match="somebody edited it"):
        Map.read(path, "COUNTS")
    Map.read(path, "COUNTS", checksum=False)


def test_flux_maps_with_checksums(tmp_path: Path) -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    maps = FluxMaps({"norm": Map.create(npix=(4, 3), axes=[axis], data=2.0)}, None)
    maps.write(tmp_path / "m.fits", checksum=True)
    content = (tmp_path / "m.fits").read_bytes()
    at = content.index(np.array(2.0, ">f8").tobytes())
    (tmp_path / "m.fits").write_bytes(content[:at] + b"\x41" + content[at + 1 :])
    with pytest.raises(FileContentError, match="HDU 'NORM' do not have the sum"):
        FluxMaps.read(tmp_path / "m.fits")
    assert FluxMaps.read(tmp_path / "m.fits", checksum=False)["norm"].data[0, 0, 0] != 2


# ---------------------------------------------------------------- time and memory


def packed(path: Path, header: dict[str, object], more: int) -> Path:
    """Write a compressed image that is all zeros, so many bytes of it."""
    cards = [f"{name:8}= {value!s:>20}".ljust(80) for name, value in header.items()]
    text = "".join(cards) + "END".ljust(80)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(text.ljust(2880).encode())
        for _ in range(more // 2**24):
            file.write(bytes(2**24))
    return path


def test_a_small_file_does_not_unpack_to_gigabytes(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    header = {"SIMPLE": "T", "BITPIX": 8, "NAXIS": 2, "NAXIS1": 30000, "NAXIS2": 100000}
    path = packed(tmp_path / "big.fits.gz", header, 3 * 2**28)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(FileContentError, match=r"takes the file to 3000 MB, .*gunzip"):
        Map.read(path)
    assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kB


def test_nor_do_bytes_behind_the_last_hdu(tmp_path: Path) -> None:
    header = {"SIMPLE": "T", "BITPIX": 8, "NAXIS": 0}
    start = time.perf_counter()
    with pytest.raises(FileContentError, match="bytes outside any HDU"):
        Map.read(packed(tmp_path / "big.fits.gz", header, 2**28))
    assert time.perf_counter() - start < 10


def test_a_mask_that_packs_well_is_read(tmp_path: Path) -> None:
    mask = Map.create(npix=(1500, 1000), binsz=0.02, dtype=bool, data=np.ones((1000, 1500), bool))
    mask.write(tmp_path / "mask.fits.gz")
    assert (tmp_path / "mask.fits.gz").stat().st_size < 12_000_000 / 500
    assert Map.read(tmp_path / "mask.fits.gz").data.all()


def test_an_image_that_is_packed_within_may_not_be_larger_either(tmp_path: Path) -> None:
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(np.zeros((64, 64)))]).writeto(
        tmp_path / "c.fits"
    )
    assert read_hdus(tmp_path / "c.fits")[1].data.shape == (64, 64)
    content = (tmp_path / "c.fits").read_bytes()
    size = re.search(rb"ZNAXIS2 =                   64", content)
    assert size is not None
    new = b"ZNAXIS2 =            999999999"
    (tmp_path / "c.fits").write_bytes(content[: size.start()] + new + content[size.end() :])
    with pytest.raises(FileContentError, match="takes the file to"):
        read_hdus(tmp_path / "c.fits")


# ---------------------------------------------------------------- energies


def cube(order: slice, **cards: object) -> fits.HDUList:
    """Return counts 1, 10, 100 at 1-3, 3-10, 10-30 TeV, with EBOUNDS in some order."""
    geom = Map.create(npix=(4, 3), binsz=0.1).geom
    data = np.array([1.0, 10.0, 100.0])[order, None, None] * np.ones((3, 3, 4))
    header = geom.to_header()
    header.update(cards)
    edges = np.array([1.0, 3, 10, 30])
    columns = [
        fits.Column("E_MIN", "D", "TeV", array=edges[:-1][order]),
        fits.Column("E_MAX", "D", "TeV", array=edges[1:][order]),
    ]
    return fits.HDUList(
        [fits.PrimaryHDU(data, header), fits.BinTableHDU.from_columns(columns, name="EBOUNDS")]
    )


def test_energies_from_high_to_low_are_not_sorted_without_the_images(tmp_path: Path) -> None:
    cube(slice(None)).writeto(tmp_path / "up.fits")
    up = Map.read(tmp_path / "up.fits")
    assert up.data[:, 0, 0].tolist() == [1, 10, 100]
    np.testing.assert_allclose(up.geom.axes[0].edges_in("TeV"), [1, 3, 10, 30])
    cube(slice(None, None, -1)).writeto(tmp_path / "down.fits")
    with pytest.raises(FileContentError, match=r"EBOUNDS.*order of increasing energy"):
        Map.read(tmp_path / "down.fits")


@pytest.mark.parametrize("column", ["E_MIN", "E_MAX", "RAD_MIN"])
def test_a_table_of_bins_is_in_the_order_of_its_images(tmp_path: Path, column: str) -> None:
    axes = [
        MapAxis(np.linspace(0, 1, 3), name="rad", unit="deg"),
        MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3),
    ]
    Map(RegionGeom(axes), np.arange(6.0).reshape(3, 2, 1, 1)).write(tmp_path / "r.fits")
    with fits.open(tmp_path / "r.fits") as hdus:
        table = hdus["SKYMAP_BANDS"].data
        table[column] = table[column][::-1].copy()
        hdus.writeto(tmp_path / "s.fits")
    with pytest.raises(
        FileContentError, match=r"SKYMAP_BANDS': (its rows are not in the order|the bi)"
    ):
        Map.read(tmp_path / "s.fits")


@pytest.mark.parametrize(
    ("kind", "value", "step", "expected"),
    [
        # 1, 10, 100: Greisen et al. (2006), equation 5, by wcslib
        ("ENER-LOG", 1.0, np.log(10), [1, 10, 100]),
        ("ENER-LOG", 10.0, 10 * np.log(10), [10, 100, 1000]),
        ("log10(Energy)", 0.0, 1.0, [1, 10, 100]),
        ("log_Energy", 0.0, np.log(10), [1, 10, 100]),
    ],
)
def test_a_logarithmic_third_axis(
    tmp_path: Path, kind: str, value: float, step: float, expected: list[float]
) -> None:
    cards = {"CTYPE3": kind, "CRVAL3": value, "CDELT3": step, "CRPIX3": 1.0, "CUNIT3": "TeV"}
    hdus = cube(slice(None), **cards)
    fits.HDUList(hdus[:1]).writeto(tmp_path / "e.fits")
    axis = Map.read(tmp_path / "e.fits").geom.axes[0]
    np.testing.assert_allclose(axis.center_in("TeV"), expected, rtol=1e-12)
    if kind == "ENER-LOG":
        from astropy.wcs import WCS

        wcs = WCS(naxis=1)
        wcs.wcs.ctype, wcs.wcs.cunit = [kind], ["J"]
        wcs.wcs.crval, wcs.wcs.cdelt, wcs.wcs.crpix = [value], [step], [1.0]
        edges = wcs.wcs_pix2world(np.arange(0.5, 4)[:, None], 1)[:, 0]
        np.testing.assert_allclose(axis.edges_in("TeV"), edges, rtol=1e-12)


@pytest.mark.parametrize("kind", ["ENER-TAB", "ENER-F2W", "log(Energy)"])
def test_another_third_axis_is_an_error(tmp_path: Path, kind: str) -> None:
    cards = {"CTYPE3": kind, "CRVAL3": 1.0, "CDELT3": 1.0, "CRPIX3": 1.0, "CUNIT3": "TeV"}
    fits.HDUList(cube(slice(None), **cards)[:1]).writeto(tmp_path / "e.fits")
    with pytest.raises(FileContentError, match=f"CTYPE3 is '{re.escape(kind.upper())}'"):
        Map.read(tmp_path / "e.fits")


# ---------------------------------------------------------------- what a header says


@pytest.mark.parametrize(
    ("card", "value", "message"),
    [
        ("SED_TYPE", "banana", "SED_TYPE is 'banana'; expected one of likelihood"),
        ("NSIGMA", "x", "NSIGMA is 'x'; expected a positive number"),
        ("NSIGMA", -1.0, "NSIGMA is -1.0; expected a positive number"),
        ("NSIGMAUL", True, "NSIGMAUL is True"),
        ("META", "{", "META of the primary header is not JSON"),
        ("META", "[1]", r"META is \[1\]; expected names"),
        ("REFMODEL", "[]", r"REFMODEL: expected a model, got \[\]"),
        ("REFMODEL", '{"a": 1}', "expected `components`"),
        ("SETTINGS", "{1}", "SETTINGS of the primary header is not JSON"),
    ],
)
def test_cards_of_flux_maps(tmp_path: Path, card: str, value: object, message: str) -> None:
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)
    model = SkyModel(PowerLawSpectralModel(), name="a")
    maps = FluxMaps({"norm": Map.create(npix=(4, 3), axes=[axis])}, model)
    maps.write(tmp_path / "m.fits")
    with fits.open(tmp_path / "m.fits", mode="update") as hdus:
        hdus[0].header[card] = value
    with pytest.raises(FileContentError, match=rf"m\.fits: .*{message}"):
        FluxMaps.read(tmp_path / "m.fits")


def test_the_family_of_exceptions(tmp_path: Path) -> None:
    for name, python in (("missing.fits", FileNotFoundError), ("empty.fits", ValueError)):
        path = tmp_path / name
        if name.startswith("empty"):
            path.touch()
        with pytest.raises(GammagradError, match=name) as caught:
            MapDataset.read(path)
        assert isinstance(caught.value, python)
    with pytest.raises(GammagradError, match="a folder"):
        write_hdus([], tmp_path)
