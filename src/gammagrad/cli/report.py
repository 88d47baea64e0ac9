"""What the commands print: tables and sentences."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import astropy.units as u
from astropy.table import Table

from gammagrad.core.norm import Status
from gammagrad.dataset import nice_energy
from gammagrad.flux_maps import FluxMaps
from gammagrad.maps import WcsGeom

_WITH_A_NORM: dict[int, str] = {
    Status.FITTED: "",
    Status.NO_COUNTS: "without counts",
    Status.AT_BOUND: "at the physical bound",
    Status.ZERO_BACKGROUND_BOUND: "at a bound set by a bin without background",
    Status.COUNTS_WITHOUT_BACKGROUND: "with counts where there is no background",
    Status.GUESS_KEPT: "below the threshold",
    Status.LOWER_ERROR_AT_BOUND: "with a lower error that ends at the physical bound",
    Status.BACKGROUND_VANISHES: "without any background",
    Status.AT_KINK: "at 0, where bins without ON and OFF counts keep the fit",
    Status.INDEX_UNDETERMINED: "with the index of the model, as the counts tell none",
    Status.INDEX_AT_LIMIT: "at the limit of the index",
}
_WITHOUT: dict[int, str] = {
    Status.NOT_FITTED: "outside the mask, or without exposure or background",
    Status.NOT_CONVERGED: "not converged",
    Status.OUT_OF_RANGE: "without a finite result",
    Status.BACKGROUND_UNDETERMINED: "where source and background have one shape",
}


def print_lines(lines: Sequence[str], quiet: bool = False) -> None:
    """Print lines, unless asked to be quiet."""
    if not quiet:
        print("\n".join(lines), flush=True)


def align(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return a table as lines, its columns aligned."""
    everything = [list(head), *map(list, rows)]
    widths = [max(len(row[i]) for row in everything) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        parts = [
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return [line(head), line(["-" * width for width in widths]), *map(line, rows)]


def energy_groups(edges: Iterable[u.Quantity]) -> str:
    """Return energy groups in words."""
    return " - ".join(nice_energy(edge) for edge in edges)


def position_text(geom: WcsGeom, row: int, col: int) -> str:
    """Return where a pixel is, in words."""
    position = geom.pix_to_sky(col, row)
    ra, dec = position.icrs.ra.deg, position.icrs.dec.deg
    lon, lat = position.galactic.l.deg, position.galactic.b.deg
    return f"RA {ra:.3f}, Dec {dec:.3f} (l {lon:.3f}, b {lat:.3f})"


def seconds(time: float) -> str:
    """Return a time in words."""
    return f"{time:.2f} s" if time < 10 else f"{time:.0f} s"


def status_line(maps: FluxMaps) -> str:
    """Return how many pixels are fitted, and how the fits ended."""
    table = maps.status_table()
    numbers: Counter[int] = Counter()
    for code, pixels in zip(table["code"], table["pixels"], strict=True):
        numbers[int(code)] += int(pixels)
    total, fitted = sum(numbers.values()), sum(numbers[code] for code in _WITH_A_NORM)

    def listed(names: dict[int, str]) -> list[str]:
        return [f"{n:,} {names[c]}" for c, n in numbers.most_common() if n and names.get(c)]

    first = f"all {total:,} fitted" if fitted == total else f"{fitted:,} of {total:,} fitted"
    ends, rest = listed(_WITH_A_NORM), listed(_WITHOUT)
    rest += [f"{n:,} of code {c}" for c, n in numbers.items() if c not in _WITH_A_NORM | _WITHOUT]
    first += f" ({', '.join(ends)})" if ends else ""
    return "; ".join([first, *([", ".join(rest)] if rest else [])])


def source_table(peaks: Table, energies: str = "") -> list[str]:
    """Return a table of sources as lines, with the energies that the fluxes are for."""
    if not len(peaks):
        return ["No sources above the threshold."]
    head = ["", "name", "RA", "Dec", "l", "b", "sqrt(TS)", "flux", "error"]
    several = "energy_group" in peaks.colnames and len(set(peaks["energy_group"])) > 1
    modelled = "model" in peaks.colnames
    rows = []
    for i in range(len(peaks)):
        row = peaks[i]
        cells = [str(row["number"]), str(row["name"])]
        cells += [f"{plain_number(row[key]):.3f}" for key in ("ra", "dec", "glon", "glat")]
        cells.append(f"{plain_number(row['sqrt_ts']):.2f}")
        for key in ("flux", "flux_err"):
            cells.append(f"{plain_number(row[key]):.3g}" if key in peaks.colnames else "-")
        cells += [str(row["model"])] if modelled else []
        cells += [energy_groups([row["energy_min"], row["energy_max"]])] if several else []
        rows.append(cells)
    where = f", {energies}" if energies and not several else ""
    head += ["model"] * modelled + ["energies"] * several
    return [*align(head, rows, left=2), "", f"Positions in deg, fluxes in cm-2 s-1{where}."]


def plain_number(value: Any) -> float:
    """Return a number of a table without its unit."""
    return float(getattr(value, "value", value))
