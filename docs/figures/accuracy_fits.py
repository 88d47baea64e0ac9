"""Best fits of whole models beside gammapy's, in units of gammapy's errors."""

import numpy as np
from style import BLUE, GREEN, ORANGE, axes, columns, promise, study

tables = study("fit")["tables"]
FITS = (
    ("HESS Crab", "H.E.S.S. Crab", "o", BLUE),
    ("HESS Crab at 1 TeV", "the same, reference 1 TeV", "^", ORANGE),
    ("Fermi 3FHL", "Fermi, three sources", "s", GREEN),
)
PANELS = (
    ("shift / error", "best fit: |shift| / error", 3e-3, "stated: 0.003"),
    ("errors by differences", "errors: relative deviation", 0.02, "2 %"),
)

_, panels = axes(3.4, 2)
for axis, (name, label, bar, words) in zip(panels, PANELS, strict=True):
    for fit, data, marker, colour in FITS:
        table = columns(tables[f"{fit} parameters"])
        some = np.array(table["sampling"]) == "gammapy"
        off = np.sort(np.abs(np.array(table[name])[some]))
        axis.plot(np.linspace(0, 1, len(off)), off, marker, color=colour, label=data)
    promise(axis, bar, words)
    axis.set(yscale="log", ylabel=label, xticks=[], xlabel="parameters, by size")
    axis.set_ylim(1e-6, 1)
panels[0].legend(fontsize=8, loc="lower right")
