"""What is timed: data, and settings that both packages share."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CENTRE = {"kernel_positions": "centre"}


@dataclass(frozen=True)
class Case:
    """One row of the table."""

    name: str
    title: str
    settings: dict[str, Any]
    """Settings of both estimators."""
    files: str = ""
    """Pattern of files below $GAMMAPY_DATA, which are fitted jointly."""
    simulated: dict[str, Any] = field(default_factory=dict)
    """Instead of files: arguments of `gammagrad.simulate.simulate_field`."""
    ours: dict[str, Any] = field(default_factory=lambda: dict(CENTRE))
    """Further settings of gammagrad; gammapy has one kernel for all positions."""
    sigma: str | None = None
    """Size of a Gaussian source; None is a point source."""
    every: int = 1
    """gammapy fits every so many pixels along rows and columns, and is extrapolated."""
    alone: bool = False
    """Whether gammapy and the compiled loop have nothing like it."""
    quick_pixels: int = 400
    """Pixels that gammapy fits in a quick run."""

    @property
    def has_one_kernel(self) -> bool:
        """Whether all positions have the same kernel, as the compiled loop takes it."""
        return not self.alone and self.ours.get("kernel_positions") == "centre"

    def paths(self, folder: Path) -> list[Path]:
        """Return the files of the case; a simulated field has its own in a folder."""
        if self.simulated:
            return [folder / f"{self.name}.fits.gz"]
        if "GAMMAPY_DATA" not in os.environ:
            raise SystemExit(f"{self.name} needs GAMMAPY_DATA, the folder of public data sets.")
        found = sorted(Path(os.environ["GAMMAPY_DATA"]).glob(self.files))
        if not found:
            raise SystemExit(f"{self.name}: there is no {self.files} below $GAMMAPY_DATA.")
        return found


FERMI = "fermi-3fhl-gc/fermi-3fhl-gc.fits.gz"
CRAB = "reduced/hess-crab.fits.gz"
CUBE = {"sum_over_energy_groups": False}
EQUAL = {"kernel_weighting": "equal", **CENTRE}
DEFAULT: dict[str, Any] = {}

CASES = {
    case.name: case
    for case in (
        Case(
            "fermi_equal",
            "Fermi, summed, equal weights",
            {"kernel_width": "1 deg"},
            FERMI,
            ours=EQUAL,
        ),
        Case("fermi_counts", "Fermi, summed", {"kernel_width": "1 deg"}, FERMI),
        Case("fermi_cube", "Fermi, cube", {"kernel_width": "1 deg", **CUBE}, FERMI),
        Case(
            "fermi_cube_default",
            "Fermi, cube, a kernel for every position",
            {"kernel_width": "1 deg", **CUBE},
            FERMI,
            ours=DEFAULT,
        ),
        Case(
            "fermi_cube_free",
            "Fermi, cube, free background norm",
            {"kernel_width": "1 deg", **CUBE},
            FERMI,
            ours={"background": "free", **CENTRE},
            alone=True,
        ),
        Case("crab_cube", "H.E.S.S. Crab, cube", {"kernel_width": "0.5 deg", **CUBE}, CRAB),
        Case(
            "crab_cube_default",
            "H.E.S.S. Crab, cube, a kernel for every position",
            {"kernel_width": "0.5 deg", **CUBE},
            CRAB,
            ours=DEFAULT,
        ),
        Case(
            "crab_all",
            "H.E.S.S. Crab, cube, all options",
            {"kernel_width": "0.5 deg", "selection_optional": "all", **CUBE},
            CRAB,
            every=7,
            quick_pixels=50,
        ),
        Case(
            "hawc_joint",
            "HAWC, joint cube",
            {"kernel_width": "2 deg", **CUBE},
            "hawc/DL4/nHit-*.fits.gz",
        ),
        Case(
            "kernel_61",
            "simulated image, kernel 61 x 61",
            {"kernel_width": "1.525 deg"},
            simulated={"npix": 200, "nbin": 1},
            sigma="0.15 deg",
        ),
        Case(
            "kernel_101",
            "simulated image, kernel 101 x 101",
            {"kernel_width": "2.525 deg"},
            simulated={"npix": 200, "nbin": 1},
            sigma="0.25 deg",
            every=3,
        ),
        Case(
            "million",
            "simulated, 1000 x 1000 pixels, summed",
            {"kernel_width": "0.525 deg"},
            simulated={"npix": 1000, "livetime": "500 h"},
            every=5,
        ),
    )
}
