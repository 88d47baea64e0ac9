"""What a few counts in one bin mean where the background goes to zero."""

import numpy as np
from scipy.optimize import brentq
from style import BLUE, GREEN, GREY, ORANGE, axes, promise

level = np.logspace(-25, 2, 200)


def significance(counts: float) -> np.ndarray:
    """Return the root of TS of a single bin, with its sign."""
    ts = 2 * (counts * np.log(counts / level) - (counts - level))
    return np.sign(counts - level) * np.sqrt(ts)


def needed(background: float) -> float:
    """Return the source counts of which the expected counts reach 5 sigma."""

    def over(x: float) -> float:
        return 2 * ((background + x) * np.log1p(x / background) - x) - 25

    return brentq(over, 1e-3, 1e3)


_, (left, right) = axes(3.4, 2, sharex=True)
for counts, colour in ((1, BLUE), (2, GREEN), (3, ORANGE)):
    left.plot(level, significance(counts), color=colour, label=f"counts: {counts}")
promise(left, 5, "5 sigma")
left.set(xscale="log", ylim=(0, 20), ylabel=r"significance $\sqrt{\mathrm{TS}}$")
left.legend(fontsize=8)
right.plot(level, [needed(b) for b in level], color=BLUE)
promise(right, 10, "gamma_min=10")
right.axhline(1, color=GREY, lw=0.8)
right.annotate("one count", (1e-24, 1), (0, 2), textcoords="offset points", color=GREY, fontsize=8)
right.set(yscale="log", ylim=(0.1, 100), ylabel="source counts for 5 sigma")
for axis in (left, right):
    axis.set_xlabel("background of the bin (counts)")
    axis.set_xticks(10.0 ** np.arange(-25, 5, 5))
