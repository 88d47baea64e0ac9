"""How much of an extended source a ring takes for background."""

from style import BLUE, GREEN, ORANGE, axes, columns, promise, study

table = columns(study("background")["tables"]["bias"])
sizes = [0, 0.1, 0.2, 0.3]
KINDS = (
    ("on source, no mask", "no mask", "s", ORANGE),
    ("one pass", "one pass", "^", GREEN),
    ("converged", "converged", "o", BLUE),
)

_, (axis,) = axes(3.2)
for name, label, marker, colour in KINDS:
    for acceptance, line in (("known", "-"), ("not used", ":")):
        rows = zip(table["acceptance"], table[name], strict=True)
        bias, error = zip(
            *(map(float, cell.split(" ± ")) for kind, cell in rows if kind == acceptance),
            strict=True,
        )
        words = f"{label}, acceptance {acceptance}"
        axis.errorbar(sizes, bias, error, fmt=marker + line, color=colour, label=words)
promise(axis, 0, "")
axis.set(xlabel="width of the Gaussian source (deg); ring from 0.4 to 0.7 deg", xticks=sizes)
axis.set_ylabel("background on the source:\noff by, in per cent")
axis.legend(fontsize=8)
