"""What one fit sees: counts, background and model of a window."""

from style import axes, pixel

from gammagrad import TSMapEstimator, fit_norm
from gammagrad.simulate import simulate_field

field = simulate_field(seed=1, npix=60)
dataset = field.dataset
row, col = pixel(field, "B")
kernel = TSMapEstimator(kernel_width="0.4 deg").estimate_kernel(dataset).data[0]
half = kernel.shape[0] // 2
window = (0, slice(row - half, row + half + 1), slice(col - half, col + half + 1))
counts = dataset.counts.data[window]
background = dataset.background.data[window]
norm = float(fit_norm(counts, background, kernel).norm)
images = {
    "counts n": counts,
    "background b": background,
    "source x m": norm * kernel,
    "prediction b + x m": background + norm * kernel,
}
figure, made = axes(2.3, 4, sharey=True)
reach = (half + 0.5) * 0.025
top = counts.max()
for ax, (title, image) in zip(made, images.items(), strict=True):
    drawn = ax.imshow(
        image,
        cmap="viridis",
        vmin=0,
        vmax=top,
        origin="lower",
        extent=(reach, -reach, -reach, reach),
    )
    ax.set_title(title, fontsize="small")
    ax.set_xlabel("offset [deg]")
made[0].set_ylabel("offset [deg]")
figure.colorbar(drawn, ax=made, label="counts per bin", shrink=0.75)
