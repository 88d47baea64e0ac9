"""Likelihood profiles with all that is read off them."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, RED, axes

from gammagrad import fit_norm


def profile(ax, counts, background, norms, norm_min=None):
    """Draw the statistic against the norm, and return two fits with different limits."""
    options = {"selection_optional": "all", "scan_values": norms, "norm_min": norm_min}
    fits = [fit_norm([counts], [background], [1.0], n_sigma_ul=n, **options) for n in (2.0, 1.645)]
    lowest = fits[0].stat - fits[0].stat_null
    ax.plot(norms, fits[0].stat_scan - lowest, color="black")
    ax.plot(fits[0].norm, 0, "o", color="black")
    ax.set(xlabel="norm [counts of the source]", ylim=(-0.3, 8))
    return fits


figure, (left, right) = axes(3.4, 2, sharey=True)
wide, narrow = profile(left, 5.0, 2.0, np.linspace(-1.9, 12, 300))
low, high = wide.norm - wide.norm_errn, wide.norm + wide.norm_errp
left.plot([low, high], [1, 1], "|-", color=BLUE, markersize=10)
left.text(wide.norm, 1.1, "norm_errn,\nnorm_errp", color=BLUE, ha="center", fontsize="small")
for fit, colour, name in ((wide, ORANGE, "2"), (narrow, GREEN, "1.645")):
    rise = float(name) ** 2
    left.plot([-2, fit.norm_ul, fit.norm_ul], [rise, rise, -0.3], color=colour, linestyle="--")
    left.text(1.5, rise + 0.15, f"n_sigma_ul={name}", color=colour, fontsize="small")
left.set(title="5 counts, 2 expected", ylabel="statistic over the best fit", xlim=(-2, 11))
left.text(wide.norm, 0.2, "norm", ha="center", va="bottom", fontsize="small")

norms = np.linspace(-4.99, 8, 300)
for norm_min, colour, word in ((None, ORANGE, "None"), (0.0, RED, "0")):
    fit, _ = profile(right, 2.0, 5.0, norms, norm_min)
    base = max(float(fit.norm), -9.0 if norm_min is None else 0.0)
    level = float(np.interp(base, norms, fit.stat_scan - fit.stat + fit.stat_null))
    right.plot([base, fit.norm_ul], [level + 4] * 2, "|--", color=colour, markersize=10)
    right.text(
        fit.norm_ul + 0.3,
        level + 3.9,
        f"norm_min={word}",
        color=colour,
        va="center",
        fontsize="small",
    )
right.axvline(0, color=GREY, linewidth=0.8)
right.set(title="2 counts, 5 expected", xlim=(-5.2, 9))
