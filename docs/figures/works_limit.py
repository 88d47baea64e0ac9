"""The rise of the statistic above the best fit, and the steps to a limit."""

import numpy as np
from style import BLUE, GREY, ORANGE, axes

n, r, total = np.array([1.0, 3.0]), np.array([0.5, 2.0]), 2.4
target = 4.0


def rise(d):
    """Return the rise of the statistic, and its slope."""
    d = np.asarray(d, dtype=float)[..., None]
    value = 2 * (d[..., 0] * total - (n * np.log1p(d / r)).sum(axis=-1))
    return value, 2 * (total - (n / (r + d)).sum(axis=-1))


lowest = next(x for x in np.linspace(0, 2, 20001) if rise(x)[1] > 0)
r = r + lowest  # the ratios as seen from the best fit
d = np.geomspace(0.03, 30, 200)
value, slope = rise(d)
figure, (left, right) = axes(3.0, 2)
left.loglog(d, value, color="black")
left.axhline(target, color=GREY, linestyle="--")
step = 0.2
for i in range(4):
    y, y1 = rise(step)
    power = float(step * y1 / y)
    left.plot(step, y, "o", color=BLUE if i else ORANGE)
    following = step * (target / float(y)) ** (1 / power)
    left.plot([step, following], [y, target], color=BLUE, linewidth=1)
    step = following
left.text(0.035, target * 1.5, r"$n_\sigma^2$", color=GREY)
left.set(xlabel="step d from the best fit", ylabel="rise R(d) of the statistic")
right.semilogx(d, d * slope / value, color="black")
right.set(xlabel="step d from the best fit", ylabel="slope p of ln R against ln d", ylim=(0.9, 2.1))
for level in (1, 2):
    right.axhline(level, color=GREY, linestyle=":")
