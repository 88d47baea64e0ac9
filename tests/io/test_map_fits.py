"""Maps in FITS: what is written comes back, real files can be read, bad ones are named."""

import gzip
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from hypothesis import given
from hypothesis import strategies as st

from gammagrad.errors import InputWarning
from gammagrad.io import file_sha256, hdu_names, map_to_hdus, read_hdus, write_hdus
from gammagrad.io.fits_file import get_hdu
from gammagrad.io.map_fits import map_from_hdus
from gammagrad.maps import Map, MapAxis, RegionGeom, WcsGeom

energy = MapAxis.from_energy_bounds("0.1 TeV", "10 TeV", 5)
true = MapAxis.from_nodes([1.0, 2, 5], name="energy_true", unit="GeV", interp="log")
rad = MapAxis(np.linspace(0, 1, 4), name="rad", unit="deg")
image = WcsGeom.create(npix=(7, 4), binsz=0.3, skydir=(83.633212345678901, 22.01), proj="TAN")


def random_map(geom, unit="", dtype=float, meta=None):
    data = 10 * np.random.default_rng(1).normal(size=geom.data_shape)
    return Map(geom, data.astype(dtype), unit, meta)


def assert_same(a, b):
    assert a.geom == b.geom
    assert a.unit == b.unit
    assert a.meta == b.meta
    np.testing.assert_array_equal(a.data, b.data)
    for mine, theirs in zip(a.geom.axes, b.geom.axes, strict=True):
        np.testing.assert_array_equal(mine.edges.value, theirs.edges.value)
        assert (mine.unit, mine.node_type) == (theirs.unit, theirs.node_type)


@pytest.mark.parametrize("name", ["m.fits", "m.fits.gz"])
@pytest.mark.parametrize("hdu", [None, "counts"])
@pytest.mark.parametrize(
    "geom",
    [
        image,
        image.to_cube([energy]),
        image.to_cube([rad, true]),
        WcsGeom.create(npix=(3, 3), frame="galactic", axes=[true]),
        WcsGeom.create(npix=(3, 3), frame="fk5", proj="AIT"),
        RegionGeom([energy, true]),
        RegionGeom([rad.squash(), true]),
        RegionGeom(),
    ],
)
def test_round_trip(tmp_path, geom, hdu, name):
    m = random_map(geom, "cm-2 s-1 TeV-1", meta={"livetime": "3 s", "n": 2, "long": "x" * 200})
    m.write(tmp_path / name, hdu=hdu)
    assert_same(Map.read(tmp_path / name, hdu=hdu), m)
    assert_same(Map.read(tmp_path / name), m)


@pytest.mark.parametrize("dtype", ["i2", "i4", "i8", "u1", "u2", "f4", "f8", "f2"])
def test_types(tmp_path, dtype):
    m = random_map(image, dtype=float)
    m = Map(image, np.abs(m.data).astype(dtype))
    m.write(tmp_path / "m.fits")
    back = Map.read(tmp_path / "m.fits")
    np.testing.assert_array_equal(back.data, m.data)
    assert back.data.dtype == (np.float64 if dtype.startswith("f") else np.dtype(dtype))
    assert back.data.dtype.isnative
    back.data += 1


def test_masks_are_numbers_in_the_file():
    mask = random_map(image.to_cube([energy])) > 0
    hdus = fits.HDUList(map_to_hdus(mask, "mask"))
    assert hdus["MASK"].header["BITPIX"] == 64
    assert map_from_hdus(hdus, "MASK").data.dtype == np.int64
    back = map_from_hdus(hdus, "MASK", dtype=bool)
    assert_same(back, mask)
    assert back.is_mask


def test_nan_in_a_mask_is_false():
    geom = WcsGeom.create(npix=3)
    hdus = fits.HDUList(map_to_hdus(Map(geom, np.full((3, 3), np.nan)), "MASK"))
    assert not map_from_hdus(hdus, "MASK", dtype=bool).data.any()


