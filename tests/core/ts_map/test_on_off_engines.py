"""Maps of ON and OFF counts: both engines, strips, kernels of positions, joint fits."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from gammagrad import ts_map
from gammagrad.core.norm import NormFit
from gammagrad.core.ts_map import BinImages, cube_bins, fit_occupied, on_off_bins
from gammagrad.core.ts_map.on_off_chunk import fit_on_off_chunk
from gammagrad.errors import InputError
from oracles import slow_on_off, windows_at
from precision import DOUBLE

ALL = ("errn-errp", "ul", "stat_scan", "sensitivity")
SCAN = np.array([-0.4, 0.1, 0.5])
SHAPE = (19, 23)
NAMES = (
    *("norm", "norm_err", "ts", "stat", "stat_null", "npred", "npred_excess", "norm_errp"),
    *("norm_errn", "norm_ul", "norm_sensitivity", "stat_scan"),
)

Data = dict[str, np.ndarray]


def draw(off: float, signal: bool = False, energies: int = 1, seed: int = 0) -> Data:
    """Draw a field with a mean number of OFF counts per bin, a source and masked bins."""
    rng = np.random.default_rng(seed)
    shape = (energies, *SHAPE)
    grid = np.arange(-2, 3) ** 2
    kernel = np.exp(-0.5 * np.add.outer(grid, grid) / 1.2**2)
    background = 0.4 * rng.uniform(0.8, 1.2, shape)
    counts = rng.poisson(background).astype(float)
    counts[:, 9, 11] += 8
    weights = np.ones(shape)
    weights[:, 3, 4], weights[:, :2, 15:] = 0, 0.5
    known = 0.05 * (rng.random(shape) < 0.2) if signal else np.zeros(shape)
    data = {
        "counts": counts,
        "counts_off": rng.poisson(off, shape).astype(float),
        "alpha": np.full(shape, 0.4 / off),
        "signal": known,
        "exposure": np.full(shape, 3.0),
        "kernel": np.repeat((kernel / kernel.sum())[None], energies, 0),
        "weights": weights,
        "background": background,
    }
    return {name: a.astype(float if DOUBLE else np.float32) for name, a in data.items()}


def images(data: Data, weighting: str | None = None) -> BinImages:
    names = ("counts", "counts_off", "alpha", "signal", "exposure", "kernel", "weights")
    bins = on_off_bins(*(data[name] for name in names), weighting)
    return jax.tree.map(np.asarray, bins)


def known_images(data: Data) -> BinImages:
    names = ("counts", "background", "exposure", "kernel", "weights")
    return jax.tree.map(np.asarray, cube_bins(*(data[name] for name in names)))


def sparse(*datasets: BinImages, selection: tuple[str, ...] = ALL, **options: object) -> NormFit:
    fitted = np.ones(SHAPE, bool)
    return fit_occupied(datasets, fitted, selection=selection, scan_values=SCAN, **options)


def dense(data: Data, joint: bool = False, **options: object) -> NormFit:
    names = ("counts", "signal", "exposure", "kernel", "weights")
    lists = [(data[name],) for name in names]
    if joint:
        names = ("counts", "background", "exposure", "kernel", "weights")
        lists = [(*a, data[name]) for a, name in zip(lists, names, strict=True)]
    more = (None,) if joint else ()
    return ts_map(
        *lists,
        counts_off=(data["counts_off"], *more),
        alpha=(data["alpha"], *more),
        selection_optional="all",
        scan_values=SCAN,
        **options,
    )


def same(one: NormFit, other: NormFit, rtol: float, names: tuple[str, ...] = NAMES) -> None:
    for name in names:
        a, b = (np.asarray(getattr(fit, name)) for fit in (one, other))
        scale = np.asarray(other.norm_errp) if name.startswith("norm") else 1 + np.abs(b)
        close = (a == b) | (np.abs(a - b) <= rtol * scale)
        assert close.all(), (name, np.abs(a - b)[~close].max())
    np.testing.assert_array_equal(one.status, other.status)


@pytest.mark.parametrize("off", [0.3, 4.0, 40.0])
@pytest.mark.parametrize("signal", [False, True])
def test_both_engines_agree(off: float, signal: bool) -> None:
    data = draw(off, signal)
    same(sparse(images(data)), dense(data), 1e-6 if DOUBLE else 2e-2)


def test_both_engines_agree_on_a_joint_fit() -> None:
    data = draw(1.0)
    found = sparse(images(data), known_images(data))
    # weights below 1 shift the statistic of a known background, which the map adds
    names = tuple(name for name in NAMES if name not in ("stat", "stat_null"))
    same(found, dense(data, joint=True), 1e-6 if DOUBLE else 2e-2, names)


@pytest.mark.parametrize("weighting", [None, "counts", "equal"])
def test_both_engines_agree_on_several_energies(weighting: str | None) -> None:
    data = draw(2.0, energies=2)
    options = {} if weighting is None else {"kernel_weighting": weighting}
    fit = dense(data, sum_over_energy=weighting is not None, **options)
    same(sparse(images(data, weighting)), fit, 1e-6 if DOUBLE else 2e-2)


def test_the_sum_over_energies_keeps_the_measured_background() -> None:
    data = draw(2.0, energies=3)
    data["alpha"][0] *= 3
    bins = images(data, "counts")
    expected = (data["weights"] * data["alpha"] * data["counts_off"]).sum(axis=0)
    np.testing.assert_allclose((bins.alpha * bins.counts_off)[0], expected, rtol=1e-5)


def test_maps_agree_with_a_plain_twin() -> None:
    data = draw(1.0, signal=True)
    data["weights"][:] = 1
    found = sparse(images(data))
    cubes = [data[n].astype(float) for n in ("counts", "counts_off", "alpha", "signal", "exposure")]
    for row, col in ((9, 11), (0, 0), (5, 20), (17, 3), (10, 10)):
        (n, k, alpha, signal, exposure), kernel = windows_at(
            cubes, data["kernel"].astype(float), row, col
        )
        alpha = np.where(alpha > 0, alpha, 1)
        arrays = (a.ravel() for a in (n, k, alpha, signal, kernel * exposure))
        slow = slow_on_off(*arrays)
        for name in ("norm", "norm_errp", "norm_errn", "norm_ul"):
            error = abs(float(getattr(found, name)[row, col]) - getattr(slow, name))
            assert error < (1e-5 if DOUBLE else 2e-2) * slow.norm_errp, (name, row, col)
        assert abs(float(found.ts[row, col]) - slow.ts) < (1e-8 if DOUBLE else 1e-3)
        np.testing.assert_allclose(found.stat[row, col], slow.stat, rtol=1e-3, atol=1e-3)


def test_best_norms_need_no_bins_with_off_counts_alone() -> None:
    data = draw(4.0)
    data["counts"] *= np.random.default_rng(1).random(data["counts"].shape) < 0.6
    names = ("norm", "norm_err", "ts", "stat", "npred", "norm_ul")
    short = sparse(images(data), selection=("ul",))
    full = sparse(images(data))
    assert (full.norm < 0).any()
    for name in names:
        np.testing.assert_allclose(
            getattr(short, name), getattr(full, name), rtol=1e-6 if DOUBLE else 1e-2, atol=1e-3
        )
    np.testing.assert_array_equal(short.status, full.status)


def test_strips_do_not_change_a_number() -> None:
    data = draw(1.0, signal=True)
    whole = sparse(images(data))
    cut = sparse(images(data), memory=2**17)
    same(cut, whole, 1e-9 if DOUBLE else 1e-3)


def test_kernels_of_positions() -> None:
    data = draw(2.0)
    kernel = data["kernel"]
    narrow = kernel**2 / (kernel**2).sum()
    right = np.broadcast_to(np.linspace(0, 1, SHAPE[1]), SHAPE).astype(kernel.dtype)
    blend, basis = np.stack([1 - right, right]), np.stack([kernel, narrow])
    names = ("counts", "signal", "exposure")
    fit = ts_map(
        *(data[name] for name in names),
        basis,
        data["weights"],
        blend=blend,
        counts_off=data["counts_off"],
        alpha=data["alpha"],
        selection_optional="all",
        scan_values=SCAN,
    )
    plain = images(data)
    bins = BinImages(
        counts=plain.counts,
        background=plain.background,
        exposure=data["weights"][:, None],
        kernel=basis.swapaxes(0, 1),
        amplitude=data["exposure"],
        blend=blend,
        counts_off=plain.counts_off,
        alpha=plain.alpha,
    )
    same(sparse(bins), fit, 1e-6 if DOUBLE else 2e-2)


def test_new_data_compile_nothing() -> None:
    sparse(images(draw(2.0, seed=1)))
    before = fit_on_off_chunk.traces
    sparse(images(draw(2.0, seed=2)))
    assert fit_on_off_chunk.traces == before


def test_a_threshold_is_refused() -> None:
    with pytest.raises(InputError, match="None with ON and OFF counts"):
        sparse(images(draw(2.0)), threshold=1.0)


def test_arrays_of_off_counts_have_the_shape_of_the_counts() -> None:
    data = draw(2.0)
    one = data["counts"], data["signal"], data["exposure"], data["kernel"]
    with pytest.raises(InputError, match="expected that of the counts"):
        ts_map(*one, counts_off=np.ones((1, 2, 2)), alpha=np.ones((1, 2, 2)))
    with pytest.raises(InputError, match="one per dataset"):
        ts_map(*one, counts_off=(data["alpha"], None), alpha=(data["alpha"], None))
