"""The likelihood profile at given norms, of pixels that lie side by side."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax.numpy as jnp
from jax import Array, lax

from gammagrad.core.bin_sums import BinProfile, WholeCounts
from gammagrad.core.profile import rise

__all__ = ["scan"]

# most bins have few counts where there are many of them; the numbers of rows were measured
_WAYS = (WholeCounts(2, 8, 1e-10, 1e12), WholeCounts(4, 4, 1e-5, 1e5))


def scan(profile: BinProfile, bound: Array, values: Array) -> Array:
    """Return the statistic at given norms less that at norm 0.

    Where the counts of all bins are whole numbers below 16, as they are where bins are many,
    several bins share a logarithm.

    Parameters
    ----------
    profile
        The profiles.
    bound
        Physical bound of the norm, shape (pixels, tiles).
    values
        The norms, shape (norms,).

    Returns
    -------
    Array
        Shape (norms, pixels, tiles); infinite below the bound.
    """

    def plainly(_: None) -> Array:
        return _scanned(profile, bound, values, lambda at: tuple(map(profile.bins.gain, at)), 1)

    if bound.dtype != jnp.float64:  # single precision has no room for products
        return plainly(None)

    def by_products(way: WholeCounts) -> Callable[[None], Array]:
        gains = partial(profile.bins.gains_of_whole, way=way)
        # two reductions in one are compiled to faster code than one alone
        return lambda _: _scanned(profile, bound, values, gains, 2)

    weights = profile.bins.weights_in_use()
    whole = (weights == jnp.round(weights)).all()
    factor = 1 + values[:, None, None] * profile.steepest[None]
    below = values[:, None, None] < bound[None]

    def fits(way: WholeCounts) -> Array:
        inside = ((factor > way.least) & (factor < way.most)) | below
        return whole & (weights.max() < 2**way.digits) & inside.all()

    first, second = map(fits, _WAYS)
    chosen = jnp.where(first, 1, jnp.where(second, 2, 0))
    return lax.switch(chosen, [plainly, *map(by_products, _WAYS)], None)


def _scanned(
    profile: BinProfile,
    bound: Array,
    values: Array,
    gains: Callable[[tuple[Array, ...]], tuple[Array, ...]],
    together: int,
) -> Array:
    """Scan some norms at a time."""
    groups = jnp.pad(values, (0, -len(values) % together), mode="edge").reshape(-1, together)

    def visit(at: tuple[Array, ...]) -> Array:
        risen = (rise(x, g, profile.model_sum) for x, g in zip(at, gains(at), strict=True))
        return jnp.stack([jnp.where(x < bound, jnp.inf, r) for x, r in zip(at, risen, strict=True)])

    def scanned(group: Array) -> Array:
        at = tuple(jnp.broadcast_to(value, bound.shape) for value in group)
        # most negative norms are below every pixel's bound
        seen = (group.max() >= bound).any()
        return lax.cond(seen, visit, lambda at: jnp.full((together, *bound.shape), jnp.inf), at)

    return lax.map(scanned, groups).reshape(-1, *bound.shape)[: len(values)]
