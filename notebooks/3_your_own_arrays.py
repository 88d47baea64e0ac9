# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own arrays
#
# No files, no units, no sky: `gammagrad.ts_map` is a function from arrays to arrays. It works under
# `jax.jit`, `jax.vmap` and `jax.grad` like any function of `jax.numpy`, so it can be one step of a
# simulation, of a fit, or of a training loop. This notebook simulates a field, fits every pixel,
# then a hundred fields at once, and takes derivatives.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from gammagrad import ts_map
from gammagrad.responses import gaussian_psf

# %% [markdown]
# ## One field
#
# Arrays have the axes (energy, row, col). The exposure is in counts: the counts of a source of norm
# 1 if all of its flux fell in one bin. The kernel spreads them over pixels. Here are two energies,
# 61 x 61 pixels of 0.05 deg, and two sources of norm 1 and 0.4.

# %% tags=["thumbnail"]
NPIX, PIXEL = 61, 0.05
kernel = gaussian_psf(np.array([0.12, 0.08]), (13, 13), PIXEL)
per_energy = jnp.asarray([60.0, 20.0])[:, None, None]
exposure = jnp.broadcast_to(per_energy, (2, NPIX, NPIX))
background = jnp.broadcast_to(jnp.asarray([0.8, 0.2])[:, None, None], (2, NPIX, NPIX))


def expected(norms: dict[tuple[int, int], float]) -> jax.Array:
    """Return expected counts of sources at pixels, over the background."""
    counts = background
    for (row, col), norm in norms.items():
        at = (slice(None), slice(row - 6, row + 7), slice(col - 6, col + 7))
        counts = counts.at[at].add(norm * kernel * per_energy)
    return counts


truth = expected({(20, 22): 1.0, (40, 35): 0.4})
counts = jax.random.poisson(jax.random.key(1), truth).astype(background.dtype)

fit = ts_map(counts, background, exposure, kernel, selection_optional="ul")
root = jnp.sign(fit.ts) * jnp.sqrt(jnp.abs(fit.ts))

fig, axes = plt.subplots(1, 3, figsize=(11, 3.2), constrained_layout=True)
panels = (("counts", counts.sum(axis=0)), ("sqrt(ts)", root), ("norm", fit.norm))
for ax, (title, image) in zip(axes, panels, strict=True):
    fig.colorbar(ax.imshow(image, origin="lower"), ax=ax)
    ax.set_title(title)
    ax.plot([22, 35], [20, 40], "o", mfc="none", mec="white", ms=14)

# %%
for row, col in ((20, 22), (40, 35), (5, 50)):
    norm, error, limit = (float(a[row, col]) for a in (fit.norm, fit.norm_err, fit.norm_ul))
    print(f"pixel {row, col}: norm {norm:.2f} +- {error:.2f}, below {limit:.2f} (2 sigma)")

# %% [markdown]
# ## A hundred fields
#
# `jax.vmap` adds a leading axis. What is the largest significance by chance in a field without a
# source?

# %%
keys = jax.random.split(jax.random.key(2), 100)
empty = jax.vmap(lambda key: jax.random.poisson(key, background).astype(background.dtype))(keys)


@jax.jit
def largest(counts: jax.Array) -> jax.Array:
    """Return the largest significance of a field."""
    fit = ts_map(counts, background, exposure, kernel)
    return jnp.sqrt(jnp.maximum(fit.ts, 0).max())


peaks = np.asarray(jax.lax.map(largest, empty))
print(f"half of the empty fields have a pixel above {np.median(peaks):.2f} sigma")
print(f"one in ten has one above {np.quantile(peaks, 0.9):.2f} sigma")

# %% [markdown]
# ## Derivatives
#
# Which photons make the significance of the bright source? The derivative of its `ts` with respect
# to the counts of a bin is the effect of one more photon there. The image of all derivatives is a
# matched filter: photons near the source count most, photons far away nothing.


# %%
def ts_at_source(counts: jax.Array) -> jax.Array:
    """Return the test statistic of the bright source."""
    return ts_map(counts, background, exposure, kernel).ts[20, 22]


slope = jax.jit(jax.grad(ts_at_source))(counts)
fig, axes = plt.subplots(1, 2, figsize=(7.5, 3.2), constrained_layout=True)
for ax, image, title in zip(axes, slope, ("low energy", "high energy"), strict=True):
    fig.colorbar(ax.imshow(image, origin="lower"), ax=ax)
    ax.set_title(f"ts per photon, {title}")

# %% [markdown]
# And if the background were 1 % higher? One Jacobian-vector product gives the change of the whole
# map.


# %%
def norms(level: jax.Array) -> jax.Array:
    """Return the map of norms for another level of the background."""
    return ts_map(counts, level * background, exposure, kernel).norm


one = jnp.ones(())
value, change = jax.jit(lambda level: jax.jvp(norms, (level,), (0.01 * one,)))(one)
print(f"the bright source loses {-float(change[20, 22]):.4f} of its norm {value[20, 22]:.2f},")
print(f"an empty pixel {-float(change[5, 50]):.4f}: its error is {float(fit.norm_err[5, 50]):.4f}")
