"""Hours of five pointings and what one more is worth, before and after the optimisation."""

import runpy

import jax
import jax.numpy as jnp
import numpy as np
from style import BLUE, DOCS, ORANGE, axes

program = runpy.run_path(str(DOCS / "examples" / "survey_design.py"))
with jax.enable_x64(True):
    survey, total = program["plan"](), 50.0
    equal = jnp.full(5, total / 5)
    best = program["optimise"](total, survey)
    value, slope = zip(
        *(program["gain_per_hour"](hours, survey) for hours in (equal, best)), strict=True
    )
figure, (left, right) = axes(2.8, 2)
for shift, hours, slopes, mean, colour, label in (
    (-0.2, np.asarray(equal), slope[0], value[0], ORANGE, "equal shares"),
    (0.2, np.asarray(best), slope[1], value[1], BLUE, "optimised"),
):
    place = np.arange(1, 6) + shift
    left.bar(place, hours, 0.38, color=colour, label=f"{label}: mean sensitivity {mean:.2f}")
    right.bar(place, -1e3 * np.asarray(slopes), 0.38, color=colour)
left.set(xlabel="pointing", ylabel="hours")
right.set(xlabel="pointing", ylabel="gain of another hour [0.001]")
figure.legend(loc="outside upper center", ncols=2, frameon=False)
