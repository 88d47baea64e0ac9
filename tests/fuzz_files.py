"""Damaged files, drawn by a seed: each must give the same, a warning, or a clear error, in time.

    python tests/fuzz_files.py --number 20000 --seed 1

A file of each kind that the library reads is changed in one place or several: bits, bytes, pieces,
cards of headers, lines and words. What comes out is compared with what the whole file gives.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.io import fits
from astropy.table import Table

from gammagrad import FluxMaps, HypothesisMaps, MapDataset, exclusion_mask
from gammagrad.errors import GammagradError
from gammagrad.estimators.config import read_config, read_model, write_config
from gammagrad.estimators.ts_map import TSMapEstimator
from gammagrad.io import read_peaks, read_psf, read_source_table, write_yaml
from gammagrad.maps import EDispKernelMap, Map, MapAxis, PSFMap
from gammagrad.models import (
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    models_to_dict,
)

SECONDS = 10.0
"""No input may take longer."""


class HangError(BaseException):
    """An input took too long."""


class Kind(NamedTuple):
    """A kind of file: how a whole one is read, to something that can be compared."""

    name: str
    data: bytes
    suffix: str
    read: Callable[[Path], str]
    summed: bool = False


def digest(*values: Any) -> str:
    """Return a checksum of arrays, texts and what has them."""
    total = hashlib.sha256()
    for value in values:
        if isinstance(value, Map):
            value = [value.data, str(value.unit), repr(value.geom), *_edges(value)]
        if isinstance(value, Table):
            value = [(name, np.asarray(value[name]).tolist()) for name in value.colnames]
        if isinstance(value, np.ndarray):
            total.update(np.ascontiguousarray(value).tobytes())
            total.update(str(value.shape).encode())
        elif isinstance(value, list | tuple):
            total.update(digest(*value).encode())
        else:
            total.update(repr(value).encode())
    return total.hexdigest()


def _edges(m: Map) -> list[Any]:
    header = [] if m.geom.is_region else [str(m.geom.wcs.to_header())]
    return header + [axis.edges.value for axis in m.geom.axes]


def read_dataset(path: Path) -> str:
    d = MapDataset.read(path, name="x")
    maps = [
        m for m in (d.counts, d.exposure, d.background, d.mask_safe, d.mask_fit) if m is not None
    ]
    irfs = [d.psf.psf_map if d.psf else None, d.edisp.edisp_map if d.edisp else None]
    return digest(*maps, *irfs, d.gti)


def read_flux_maps(path: Path) -> str:
    maps = FluxMaps.read(path)
    return digest(*(maps[name] for name in maps.computed), str(maps.reference_model), maps.gti)


def read_hypotheses(path: Path) -> str:
    maps = HypothesisMaps.read(path)
    return digest(*(m[name] for m in maps.values() for name in m.computed), maps.names)


def read_plain(path: Path) -> str:
    d = MapDataset.from_files(path, exposure=path, exposure_unit="cm2 s", name="x")
    return digest(d.counts, d.gti)


def read_regions(path: Path) -> str:
    geom = Map.create(npix=(40, 30), binsz=0.05, skydir=(83.63, 22.01), proj="TAN").geom
    return digest(exclusion_mask(geom, regions=path))


def read_gtpsf(path: Path) -> str:
    return digest(read_psf(path).psf_map)


def read_settings(path: Path) -> str:
    return digest(read_config(path).settings)


def read_source(path: Path) -> str:
    return digest(str(read_model(path)))


def table_reader(path: Path) -> str:
    return digest(read_source_table(path))


def peaks_reader(path: Path) -> str:
    return digest(read_peaks(path))


def make_dataset() -> MapDataset:
    """Return a small dataset with all parts."""
    rng = np.random.default_rng(1)
    axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3)
    true = axis.rename("energy_true")
    geom = Map.create(npix=(7, 5), binsz=0.1, skydir=(83.63, 22.01), proj="TAN", axes=[axis]).geom
    exposure = Map(geom.to_image().to_cube([true]), 1e10, unit="m2 s")
    matrix = np.array([[0.8, 0.2, 0], [0.1, 0.8, 0.1], [0, 0.2, 0.8]])
    return MapDataset(
        counts=Map(geom, rng.poisson(5.0, geom.data_shape)),
        background=Map(geom, rng.uniform(4, 6, geom.data_shape)),
        exposure=exposure,
        psf=PSFMap.from_gauss(true, "0.1 deg"),
        edisp=EDispKernelMap.from_matrix(matrix, true, axis),
        mask_safe=Map(geom, rng.random(geom.data_shape) < 0.9),
        gti=Table({"START": [0.0, 50.0], "STOP": [20.0, 90.0]}),
        name="x",
    )


def make_kinds() -> list[Kind]:
    """Return one file of each kind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dataset = make_dataset()
        model = SkyModel(PowerLawSpectralModel(index=2.3), PointSpatialModel(), name="source")
        estimator = TSMapEstimator(model, kernel_width="0.3 deg", selection_optional="ul")
        maps = estimator.run(dataset)
        assert isinstance(maps, FluxMaps)
        found = []

        def kind(name: str, path: Path, read: Callable[[Path], str], summed: bool = False) -> None:
            suffix = "".join(path.suffixes)
            found.append(Kind(name, path.read_bytes(), suffix, read, summed))

        for summed in (False, True):
            label = " with checksums" if summed else ""
            dataset.write(folder / "d.fits", overwrite=True, checksum=summed)
            kind(f"dataset{label}", folder / "d.fits", read_dataset, summed)
            maps.write(folder / "m.fits", overwrite=True, checksum=summed)
            kind(f"flux maps{label}", folder / "m.fits", read_flux_maps, summed)
        dataset.write(folder / "d.fits.gz", checksum=True)
        kind("packed dataset", folder / "d.fits.gz", read_dataset, True)
        HypothesisMaps({"a": maps, "b": maps}).write(folder / "h.fits", checksum=True)
        kind("maps of several models", folder / "h.fits", read_hypotheses, True)
        _write_cube(folder / "c.fits", dataset)
        kind("plain cube", folder / "c.fits", read_plain)
        _write_gtpsf(folder / "p.fits")
        kind("table of a PSF", folder / "p.fits", read_gtpsf)
        write_config(estimator, folder / "c.yaml")
        kind("settings", folder / "c.yaml", read_settings)
        write_yaml(models_to_dict([model]), folder / "m.yaml")
        kind("model", folder / "m.yaml", read_source)
        write_yaml(models_to_dict([model]), folder / "m.json")
        kind("model in JSON", folder / "m.json", read_source)
        (folder / "r.reg").write_text(
            "# Region file format: DS9 version 4.1\nglobal color=green\nicrs\n"
            "circle(83.63,22.01,0.2)\nellipse(83.5,22.1,0.1,0.2,30) # text={a}\n"
            "box(83.7,21.9,0.2,0.1,0)\npolygon(83.5,21.9,83.6,21.9,83.6,22.0)\n"
        )
        kind("regions", folder / "r.reg", read_regions)
        Table({"ra": [83.6, 83.7], "dec": [22.0, 22.1], "radius": [0.1, 0.2]}).write(
            folder / "t.csv", format="ascii.csv"
        )
        kind("table of sources", folder / "t.csv", table_reader)
        peaks = maps.find_peaks(threshold=0)
        from gammagrad.io import write_peaks

        write_peaks(peaks, folder / "s.ecsv")
        kind("peaks", folder / "s.ecsv", peaks_reader)
        write_peaks(peaks, folder / "s.fits")
        kind("peaks in FITS", folder / "s.fits", peaks_reader)
    return found


