"""Times of direct and of fast convolutions."""

from style import BLUE, ORANGE, axes, columns, timings

table = columns(timings("convolution")["tables"]["convolution"])
figure, made = axes(3.0, 3, sharey=True)
for ax, images in zip(made, dict.fromkeys(table["images"]), strict=True):
    for name, colour in (("direct (ms)", ORANGE), ("FFT (ms)", BLUE)):
        for dtype, style in (("float64", "-"), ("float32", ":")):
            rows = [
                i
                for i in range(len(table["images"]))
                if table["images"][i] == images and table["dtype"][i] == dtype and table[name][i]
            ]
            widths = [int(table["kernel"][i].split(" x ")[0]) for i in rows]
            ax.loglog(
                widths,
                [float(table[name][i]) for i in rows],
                style,
                color=colour,
                label=f"{name.removesuffix(' (ms)')}, {dtype}",
            )
    ax.set_title(
        f"{images} pixels" if images[0] == "1" and images[1] == " " else images, fontsize="small"
    )
    ax.axvline(8, color="black", linewidth=0.6)
    ax.set(xlabel="kernel width [pixels]", xticks=(3, 10, 30, 100), xticklabels=(3, 10, 30, 100))
    ax.minorticks_off()
made[0].set_ylabel("time [ms]")
figure.legend(
    *made[0].get_legend_handles_labels(),
    loc="outside upper center",
    ncols=4,
    frameon=False,
    fontsize="small",
)
