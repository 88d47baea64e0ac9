"""The map estimator on public data: gammapy's results end to end, and a source put in."""

from __future__ import annotations

import json
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord

from gammagrad import Map, MapDataset, TSMapEstimator
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel, models_from_dict
from precision import DOUBLE

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DOUBLE, reason="the references are in double precision"),
]

CASES = (
    *("fermicut_psf_ul_errnp", "fermicut_energy_nosum", "fermicut_energy_nosum_masked"),
    *("fermicut_energy_sum_masked", "fermicut_perbin_ul", "hesscrab_point_default"),
    *("hesscrab_point_all_nosum", "ctavela_gauss0.1", "ext_gauss0.11_kw10"),
    *("ext_gauss0.11_kwNone", "ext_gauss0.31_kw10", "ext_gauss0.31_kwNone"),
    *("pois_disk0.15_nomask",),
)
# groups of energies, optional maps, and a point and an extended source for other instruments
KINDS = (
    *("fermicut_energy_nosum", "fermicut_psf_ul_errnp", "hesscrab_point_default"),
    "ctavela_gauss0.1",
)
HAWC = "hawc_joint_sumF"


def load(data: Path, reference: Path, case: str) -> tuple[MapDataset, TSMapEstimator, dict]:
    """Return a stored case's dataset, an estimator with its settings, and its arrays."""
    about = json.loads((reference / "ts" / f"{case}.json").read_text(encoding="utf-8"))
    stored = dict(np.load(reference / "ts" / f"{case}.npz"))
    dataset = MapDataset.read(data / about["files"][0])
    (model,) = models_from_dict({"components": [about["kernel_model"]]})
    settings = about["settings"]
    edges = stored["energy_edges"] * u.TeV if settings.get("energy_edges") else None
    estimator = TSMapEstimator(
        model,
        settings.get("kernel_width"),
        energy_edges=edges,
        sum_over_energy_groups=settings.get("sum_over_energy_groups", True),
        kernel_weighting="equal",
        kernel_sampling="gammapy",
        kernel_positions="centre",
    )
    return dataset, estimator, stored


def kernels(stored: dict) -> np.ndarray:
    """Return a case's kernel, its energy groups end to end."""
    parts = []
    while f"in__g{len(parts)}_d0__kernel" in stored:
        parts.append(stored[f"in__g{len(parts)}_d0__kernel"])
    return np.concatenate(parts)


