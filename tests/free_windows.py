"""Windows to fit with a norm of the background, and what their fits are held to."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gammagrad import fit_norm
from gammagrad.core.norm import NormFit
from oracles import SlowPlane, SlowPlaneFit
from precision import DOUBLE

WINDOWS, BINS, UNSEEN = 40, 31, 6
SCAN = np.array([-0.3, 0.0, 0.4, 1.0, 3.0])
ASKED = ("errn-errp", "ul", "stat_scan", "sensitivity")


def draw(rng: np.random.Generator, windows: int = WINDOWS) -> tuple[np.ndarray, ...]:
    """Draw counts, background and model of windows whose background is off by up to 30 %."""
    kernel = np.exp(-0.5 * np.linspace(-3, 3, BINS) ** 2)
    model = kernel / kernel.sum() * 10 ** rng.uniform(-0.5, 2, (windows, 1))
    model = np.pad(model, ((0, 0), (0, UNSEEN)))
    background = 10 ** rng.uniform(-2, 1, (windows, 1)) * rng.uniform(0.5, 1.5, model.shape)
    truth = rng.choice([0.7, 1.0, 1.3], (windows, 1)) * background
    counts = rng.poisson(truth + rng.choice([0, 0.3, 1.0], (windows, 1)) * model).astype(float)
    return counts, background, model


def fit_windows(
    arrays: tuple[np.ndarray, ...], way: str, sigma: np.ndarray | float = np.inf, **options: Any
) -> NormFit:
    """Fit many windows at once."""

    def fit(n: jax.Array, b: jax.Array, m: jax.Array, sigma: jax.Array) -> NormFit:
        known = {} if way != "constrained" else {"background_uncertainty": sigma}
        return fit_norm(n, b, m, background_norm=way, **known, **options)

    sigmas = np.broadcast_to(np.asarray(sigma, arrays[1].dtype), len(arrays[0]))
    found = jax.jit(jax.vmap(fit))(*(jnp.asarray(a) for a in (*arrays, sigmas)))
    return jax.tree.map(np.asarray, found)


def compare(fit: NormFit, slow: SlowPlaneFit, where: np.ndarray) -> None:
    """Hold fits to those of the plain likelihood, in units of its errors."""
    bar = 1e-5 if DOUBLE else 2e-3
    seen = np.isfinite(slow.norm_err)
    assert seen.sum() > 0.5 * seen.size
    error = np.where(seen, slow.norm_err, slow.norm_errp)
    for name in ("norm", "norm_errp", "norm_errn", "norm_ul"):
        off = np.abs(getattr(fit, name) - getattr(slow, name)) / error
        assert np.all(off[where] < bar), (name, off.max(), off.argmax())
    off = np.abs(fit.ts - slow.ts) / np.sqrt(1 + np.abs(slow.ts))
    assert np.all(off < bar), ("ts", off.max(), off.argmax())
    beta = np.reshape(fit.background_norm, (len(seen), -1)).T
    off = np.abs(beta - slow.background_norm) / slow.background_norm_err
    assert np.all(off[:, seen] < bar), ("background_norm", off[:, seen].max())
    # second differences are exact to some 1e-4
    bar = 5e-4 if DOUBLE else 3e-3
    np.testing.assert_allclose(fit.norm_err[seen], slow.norm_err[seen], rtol=bar)
    errors = np.reshape(fit.background_norm_err, (len(seen), -1)).T
    np.testing.assert_allclose(errors[:, seen], slow.background_norm_err[:, seen], rtol=bar)
    mixed = np.reshape(fit.background_norm_corr, (len(seen), -1)).T
    np.testing.assert_allclose(mixed[:, seen], slow.background_norm_corr[:, seen], atol=bar)


def compare_curvature(
    fit: NormFit, arrays: tuple[np.ndarray, ...], tau: np.ndarray | float, where: np.ndarray
) -> None:
    """Hold errors and correlations, also at bounds, to both norms' plain second derivatives."""
    # ends of the physical range do not make an error smaller, as with a known background
    n, b, m = (a[where] for a in arrays)
    beta = fit.background_norm.reshape(-1)[where]
    norm = fit.norm[where]
    with np.errstate(invalid="ignore", divide="ignore"):
        mu = norm[:, None] * m + beta[:, None] * b
        each = np.where(n > 0, n / mu**2, 0)
    xx, xb, bb = (np.sum(each * a, axis=1) for a in (m * m, m * b, b * b))
    bb = bb + (np.broadcast_to(tau, fit.norm.shape)[where] / beta**2)
    det = xx * bb - xb**2
    known = det > 1e-8 * xx * bb
    assert np.all(np.isinf(fit.norm_err[where][~known]))
    xx, xb, bb, det = (a[known] for a in (xx, xb, bb, det))
    bar = 1e-6 if DOUBLE else 5e-3
    np.testing.assert_allclose(fit.norm_err[where][known], np.sqrt(bb / det), rtol=bar)
    own = fit.background_norm_err.reshape(-1)[where][known]
    np.testing.assert_allclose(own, np.sqrt(xx / det), rtol=bar)
    both = fit.background_norm_corr.reshape(-1)[where][known]
    np.testing.assert_allclose(both, -xb / np.sqrt(xx * bb), atol=bar)


