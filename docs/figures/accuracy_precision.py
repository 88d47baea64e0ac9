"""What single and double precision change, beside the bar."""

from style import BLUE, GREEN, GREY, ORANGE, axes, promise, study

table = study("precision")["tables"]["precision"]
rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
KINDS = (
    ("TSMapEstimator", "float64", "estimator, x64 flag on or off: equal", GREY, "D"),
    ("ts_map", "float64", "ts_map, float64", GREEN, "o"),
    ("ts_map", "float32", "ts_map, float32", ORANGE, "s"),
)
EQUAL = 1e-16
"""Where what does not differ at all is drawn."""

places = list(dict.fromkeys((row["data"], row["fit"]) for row in rows))
_, panels = axes(3.4, 2, sharey=True)
for axis, quantity in zip(panels, ("norm off", "ts off"), strict=True):
    for what, precision, label, colour, marker in KINDS:
        some = [r for r in rows if (r["what runs"], r["input"]) == (what, precision)]
        at = [places.index((row["data"], row["fit"])) for row in some]
        shown = [max(row[quantity], EQUAL) for row in some]
        axis.plot(at, shown, marker, color=colour, label=label)
    promise(axis, 1e-4, "bar: 1e-4")
    axis.set_xticks(
        range(len(places)),
        [f"{place[0]}\n{place[1]}".replace(" Crab", "\nCrab") for place in places],
        fontsize=8,
    )
    axis.set(yscale="log", ylim=(EQUAL / 5, 1e-2), xlim=(-0.5, 3.5))
    axis.axhline(EQUAL, color=BLUE, lw=0.5, ls=":")
panels[0].set_ylabel("largest deviation")
panels[0].set_yticks([1e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6, 1e-4])
panels[0].set_yticklabels(["0", *(f"$10^{{{n}}}$" for n in range(-14, -3, 2))])
panels[0].set_title("norm / error", fontsize=9)
panels[1].set_title(r"TS / $\sqrt{1 + |\mathrm{TS}|}$", fontsize=9)
panels[1].legend(fontsize=8, loc=(0.02, 0.35))
