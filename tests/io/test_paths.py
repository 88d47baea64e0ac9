"""File names with variables and tildes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gammagrad import FluxMaps, Map
from gammagrad.dataset import MapDataset
from gammagrad.errors import GammagradError
from gammagrad.estimators.config import read_model
from gammagrad.io import expand_path, read_yaml, write_yaml
from gammagrad.maps import MapAxis
from gammagrad.models import (
    PowerLawSpectralModel,
    SkyModel,
    TemplateSpatialModel,
    models_to_dict,
)
from gammagrad.simulate import simulate_field

AXIS = MapAxis.from_energy_bounds("1 TeV", "10 TeV", nbin=1)


def test_variables_and_the_tilde_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMMAGRAD_TEST", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in (
        "$GAMMAGRAD_TEST/a.fits",
        "${GAMMAGRAD_TEST}/a.fits",
        Path("$GAMMAGRAD_TEST/a.fits"),
    ):
        assert expand_path(name) == tmp_path / "a.fits"
    assert expand_path("~/a.fits") == tmp_path / "home" / "a.fits"
    assert expand_path("plain.fits") == Path("plain.fits")


@pytest.mark.parametrize("name", ["$GAMMAGRAD_NONE/a.fits", "x/${GAMMAGRAD_NONE}.fits"])
def test_a_variable_that_is_not_set_is_named(name: str) -> None:
    assert "GAMMAGRAD_NONE" not in os.environ
    with pytest.raises(FileNotFoundError, match="variable GAMMAGRAD_NONE is not set; set it"):
        expand_path(name)


def test_no_home() -> None:
    with pytest.raises(FileNotFoundError, match="no home folder"):
        expand_path("~nobody-of-this-name/a.fits")


def test_a_file_that_is_there_is_taken_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a$GAMMAGRAD_NONE").touch()
    assert expand_path("a$GAMMAGRAD_NONE") == Path("a$GAMMAGRAD_NONE")


def test_everything_that_reads_takes_such_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMMAGRAD_TEST", str(tmp_path))
    dataset = simulate_field(seed=1, npix=40, nbin=1).dataset
    dataset.write("$GAMMAGRAD_TEST/dataset.fits")
    assert (tmp_path / "dataset.fits").is_file()
    assert MapDataset.read("$GAMMAGRAD_TEST/dataset.fits").counts.data.sum() > 0
    assert Map.read("$GAMMAGRAD_TEST/dataset.fits", hdu="counts").geom == dataset.counts.geom
    again = MapDataset.from_files(
        counts="$GAMMAGRAD_TEST/dataset.fits[counts]",
        background="$GAMMAGRAD_TEST/dataset.fits[background]",
        exposure="$GAMMAGRAD_TEST/dataset.fits[exposure]",
        psf="$GAMMAGRAD_TEST/dataset.fits",
    )
    assert (again.counts.data == dataset.counts.data).all()
    write_yaml({"a": 1}, "$GAMMAGRAD_TEST/a.json")
    assert read_yaml("$GAMMAGRAD_TEST/a.json") == {"a": 1}


def test_the_map_of_a_template_may_have_such_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMMAPY_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    image = Map.create(npix=(7, 5), binsz=0.1, unit="sr-1", data=np.ones((5, 7)))
    image.write("$GAMMAPY_DATA/shape.fits")
    shape = TemplateSpatialModel.from_map(image, filename="$GAMMAPY_DATA/shape.fits")
    model = SkyModel(PowerLawSpectralModel(), shape, name="template")
    write_yaml(models_to_dict([model]), tmp_path / "model.json")
    assert np.array_equal(read_model(tmp_path / "model.json").spatial_model.data, shape.data)
    maps = FluxMaps({"norm": Map.create(npix=(4, 3), axes=[AXIS])}, model)
    maps.write(tmp_path / "maps.fits")
    assert FluxMaps.read(tmp_path / "maps.fits").reference_model.spatial_model is not None
    monkeypatch.delenv("GAMMAPY_DATA")  # the spectrum is all that fluxes need
    assert FluxMaps.read(tmp_path / "maps.fits").reference_model.spatial_model is None


# ---------------------------------------------------------------- paths that files name


def template(folder: Path, filename: str) -> Path:
    """Write a model file that names the map of a template."""
    spatial = {"type": "TemplateSpatialModel", "filename": filename, "normalize": True}
    spectral = {"type": "pl", "parameters": [{"name": "index", "value": 2.0}]}
    model = {"name": "a", "type": "SkyModel", "spectral": spectral, "spatial": spatial}
    write_yaml({"components": [model]}, folder / "model.json", overwrite=True)
    return folder / "model.json"


def test_a_file_may_name_no_variable_but_those_of_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GAMMAGRAD_SECRET", "the password")
    monkeypatch.setenv("GAMMAPY_DATA", str(tmp_path / "the place of the data"))
    with pytest.raises(GammagradError, match=r"GAMMAGRAD_SECRET; .* GAMMAPY_DATA only") as caught:
        read_model(template(tmp_path, "$GAMMAGRAD_SECRET/map.fits"))
    assert "the password" not in str(caught.value)
    for content in (None, b"", b"SIMPLE"):
        if content is not None:
            (tmp_path / "the place of the data").mkdir(exist_ok=True)
            (tmp_path / "the place of the data" / "m.fits").write_bytes(content)
        with pytest.raises(GammagradError, match=r"\$GAMMAPY_DATA/m.fits") as caught:
            read_model(template(tmp_path, "$GAMMAPY_DATA/m.fits"))
        assert "the place of" not in str(caught.value)


def test_a_relative_path_stays_within_the_folder(tmp_path: Path) -> None:
    image = Map.create(npix=(7, 5), binsz=0.1, unit="sr-1", data=np.ones((5, 7)))
    image.write(tmp_path / "shape.fits")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.fits").symlink_to(tmp_path / "shape.fits")
    for name in ("../shape.fits", "link.fits", "a/../../shape.fits"):
        with pytest.raises(GammagradError, match="leads out of the folder"):
            read_model(template(inner, name))
    for name in ("../shape.fits", "link.fits"):
        assert read_model(template(inner, name), outside=True).spatial_model is not None
    assert read_model(template(inner, str(tmp_path / "shape.fits"))).spatial_model is not None
    image.write(inner / "own.fits")
    assert read_model(template(inner, "own.fits")).spatial_model is not None
