"""`gammagrad ts-map` and `info` with a YAML file that lists datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gammagrad import FluxMaps, TSMapEstimator
from gammagrad.dataset import write_datasets
from gammagrad.simulate import simulate_field

pytest.importorskip("yaml")

Run = Callable[..., tuple[int, str, str]]


def test_the_datasets_of_a_list_are_fitted_together(run: Run, tmp_path: Path) -> None:
    pair = [
        simulate_field(seed=seed, npix=40, nbin=2).dataset.copy(name=f"run {seed}")
        for seed in (1, 2)
    ]
    write_datasets(pair, tmp_path / "datasets.yaml")
    options = ("--kernel-width", "0.4 deg", "--no-pictures", "-o", tmp_path / "maps")
    code, text, errors = run("ts-map", tmp_path / "datasets.yaml", *options)
    assert (code, errors) == (0, "")
    assert "run 1" in text
    maps = FluxMaps.read(tmp_path / "maps" / "ts-map.fits")
    expected = TSMapEstimator(kernel_width="0.4 deg", sum_over_energy_groups=False).run(pair)
    np.testing.assert_allclose(maps.ts.data, expected.ts.data, rtol=1e-6)
    assert maps.meta["input"] == ["datasets.yaml", "run_1.fits", "run_2.fits"]
    code, text, _ = run("info", tmp_path / "datasets.yaml")
    assert code == 0
    assert "a list of 2 datasets" in text
    assert text.count("MapDataset") == 2