def compare_scan(fit: NormFit, plane: SlowPlane) -> None:
    """Hold a scan to the plain likelihood."""
    none = plane.profile(np.zeros(len(fit.norm)))
    slow = np.array([plane.profile(np.full(len(none), x)) - none for x in SCAN])
    scale = 1 + np.abs(slow)
    with np.errstate(invalid="ignore"):
        off = np.where(slow == fit.stat_scan.T, 0, np.abs(fit.stat_scan.T - slow) / scale)
    assert np.all(off < (1e-8 if DOUBLE else 3e-4)), off.max()


def pixel() -> dict[str, jax.Array]:
    """Return a pixel that is fitted away from its bounds."""
    return {
        "counts": jnp.asarray([4.0, 0.0, 7.0, 1.0, 5.0]),
        "background": jnp.asarray([2.0, 0.7, 3.0, 0.4, 4.0]),
        "model": jnp.asarray([1.0, 0.5, 2.0, 0.2, 0.1]),
        "weights": jnp.asarray([1.0, 1.0, 0.5, 1.0, 1.0]),
    }


SMOOTH = (
    *("norm", "norm_err", "ts", "stat", "npred", "norm_errp", "norm_errn", "norm_ul"),
    *("norm_sensitivity", "stat_scan", "background_norm", "background_norm_err"),
    *("background_norm_pull", "background_norm_corr"),
)


def slopes_of(options: dict[str, Any], sigma: jax.Array | None) -> tuple[Any, list[jax.Array]]:
    """Return a function of a pixel's arrays, with its uncertainty if there is one, and these."""
    names = tuple(pixel())

    def value(args: list[jax.Array]) -> jax.Array:
        known = {} if sigma is None else {"background_uncertainty": args[len(names)]}
        fit = fit_norm(
            **dict(zip(names, args[: len(names)], strict=True)),
            selection_optional="all",
            scan_values=jnp.asarray([-0.1, 0.5, 2.0]),
            **known,
            **options,
        )
        return jnp.concatenate([jnp.reshape(getattr(fit, name), -1) for name in SMOOTH])

    return value, [*pixel().values(), *([] if sigma is None else [sigma])]


def assert_slopes(options: dict[str, Any], sigma: jax.Array | None) -> None:
    """Hold all derivatives of all quantities to finite differences."""
    value, arguments = slopes_of(options, sigma)
    quick = jax.jit(value)
    slopes = jax.jit(jax.jacrev(value))(arguments)
    h = 1e-5
    for at, (argument, slope) in enumerate(zip(arguments, slopes, strict=True)):
        for index in np.ndindex(argument.shape):
            steps = [jnp.asarray(argument).at[index].add(s) for s in (h, -h, 2 * h)]
            one, other, far = (
                quick([*arguments[:at], moved, *arguments[at + 1 :]]) for moved in steps
            )
            difference = (one - other) / (2 * h)
            if float(argument[index]) == 0:  # from one side
                difference = (4 * one - 3 * quick(arguments) - far) / (2 * h)
            np.testing.assert_allclose(slope[:, *index], difference, rtol=1e-5, atol=1e-5)


def assert_finite_slopes(options: dict[str, Any]) -> None:
    """Take derivatives where counts, background, model and weights are 0."""
    zero_or_one = jnp.asarray([0.0, 1.0])
    grid = jnp.stack([g.reshape(-1) for g in jnp.meshgrid(*[zero_or_one] * 4)])

    def value(args: jax.Array) -> jax.Array:
        fit = fit_norm(*args[:3], weights=args[3], **options)
        numbers = fit.norm, fit.ts, fit.stat, fit.npred, fit.background_norm
        return jnp.concatenate([jnp.reshape(a, -1) for a in numbers])

    if not DOUBLE:
        # the square of a count over the background's floor is beyond single precision
        grid = grid.at[1].set(jnp.maximum(grid[1], 1e-8))
    slopes = jax.jit(jax.jacrev(value))
    for bins in (grid, grid.at[0].set(0.0), grid.at[2].set(0.0), grid.at[1].set(grid[1].min())):
        assert np.all(np.isfinite(slopes(bins)))
