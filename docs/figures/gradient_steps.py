"""Finite differences against the derivative, by the length of the step."""

import jax
import jax.numpy as jnp
import numpy as np
from style import BLUE, GREEN, GREY, ORANGE, PURPLE, axes, columns, study

from gammagrad import fit_norm

rng = np.random.default_rng(1)
model = 20 * np.exp(-(np.arange(-5, 6) ** 2) / 6)
counts = rng.poisson(3 + model).astype(float)


def outputs(scale):
    """Return fit and limit with a background that is scaled."""
    fit = fit_norm(counts, 3.0 * scale * jnp.ones(11), model, selection_optional="ul")
    return jnp.stack([fit.norm, fit.ts, fit.norm_ul])


figure, (left, right) = axes(3.2, 2)
with jax.enable_x64(True):
    exact = np.asarray(jax.jacfwd(outputs)(1.0))
    steps = np.geomspace(1e-10, 1e-1, 37)
    many = jax.jit(jax.vmap(outputs))
    central = (many(1 + steps) - many(1 - steps)) / (2 * steps[:, None])
    off = np.abs(np.asarray(central) / exact - 1)
for name, colour, values in zip(("norm", "TS", "limit"), (BLUE, ORANGE, GREEN), off.T, strict=True):
    left.loglog(steps, np.maximum(values, 1e-16), color=colour, label=name)
left.set(xlabel="step, as a fraction of the background", ylabel="finite difference: relative error")
left.legend(frameon=False, loc="upper center")

tables = study("gradients")["tables"]
marks = (("HESS Crab cube", BLUE, "o"), ("Fermi cube", ORANGE, "s"), ("HAWC joint", PURPLE, "^"))
names = ("norm", "norm_err", "norm_errp", "norm_ul", "ts", "norm_sensitivity", "npred")
for title, colour, mark in marks:
    table = columns(tables[title])
    worst = [max(float(x) for x in table[name]) for name in names]
    right.semilogx(
        worst, range(len(names)), mark, color=colour, label=title.replace("HESS", "H.E.S.S.")
    )
right.set(yticks=range(len(names)), xlabel="largest deviation, all inputs", xlim=(1e-11, 1e-2))
right.set_yticklabels(names, fontsize="small")
right.grid(axis="x", color=GREY, alpha=0.3)
figure.legend(
    *right.get_legend_handles_labels(),
    loc="outside upper right",
    ncols=3,
    frameon=False,
    fontsize="small",
)
