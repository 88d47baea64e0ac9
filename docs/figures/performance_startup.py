"""Imports, and the first run of a process."""

from style import BLUE, GREEN, GREY, ORANGE, axes, columns, numbers, timings

tables = timings("startup")["tables"]
figure, (left, right) = axes(2.0, 2)
for ax, name, colours in (
    (left, "imports", (GREY, GREY, BLUE)),
    (right, "first run", (BLUE, ORANGE, GREEN)),
):
    table = columns(tables[name])
    names, seconds = next(iter(table)), numbers(table["seconds"])
    words = [word.replace("jax and the parts of", "jax and parts\nof") for word in table[names]]
    words = [word.replace(" that are needed", "") for word in words]
    bars = ax.barh(words, seconds, color=colours)
    ax.bar_label(bars, fmt="%.2f", padding=2)
    ax.set(xlabel="seconds", xlim=(0, 1.2 * max(seconds)))
    ax.set_title("import" if ax is left else "first run: Fermi, summed", fontsize="medium")
    ax.invert_yaxis()
