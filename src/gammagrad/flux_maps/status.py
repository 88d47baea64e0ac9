"""The status of the fits of a map, as a table of codes, numbers of pixels and meanings."""

from __future__ import annotations

import numpy as np
from astropy.table import QTable

from gammagrad.core.norm import STATUS
from gammagrad.maps import Map, readable_energies


class StatusTable(QTable):
    """A table of the status of the fits of a map; it is printed in full on any terminal."""

    def __str__(self) -> str:
        align = ["<" if name == "meaning" else ">" for name in self.colnames]
        lines: list[str] = self.pformat(max_lines=-1, max_width=-1, align=align)
        return "\n".join(line.rstrip() for line in lines)


def status_table(status: Map) -> StatusTable:
    """Count the pixels of each status."""
    edges = readable_energies(status.geom.axes["energy"].edges)
    rows = []
    for group, plane in enumerate(status.data):
        codes, numbers = np.unique(plane, return_counts=True)
        for i in np.argsort(-numbers, kind="stable"):
            rows.append((group, int(codes[i]), int(numbers[i])))
    table = StatusTable()
    table["energy_group"] = [group for group, _, _ in rows]
    for name, bounds in (("energy_min", edges[:-1]), ("energy_max", edges[1:])):
        table[name] = bounds[table["energy_group"]]
        table[name].info.format = ".4g"
    table["code"] = [code for _, code, _ in rows]
    table["pixels"] = [number for _, _, number in rows]
    unknown = "a code that is unknown to this version of the library"
    table["meaning"] = [STATUS.get(code, unknown) for _, code, _ in rows]
    return table
