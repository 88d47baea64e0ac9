from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve

from gammagrad._pytree import pytree, replace, static_field
from gammagrad.core.fold import FoldInputs, apply_edisp, fold, fold_model
from gammagrad.core.fold.fold import npred, spatial_image

N_TRUE, N_RECO, NY, NX = 4, 3, 7, 8


def arrays(oversampling: int = 1, psf_planes: int = N_TRUE) -> dict[str, np.ndarray]:
    """Return random flux, exposure, PSF and energy dispersion."""
    rng = np.random.default_rng(oversampling)
    size = 3 * oversampling
    psf = rng.random((psf_planes, size, size))
    return {
        "spectrum": rng.random(N_TRUE),
        "image": rng.random((N_TRUE, NY * oversampling, NX * oversampling)),
        "exposure": rng.random((N_TRUE, NY, NX)),
        "psf": psf / psf.sum(axis=(1, 2), keepdims=True),
        "edisp": rng.random((N_TRUE, N_RECO)),
    }


def coarse(image: np.ndarray, factor: int) -> np.ndarray:
    """Sum blocks of an image, pixel by pixel."""
    out = np.zeros((image.shape[0] // factor, image.shape[1] // factor))
    for (y, x), value in np.ndenumerate(image):
        out[y // factor, x // factor] += value
    return out


def slow_fold(
    spectrum: np.ndarray,
    image: np.ndarray,
    exposure: np.ndarray,
    psf: np.ndarray | None,
    edisp: np.ndarray | None,
    after: bool = False,
    factor: int = 1,
    at_bins: bool = False,
) -> np.ndarray:
    """Fold as `fold` does, in loops."""
    n_true = len(spectrum)
    edisp = np.eye(n_true) if edisp is None else edisp
    total = np.zeros((edisp.shape[1], *exposure.shape[1:]))
    for t in range(n_true):
        source = spectrum[t] * image[t if len(image) > 1 else 0]
        for r in range(edisp.shape[1]):
            if psf is None:
                counts = coarse(source, factor) * exposure[t]
            elif at_bins:
                blurred = convolve(source, psf[t], mode="same", method="direct")
                counts = coarse(blurred, factor) * exposure[t]
            else:
                fine = source * np.kron(exposure[t], np.ones((factor, factor)))
                kernel = psf[r if after else t]
                counts = coarse(convolve(fine, kernel, mode="same", method="direct"), factor)
            total[r] += counts * edisp[t, r]
    return total


def test_energy_dispersion_is_a_sum_over_true_energies() -> None:
    a = arrays()
    expected = np.zeros((N_RECO, NY, NX))
    for t in range(N_TRUE):
        for r in range(N_RECO):
            expected[r] += a["edisp"][t, r] * a["exposure"][t]
    np.testing.assert_allclose(apply_edisp(a["exposure"], a["edisp"]), expected, rtol=1e-5)
    np.testing.assert_allclose(
        apply_edisp(a["spectrum"], a["edisp"]), a["spectrum"] @ a["edisp"], rtol=1e-5
    )


@pytest.mark.parametrize("oversampling", [1, 3])
@pytest.mark.parametrize("single", [True, False], ids=["one image", "image per energy"])
@pytest.mark.parametrize("blur", ["none", "true", "true, exposure at bins", "reco"])
@pytest.mark.parametrize("dispersion", [True, False])
def test_folding_equals_the_loops(
    oversampling: int, single: bool, blur: str, dispersion: bool
) -> None:
    after, at_bins = blur == "reco", blur == "true, exposure at bins"
    a = arrays(oversampling, N_RECO if after and dispersion else N_TRUE)
    image = a["image"][:1] if single else a["image"]
    psf = None if blur == "none" else a["psf"]
    edisp = a["edisp"] if dispersion else None
    result = fold(
        a["spectrum"],
        image,
        a["exposure"],
        psf,
        edisp,
        psf_after_edisp=after,
        oversampling=oversampling,
        exposure_at_bins=at_bins,
    )
    arguments = (a["spectrum"], image, a["exposure"], psf, edisp, after, oversampling, at_bins)
    expected = slow_fold(*arguments)
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-6)


def test_a_cube_of_flux_is_folded_as_it_is() -> None:
    a = arrays()
    flux = a["spectrum"][:, None, None] * a["image"]
    np.testing.assert_allclose(
        npred(flux, a["exposure"], a["psf"], a["edisp"]),
        fold(a["spectrum"], a["image"], a["exposure"], a["psf"], a["edisp"]),
        rtol=1e-5,
    )


@pytree
class Line:
    """A spectrum with a number of counts per bin; counts how often it is traced."""

    value: Any
    traces: list[int] = static_field(default=None)

    def integral(self, low: Any, high: Any) -> Any:
        if self.traces is not None:
            self.traces.append(1)
        return self.value * (high - low)


class Tally(list):
    """A list that compares by identity, to be part of a tree's structure."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__


@pytree
class Bell:
    """A flat-sky Gaussian in deg."""

    x: Any
    y: Any
    sigma: Any

    def evaluate(self, lon: Any, lat: Any) -> Any:
        square = (lon - self.x) ** 2 + (lat - self.y) ** 2
        return jnp.exp(-0.5 * square / self.sigma**2) / (2 * jnp.pi * self.sigma**2)

    def weights(self, lon: Any, lat: Any) -> Any:
        return jnp.maximum(1 - abs(lon - self.x), 0) * jnp.maximum(1 - abs(lat - self.y), 0)


def inputs(kind: str = "extended", **changes: Any) -> FoldInputs:
    """Return a window of 11 x 11 pixels of 1 deg around (0, 0)."""
    rng = np.random.default_rng(5)
    offset = np.arange(11) - 5.0
    x, y = np.meshgrid(offset, offset)
    bell = np.exp(-0.5 * (x**2 + y**2) / 1.5**2)[2:-2, 2:-2]
    psf = np.repeat((bell / bell.sum())[None], 2, axis=0)
    base = FoldInputs(
        x=x,
        y=y,
        solid_angle=np.ones_like(x),
        exposure=1.0 + np.zeros((2, 11, 11)),
        energy_edges=np.array([1.0, 2.0, 4.0]),
        psf=psf,
        edisp=rng.random((2, 3)),
        kind=kind,
    )
    return replace(base, **changes)


def test_a_model_is_its_flux_folded() -> None:
    window, bell = inputs(), Bell(0.3, -0.2, 1.0)
    image = np.asarray(bell.evaluate(window.x, window.y))
    np.testing.assert_allclose(spatial_image(bell, window), image[None], rtol=1e-5)
    expected = fold(np.array([3.0, 6.0]), image[None], window.exposure, window.psf, window.edisp)
    np.testing.assert_allclose(fold_model(Line(3.0), bell, window), expected, rtol=1e-4, atol=1e-7)


def test_samples_of_a_block_are_summed_and_put_in_the_middle() -> None:
    window = inputs(psf=None, subsampling=2)
    block = replace(window, x=np.ones((6, 6)), y=np.ones((6, 6)), solid_angle=np.ones((6, 6)))
    image = np.asarray(spatial_image(Bell(1.0, 1.0, 1.0), block))[0]
    expected = np.zeros((11, 11))
    expected[4:7, 4:7] = 4 / (2 * np.pi)
    np.testing.assert_allclose(image, expected, rtol=1e-5)


def test_a_point_source_in_flat_exposure_is_the_shifted_psf() -> None:
    point = Bell(1.0, -1.0, 1.0)  # on a pixel centre
    counts = np.asarray(fold_model(Line(1.0), point, inputs("point")))
    shared = np.asarray(fold_model(Line(1.0), point, inputs("shared", exposure_at_bins=True)))
    np.testing.assert_allclose(counts, shared, atol=1e-6)


@pytest.mark.parametrize("after", [False, True])
def test_a_point_source_takes_the_exposure_at_its_place(after: bool) -> None:
    window = inputs("point", psf_after_edisp=after)
    slope = 1.0 + 0.1 * np.arange(11)
    window = replace(window, exposure=np.broadcast_to(slope, (2, 11, 11)).copy())
    if after:
        window = replace(window, psf=np.repeat(window.psf[:1], 3, axis=0))
    counts = np.asarray(fold_model(Line(1.0), Bell(0.5, 0.0, 1.0), window))
    expected = np.array([1.0, 2.0]) * 1.55 @ window.edisp
    np.testing.assert_allclose(counts.sum(axis=(1, 2)), expected, rtol=1e-5)
    # its image is that of the PSF, the same on either side
    np.testing.assert_allclose(counts[:, :, 1:], counts[:, :, :0:-1], atol=1e-5)
    # halfway beyond the last column half of it is left, in the column itself
    counts = np.asarray(fold_model(Line(1.0), Bell(5.5, 0.0, 1.0), window))
    half = np.asarray(fold_model(Line(0.5), Bell(5.0, 0.0, 1.0), window))
    np.testing.assert_allclose(counts, half, atol=1e-5)
    assert not np.any(fold_model(Line(1.0), Bell(6.5, 0.0, 1.0), window))


def test_the_uniform_source_fills_every_pixel() -> None:
    counts = fold_model(Line(2.0), None, inputs("uniform", psf=None))
    expected = np.array([2.0, 4.0]) @ inputs().edisp
    np.testing.assert_allclose(counts, np.ones((3, 11, 11)) * expected[:, None, None], rtol=1e-5)


def test_equal_shapes_compile_once() -> None:
    tally = Tally()
    for value, x, sigma, scale in (
        (1.0, 0.0, 1.0, 1.0),
        (2.0, 0.7, 1.4, 3.0),
        (0.5, -2.0, 0.8, 2.0),
    ):
        window = inputs()
        window = replace(window, exposure=window.exposure * scale, psf=window.psf[:, ::-1])
        spectrum = Line(np.asarray(value), tally)
        fold_model(spectrum, Bell(np.asarray(x), np.asarray(0.1), np.asarray(sigma)), window)
    assert len(tally) == 1


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("kind", ["extended", "point"])
def test_folding_lowers_for_accelerators(kind: str, platform: str) -> None:
    traced = jax.jit(fold_model).trace(Line(1.0), Bell(0.1, 0.2, 1.0), inputs(kind))
    assert traced.lower(lowering_platforms=(platform,)).as_text()


@pytest.mark.parametrize("kind", ["extended", "point", "shared"])
def test_derivatives_of_the_parameters(kind: str) -> None:
    window = inputs(kind)
    weights = np.random.default_rng(3).random((3, 11, 11))

    def total(p: jax.Array) -> jax.Array:
        return jnp.sum(weights * fold_model(Line(p[0]), Bell(p[1], p[2], p[3]), window))

    at = jnp.asarray([1.3, 0.31, -0.42, 1.2])
    gradient = jax.grad(total)(at)
    assert np.all(np.isfinite(gradient))
    step = 1e-2
    for i in range(3 if kind != "extended" else 4):
        shift = jnp.zeros(4).at[i].set(step)
        slope = (total(at + shift) - total(at - shift)) / (2 * step)
        np.testing.assert_allclose(gradient[i], slope, rtol=5e-3, atol=1e-3)
