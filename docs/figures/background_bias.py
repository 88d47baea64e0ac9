"""Bias of the background on a source, from the study on this page."""

import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, axes, columns, study

tables = study("background")["tables"]


def numbers(values):
    """Return values and errors of texts such as "+1.0 ± 0.2"."""
    return np.array([[float(x) for x in value.split("±")] for value in values]).T


figure, (left, right) = axes(3.4, 2, width_ratios=(1, 1))
bias = columns(tables["bias"])
known = [i for i, word in enumerate(bias["acceptance"]) if word == "known"]
names = [bias["source"][i].removesuffix(" deg") for i in known]
for shift, name, colour in (
    (-0.27, "on source, no mask", GREY),
    (0, "one pass", ORANGE),
    (0.27, "converged", BLUE),
):
    value, error = numbers([bias[name][i] for i in known])
    left.bar(
        np.arange(4) + shift,
        value,
        0.25,
        yerr=error,
        color=colour,
        label=name.replace("on source, ", ""),
    )
left.set(xticks=range(4), xticklabels=names, xlabel="sigma of the source [deg]", ylim=(-5, 125))
left.set_ylabel("bias of the background on a source [%]")
left.legend(frameon=False, fontsize="small")
remedies = columns(tables["remedies"])
value, error = numbers(remedies["converged"])
place = np.arange(len(value))
right.barh(place, value, xerr=error, color=[GREEN if v < 5 else BLUE for v in value])
right.set(yticks=place, xlabel="bias when converged [%]", title="sigma 0.3 deg")
right.set_yticklabels(remedies["setting"], fontsize="small")
right.invert_yaxis()
