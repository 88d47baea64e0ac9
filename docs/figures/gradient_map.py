"""The derivative of one TS with respect to the counts and the background of every pixel."""

import jax
import jax.numpy as jnp
from style import pixel, short_labels, sky_axes

from gammagrad import Map, ts_map
from gammagrad.simulate import simulate_field

field = simulate_field(seed=1, npix=60)
dataset, source = field.dataset, field.models["A"]
response = dataset.source_response(source, "0.6 deg")
row, col = pixel(field, "C")


def ts(counts, background):
    """Return the TS at source C, summed over energies."""
    window = slice(row - 16, row + 17), slice(col - 16, col + 17)
    cut = [x[(slice(None), *window)] for x in (counts, background, exposure)]
    fit = ts_map(*cut, response.kernel(source), sum_over_energy=True)
    return fit.ts[16, 16]


with jax.enable_x64(True):
    exposure = jnp.asarray(response.reference_counts(source))
    arrays = dataset.counts.data, dataset.background.data
    slopes = jax.jit(jax.grad(ts, argnums=(0, 1)))(*arrays)
geom = dataset.geom.to_image()
figure, made = sky_axes(geom, 3.2, n=2)
for ax, slope, title in zip(made, slopes, ("counts", "background"), strict=True):
    image = Map(geom, jax.device_get(slope[0]))
    top = float(abs(image.data).max())
    image.plot(
        ax=ax,
        title=f"derivative of the TS by {title}",
        stretch="linear",
        cmap="RdBu_r",
        vmin=-top,
        vmax=top,
        label="per count",
    )
    ax.set(xlim=(col - 16, col + 16), ylim=(row - 16, row + 16))
short_labels(made)
