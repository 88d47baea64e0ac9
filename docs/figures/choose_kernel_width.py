"""Norm and significance of one source, against the width of the kernel."""

import jax
import numpy as np
from style import BLUE, GREY, ORANGE, axes

from gammagrad import fit_norm

# a point spread function with tails (King), pixels of 0.05 deg, 68 % within 0.2 deg
side = np.linspace(-1.5, 1.5, 61)
psf = (1 + (side**2 + side[:, None] ** 2) / (2 * 2 * 0.07**2)) ** -2
psf /= psf.sum()
reach = np.maximum(abs(side), abs(side)[:, None])
widths = np.arange(0.15, 2.9, 0.1)
cut = np.stack([psf * (reach < width / 2) for width in widths])
held = cut.sum(axis=(1, 2))
counts, background = 0.5 + 100 * psf, np.full_like(psf, 0.5)
with jax.enable_x64(True):
    fit = jax.jit(jax.vmap(lambda model: fit_norm(counts, background, model)))
    scaled, kept = fit(100 * cut / held[:, None, None]), fit(100 * cut)

figure, (left, right) = axes(3.0, 2)
left.plot(widths, scaled.norm, color=ORANGE, label="renormalise=True")
left.plot(widths, kept.norm, color=BLUE, label="renormalise=False")
left.plot(widths, held, color=GREY, linestyle="--", label="containment")
left.set(xlabel="width of the kernel [deg]", ylabel="norm; the truth is 1", ylim=(0.5, 1.05))
left.legend(frameon=False)
right.plot(widths, np.sqrt(kept.ts), color=BLUE)
right.set(xlabel="width of the kernel [deg]", ylabel=r"$\sqrt{\mathrm{TS}}$", ylim=(0, None))
i = int(np.argmax(held > 0.8))
right.annotate(
    f"{100 * held[i]:.0f} % contained",
    (widths[i], np.sqrt(kept.ts[i])),
    (0.9, 0.55 * float(np.sqrt(kept.ts[-1]))),
    arrowprops={"arrowstyle": "->", "color": GREY},
)
