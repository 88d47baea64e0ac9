"""Nonsense in gives a word out, and ordinary data do not."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from datasets import make_dataset
from gammagrad import KernelBackgroundEstimator, MapDataset, TSMapEstimator, exclusion_mask
from gammagrad.dataset.suspicion import suspicions
from gammagrad.errors import InputWarning
from gammagrad.maps import EDispKernelMap, EDispMap, Map, MapAxis, PSFMap, RegionGeom
from gammagrad.models import GaussianSpatialModel, PowerLawSpectralModel, SkyModel
from gammagrad.simulate import simulate_field

RNG = np.random.default_rng(3)


def with_parts(dataset: MapDataset, **parts: Map) -> MapDataset:
    geom = dataset.geom
    arrays = {name: Map(geom, m.data, meta={}) for name, m in parts.items()}
    return MapDataset(exposure=dataset.exposure, psf=dataset.psf, edisp=dataset.edisp, **arrays)


def messages(dataset: MapDataset, **settings: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        TSMapEstimator(kernel_width="0.5 deg", **settings).run(dataset)  # type: ignore[arg-type]
    return [str(w.message) for w in caught if w.category is InputWarning]


@pytest.mark.parametrize("background", [0.05, 2.1, 100.3])
def test_counts_and_background_exchanged(background: float) -> None:
    dataset = make_dataset(npix=(40, 30), background=background)
    assert messages(dataset) == []
    swapped = with_parts(dataset, counts=dataset.background, background=dataset.counts)
    (found,) = messages(swapped)
    assert "the counts are not whole numbers" in found
    assert "swapped" in found


@pytest.mark.parametrize("factor", [0.01, 0.1, 10, 1e12])
def test_a_background_far_from_the_counts(factor: float) -> None:
    dataset = make_dataset(npix=(40, 30), background=5.0)
    other = Map(dataset.geom, dataset.require("background").data * factor)
    (found,) = messages(with_parts(dataset, counts=dataset.counts, background=other))
    assert "expected a background within a factor of a few of the counts" in found


@pytest.mark.parametrize("scale", [1e-3, 0.37])
def test_counts_that_are_a_rate(scale: float) -> None:
    dataset = make_dataset(npix=(40, 30), background=5.0)
    rate = Map(dataset.geom, dataset.require("counts").data * scale)
    found = messages(with_parts(dataset, counts=rate, background=dataset.background))
    assert "not whole numbers" in found[0]


def test_no_psf_and_a_point_source() -> None:
    dataset = make_dataset(npix=(40, 30))
    dataset.psf = None
    (found,) = messages(dataset)
    assert "there is no PSF. Sources are not blurred" in found
    wide = SkyModel(PowerLawSpectralModel(), GaussianSpatialModel(sigma="0.1 deg"))
    assert messages(dataset, model=wide) == []


@pytest.mark.parametrize("flux", [0.0, 1e-12, 1e-9])
@pytest.mark.parametrize("background", [1e-4, 0.3, 1e3])
def test_an_asimov_dataset_is_not_suspect(background: float, flux: float) -> None:
    dataset = make_dataset(npix=(40, 30), flux=flux, background=background, seed=None)
    assert messages(dataset) == []
    predicted = simulate_field(seed=4, npix=40).dataset
    predicted.counts = predicted.npred()
    assert messages(predicted) == []


def test_a_bright_source_or_few_counts_are_not_suspect() -> None:
    dataset = make_dataset(npix=(40, 30), flux=3e-10, background=0.5)
    assert dataset.counts.data.sum() > 5 * dataset.background.data.sum()
    assert messages(dataset) == []
    few = make_dataset(npix=(40, 30), background=1e-4, flux=0.0)
    assert messages(few) == []
    assert suspicions(np.zeros((1, 3, 3)), np.full((1, 3, 3), 0.5)) == []


@pytest.mark.data
def test_real_data_are_not_suspect(gammapy_data: Path) -> None:
    names = ("fermi-3fhl-gc/fermi-3fhl-gc", "reduced/hess-crab", "reduced/cta-1dc-vela")
    names += ("reduced/hess-crab-1deg-maskfit", "hawc/DL4/nHit-8", "hawc/DL4/nHit-9")
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            dataset = MapDataset.read(gammapy_data / f"{name}.fits.gz")
        counts, npred = dataset.require("counts").data, dataset.npred().data
        used = np.isfinite(npred) & (True if dataset.mask is None else dataset.mask.data)
        assert suspicions(np.where(used, counts, 0), np.where(used, npred, 0)) == []


# ---------------------------------------------------------------- responses


def axes(n_true: int = 6) -> tuple[MapAxis, MapAxis]:
    true = MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=n_true, name="energy_true")
    return true, MapAxis.from_energy_bounds("0.5 TeV", "20 TeV", nbin=6)


def dispersion(scale: float = 1.0) -> EDispKernelMap:
    true, reco = axes()
    matrix = 0.8 * np.eye(6) + 0.1 * np.eye(6, k=1) + 0.1 * np.eye(6, k=-1)
    return EDispKernelMap.from_matrix(scale * matrix, true, reco)


@pytest.mark.parametrize("scale", [1000.0, 1.02])
def test_an_energy_dispersion_above_one(scale: float) -> None:
    MapDataset(edisp=dispersion(1.009))
    with pytest.raises(ValueError, match=r"edisp: the probabilities of true energy .* sum up to"):
        MapDataset(edisp=dispersion(scale))
    dataset = MapDataset()
    with pytest.raises(ValueError, match="expected at most 1"):
        dataset.edisp = dispersion(scale)
    assert dataset.edisp is None


def test_a_low_sum_inside_the_axis_is_said() -> None:
    with pytest.warns(InputWarning, match="sum up to 0.5, though they end inside the axis"):
        MapDataset(edisp=dispersion(0.5))
    true, reco = axes()
    # at the ends of the axis events leave it, and that is normal
    matrix = dispersion().get_edisp_kernel()
    matrix[0], matrix[-1] = 0.002 * matrix[0], 0.3 * matrix[-1]
    MapDataset(edisp=EDispKernelMap.from_matrix(matrix, true, reco))


def test_migrations_and_negative_values() -> None:
    true, reco = axes()
    migra = MapAxis.from_bounds(0.2, 5, nbin=24, name="migra", unit="")
    density = np.exp(-0.5 * ((migra.center_in("") - 1) / 0.3) ** 2)
    density /= (density * np.diff(migra.edges_in(""))).sum()
    data = np.tile(density, (6, 1))[:, :, None, None]
    MapDataset(edisp=EDispMap(Map(RegionGeom([migra, true]), data)))
    with pytest.raises(ValueError, match=r"sum up to 1\.5"):
        MapDataset(edisp=EDispMap(Map(RegionGeom([migra, true]), 1.5 * data)))
    matrix = -0.1 * np.eye(6) + dispersion().get_edisp_kernel()
    matrix[0, 3] = -0.1
    with pytest.raises(ValueError, match=r"values down to -0\.1; expected probabilities"):
        MapDataset(edisp=EDispKernelMap.from_matrix(matrix, true, reco))


@pytest.mark.parametrize("scale", [1.02, 14.0])
def test_a_psf_above_one(scale: float) -> None:
    true, _ = axes()
    good = PSFMap.from_gauss(true, "0.1 deg")
    MapDataset(psf=good)
    bad = PSFMap(Map(good.psf_map.geom, scale * good.psf_map.data, good.psf_map.unit))
    with pytest.raises(ValueError, match=r"psf: its integral over the sky is (1.0199|13.99)"):
        MapDataset(psf=bad)
    negative = good.psf_map.data.copy()
    negative[0, 3] = -1.0
    with pytest.raises(ValueError, match="psf: values down to -1"):
        MapDataset(psf=PSFMap(Map(good.psf_map.geom, negative, good.psf_map.unit)))


# ---------------------------------------------------------------- regions


def exclude(tmp_path: Path, *lines: str) -> Map:
    pytest.importorskip("regions")
    path = tmp_path / "r.reg"
    path.write_text("\n".join(["# Region file format: DS9 version 4.1", "icrs", *lines]) + "\n")
    geom = Map.create(npix=(40, 30), binsz=0.05, skydir=(83.63, 22.01), proj="TAN").geom
    return exclusion_mask(geom, regions=path)


@pytest.mark.parametrize(
    "line", ["circle(83.63,nan,0.1)", "circle(83.63,22.01,nan)", "polygon(83,22,nan,22,83,23)"]
)
def test_a_region_with_nan_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match=r"not a finite number|cannot be read"):
        exclude(tmp_path, "circle(83.5,22.0,0.1)", line)


@pytest.mark.parametrize("line", ["circel(83.63,22.01,0.1)", "circle(83.63,22.01", "circle(83.63)"])
def test_a_line_that_cannot_be_read_is_an_error(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match=r"r\.reg: .*cannot be read"):
        exclude(tmp_path, "circle(83.5,22.0,0.1)", line)


def test_regions_that_exclude_nothing_say_so(tmp_path: Path) -> None:
    with pytest.warns(InputWarning, match="no pixel is excluded: they lie outside"):
        exclude(tmp_path, "circle(10,22.01,0.1)")
    with pytest.warns(InputWarning, match="all are marked as excluding"):
        exclude(tmp_path, "-circle(83.63,22.01,0.1)")
    assert not exclude(tmp_path, "circle(83.63,22.01,0.1)").data.all()


def test_the_background_estimator_takes_what_it_is_given() -> None:
    kernels = {"kernel_src": np.ones((3, 3)), "kernel_bkg": np.ones((9, 9))}
    estimator = KernelBackgroundEstimator(**kernels)
    counts = Map.create(npix=(20, 20), data=RNG.poisson(3.0, (20, 20)))
    assert estimator.run({"counts": counts})["background"].data.mean() == pytest.approx(3, rel=0.1)
