"""Settings survive a file, and a file with a mistake is told so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from gammagrad import Map, TSMapEstimator
from gammagrad.estimators.config import read_config, read_model, write_config
from gammagrad.models import (
    ExpCutoffPowerLawSpectralModel,
    GaussianSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpatialModel,
    models_to_dict,
)

MODEL = SkyModel(
    ExpCutoffPowerLawSpectralModel(index=1.7, lambda_="0.05 TeV-1"),
    GaussianSpatialModel(sigma="0.25 deg", e=0.3),
    name="elongated",
)


@pytest.mark.parametrize("name", ["config.yaml", "config.json"])
def test_all_settings_come_back(name: str, tmp_path: Path) -> None:
    estimator = TSMapEstimator(
        MODEL,
        kernel_width="1.5 deg",
        energy_edges=["10 GeV", "0.123456789012345 TeV", "2 TeV"],
        sum_over_energy_groups=False,
        n_sigma=2,
        rtol=1e-4,
        max_niter=7,
        kernel_weighting="equal",
    )
    write_config(estimator, tmp_path / name)
    again = read_config(tmp_path / name)
    assert again.settings == estimator.settings
    assert np.all(again.energy_edges == estimator.energy_edges)
    old, new = jax.tree.leaves(estimator.model), jax.tree.leaves(again.model)
    np.testing.assert_array_equal(np.array(old, dtype=float), np.array(new, dtype=float))
    assert jax.tree.structure(estimator.model) == jax.tree.structure(again.model)


def test_defaults_come_back(tmp_path: Path) -> None:
    write_config(TSMapEstimator(), tmp_path / "config.yaml")
    assert read_config(tmp_path / "config.yaml").settings == TSMapEstimator().settings


def test_a_file_written_by_hand_will_do(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("kernel_width: 30 arcmin\nenergy_edges: 10 GeV, 500 GeV\nrtol: 1e-3\n")
    estimator = read_config(path)
    assert estimator.kernel_width.to_value("deg") == 0.5
    assert estimator.energy_edges.to_value("GeV").tolist() == [10, 500]
    assert estimator.rtol == 1e-3
    assert estimator.sum_over_energy_groups is True


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"config\.yaml"):
        write_config(TSMapEstimator(), path)
    assert path.read_text() == "mine"
    write_config(TSMapEstimator(), path, overwrite=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"kernel_wdth": "1 deg"}, "kernel_wdth.*kernel_width"),
        ({"kernel_width": "1 TeV"}, "kernel_width"),
        ({"estimator": "KernelBackgroundEstimator"}, "TSMapEstimator"),
        ({"model": {"type": "SkyModel"}}, "spectral"),
        ({"model": {"type": "Blob"}}, "Blob"),
        ([1, 2], "list"),
    ],
)
def test_a_mistake_is_named_with_its_file(content: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"config\.json.*{words}"):
        read_config(path)


def test_without_a_yaml_library_json_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    path = tmp_path / "config.yaml"
    write_config(TSMapEstimator(MODEL), path)
    assert json.loads(path.read_text())["model"]["name"] == "elongated"
    assert read_config(path).model.name == "elongated"
    path.write_text("kernel_width: 1 deg\n")
    with pytest.raises(ImportError, match=r"gammagrad\[yaml\]"):
        read_config(path)


def test_a_template_goes_by_the_name_of_its_map(tmp_path: Path) -> None:
    image = Map.create(npix=(7, 5), binsz=0.1, unit="sr-1")
    image.data += np.arange(35).reshape(5, 7)
    image.write(tmp_path / "shape.fits")
    spatial = TemplateSpatialModel.from_map(image, filename="shape.fits")
    estimator = TSMapEstimator(SkyModel(PowerLawSpectralModel(), spatial, name="template"))
    write_config(estimator, tmp_path / "config.yaml")
    again = read_config(tmp_path / "config.yaml").model.spatial_model
    np.testing.assert_allclose(again.data, spatial.data, rtol=1e-12)

    unnamed = SkyModel(PowerLawSpectralModel(), TemplateSpatialModel.from_map(image), name="t")
    with pytest.raises(ValueError, match="in no file"):
        write_config(TSMapEstimator(unnamed), tmp_path / "other.yaml")


def test_a_model_file_holds_one_source(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(json.dumps(models_to_dict(MODEL)))
    assert read_model(path).name == "elongated"
    path.write_text(json.dumps(models_to_dict([MODEL, MODEL.copy(name="two")])))
    with pytest.raises(ValueError, match=r"expected one SkyModel.*two"):
        read_model(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"model\.json.*components"):
        read_model(path)
