"""Several datasets and their models in files: there and back, with gammapy, and what goes wrong."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets import make_dataset
from gammagrad import MapDataset, MapDatasetOnOff, read_dataset
from gammagrad.dataset import read_datasets, write_datasets
from gammagrad.io import read_yaml
from gammagrad.maps import Map
from gammagrad.models import (
    FoVBackgroundModel,
    GaussianSpatialModel,
    LogParabolaSpectralModel,
    Models,
    PointSpatialModel,
    PowerLawSpectralModel,
    SkyModel,
    TemplateNPredModel,
    TemplateSpatialModel,
)

pytest.importorskip("yaml")


def crab() -> SkyModel:
    return SkyModel(
        PowerLawSpectralModel(2.3, "1e-12 cm-2 s-1 TeV-1"),
        PointSpatialModel("83.63 deg", "22.01 deg", frame="icrs"),
        name="crab",
    )


def all_models() -> Models:
    spectrum = LogParabolaSpectralModel("2e-13 cm-2 s-1 TeV-1", "3 TeV", 2.1, 0.1)
    shape = GaussianSpatialModel("83.5 deg", "22.2 deg", sigma="0.1 deg", frame="icrs")
    models = Models([crab(), SkyModel(spectrum, shape, "wide", "b"), FoVBackgroundModel("a")])
    return models.freeze("crab.index").bound("wide.alpha", 1, 4)


@pytest.fixture
def pair() -> list[MapDataset]:
    """Return two datasets with models, of which one is for both."""
    models = all_models()
    pair = [make_dataset(npix=31, name=name, seed=seed) for seed, name in enumerate("ab")]
    for dataset in pair:
        dataset.models = models
    return pair


def assert_same(found: Any, wanted: Any) -> None:
    """Compare datasets and the counts that their models predict."""
    for one, other in zip(found, wanted, strict=True):
        assert one.name == other.name
        for name in ("counts", "background", "exposure"):
            assert np.array_equal(one.require(name).data, other.require(name).data), name
        assert one.models.names == other.models.names
        assert one.models.free == other.models.free
        assert one.models.bounds == other.models.bounds
        assert np.allclose(one.npred().data, other.npred().data, rtol=1e-12, atol=0)


@pytest.mark.parametrize("end", ["yaml", "json"])
def test_datasets_and_models_come_back_and_may_move(
    pair: list[MapDataset], tmp_path: Path, end: str
) -> None:
    folder, moved = tmp_path / "first", tmp_path / "moved"
    folder.mkdir()
    files = [folder / f"{name}.{end}" for name in ("datasets", "models")]
    write_datasets(pair, *files)
    assert {p.name for p in folder.iterdir()} == {
        *("a.fits", "b.fits", f"datasets.{end}", f"models.{end}")
    }
    shutil.move(folder, moved)
    assert_same(read_datasets(moved / files[0].name, moved / files[1].name), pair)
    assert [one.models for one in read_datasets(moved / files[0].name)] == [None, None]
    assert Models.read(moved / files[1].name).names == ["crab", "a-bkg", "wide"]


def test_lists_of_gammapy(
    pair: list[MapDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written here and read there, without a warning, then the other way round."""
    gammapy = pytest.importorskip("gammapy.datasets")
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    write_datasets(pair, ours / "datasets.yaml", ours / "models.yaml")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = gammapy.Datasets.read(ours / "datasets.yaml", ours / "models.yaml")
    assert found.names == ["a", "b"]
    for own in pair:
        other = found[own.name]
        assert np.array_equal(other.counts.data, own.require("counts").data)
        expected = own.npred(sampling="gammapy").data
        assert other.npred().data == pytest.approx(expected, rel=1e-4)
    parameters = found.models["wide"].parameters
    assert parameters["alpha"].max == 4
    assert found.models["crab"].parameters["index"].frozen
    found.write(theirs / "datasets.yaml", theirs / "models.yaml")
    assert_same(read_datasets(theirs / "datasets.yaml", theirs / "models.yaml"), pair)


def test_datasets_with_off_counts(tmp_path: Path) -> None:
    gammapy = pytest.importorskip("gammapy.datasets")
    known = make_dataset(npix=(7, 5), name="known")
    off = MapDatasetOnOff.from_map_dataset(known, 1, 10, name="H.E.S.S./1 of 2")
    write_datasets([off, known], tmp_path / "datasets.yaml", checksum=True)
    found = read_datasets(tmp_path / "datasets.yaml")
    assert [type(one) for one in found] == [MapDatasetOnOff, MapDataset]
    assert found[0].name == "H.E.S.S./1 of 2"
    assert (tmp_path / "H.E.S.S._1_of_2.fits").is_file()
    theirs = gammapy.Datasets.read(tmp_path / "datasets.yaml", lazy=False)
    assert [one.tag for one in theirs] == ["MapDatasetOnOff", "MapDataset"]
    assert np.array_equal(theirs[0].counts_off.data, off.require("counts_off").data)