def test_the_layout_in_the_file():
    m = random_map(image.to_cube([energy, true]), "m2 s", meta={"q": 3 * u.s, "n": np.float64(2)})
    hdu, bands = map_to_hdus(m, "exposure")
    header = hdu.header
    assert (hdu.name, bands.name, header["BANDSHDU"]) == ("EXPOSURE", "EXPOSURE_BANDS", bands.name)
    assert hdu.data.shape == (3, 5, 4, 7)
    assert header["WCSAXES"] == 2
    assert header["WCSSHAPE"] == "(7,4,5,3)"
    assert (header["AXCOLS1"], header["AXCOLS2"]) == ("E_MIN,E_MAX", "ENERGY_TRUE")
    assert (header["INTERP1"], header["BUNIT"]) == ("log", "m2 s")
    assert header["META"] == '{"q": "3.0 s", "n": 2.0}'
    assert bands.header["AXCOLS1"] == "E_MIN,E_MAX"
    table = Table.read(bands)
    assert table.colnames[:4] == ["CHANNEL", "ENERGY", "E_MIN", "E_MAX"]
    assert len(table) == 15
    # the first axis is the fastest
    np.testing.assert_allclose(table["E_MIN"][:6], [*energy.edges.value[:-1], 0.1])
    np.testing.assert_allclose(table["ENERGY_TRUE"][[0, 4, 5, 14]], [1, 1, 2, 5])


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "m.fits"
    m = random_map(image)
    m.write(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="use overwrite=True"):
        m.write(path)

    def fail(self, name, **options):
        name.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(fits.HDUList, "writeto", fail)
    with pytest.raises(OSError, match="disk full"):
        (2 * m).write(path, overwrite=True)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["m.fits"]
    (2 * m).write(path, overwrite=True)
    np.testing.assert_array_equal(Map.read(path).data, 2 * m.data)
    with pytest.raises(FileNotFoundError, match="no folder"):
        m.write(tmp_path / "nowhere" / "m.fits")


def test_writing_does_not_change_the_map():
    m = random_map(image, meta={"a": [1]})
    map_to_hdus(m, "X")[0].data[...] = 0
    copy = random_map(image, meta={"a": [1]})
    assert_same(m, copy)


def test_checksums(tmp_path):
    path = tmp_path / "m.fits"
    write_hdus(map_to_hdus(random_map(image), "X"), path, checksum=True)
    assert "CHECKSUM" in fits.getheader(path, "X")
    assert len(file_sha256(path)) == 64
    path.write_bytes(b"abc")
    assert file_sha256(path).startswith("ba7816bf8f01cfea")


def test_files_that_cannot_be_read(tmp_path):
    path = tmp_path / "m.fits"
    with pytest.raises(FileNotFoundError, match=r"no file .*m\.fits"):
        Map.read(path)
    with pytest.raises(FileNotFoundError, match="is a folder"):
        Map.read(tmp_path)
    for content in (b"", b"no FITS at all", b"SIMPLE  =" + b" " * 5000):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"m\.fits: cannot be read as FITS"):
            Map.read(path)


@given(st.integers(1, 40_000))
def test_a_file_that_is_cut_off_is_never_read_in_part(tmp_path_factory, cut):
    folder = tmp_path_factory.mktemp("cut")
    m = Map(WcsGeom.create(npix=(60, 70), axes=[energy.squash()]), 1.5)
    for name in ("m.fits", "m.fits.gz"):
        m.write(folder / name)
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[: -(1 + cut % (len(whole) - 1))])
        try:
            assert_same(Map.read(folder / name), m)  # nothing but filling is lost
        except (ValueError, InputWarning) as error:
            said = str(error)
        else:
            said = "no HDU"
        assert re.search("cut off|cannot be read|no HDU", said)


def test_damaged_compression(tmp_path):
    path = tmp_path / "m.fits.gz"
    content = bytearray(gzip.compress(b"SIMPLE" * 10_000))
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"m\.fits\.gz: "):
        Map.read(path)


