"""The physical bound: where the first prediction reaches zero."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, PURPLE, axes

n = np.array([0.0, 1.0, 0.0])
b = np.array([0.6, 2.0, 2.6])
m = np.array([1.0, 1.5, 0.7])
bound = -min(b / m)
x = np.linspace(-2.2, 2, 500)

figure, (left, right) = axes(3.0, 2)
for k, (colour, place) in enumerate(((BLUE, 1.4), (ORANGE, 1.4), (GREEN, 0.0))):
    left.plot(x, b[k] + x * m[k], color=colour)
    left.text(
        place,
        b[k] + place * m[k] + 0.1,
        "1 count" if n[k] else "no count",
        color=colour,
        ha="right",
        fontsize="small",
        va="bottom",
    )
left.axhline(0, color=GREY, linewidth=0.8)
left.set(xlabel="norm x", ylabel="prediction b + x m of three bins", ylim=(-1, 5.5), xlim=(-2, 2))
mu = b + np.multiply.outer(x, m)
with np.errstate(invalid="ignore", divide="ignore"):
    statistic = 2 * (mu.sum(axis=1) - np.log(mu[:, 1]))
allowed = x >= bound
right.plot(x[allowed], statistic[allowed], color="black")
right.plot(x[~allowed], statistic[~allowed], color="black", linestyle=":")
best = float(np.interp(bound, x, statistic))
right.plot(bound, best, "o", color=PURPLE)
right.annotate(
    "best fit: the bound",
    (bound, best),
    (-0.3, best - 1.2),
    color=PURPLE,
    arrowprops={"arrowstyle": "->", "color": PURPLE},
)
right.set(xlabel="norm x", ylabel="statistic C(x)", xlim=(-2, 2), ylim=(best - 2, best + 9))
for ax in (left, right):
    ax.axvspan(-2, bound, color="#dddddd")
    ax.axvline(bound, color=PURPLE, linewidth=1)