@pytest.mark.parametrize(
    "case", [c if c in KINDS else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_end_to_end(case: str, gammapy_data: Path, reference_dir: Path) -> None:
    dataset, estimator, stored = load(gammapy_data, reference_dir, case)
    expected = kernels(stored)
    kernel = estimator.estimate_kernel(dataset).data[: len(expected)]
    assert kernel.shape == expected.shape
    off = np.abs(kernel - expected).max(axis=(1, 2)) / expected.max(axis=(1, 2))
    assert off.max() < 1e-3
    maps = estimator.run(dataset)
    for group in range(len(stored["precise__ts"])):
        compare_group(maps, stored, group)


def compare_group(maps, stored: dict, group: int) -> None:
    """Hold one energy group to the bars."""

    def expected(name: str) -> np.ndarray:
        return stored[f"precise__{name}"][group]

    good = np.isfinite(expected("norm")) & expected("success").astype(bool)
    np.testing.assert_array_equal(
        np.isfinite(maps["norm"].data[group]), np.isfinite(expected("norm"))
    )
    ts = np.abs(expected("ts"))[good]
    assert np.all(np.abs(np.abs(maps["ts"].data[group][good]) - ts) < 1e-3 * ts + 1e-3)
    errors = expected("norm_err")
    fitted = good & np.isfinite(errors)
    off = np.abs(maps["norm"].data[group] - expected("norm"))[fitted] / errors[fitted]
    assert off.max() < 0.01
    for name in ("npred", "stat", "stat_null"):
        value = expected(name)[good]
        off = np.abs(maps[name].data[group][good] - value) / np.maximum(1, np.abs(value))
        assert off.max() < 1e-4, name


def test_a_psf_in_reconstructed_energy(gammapy_data: Path, reference_dir: Path) -> None:
    """HAWC: the kernel and what enters the fit of one of the two datasets."""
    dataset, estimator, stored = load(gammapy_data, reference_dir, HAWC)
    inputs = estimator.estimate_fit_input_maps(dataset)
    kernel, expected = inputs["kernel"].data, stored["in__g0_d0__kernel"]
    assert kernel.shape == expected.shape
    seen = expected.max(axis=(1, 2)) > 0
    off = np.abs(kernel - expected).max(axis=(1, 2))[seen] / expected.max(axis=(1, 2))[seen]
    assert off.max() < 1e-3
    for name in ("counts", "background", "exposure"):
        np.testing.assert_allclose(
            inputs[name].data, stored[f"in__g0_d0__{name}"][:, 20:-20, 20:-20], rtol=1e-5
        )
    maps = estimator.run(dataset)
    assert maps["success"].data.all()
    peak = np.unravel_index(np.argmax(maps["ts"].data[0]), maps["ts"].data[0].shape)
    position = dataset.geom.pix_to_sky(peak[1], peak[0])
    assert position.separation(dataset.geom.center_skydir) < 0.15 * u.deg


FERMI = ("fermi-3fhl-gc/fermi-3fhl-gc", "4 deg", 1e-12)
HESS = ("reduced/hess-crab", "1.6 deg", 1e-11)
CTA = ("reduced/cta-1dc-vela", "1.1 deg", 1e-12)


# every bin has counts, and the kernels hold 99.9 % of wide responses: the cubes take a while
@pytest.mark.parametrize(
    ("name", "width", "amplitude", "summed"),
    [
        (*FERMI, True),
        pytest.param(*FERMI, False, marks=pytest.mark.slow),
        pytest.param(*HESS, True, marks=pytest.mark.slow),
        pytest.param(*HESS, False, marks=pytest.mark.slow),
        pytest.param(*CTA, True, marks=pytest.mark.slow),
        (*CTA, False),
    ],
)
def test_expected_counts_of_a_source_give_norm_one(
    name: str, width: str, amplitude: float, summed: bool, gammapy_data: Path
) -> None:
    dataset = MapDataset.read(gammapy_data / f"{name}.fits.gz")
    dataset = dataset.cutout(dataset.geom.center_skydir, width)
    geom = dataset.geom
    row, col = (n // 2 for n in geom.shape_image)
    position = geom.pix_to_sky(col, row).icrs
    spectrum = PowerLawSpectralModel(index=2.2, amplitude=amplitude)
    model = SkyModel(spectrum, PointSpatialModel(position.ra, position.dec), name="source")
    background = dataset.npred_background().data
    exposure = dataset.require("exposure").data
    as_it_is = exposure.copy()

    def norm() -> float:
        dataset.counts = Map(geom, background + dataset.npred_signal([model]).data)
        maps = TSMapEstimator(model, sum_over_energy_groups=summed).run(dataset)
        return float(maps["norm"].data[0, row, col])

    exposure[:] = as_it_is[:, row, col][:, None, None]
    assert norm() == pytest.approx(1, abs=1e-3)
    # a TS map takes the exposure where the counts fall: on average less than at its peak, the
    # source
    exposure[:] = as_it_is
    assert 0.999 < norm() < 1.004


def test_brightest_peak_is_the_galactic_centre(gammapy_data: Path) -> None:
    dataset = MapDataset.read(gammapy_data / "fermi-3fhl-gc" / "fermi-3fhl-gc.fits.gz")
    maps = TSMapEstimator(kernel_width="1 deg", sum_over_energy_groups=False).run(dataset)
    brightest = maps.find_peaks(threshold=5)[0]
    centre = SkyCoord(0 * u.deg, 0 * u.deg, frame="galactic")
    position = SkyCoord(brightest["ra"], brightest["dec"], frame="icrs")
    assert position.separation(centre) < 0.1 * u.deg