def _write_cube(path: Path, dataset: MapDataset) -> None:
    counts = dataset.require("counts")
    primary = fits.PrimaryHDU(counts.data.astype(np.int32), counts.geom.to_header())
    edges = counts.geom.axes["energy"].edges.to_value("keV")
    columns = [
        fits.Column("CHANNEL", "I", array=np.arange(len(edges) - 1)),
        fits.Column("E_MIN", "D", "keV", array=edges[:-1]),
        fits.Column("E_MAX", "D", "keV", array=edges[1:]),
    ]
    bounds = fits.BinTableHDU.from_columns(columns, name="EBOUNDS")
    fits.HDUList([primary, bounds]).writeto(path)


def _write_gtpsf(path: Path) -> None:
    energy, theta = np.geomspace(1e3, 1e5, 4), np.linspace(0, 3, 20)
    width = np.deg2rad(0.3)
    psf = np.exp(-0.5 * (np.deg2rad(theta) / width) ** 2) / (2 * np.pi * width**2)
    table = [
        fits.Column("Energy", "D", array=energy),
        fits.Column("Exposure", "D", array=np.full(4, 1e11)),
        fits.Column("Psf", "20D", array=np.tile(psf, (4, 1))),
    ]
    hdus = [fits.BinTableHDU.from_columns(table, name="PSF")]
    hdus.append(fits.BinTableHDU.from_columns([fits.Column("Theta", "D", array=theta)]))
    hdus[1].name = "THETA"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)


