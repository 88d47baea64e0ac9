"""Arrays of files and other libraries at the doors of the functional core, and of maps."""

from __future__ import annotations

import astropy.units as u
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from astropy.utils.masked import Masked
from hypothesis import given
from hypothesis import strategies as st

from gammagrad import MapDataset, fit_norm, kernel_background, ts_map
from gammagrad._arrays import plain
from gammagrad.core.norm import Status
from gammagrad.errors import InputError, InputTypeError
from gammagrad.maps import Map
from gammagrad.responses import apply_edisp, broaden_psf, fold, gaussian_edisp, gaussian_psf
from gammagrad.stats import (
    cash,
    cash_sum,
    lima_significance,
    lima_significance_known_background,
)

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(3.0, (2, 7, 6))
BACKGROUND = np.full((2, 7, 6), 3.0)
EXPOSURE = np.full((2, 7, 6), 10.0)
KERNEL = np.stack([np.full((3, 3), 1 / 9)] * 2)

DOORS = {
    "ts_map": lambda f: ts_map(f(COUNTS), f(BACKGROUND), f(EXPOSURE), f(KERNEL)).norm,
    "fit_norm": lambda f: fit_norm(f(COUNTS), f(BACKGROUND), f(EXPOSURE), f(BACKGROUND)).norm,
    "kernel_background": lambda f: (
        kernel_background(f(COUNTS[0]), f(KERNEL[0]), f(np.ones((5, 5)))).background
    ),
    "cash": lambda f: cash(f(COUNTS), f(BACKGROUND)),
    "cash_sum": lambda f: cash_sum(f(COUNTS), f(BACKGROUND), f(EXPOSURE)),
    "lima": lambda f: lima_significance(f(COUNTS), f(BACKGROUND), f(BACKGROUND)),
    "lima known": lambda f: lima_significance_known_background(f(COUNTS), f(BACKGROUND)),
    "gaussian_psf": lambda f: gaussian_psf(f(np.array([0.1, 0.2])), (5, 5), 0.1),
    "broaden_psf": lambda f: broaden_psf(f(KERNEL), f(np.array([0.1, 0.2])), 0.1),
    "gaussian_edisp": lambda f: gaussian_edisp(
        f(np.array([1.0, 2, 4])), f(np.array([1.0, 2, 4])), f(np.array([0.1, 0.2]))
    ),
    "apply_edisp": lambda f: apply_edisp(f(EXPOSURE), f(np.eye(2))),
    "fold": lambda f: fold(f(np.array([3, 4])), f(COUNTS), f(EXPOSURE), f(KERNEL), f(np.eye(2))),
}

FORMS = {
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "big-endian float": lambda a: a.astype(">f8"),
    "Fortran order": np.asfortranarray,
    "every second": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "turned": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "masked without a mask": np.ma.masked_array,
    "without unit": lambda a: u.Quantity(a, ""),
    "JAX": jnp.asarray,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("door", DOORS)
def test_every_form_gives_the_same(door: str, form: str) -> None:
    expected = DOORS[door](lambda a: np.ascontiguousarray(a, dtype=float))
    found = DOORS[door](lambda a: FORMS[form](np.asarray(a)))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


WRONG = {
    "masked": (lambda a: np.ma.masked_equal(a, a.flat[0]), "are masked"),
    "Masked": (lambda a: Masked(a.astype(float), mask=a == a.flat[0]), "are masked"),
    "unit": (lambda a: u.Quantity(a, "TeV"), "in TeV; expected plain numbers"),
    "text": (lambda a: a.astype(str), "expected numbers"),
    "objects": (lambda a: a.astype(object), "expected numbers"),
    "complex": (lambda a: a.astype(complex), "expected numbers"),
}


@pytest.mark.parametrize("form", WRONG)
@pytest.mark.parametrize("door", DOORS)
def test_what_is_no_plain_array_is_refused(door: str, form: str) -> None:
    make, message = WRONG[form]
    with pytest.raises((InputError, InputTypeError), match=message):
        DOORS[door](lambda a: make(np.asarray(a)))


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint16, np.int64, np.float16, np.float32])
def test_types_of_counts_and_masks(kind: type) -> None:
    counts = (COUNTS > 2).astype(kind)
    found = ts_map(counts, BACKGROUND, EXPOSURE, KERNEL, weights=(COUNTS > 0).astype(kind))
    expected = ts_map(counts.astype(float), BACKGROUND, EXPOSURE, KERNEL, weights=COUNTS > 0)
    np.testing.assert_allclose(found.norm, expected.norm, rtol=1e-12)