def test_missing_hdus_are_named_and_so_are_those_there():
    hdus = fits.HDUList([fits.PrimaryHDU(), *map_to_hdus(random_map(image), "COUNTS")])
    assert hdu_names(hdus) == "PRIMARY, COUNTS"
    with pytest.raises(ValueError, match="no HDU 'EXPOSURE'; there are: PRIMARY, COUNTS"):
        map_from_hdus(hdus, "EXPOSURE")
    with pytest.raises(ValueError, match="no HDU 5"):
        get_hdu(hdus, 5)
    with pytest.raises(ValueError, match="'PRIMARY' has no image"):
        map_from_hdus(hdus, 0)
    with pytest.raises(ValueError, match="no HDU has a map"):
        map_from_hdus(fits.HDUList([fits.PrimaryHDU()]))


def plain_hdu(shape=(4, 7), **cards):
    header = image.to_header()
    header.update({name.replace("_", "-"): value for name, value in cards.items()})
    return fits.PrimaryHDU(np.ones(shape), header)


@pytest.mark.parametrize(
    ("hdu", "message"),
    [
        (fits.PrimaryHDU(np.ones((4, 7))), "'PRIMARY': the header has no celestial coordinates"),
        (plain_hdu(BUNIT="apples"), "BUNIT of HDU 'PRIMARY': 'apples' is not a unit"),
        (plain_hdu((3, 4, 7)), "no definition of their bins; expected a table PRIMARY_BANDS"),
        (plain_hdu((2, 3, 4, 7)), "has 4 axes, but no definition"),
        (plain_hdu((3, 4, 7), BANDSHDU="B"), "no HDU 'B'; there are: PRIMARY"),
        (fits.PrimaryHDU(np.ones(4)), "has no image"),
    ],
)
def test_images_that_are_no_maps(hdu, message):
    with pytest.raises(ValueError, match=message):
        map_from_hdus(fits.HDUList([hdu]))


def test_tables_that_are_no_maps():
    table = fits.BinTableHDU(Table({"A": [1, 2]}), name="T")
    hdus = fits.HDUList([fits.PrimaryHDU(), table])
    with pytest.raises(ValueError, match="'T' is a table without a column DATA"):
        map_from_hdus(hdus, "T")
    hdus["T"].header["PIXTYPE"] = "HEALPIX"
    with pytest.raises(ValueError, match="HEALPix"):
        map_from_hdus(hdus, "T")


def test_axes_that_do_not_fit():
    hdus = fits.HDUList(map_to_hdus(random_map(image.to_cube([energy])), "X"))
    hdus["X"].data = hdus["X"].data[:-1]
    with pytest.raises(ValueError, match=r"axes \['energy'\] have shape \(5,\), the image \(4,\)"):
        map_from_hdus(hdus, "X")
    hdus = fits.HDUList(map_to_hdus(random_map(image.to_cube([energy])), "X"))
    hdus["X_BANDS"].data["E_MAX"][1] *= 1.01
    with pytest.raises(ValueError, match="bins of E_MIN and E_MAX do not adjoin"):
        map_from_hdus(hdus, "X")
    del hdus["X_BANDS"].header["AXCOLS1"]
    with pytest.raises(ValueError, match="no card AXCOLS1"):
        map_from_hdus(hdus, "X")
    hdus["X_BANDS"].header["AXCOLS1"] = "F_MIN,F_MAX"
    with pytest.raises(ValueError, match="no column F_MIN; there are: CHANNEL, ENERGY, E_MIN"):
        map_from_hdus(hdus, "X")
    labels = fits.BinTableHDU(Table({"DATASET": ["a", "b"]}), name="X_BANDS")
    labels.header["AXCOLS1"] = "DATASET"
    with pytest.raises(ValueError, match="column DATASET of 'X_BANDS' has no numbers"):
        map_from_hdus(fits.HDUList([hdus["X"], labels]), "X")
    region = fits.HDUList(map_to_hdus(random_map(RegionGeom([energy])), "R"))
    with pytest.raises(ValueError, match="no HDU 'R_BANDS'"):
        map_from_hdus(region[:1], "R")


@pytest.mark.parametrize("cards", [{}, {"CTYPE3": "STOKES"}, {"CTYPE3": "FREQ", "CRVAL3": 1e9}])
def test_axes_of_one_bin_that_nothing_is_said_about_are_left_out(cards):
    for shape in ((1, 4, 7), (1, 1, 4, 7)):
        m = map_from_hdus(fits.HDUList([plain_hdu(shape, **cards)]))
        assert m.geom == image