# ---------------------------------------------------------------- changes

_VALUES = (
    *("INF", "NaN", "-32", "0", "1", "-1", "1000000000", "99999999999999999999", "1E400", "''"),
    *("'banana'", "T", "F", "3.5", "'1D'", "'999999999D'", "'E_MIN'", "", "= =", "'abc", "1/0"),
)
_WORDS = (
    *("nan", "inf", "-1", "0", "1e400", "''", "null", "[]", "{}", "true", "*a", "&a", "- -", ": :"),
    *("[[[[[[[[", "!!python/object:os.system", "banana", "1" * 6000, "\x00", "\ufeff", "deg", "-"),
)


def mutate(data: bytes, rng: np.random.Generator, is_text: bool) -> bytes:
    """Return a changed copy of a file."""
    for _ in range(rng.integers(1, 4) if rng.random() < 0.3 else 1):
        changes = _TEXT_CHANGES if is_text and rng.random() < 0.7 else _CHANGES
        if not is_text and data[:2] != b"\x1f\x8b" and rng.random() < 0.6:
            changes = _FITS_CHANGES
        data = changes[rng.integers(len(changes))](data, rng)
    return data


def _flip_bit(data: bytes, rng: np.random.Generator) -> bytes:
    if not data:
        return data
    at = int(rng.integers(len(data)))
    return data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]


