"""Compare the fit alone with stored results of gammapy, on the arrays that entered its fit.

Run as a script, with the environment variable GAMMAPY_DATA set, it prints a table.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad.core.ts_map import BinImages, clean_kernel, cube_bins, fit_occupied

SCANS = ("fermicut_all", "hawc_joint_cut_all", "fake_joint_two_all_thr1")
"""Cases that hold values read off a coarse scan in place of fitted ones (gammapy's item 5)."""

TS_TOLERANCE = {"fake_asimov_sumF": 2e-6}
"""gammapy keeps negative kernel noise in stat there and drops it in the derivative."""


class Comparison(NamedTuple):
    """One energy group: pixels compared and left out, largest deviations."""

    case: str
    group: int
    compared: int
    not_fitted: int  # NaN in gammapy
    one_bin: int  # success False: at most one occupied bin (gammapy's item 1)
    guess_kept: int  # below the threshold (gammapy's item 7)
    no_error: int  # no counts: the error is infinite, TS alone is compared
    norm: float  # in units of norm_err
    ts: float  # in units of 1 + |ts|


def case_names(folder: Path) -> list[str]:
    """Return the stored cases that can be compared."""
    return [p.stem for p in sorted((folder / "ts").glob("*.npz")) if p.stem not in SCANS]


def _images(stored: np.lib.npyio.NpzFile, key: str) -> tuple[BinImages, np.ndarray]:
    """Return the bins of one dataset and group, and the positions that gammapy fitted."""
    names = ("counts", "background", "exposure", "kernel", "mask")
    counts, background, exposure, kernel, mask = (
        np.asarray(stored[f"{key}__{name}"], float) for name in names
    )
    fitted = mask.any(axis=0) & (np.nan_to_num(background).sum(axis=0) > 0)
    if counts.shape == mask.shape:
        arrays = (counts, background, exposure, kernel, mask)
        return cube_bins(*(jnp.asarray(a) for a in arrays)), fitted
    # already summed over energies by gammapy, and its kernels averaged with equal weights
    total = mask.sum(axis=0, keepdims=True)
    used = (total > 0) & np.isfinite(background)
    share = mask / np.where(total > 0, total, 1.0)
    images = BinImages(
        counts=jnp.asarray(np.where(used, counts, 0.0)),
        background=jnp.asarray(np.where(used, background, 0.0)),
        exposure=jnp.asarray(share * np.where(used, exposure, 0.0))[None],
        kernel=clean_kernel(jnp.asarray(kernel))[None],
    )
    return images, fitted


def compare(folder: Path, case: str) -> Iterator[Comparison]:
    """Fit a stored case, group by group, and compare."""
    stored = np.load(folder / "ts" / f"{case}.npz")
    settings = json.loads((folder / "ts" / f"{case}.json").read_text(encoding="utf-8"))
    group = 0
    while f"in__g{group}_d0__counts" in stored:
        datasets = []
        while f"in__g{group}_d{len(datasets)}__counts" in stored:
            datasets.append(_images(stored, f"in__g{group}_d{len(datasets)}"))
        fitted = np.any([mask for _, mask in datasets], axis=0)
        fit = fit_occupied([images for images, _ in datasets], fitted)
        yield _deviations(stored, settings, case, group, fit.norm, fit.ts)
        group += 1


def _deviations(
    stored: np.lib.npyio.NpzFile,
    settings: dict,
    case: str,
    group: int,
    norm: np.ndarray,
    ts: np.ndarray,
) -> Comparison:
    on_fit_grid = f"fitgrid_precise__g{group}__norm" in stored

    def expected(name: str) -> np.ndarray:
        if on_fit_grid:
            return stored[f"fitgrid_precise__g{group}__{name}"][0]
        return stored[f"precise__{name}"][group]

    if not on_fit_grid:
        row, col = settings["pad"]
        norm, ts = (a[row : a.shape[0] - row, col : a.shape[1] - col] for a in (norm, ts))
    there = np.isfinite(expected("norm"))
    success = expected("success").astype(bool)
    kept = there & success & (expected("niter") == 0) & (expected("norm_err") < np.inf)
    kept &= "threshold" in settings["settings"]
    good = there & success & ~kept
    error = expected("norm_err")
    bounded = good & np.isfinite(error)
    with np.errstate(invalid="ignore"):
        norm_off = np.abs(norm - expected("norm")) / error
        ts_off = np.abs(np.abs(ts) - np.abs(expected("ts"))) / (1 + np.abs(expected("ts")))
    return Comparison(
        case=case,
        group=group,
        compared=int(good.sum()),
        not_fitted=int((~there).sum()),
        one_bin=int((there & ~success).sum()),
        guess_kept=int(kept.sum()),
        no_error=int((good & ~np.isfinite(error)).sum()),
        norm=float(norm_off[bounded].max(initial=0.0)),
        ts=float(ts_off[good].max(initial=0.0)),
    )


def main() -> None:
    """Print the table."""
    data = Path(os.environ["GAMMAPY_DATA"])
    folder = Path(os.environ.get("GAMMAGRAD_REFERENCE", data.parent / "reference"))
    rows = []
    with jax.enable_x64(True):
        for case in sys.argv[1:] or case_names(folder):
            for row in compare(folder, case):
                rows.append(row)
                print(
                    f"{row.case:34} {row.group:2}  compared {row.compared:6}  "
                    f"one bin {row.one_bin:5}  guess {row.guess_kept:6}  NaN {row.not_fitted:5}  "
                    f"norm {row.norm:.1e}  ts {row.ts:.1e}",
                    flush=True,
                )
    total = {n: sum(getattr(r, n) for r in rows) for n in ("compared", "one_bin", "guess_kept")}
    print(
        f"{len({r.case for r in rows})} cases, {len(rows)} groups: {total['compared']} pixels "
        f"compared; left out: {total['one_bin']} with one occupied bin, "
        f"{total['guess_kept']} below a threshold; not run: {', '.join(SCANS)}. "
        f"Worst norm {max(r.norm for r in rows):.1e} norm_err, "
        f"worst ts {max(r.ts for r in rows):.1e} (1 + |ts|)."
    )


if __name__ == "__main__":
    main()