def test_one_bin_of_energy_is_kept():
    bounds = fits.BinTableHDU(Table({"E_MIN": [1e6], "E_MAX": [2e6]}), name="EBOUNDS")
    m = map_from_hdus(fits.HDUList([plain_hdu((1, 4, 7)), bounds]))
    np.testing.assert_allclose(m.geom.axes["energy"].edges_in("GeV"), [1, 2])


def test_energies_in_the_third_axis():
    cards = {"CTYPE3": "Energy", "CRPIX3": 1, "CRVAL3": 15.0, "CDELT3": 10.0}
    m = map_from_hdus(fits.HDUList([plain_hdu((3, 4, 7), CUNIT3="GeV", **cards)]))
    np.testing.assert_allclose(m.geom.axes["energy"].edges.to_value("GeV"), [10, 20, 30, 40])
    with pytest.raises(ValueError, match="CTYPE3 = 'Energy' with a unit"):
        map_from_hdus(fits.HDUList([plain_hdu((3, 4, 7), **cards)]))
    cards = {"CTYPE3": "log_Energy", "CRPIX3": 1, "CRVAL3": np.log(1e3), "CDELT3": np.log(10)}
    m = map_from_hdus(fits.HDUList([plain_hdu((3, 4, 7), **cards)]))
    axis = m.geom.axes["energy_true"]
    assert axis.node_type == "center"
    np.testing.assert_allclose(axis.center.to_value("GeV"), [1, 10, 100])


@pytest.mark.parametrize(
    ("bunit", "unit"), [("counts", ""), ("ph cm-2 s-1", "cm-2 s-1"), ("cm**2 s", "cm2 s")]
)
def test_units_as_headers_spell_them(bunit, unit):
    assert map_from_hdus(fits.HDUList([plain_hdu(BUNIT=bunit)])).unit == u.Unit(unit)


def test_compressed_images_and_scaled_integers(tmp_path):
    data = np.arange(28, dtype="i4").reshape(4, 7)
    compressed = fits.CompImageHDU(data, image.to_header(), name="C")
    scaled = fits.ImageHDU(data.copy(), image.to_header(), name="S")
    scaled.scale("int16", bzero=5, bscale=0.5)
    write_hdus([compressed, scaled], tmp_path / "m.fits")
    np.testing.assert_array_equal(Map.read(tmp_path / "m.fits", hdu="C").data, data)
    np.testing.assert_array_equal(Map.read(tmp_path / "m.fits", hdu="S").data, data)


def test_meta_that_is_no_json_is_left_out():
    for text in ("not json", "[1, 2]"):
        with pytest.warns(InputWarning, match="META is .* left out"):
            assert map_from_hdus(fits.HDUList([plain_hdu(META=text)])).meta == {}


