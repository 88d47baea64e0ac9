"""Symmetric and asymmetric intervals of one, two and three standard deviations."""

from style import BLUE, ORANGE, axes

from gammagrad import fit_norm

figure, made = axes(2.6, 2)
for ax, counts in zip(made, (5.0, 100.0), strict=True):
    for n in (1, 2, 3):
        fit = fit_norm([counts], [0.4 * counts], [1.0], n_sigma=n, selection_optional="errn-errp")
        for shift, down, up, colour, word in (
            (0.12, fit.norm_err, fit.norm_err, ORANGE, "norm_err"),
            (-0.12, fit.norm_errn, fit.norm_errp, BLUE, "norm_errn, norm_errp"),
        ):
            ax.errorbar(
                float(fit.norm),
                n + shift,
                xerr=[[float(down)], [float(up)]],
                color=colour,
                fmt="o",
                capsize=4,
                label=word if n == 1 else None,
            )
    ax.axvline(-0.4 * counts, color="black", linestyle=":")
    ax.set(
        title=f"{counts:.0f} counts, {0.4 * counts:.0f} expected", yticks=(1, 2, 3), ylim=(0.6, 3.4)
    )
    ax.set_xlabel("norm [counts of the source]")
made[0].set_ylabel("n_sigma")
figure.legend(
    *made[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, frameon=False
)