def _set_byte(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + bytes([int(rng.integers(256))]) + data[at + 1 :]


def _cut(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _remove(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + data[at + int(rng.geometric(0.01)) :]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(data) + 1))
    return data[:at] + rng.bytes(int(rng.geometric(0.05))) + data[at:]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    start, stop = sorted(rng.integers(len(data) + 1, size=2).tolist())
    return data[:stop] + data[start:stop] + data[stop:]


def _card(data: bytes, rng: np.random.Generator) -> tuple[int, bytes]:
    """Return place and content of a card of some header."""
    cards = [at for at in range(0, len(data), 80) if data[at + 8 : at + 10] == b"= "]
    at = int(rng.choice(cards)) if cards else 0
    return at, data[at : at + 80]


def _card_value(data: bytes, rng: np.random.Generator) -> bytes:
    at, card = _card(data, rng)
    value = str(rng.choice(_VALUES)).rjust(20).encode()
    return data[:at] + (card[:10] + value).ljust(80)[:80] + data[at + 80 :]


def _card_name(data: bytes, rng: np.random.Generator) -> bytes:
    at, card = _card(data, rng)
    place = int(rng.integers(8))
    letter = bytes([int(rng.integers(65, 91))])
    return data[:at] + card[:place] + letter + card[place + 1 :] + data[at + 80 :]


def _card_away(data: bytes, rng: np.random.Generator) -> bytes:
    at, _ = _card(data, rng)
    return data[:at] + b" " * 80 + data[at + 80 :]


def _block_change(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove, clear or repeat a block of 2880 bytes."""
    at = 2880 * int(rng.integers(max(len(data) // 2880, 1)))
    block = data[at : at + 2880]
    new = (b"", b"\0" * len(block), b" " * len(block), block + block)[int(rng.integers(4))]
    return data[:at] + new + data[at + 2880 :]


def _word(data: bytes, rng: np.random.Generator) -> bytes:
    """Put another word in place of one."""
    words = data.split(b" ")
    words[int(rng.integers(len(words)))] = str(rng.choice(_WORDS)).encode()
    return b" ".join(words)


def _line(data: bytes, rng: np.random.Generator) -> bytes:
    """Remove, repeat or indent a line."""
    lines = data.split(b"\n")
    at = int(rng.integers(len(lines)))
    line = lines[at]
    new = ([], [line, line], [b"  " + line], [line[: len(line) // 2]])[int(rng.integers(4))]
    return b"\n".join([*lines[:at], *new, *lines[at + 1 :]])


_CHANGES = (_flip_bit, _set_byte, _cut, _remove, _insert, _repeat)
_FITS_CHANGES = (_card_value, _card_name, _card_away, _block_change, _flip_bit)
_TEXT_CHANGES = (_word, _line)


# ---------------------------------------------------------------- what comes of it


class Outcome(NamedTuple):
    """What a changed file gave."""

    what: str
    detail: str = ""


def outcome(kind: Kind, data: bytes, expected: str, path: Path) -> Outcome:
    """Read a changed file and say what came of it."""
    path.write_bytes(data)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            signal.setitimer(signal.ITIMER_REAL, SECONDS)
            found = kind.read(path)
        except GammagradError as error:
            text = str(error)
            named = path.name in text or kind.name == "regions"
            return Outcome("clear error" if named and len(text) < 1500 else "unclear error", text)
        except HangError:
            return Outcome("hang")
        except Exception as error:
            return Outcome("outside the family", f"{type(error).__name__}: {error}"[:300])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    if found == expected:
        return Outcome("same result")
    return Outcome("warning") if caught else Outcome("changed without a word")


def _ring(number: int, frame: Any) -> None:
    raise HangError


def run(number: int, seed: int, report: Callable[[str], object] | None = None) -> Any:
    """Read so many changed files; return numbers by kind and outcome, and what went wrong."""
    kinds = make_kinds()
    rng = np.random.default_rng(seed)
    counts: dict[str, collections.Counter[str]] = {k.name: collections.Counter() for k in kinds}
    wrong: list[tuple[str, int, Outcome]] = []
    signal.signal(signal.SIGALRM, _ring)
    with tempfile.TemporaryDirectory() as folder:
        expected = {}
        for kind in kinds:
            path = Path(folder, f"file{kind.suffix}")
            path.write_bytes(kind.data)
            expected[kind.name] = kind.read(path)
        for i in range(number):
            kind = kinds[i % len(kinds)]
            path = Path(folder, f"file{kind.suffix}")
            data = mutate(kind.data, rng, is_text=kind.suffix[1:4] != "fit")
            found = outcome(kind, data, expected[kind.name], path)
            # without a checksum another value that is allowed cannot be noticed
            if found.what == "changed without a word" and not kind.summed:
                found = Outcome("another legal value")
            counts[kind.name][found.what] += 1
            if found.what in BAD:
                wrong.append((kind.name, i, found))
                if report:
                    report(f"{kind.name}, number {i}: {found.what}: {found.detail}")
    return counts, wrong


BAD = ("unclear error", "outside the family", "hang", "changed without a word")
GOOD = ("clear error", "same result", "warning", "another legal value")


def main() -> int:
    """Run as a command, print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--number", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    start = time.perf_counter()
    counts, wrong = run(args.number, args.seed, report=print)
    print(f"{'':26}" + "".join(f"{what:>24}" for what in (*GOOD, *BAD)))
    for name, found in counts.items():
        print(f"{name:26}" + "".join(f"{found[what]:24}" for what in (*GOOD, *BAD)))
    total = sum(counts.values(), collections.Counter())
    print(f"{'all':26}" + "".join(f"{total[what]:24}" for what in (*GOOD, *BAD)))
    print(f"{time.perf_counter() - start:.0f} s")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
