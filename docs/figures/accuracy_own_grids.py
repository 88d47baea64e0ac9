"""The Crab nebula on two grids, and event types on pixels that suit them."""

import numpy as np
from style import BLUE, GREEN, GREY, axes, columns, study

tables = study("own_grids")["tables"]
crab, types = columns(tables["instruments"]), columns(tables["event types"])

_, (left, right) = axes(3.0, 2)
at = np.arange(3)
left.errorbar(crab["norm"], -at, xerr=crab["norm_err"], fmt="o", color=BLUE)
names = ["H.E.S.S.", "HAWC,\ntwo bins", "both"]
left.set_yticks(-at, names, fontsize=8)
weights = 1 / np.square(crab["norm_err"][:2])
mean = float(np.average(crab["norm"][:2], weights=weights))
left.axvspan(mean - weights.sum() ** -0.5, mean + weights.sum() ** -0.5, color="0.9")
left.axvline(mean, color=GREY, lw=0.8)
left.annotate("weighted mean of the two", (mean, 0.4), ha="right", color=GREY, fontsize=8)
left.set(xlabel="norm of the Crab nebula", ylim=(-2.5, 0.9))

right.barh(-at, types["sqrt_ts"], color=GREEN, height=0.5)
right.set_yticks(-at, ["each type on\nits own pixels", "both on pixels\nof 0.1 deg", "added up"])
right.tick_params("y", labelsize=8)
for place, value in zip(at, types["sqrt_ts"], strict=True):
    right.text(value + 0.1, -place, f"{value:.2f}", va="center", fontsize=8)
right.set(xlabel=r"$\sqrt{\mathrm{TS}}$ of a source of two event types", xlim=(0, 9.5))
