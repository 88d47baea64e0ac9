"""Folding in parts is folding, derivatives included."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gammagrad._pytree import pytree, replace
from gammagrad.core.fold import FoldInputs, PointKernel, fold_bounded, fold_model, prepare_psf
from gammagrad.core.images import PreparedKernel
from precision import DOUBLE

N_TRUE, N_RECO, SHAPE = 5, 3, (6, 7)
RTOL = 1e-9 if DOUBLE else 1e-4


@pytree
class Line:
    """A flat spectrum."""

    level: Any

    def integral(self, low: jax.Array, high: jax.Array) -> jax.Array:
        return self.level * (high - low)


@pytree
class Bell:
    """A Gaussian whose width may depend on energy."""

    width: Any

    @property
    def is_energy_dependent(self) -> bool:
        return True

    def evaluate(self, x: Any, y: Any, energy: Any = None) -> jax.Array:
        square = jnp.asarray(x) ** 2 + jnp.asarray(y) ** 2
        if energy is None:
            return jnp.exp(-0.5 * square / self.width**2)
        width = (self.width * energy**0.1)[:, None, None]
        return jnp.exp(-0.5 * square[None] / width**2)


def window(kind: str, after: bool) -> FoldInputs:
    rng = np.random.default_rng(2)
    ny, nx = SHAPE
    y, x = np.meshgrid(np.linspace(-3, 3, 3 * ny), np.linspace(-3, 3, 3 * nx), indexing="ij")
    return FoldInputs(
        x=x,
        y=y,
        solid_angle=rng.random(x.shape),
        exposure=rng.random((N_TRUE, *SHAPE)),
        energy_edges=np.geomspace(1.0, 9.0, N_TRUE + 1),
        psf=rng.random((N_RECO if after else N_TRUE, 9, 9)),
        edisp=rng.random((N_TRUE, N_RECO)),
        kind=kind,
        oversampling=3,
        psf_after_edisp=after,
    )


@pytest.mark.parametrize("kind", ["template", "extended"])
@pytest.mark.parametrize("order", ["at the source", "at bins", "before the PSF in energy"])
def test_parts_add_up(kind: str, order: str) -> None:
    inputs = window(kind, order == "before the PSF in energy")
    inputs = replace(inputs, exposure_at_bins=order == "at bins")
    weights = np.random.default_rng(5).random((N_RECO, *SHAPE))
    # two energies of the PSF at a time, of which there are an odd number
    limit = 2 * 9 * SHAPE[0] * SHAPE[1]

    def total(parameters: Any, max_pixels: int) -> jax.Array:
        counts = fold_bounded(Line(parameters[0]), Bell(parameters[1]), inputs, max_pixels)
        return (weights.astype(counts.dtype) * counts).sum()

    @jax.jit
    def both(parameters: Any) -> Any:
        return [jax.value_and_grad(total)(parameters, n) for n in (limit, 10 * limit)]

    parts, whole = both((2.0, 1.1))
    for one, other in zip(jax.tree.leaves(parts), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(one, other, rtol=RTOL)


def test_a_prepared_psf_gives_the_same_counts() -> None:
    inputs = window("extended", after=False)
    ready = prepare_psf(inputs)
    assert isinstance(ready.psf, PreparedKernel)
    wanted = fold_model(Line(2.0), Bell(1.1), inputs)
    np.testing.assert_allclose(fold_model(Line(2.0), Bell(1.1), ready), wanted, rtol=RTOL)
    assert isinstance(prepare_psf(replace(inputs, kind="point")).psf, PointKernel)
    assert prepare_psf(replace(inputs, psf=None)).psf is None
    # one that is folded in parts stays as it is
    assert prepare_psf(inputs, max_pixels=9 * SHAPE[0] * SHAPE[1]) is inputs
