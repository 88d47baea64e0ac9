"""What a background that is wrong does to the significances of an empty field."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, axes, columns, promise, study

table = {
    k: np.array(v) for k, v in columns(study("uncertain_background")["tables"]["empty"]).items()
}
WAYS = (("fixed", "s", ORANGE), ("constrained to 3 %", "^", GREEN), ("free", "o", BLUE))
WRONG = ("0 %", "3 %", "10 %", "30 %")
SHAPES = {
    "gradient, from -30 % to 30 %": "gradient\n-30 to 30 %",
    "the same at the edge of a map": "the same\nat the edge",
    "bowl, 30 % deeper in the middle": "bowl, 30 %\ndeeper",
}
by, truth, way = (table[n] for n in ("background", "true background is off by", "way"))


def mean(level: float, name: str, how: str) -> float:
    """Return the mean significance of one row."""
    return float(table["mean"][(by == level) & (truth == name) & (way == how)][0])


_, (left, right) = axes(3.6, 2, sharey=True)
for how, marker, colour in WAYS:
    for level, style in ((1.0, ":"), (10.0, "-")):
        means = [mean(level, name, how) for name in WRONG]
        left.plot(range(4), means, marker + style, color=colour)
    right.plot(
        range(3), [mean(10.0, name, how) for name in SHAPES], marker, color=colour, label=how
    )
left.plot([], [], ":", color=GREY, label="1 count per pixel")
left.plot([], [], "-", color=GREY, label="10 counts per pixel")
left.set_xticks(range(4), WRONG)
left.set(xlabel="true background is higher by", ylabel="mean significance, without a source")
right.set_xticks(range(3), SHAPES.values(), fontsize=8)
right.set(xlabel="shape that the fit does not know", xlim=(-0.5, 2.5))
for axis in (left, right):
    promise(axis, 0, "")
    axis.legend(fontsize=8, loc="upper left" if axis is left else "upper right")