@pytest.mark.data
def test_fermi_dataset(gammapy_data):
    hdus = read_hdus(gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz")
    counts = map_from_hdus(hdus, "COUNTS")
    assert counts.geom.axes["energy"].unit == u.keV
    np.testing.assert_allclose(counts.geom.axes["energy"].edges_in("GeV")[[0, -1]], [10, 500])
    assert (counts.geom.frame, counts.geom.npix) == ("galactic", (400, 200))
    assert counts.data.dtype == np.int32
    peak = counts.geom.pix_to_sky(*np.unravel_index(counts.data.sum(0).argmax(), (200, 400))[::-1])
    assert peak.separation(counts.geom.center_skydir).deg < 0.2
    exposure = map_from_hdus(hdus, "EXPOSURE")
    assert exposure.geom.axes["energy_true"].node_type == "center"
    assert exposure.unit == u.Unit("cm2 s")
    psf = map_from_hdus(hdus, "PSF")
    assert psf.geom == RegionGeom(psf.geom.axes)
    assert psf.geom.axes.names == ["rad", "energy_true"]
    axis = psf.geom.axes["rad"]
    assert axis.center_in("deg")[0] == 0
    # nothing but the plane integral of a PSF is 1: check it at every energy
    r = np.deg2rad(axis.center_in("deg"))
    inside = np.trapezoid(2 * np.pi * r * psf.to_unit("sr-1").data[:, :, 0, 0], r, axis=-1)
    np.testing.assert_allclose(inside, 1, atol=0.05)
    edisp = map_from_hdus(hdus, "EDISP")
    assert edisp.data.shape == (12, 11, 1, 1)
    assert map_from_hdus(hdus, "MASK_SAFE", dtype=bool).is_mask


@pytest.mark.data
def test_plain_fermi_cubes(gammapy_data):
    folder = gammapy_data / "fermi-3fhl-gc"
    counts, background, exposure = (
        Map.read(folder / f"fermi-3fhl-gc-{name}-cube.fits.gz")
        for name in ("counts", "background", "exposure")
    )
    whole = read_hdus(folder / "fermi-3fhl-gc.fits.gz")
    assert counts.geom == background.geom == map_from_hdus(whole, "COUNTS").geom
    np.testing.assert_array_equal(counts.data, map_from_hdus(whole, "COUNTS").data)
    axis = exposure.geom.axes["energy_true"]
    assert (axis.unit, axis.node_type) == (u.MeV, "center")
    assert axis == map_from_hdus(whole, "EXPOSURE").geom.axes["energy_true"]


@pytest.mark.data
def test_hawc_is_in_reconstructed_energy(gammapy_data):
    hdus = read_hdus(gammapy_data / "hawc" / "DL4" / "nHit-8.fits.gz")
    psf = map_from_hdus(hdus, "PSF")
    assert psf.geom.axes.names == ["rad", "energy"]
    assert psf.unit == u.Unit("deg-2")
    assert map_from_hdus(hdus, "EDISP").geom.data_shape == (50, 10, 6, 6)
    assert map_from_hdus(hdus, "COUNTS").geom.frame == "icrs"


@pytest.mark.data
@pytest.mark.parametrize(
    ("path", "hdu"),
    [
        ("reduced/hess-crab-exclusion.fits.gz", None),
        ("reduced/hess-crab.fits.gz", "PSF"),
        ("reduced/cta-1dc-vela.fits.gz", "EXPOSURE"),
        ("tests/unbundled/poisson_stats_image/input_all.fits.gz", "exclusion"),
        ("fermi-3fhl-gc/fermi-3fhl-gc.fits.gz", "EDISP"),
    ],
)
def test_real_maps_survive_a_round_trip(gammapy_data, tmp_path, path, hdu):
    m = Map.read(gammapy_data / path, hdu=hdu)
    m.write(tmp_path / "m.fits", hdu=hdu)
    assert_same(Map.read(tmp_path / "m.fits", hdu=hdu), m)


@pytest.mark.parametrize("geom", [image, image.to_cube([energy]), image.to_cube([rad, true])])
def test_gammapy_reads_and_writes_the_same(tmp_path, geom):
    maps = pytest.importorskip("gammapy.maps")
    m = random_map(geom, "cm-2 s-1")
    m.write(tmp_path / "m.fits")
    theirs = maps.Map.read(tmp_path / "m.fits")
    np.testing.assert_array_equal(theirs.data, m.data)
    assert theirs.geom.axes.names == m.geom.axes.names
    theirs.write(tmp_path / "theirs.fits")
    back = Map.read(tmp_path / "theirs.fits")
    assert back.geom == m.geom
    assert back.unit == m.unit
    np.testing.assert_array_equal(back.data, m.data)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_compressed_file_that_lost_its_end_is_no_smaller_file(tmp_path, part: float) -> None:
    m = Map.create(npix=(40, 30), binsz=0.1)
    m.data[...] = np.random.default_rng(0).normal(size=m.data.shape)
    hdus = [hdu for name in ("FIRST", "SECOND") for hdu in map_to_hdus(m, name)]
    whole = tmp_path / "whole.fits.gz"
    write_hdus(hdus, whole)
    cut = tmp_path / "cut.fits.gz"
    content = whole.read_bytes()
    cut.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match="cut off or damaged"):
        read_hdus(cut)
