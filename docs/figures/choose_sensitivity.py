"""Source counts at the sensitivity, against the background."""

import jax
import numpy as np
from style import BLUE, GREY, ORANGE, PURPLE, axes

from gammagrad import fit_norm

background = np.geomspace(1e-3, 1e6, 181)


def counts(**options):
    """Return the counts of a source at 5 sigma in one bin."""

    def one(b):
        fit = fit_norm(b[None], b[None], np.ones(1), selection_optional="sensitivity", **options)
        return fit.norm_sensitivity

    return jax.jit(jax.vmap(one))(background)


figure, (ax,) = axes(3.4)
with jax.enable_x64(True):
    ax.loglog(background, counts(), color=BLUE, label="5 sigma")
    ax.loglog(background, counts(gamma_min=10), color=ORANGE, ls="--", label="and gamma_min=10")
    ax.loglog(
        background,
        counts(bkg_syst_fraction=0.05),
        color=PURPLE,
        ls="-.",
        label="and bkg_syst_fraction=0.05",
    )
ax.loglog(
    background,
    5 * np.sqrt(background),
    color=GREY,
    ls=":",
    label="5 times the root of the background",
)
ax.set(xlabel="background in the bin [counts]", ylabel="counts of the source", ylim=(0.5, 1e5))
ax.legend(frameon=False)
