"""What calls an upper layer loads it by itself: each call the first of its process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets import make_dataset
from gammagrad import FluxMaps, Map
from gammagrad._upper import UPPER
from gammagrad.maps import MapAxis
from gammagrad.models import default_kernel_model

# each is the first call of its part in a process of its own
CALLS = {
    "read_map, plot_map": """
        from gammagrad.maps.map.map import Map
        counts = Map.read("counts.fits")
        first("plot")
        assert counts.plot(energy=0)
    """,
    "to_value, write_map, plot_flux_maps": """
        from gammagrad._pytree import to_internal
        assert to_internal("1 GeV", "TeV", "energy") == 1e-3
        from gammagrad.maps.map.map import Map
        Map.create(npix=3).write("new.fits")
        assert Map.read("new.fits").data.shape == (3, 3)
        from gammagrad import FluxMaps
        maps = FluxMaps.read("maps.fits")
        first("plot")
        assert maps.plot("sqrt_ts")
    """,
    "read_models, write_models": """
        from gammagrad.models import Models, PowerLawSpectralModel, SkyModel
        Models([SkyModel(PowerLawSpectralModel(), name="a")]).write("models.yaml")
        assert Models.read("models.yaml").names == ["a"]
    """,
    "plot_profile": """
        from gammagrad import FluxMaps
        maps = FluxMaps.read("maps.fits")
        first("plot")
        assert maps.plot_profile((10, 10))
    """,
    "plot_grid, region_mask, energy_mask": """
        from gammagrad.maps.map.map import Map
        counts = Map.read("counts.fits")
        first("exclusion.region_masks")
        assert counts.geom.region_mask("icrs;circle(83.63, 22.01, 0.1)").is_mask
        assert counts.geom.energy_mask("1 TeV").data.all()
        first("plot")
        assert counts.plot_grid().shape == (1, 1)
    """,
    "plot_spatial_residuals, peek_dataset": """
        from gammagrad import MapDataset
        dataset = MapDataset.read("dataset.fits")
        first("plot")
        assert dataset.plot_residuals_spatial()
        assert dataset.peek().axes
    """,
    "peek_psf, peek_edisp, read_psf": """
        from gammagrad.maps import EDispKernelMap, MapAxis, PSFMap
        axis = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=3, name="energy_true")
        first("plot")
        assert PSFMap.read("dataset.fits").peek().axes
        assert EDispKernelMap.from_diagonal(axis, axis.rename("energy")).peek().axes
    """,
    "plot_residuals": """
        from gammagrad import FluxMaps, MapDataset
        maps, dataset = FluxMaps.read("maps.fits"), MapDataset.read("dataset.fits")
        first("plot")
        assert maps.plot_residuals(dataset)
    """,
    "plot_significance_histogram, refine_peaks": """
        from gammagrad import FluxMaps, MapDataset
        maps, dataset = FluxMaps.read("maps.fits"), MapDataset.read("dataset.fits")
        first("plot")
        assert maps.plot_significance_histogram().number > 100
        first("fitting")
        # none is that bright: a fit would take long to compile, and the README has one
        assert "refined" in maps.find_peaks(1e4, refine=True, datasets=dataset).colnames
    """,
}
FIRST = """
import sys

def first(part):
    assert f"gammagrad.{part}" not in sys.modules
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a dataset and maps that could be its own; no estimator has to compile for that."""
    folder = tmp_path_factory.mktemp("upper")
    dataset = make_dataset(npix=20, nbin=1)
    dataset.write(folder / "dataset.fits")
    dataset.counts.write(folder / "counts.fits")
    rng, shape = np.random.default_rng(0), dataset.geom.data_shape
    data = {name: Map(dataset.geom, rng.normal(size=shape)) for name in ("norm", "ts")}
    data["norm_err"] = Map(dataset.geom, np.ones(shape))
    norms = np.array([-1.0, 0, 1, 2])
    axes = [MapAxis.from_nodes(norms, name="norm"), dataset.energy_axis]
    scan = (norms[:, None, None] - data["norm"].data) ** 2
    data["stat_scan"] = Map(dataset.geom.to_image().to_cube(axes), scan[None])
    meta = {"n_sigma": 1, "n_sigma_ul": 2}
    FluxMaps(data, default_kernel_model(), meta).write(folder / "maps.fits")
    return folder


def test_every_call_of_an_upper_layer_is_tried() -> None:
    # those of gammapy's objects are tried in tests/interop, where it is installed
    here = [name for name in UPPER if not name.endswith("gammapy")]
    assert sorted(", ".join(CALLS).split(", ")) == sorted(here)


@pytest.mark.parametrize("calls", CALLS)
def test_a_call_of_an_upper_layer_works_in_a_fresh_process(calls: str, folder: Path) -> None:
    code = FIRST + "\n".join(line.strip() for line in CALLS[calls].splitlines())
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