def test_traced_arrays_pass() -> None:
    norm = jax.jit(lambda n: fit_norm(n, BACKGROUND.ravel(), EXPOSURE.ravel()).norm)
    assert np.isfinite(norm(COUNTS.ravel().astype(float)))
    assert plain([1, 2.0]) == [1, 2.0]


@given(st.sampled_from(sorted(FORMS)), st.sampled_from(["f4", "f8", "i2", "i8", "u1", "?"]))
def test_plain_keeps_the_values(form: str, kind: str) -> None:
    array = (COUNTS % 2).astype(kind)
    found = np.asarray(plain(FORMS[form](array)))
    assert np.array_equal(found, array)
    assert found.dtype.isnative


# ---------------------------------------------------------------- maps


def test_maps_refuse_what_is_masked() -> None:
    geom = Map.create(npix=(6, 7)).geom
    masked = np.ma.masked_equal(COUNTS[0], 3)
    for data in (
        masked,
        Masked(COUNTS[0], mask=COUNTS[0] == 3),
        Masked(COUNTS[0] * u.m, mask=True),
    ):
        with pytest.raises(InputError, match="are masked"):
            Map(geom, data)
        with pytest.raises(InputError, match="are masked"):
            Map(geom).data = data
    assert np.array_equal(Map(geom, np.ma.masked_array(COUNTS[0])).data, COUNTS[0])


# ---------------------------------------------------------------- sizes


@pytest.mark.parametrize("huge", [3.4e38, 1e30, 2.0**53 * 1.001])
def test_counts_that_cannot_be_counts(huge: float) -> None:
    counts = COUNTS.astype(float)
    counts[0, 3, 3] = huge
    for call in (
        lambda: ts_map(counts, BACKGROUND, EXPOSURE, KERNEL),
        lambda: fit_norm(counts, BACKGROUND, EXPOSURE),
        lambda: kernel_background(counts[0], KERNEL[0], np.ones((5, 5))),
    ):
        with pytest.raises(InputError, match="above 2\\^53"):
            call()
    counts[0, 3, 3] = 2.0**53
    fit = ts_map(counts, BACKGROUND, EXPOSURE, KERNEL, selection_optional="ul")
    assert np.isfinite(fit.norm).all()
    assert np.isfinite(np.asarray(fit.norm_ul)).all()


def test_a_dataset_refuses_them_too() -> None:
    from datasets import make_dataset

    dataset: MapDataset = make_dataset(npix=(7, 5))
    dataset.require("counts").data[0, 2, 2] = 3.4e38
    with pytest.raises(ValueError, match="above 2\\^53 in 1 of"):
        dataset.check()


def test_where_numbers_run_out_a_status_says_so() -> None:
    """A traced call cannot raise: what is not finite has a status."""
    fit = jax.jit(lambda n: fit_norm(n, BACKGROUND.ravel(), EXPOSURE.ravel()))(
        np.full(COUNTS.size, 1e308)
    )
    assert int(fit.status) == Status.OUT_OF_RANGE
    fine = fit_norm(COUNTS, BACKGROUND, EXPOSURE)
    assert int(fine.status) == Status.FITTED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_sweeps": 0}, "n_sweeps is 0; expected a whole number of at least 1"),
        ({"n_sweeps": 2.5}, "n_sweeps is 2.5"),
        ({"n_sigma": -1}, "n_sigma is -1; expected one positive number"),
        ({"n_sigma_ul": np.nan}, "n_sigma_ul is nan"),
        ({"n_sigma_sensitivity": np.inf}, "n_sigma_sensitivity is inf"),
        ({"norm_min": np.nan}, "norm_min is nan; expected one number, or None"),
        ({"norm_min": [0.0, 1.0]}, "norm_min is"),
        ({"rtol": 0}, "rtol is 0"),
        ({"gamma_min": -1}, "gamma_min is -1; expected one number of at least 0"),
        ({"bkg_syst_fraction": "x"}, "bkg_syst_fraction is 'x'"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_norm(COUNTS, BACKGROUND, EXPOSURE, **options)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=message):
        ts_map(COUNTS, BACKGROUND, EXPOSURE, KERNEL, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("where", ["counts", "kernel", "energies"])
def test_nothing_to_fit(where: str) -> None:
    n, k = COUNTS, KERNEL
    if where == "counts":
        n = n[:, :0]
    elif where == "kernel":
        k = k[:, :0]
    else:
        n, k = n[:0], k[:0]
    background = np.ones(n.shape)
    with pytest.raises(ValueError, match="expected a pixel or more, and an energy or more"):
        ts_map(n, background, background, k)