def test_one_dataset_of_a_list(pair: list[MapDataset], tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    write_datasets(pair[0], one)
    assert MapDataset.read(one).name == "a"
    assert read_dataset(one, name="other").name == "other"
    write_datasets(pair, two, overwrite=True)
    for read in (MapDataset.read, read_dataset):
        with pytest.raises(ValueError, match=r"2 datasets \(a, b\).*read_datasets\(filename\)"):
            read(two)


def test_a_model_that_one_dataset_has_stays_its_own(tmp_path: Path, pair: list[MapDataset]) -> None:
    pair[0].models, pair[1].models = Models([crab()]), None
    write_datasets(pair, tmp_path / "d.yaml", tmp_path / "m.yaml")
    found = read_datasets(tmp_path / "d.yaml", tmp_path / "m.yaml")
    assert [Models(one.models).names for one in found] == [["crab"], []]
    assert pair[0].models["crab"].datasets_names is None
    pair[1].models = [crab().copy(index=3)]
    with pytest.raises(ValueError, match="'crab' of dataset 'b' differs from that of 'a'"):
        write_datasets(pair, tmp_path / "other.yaml", tmp_path / "models.yaml", overwrite=True)


def test_templates_are_named_relative_to_the_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gammapy = pytest.importorskip("gammapy.modeling.models")
    folder = tmp_path / "folder"
    (folder / "maps").mkdir(parents=True)
    dataset = make_dataset(npix=(7, 5))
    dataset.require("background").write(folder / "maps" / "cube.fits")
    image = Map.create(npix=(5, 5), binsz=0.1, unit="sr-1", data=np.ones((5, 5)))
    image.write(tmp_path / "image.fits")
    monkeypatch.chdir(tmp_path)
    shape = TemplateSpatialModel.from_map(image, filename="image.fits")
    cube = TemplateNPredModel(dataset.background, name="cube", filename="folder/maps/cube.fits")
    models = Models([SkyModel(PowerLawSpectralModel(), shape, "extended"), cube])
    models.write("folder/models.yaml")
    named = read_yaml("folder/models.yaml")["components"]
    assert named[0]["spatial"]["filename"] == (tmp_path / "image.fits").as_posix()
    assert named[1]["filename"] == "maps/cube.fits"
    # read elsewhere, and written to another folder
    monkeypatch.chdir("/")
    found = Models.read(folder / "models.yaml")
    assert np.array_equal(found["cube"].data, cube.data)
    found.write(tmp_path / "again.yaml")
    assert (
        read_yaml(tmp_path / "again.yaml")["components"][1]["filename"] == "folder/maps/cube.fits"
    )
    assert np.array_equal(Models.read(tmp_path / "again.yaml")["cube"].data, cube.data)
    theirs = gammapy.Models.read(folder / "models.yaml")
    assert np.array_equal(theirs["cube"].map.data, cube.data)
    with pytest.raises(ValueError, match="'extended': its template is in no file"):
        Models(SkyModel(PowerLawSpectralModel(), TemplateSpatialModel.from_map(image),
                        "extended")).write(tmp_path / "none.yaml")  # fmt: skip
    wrong: Any = "models.yaml"
    with pytest.raises(TypeError, match=r"read a file with Models\.read"):
        Models(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("components: []", "no list of datasets.*These are models"),
        ("datasets: []", "no list of datasets"),
        ("datasets: [{name: a, filename: a.fits}]", "is no dataset; expected texts"),
        ("datasets: [{name: a, type: SpectrumDataset, filename: a.fits}]", "is a 'SpectrumDataset"),
        ("datasets: [{name: a, type: MapDataset, filename: none.fits}]", "no file 'none.fits'"),
        ("datasets: [{name: a, type: MapDataset, filename: ../a.fits}]", "leads out of the folder"),
        (
            "datasets: [&d {name: a, type: MapDataset, filename: a.fits}, *d]",
            "2 datasets are named",
        ),
    ],
)
def test_a_list_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    make_dataset(npix=(3, 3)).write(tmp_path / "a.fits")
    (tmp_path / "list.yaml").write_text(text)
    with pytest.raises((ValueError, OSError), match=rf"(?s)list\.yaml.*{message}|{message}"):
        read_datasets(tmp_path / "list.yaml")


def test_nothing_is_written_if_one_file_is_there(pair: list[MapDataset], tmp_path: Path) -> None:
    (tmp_path / "b.fits").write_text("precious")
    with pytest.raises(FileExistsError, match=r"b\.fits"):
        write_datasets(pair, tmp_path / "d.yaml", tmp_path / "m.yaml")
    assert [p.name for p in tmp_path.iterdir()] == ["b.fits"]
    with pytest.raises(ValueError, match="several are named 'a'"):
        write_datasets([pair[0], pair[0]], tmp_path / "d.yaml")
    with pytest.raises(ValueError, match="at least one"):
        write_datasets([], tmp_path / "d.yaml")
    wrong: Any = pair[0].require("counts")
    with pytest.raises(TypeError, match="expected datasets, got Map"):
        write_datasets([wrong], tmp_path / "d.yaml")


def test_json_needs_no_pyyaml(
    pair: list[MapDataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "yaml", None)
    write_datasets(pair, tmp_path / "datasets.yaml", tmp_path / "models.yaml")
    assert_same(read_datasets(tmp_path / "datasets.yaml", tmp_path / "models.yaml"), pair)
