"""Summary of an ON/OFF dataset as numbers and as text."""

from __future__ import annotations

from typing import Any

import numpy as np

from gammagrad.dataset.checks import OFF_NAMES
from gammagrad.dataset.info import counts_text, summary, total_of
from gammagrad.dataset.off_regions import is_measured
from gammagrad.maps import Map


def on_off_info(dataset: Any, safe: Map | None) -> dict[str, Any]:
    """Return the summary of an ON/OFF dataset."""
    info = summary(dataset, safe) | {n: total_of(getattr(dataset, n), safe) for n in OFF_NAMES}
    whole = all(getattr(dataset, name) is not None for name in ("counts", *OFF_NAMES))
    return info | {
        "alpha": info["background"] / info["counts_off"] if info["counts_off"] > 0 else np.nan,
        "npred": total_of(dataset.npred() if whole else None, safe),
        "npred_signal": total_of(dataset.npred_signal(), safe),
        "stat_type": "wstat",
        "stat_sum": dataset.stat_sum() if whole else np.nan,
    }


def off_count_rows(dataset: Any) -> list[tuple[str, str]]:
    """Return the lines about counts ON and OFF, and the background that follows."""
    rows = [("counts (ON)", counts_text(dataset.counts))]
    rows.append(("counts_off", counts_text(dataset.counts_off)))
    if dataset.acceptance is None or dataset.acceptance_off is None:
        return [*rows, ("alpha", "none (an acceptance is missing)")]
    alpha = dataset.alpha.data
    used = alpha > 0
    text = "zero everywhere"
    if used.any():
        low, high = float(alpha[used].min()), float(alpha[used].max())
        text = f"{high:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    rows.append(("alpha", text))
    if dataset.counts_off is None:
        return rows
    unknown = int((~is_measured(dataset)).sum())
    text = f"{np.nansum(dataset.background.data):.6g} in all, alpha times counts_off"
    rows.append(("background", text + f"; not measured in {unknown} bins" * bool(unknown)))
    return rows
