"""The statistic of a pixel, and Newton's method on its slope and on the inverse."""

import numpy as np
from style import BLUE, GREY, ORANGE, axes

n = np.array([1.0, 2.0, 1.0, 3.0])
b = np.array([0.05, 1.0, 1.5, 2.0])
m = np.array([1.0, 4.0, 2.0, 1.0])
total = m.sum() + 1.0  # a bin without counts has the rest


def s(x, k):
    """Return the sum S_k."""
    return (n * (m / (b + np.multiply.outer(x, m))) ** k).sum(axis=-1)


def statistic(x):
    """Return the statistic, up to a constant."""
    mu = b + np.multiply.outer(x, m)
    return 2 * (b.sum() + x * total - (n * np.log(mu)).sum(axis=-1))


pole = -min(b / m)
start = -0.03
x = np.linspace(pole + 1e-4, 0.9, 600)
slow, fast = [start], [start]
for _ in range(6):
    at = slow[-1]
    slow.append(at + (s(at, 1) - total) / s(at, 2))
    at = fast[-1]
    fast.append(at + s(at, 1) / s(at, 2) * (s(at, 1) / total - 1))

figure, (first, left, right) = axes(3.0, 3)
first.plot(x, statistic(x), color="black")
for k, at in enumerate(fast[:4]):
    first.plot(at, statistic(at), "o", color=BLUE)
    if k < 3:
        first.annotate(f"{k}", (at, statistic(at)), (4, 6), textcoords="offset points", color=BLUE)
first.set(xlabel="norm x", ylabel="statistic C(x)", xlim=(-0.06, 0.6), ylim=(6, 16))
left.plot(x, s(x, 1), color="black")
left.axhline(total, color=GREY, linestyle="--")
left.plot(slow, [s(at, 1) for at in slow], "o", color=ORANGE)
left.set(xlabel="norm x", ylabel=r"$S_1(x)$", ylim=(0, 70), xlim=(-0.06, 0.35))
left.text(-0.05, total + 1, "M", color=GREY)
left.set_title("Newton on S₁ = M", fontsize="medium")
right.plot(x, 1 / s(x, 1), color="black")
right.axhline(1 / total, color=GREY, linestyle="--")
for k, at in enumerate(fast[:3]):
    y = 1 / s(at, 1)
    right.plot(at, y, "o", color=BLUE)
    right.plot([at, fast[k + 1]], [y, 1 / total], color=BLUE, linewidth=1)
    right.plot([fast[k + 1]] * 2, [1 / total, 1 / s(fast[k + 1], 1)], color=BLUE, linestyle=":")
right.set(xlabel="norm x", ylabel=r"$1 / S_1(x)$", xlim=(-0.06, 0.35), ylim=(0, 0.15))
right.text(-0.05, 1 / total + 0.003, "1 / M", color=GREY)
right.set_title("Newton on 1 / S₁ = 1 / M", fontsize="medium")
