"""Settings: checked when set, in effect at the next run, changed by no run."""

from __future__ import annotations

import copy
import inspect
import pickle
from types import SimpleNamespace
from typing import Any

import astropy.units as u
import numpy as np
import pytest

from datasets import make_dataset
from gammagrad import FluxMaps, Map, MapDataset, TSMapEstimator, parallel
from gammagrad.errors import GammagradError
from gammagrad.estimators.config import read_config, write_config
from gammagrad.models import PointSpatialModel, PowerLawSpectralModel, SkyModel

POINT = SkyModel(PowerLawSpectralModel(index=2.0, amplitude=1e-12), PointSpatialModel())

CONFIG_PARAMETERS = [name for name, row in TSMapEstimator.table.items() if row.in_files]

# every setting with a value that is not its default
CHANGES: dict[str, Any] = {
    "model": SkyModel(PowerLawSpectralModel(index=3.0), PointSpatialModel(), name="steep"),
    "kernel_width": "0.3 deg",
    "downsampling_factor": 2,
    "n_sigma": 2,
    "n_sigma_ul": 1.645,
    "threshold": 1.0,
    "rtol": 1e-300,
    "selection_optional": ["ul", "errn-errp"],
    "energy_edges": "all",
    "sum_over_energy_groups": False,
    "norm": [-1.0, 0.5],
    "max_niter": 1,
    "n_sigma_sensitivity": 3,
    "norm_min": 0,
    "gamma_min": 30,
    "bkg_syst_fraction": 3.0,
    "background_floor": 0.4,
    "renormalise": False,
    "kernel_weighting": "equal",
    "kernel_sampling": "gammapy",
}

# these compile a program of their own, as `kernel_width` does: with the long studies
COMPILED = ("energy_edges", "selection_optional", "sum_over_energy_groups", "threshold")


@pytest.fixture(scope="module")
def dataset() -> MapDataset:
    base = make_dataset((9, 8), nbin=2, mask=True, flux=0.0)
    sigmas = [0.1, 0.2] * u.deg
    base.psf = type(base.psf).from_gauss(base.psf.psf_map.geom.axes["energy_true"], sigmas)
    return base


def make(**settings: Any) -> TSMapEstimator:
    """Return an estimator whose outputs depend on every setting."""
    optional = ["ul", "stat_scan", "sensitivity"]
    given = {"kernel_width": "0.5 deg", "selection_optional": optional, "norm": [0.0, 1.0]}
    return TSMapEstimator(**(given | settings))


@pytest.fixture(scope="module")
def usual(dataset: MapDataset) -> FluxMaps:
    return make().run(dataset)


def difference(one: FluxMaps, other: FluxMaps) -> set[str]:
    """Return the names of the maps that are not the same, bit for bit."""
    names = {*one.available_quantities, *other.available_quantities, "status"}
    return {
        name
        for name in names
        if name not in one
        or name not in other
        or not np.array_equal(one[name].data, other[name].data, equal_nan=True)
    }


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in COMPILED else n for n in CHANGES]
)
def test_what_is_changed_later_takes_effect(
    dataset: MapDataset, usual: FluxMaps, name: str
) -> None:
    estimator = make()
    twin = estimator.copy()
    setattr(estimator, name, CHANGES[name])
    changed = estimator.run(dataset)
    assert difference(changed, make(**{name: CHANGES[name]}).run(dataset)) == set()
    assert difference(changed, usual)
    assert twin.settings == make().settings


def test_lists_and_dicts_changed_in_place_take_effect(dataset: MapDataset) -> None:
    selection, norm = ["ul"], {"scan_min": 0, "scan_max": 1, "scan_n_values": 2, "interp": "lin"}
    estimator = TSMapEstimator(
        kernel_width="0.5 deg", selection_optional=selection, norm=norm, show_progress=False
    )
    twin = estimator.copy()
    selection.append("stat_scan")
    norm["scan_n_values"] = 7
    estimator.selection_optional.append("stat_scan")
    estimator.norm["scan_n_values"] = 3
    maps = estimator.run(dataset)
    assert maps["stat_scan"].data.shape[1] == 3
    assert "norm_ul" in maps
    assert twin.selection_optional == ["ul"]
    assert twin.norm["scan_n_values"] == 2
    estimator.selection_optional.append("limits")
    with pytest.raises(ValueError, match="selection_optional has 'limits'"):
        estimator.run(dataset)


def test_a_run_changes_neither_estimator_nor_dataset(dataset: MapDataset) -> None:
    estimator = make(kernel_width=None, energy_edges="all", threshold=0.5, background_floor=0.1)
    before = {name: m.data.copy() for name, m in dataset.parts.items() if isinstance(m, Map)}
    settings, attributes = estimator.settings, dict(vars(estimator))
    estimator.run([dataset, dataset], positions=np.eye(8, 9, dtype=bool))
    assert estimator.settings == settings
    assert all(vars(estimator)[name] is value for name, value in attributes.items())
    assert vars(estimator).keys() == attributes.keys()
    for name, data in before.items():
        np.testing.assert_array_equal(dataset.parts[name].data, data)


def test_every_setting_comes_back_from_a_file(tmp_path) -> None:
    estimator = TSMapEstimator(**CHANGES, n_jobs=3, parallel_backend="ray", memory="300 MB")
    write_config(estimator, tmp_path / "config.yaml")
    again = read_config(tmp_path / "config.yaml")
    assert again.settings == estimator.settings
    assert list(again.config_parameters) == list(estimator.settings) == list(CONFIG_PARAMETERS)


def test_norms_of_a_scan_come_back_from_a_file(tmp_path) -> None:
    spellings = (
        {"scan_min": -2, "scan_max": 2, "scan_n_values": 5},
        {"scan_values": np.array([1.0, 2.0])},
        SimpleNamespace(scan_values=np.array([1.0, 2.0])),
        (1.0, 2.0),
    )
    for norm in spellings:
        estimator = TSMapEstimator(norm=norm)
        write_config(estimator, tmp_path / "config.json", overwrite=True)
        assert read_config(tmp_path / "config.json").settings == estimator.settings


def test_the_signature_is_that_of_gammapy_with_additions_by_keyword() -> None:
    parameters = inspect.signature(TSMapEstimator).parameters
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [
        *("model", "kernel_width", "downsampling_factor", "n_sigma", "n_sigma_ul", "threshold"),
        *("rtol", "selection_optional", "energy_edges", "sum_over_energy_groups", "n_jobs"),
        *("parallel_backend", "norm", "max_niter"),
    ]
    assert parameters["n_sigma_sensitivity"].default == 5
    assert parameters["kernel_weighting"].default == "counts"
    assert parameters["n_sigma_sensitivity"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_sigma": 0}, "n_sigma is 0; expected a positive"),
        ({"rtol": "x"}, "rtol is 'x'"),
        ({"max_niter": 0}, "max_niter is 0"),
        ({"kernel_width": "1 TeV"}, "kernel_width is '1 TeV'; expected one positive angle"),
        ({"energy_edges": "1 deg, 2 deg"}, "energy_edges are '1 deg, 2 deg'"),
        ({"energy_edges": "3 TeV, 2 TeV"}, "two or more, increasing"),
        ({"energy_edges": "10, 500 GeV"}, "energy_edges are '10, 500 GeV'; expected energies"),
        ({"energy_edges": "ALL"}, "energy_edges are 'ALL'"),
        ({"kernel_width": "abc"}, "kernel_width is 'abc'"),
        ({"kernel_width": [1, 2] * u.deg}, "expected one positive angle"),
        ({"kernel_width": "inf deg"}, "expected one positive angle"),
        ({"max_niter": None}, "max_niter is None"),
        ({"sum_over_energy_groups": "no"}, "expected True or False"),
        ({"kernel_weighting": "mean"}, "kernel_weighting is 'mean'; there are counts, equal"),
        ({"kernel_weighting": "count"}, "did you mean 'counts'"),
        ({"kernel_sampling": "coarse"}, "sampling is 'coarse'"),
        ({"downsampling_factor": 3}, "downsampling_factor is 3, which is odd; .* such as 2 or 4"),
        ({"downsampling_factor": 2.0}, "downsampling_factor is 2.0; expected an even number"),
        ({"downsampling_factor": 0}, "downsampling_factor is 0; expected an even number"),
        ({"threshold": "high"}, "threshold is 'high'; expected a number, or None"),
        ({"threshold": np.nan}, "threshold is nan"),
        ({"norm_min": 1}, "norm_min is 1; expected None .* or 0"),
        ({"gamma_min": -1}, "gamma_min is -1; expected a number of at least 0"),
        ({"gamma_min": None}, "gamma_min is None"),
        ({"bkg_syst_fraction": "5 %"}, "bkg_syst_fraction is '5 %'"),
        ({"background_floor": 0}, "background_floor is 0; expected a positive number of counts"),
        ({"kernel_containment": 95}, "kernel_containment is 95; expected a fraction"),
        ({"renormalise": 1}, "renormalise is 1; expected True or False"),
        ({"n_jobs": 0}, "n_jobs is 0; expected a whole number"),
        ({"memory": "300 deg"}, "memory is '300 deg'; expected an amount of memory"),
        ({"memory": 100}, "memory is 100; expected an amount of memory"),
        ({"memory": True}, "memory is True; expected an amount of memory"),
        ({"n_jobs": -1}, "n_jobs is -1; expected a whole number"),
        ({"n_jobs": True}, "n_jobs is True; expected a whole number"),
        ({"n_jobs": 2.0}, "n_jobs is 2.0; expected a whole number"),
        ({"n_jobs": "2"}, "n_jobs is '2'; expected a whole number"),
        ({"parallel_backend": "dask"}, "parallel_backend is 'dask'; expected"),
        ({"parallel_backend": 2}, "parallel_backend is 2; expected"),
        ({"norm": {"scan_n_value": 3}}, "norm has no 'scan_n_value'; did you mean 'scan_n_values'"),
        ({"selection_optional": "sensitivty"}, "did you mean 'sensitivity'"),
        ({"selection_optional": ["ul", "limits"]}, "selection_optional has 'limits'.*'errn-errp'"),
        ({"model": SkyModel(PowerLawSpectralModel())}, "no spatial model"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TSMapEstimator(**settings)
    estimator = TSMapEstimator()
    (name, value), *_ = settings.items()
    with pytest.raises(ValueError, match=message):
        setattr(estimator, name, value)


def test_models_of_another_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="expected a SkyModel"):
        TSMapEstimator(PointSpatialModel())
    with pytest.raises(TypeError, match="two names of one thing"):
        TSMapEstimator(POINT, kernel_model=POINT)
    assert TSMapEstimator(kernel_model=POINT).model is POINT


def test_printing_shows_every_setting() -> None:
    text = str(TSMapEstimator(kernel_width="1 deg", energy_edges="1 TeV, 10 TeV"))
    for name in CONFIG_PARAMETERS:
        assert name in text
    assert "1.0 deg" in text


def test_config_parameters_are_names_and_values() -> None:
    estimator = TSMapEstimator(kernel_width="1 deg", norm_min=0, selection_optional="ul")
    parameters = estimator.config_parameters
    assert parameters.keys() == inspect.signature(TSMapEstimator).parameters.keys() - {
        *("kernel_model", "show_progress")
    }
    for name, value in parameters.items():
        assert value == getattr(estimator, name)
    assert parameters["kernel_width"] == 1 * u.deg
    assert parameters["selection_optional"] == ["ul"]
    assert TSMapEstimator(**parameters).config_parameters == parameters
    parameters["n_sigma"] = 7
    assert estimator.n_sigma == 1


def test_processes_that_are_not_set_follow_the_defaults_of_the_session(tmp_path) -> None:
    estimator = TSMapEstimator()
    write_config(estimator, tmp_path / "config.json")
    chosen = TSMapEstimator(n_jobs=2, parallel_backend="ray")
    unset = (estimator, estimator.copy(), copy.copy(estimator), copy.deepcopy(estimator))
    unset += (pickle.loads(pickle.dumps(estimator)), read_config(tmp_path / "config.json"))
    for each in unset:
        assert isinstance(each.n_jobs, int)
        assert (each.n_jobs, each.parallel_backend) == (1, "multiprocessing")
        with parallel.multiprocessing_manager("ray", {"processes": 5}):
            assert (each.n_jobs, each.parallel_backend) == (5, "ray")
            assert each.config_parameters["n_jobs"] == 5
            assert (chosen.n_jobs, chosen.copy().n_jobs) == (2, 2)
        assert each.settings["n_jobs"] is each.settings["parallel_backend"] is None
    chosen.n_jobs = chosen.parallel_backend = None
    assert (chosen.n_jobs, chosen.parallel_backend) == (1, "multiprocessing")


def test_a_setting_that_does_not_exist_is_no_setting() -> None:
    with pytest.raises(
        AttributeError, match="no setting 'kernel_widht'; did you mean 'kernel_width'"
    ):
        TSMapEstimator().kernel_widht = "1 deg"


def test_a_kernel_has_a_width_or_a_containment() -> None:
    with pytest.raises(ValueError, match="set kernel_width to None first"):
        TSMapEstimator(kernel_width="1 deg", kernel_containment=0.9)
    estimator = TSMapEstimator(kernel_containment=0.9)
    with pytest.raises(ValueError, match="set kernel_containment to None first"):
        estimator.kernel_width = "1 deg"
    estimator.kernel_containment = None
    estimator.kernel_width = "1 deg"


def test_memory_is_bytes_or_a_quantity() -> None:
    for memory in (3e8, "300 MB", "0.3 GB", 0.3 * u.Gbyte):
        assert TSMapEstimator(memory=memory).memory == 300_000_000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_width": ["1 deg", "2 deg"]}, "kernel_width is .*; expected one positive angle"),
        ({"n_sigma": -1}, "n_sigma is -1; expected a positive number"),
        ({"n_sigma": 10**6000}, "n_sigma is a whole number of .* bits; expected a positive"),
        ({"memory": "1 kB"}, "at least 1 MB"),
        ({"memory": 10**6000}, "memory is"),
        (
            {"energy_edges": ["a"] * 10**5},
            "energy_edges are .*; expected energies with",
        ),
        ({"model": "source"}, "model"),
    ],
)
def test_nonsense_is_named_in_few_words(settings: dict, message: str) -> None:
    with pytest.raises(GammagradError, match=message) as caught:
        TSMapEstimator(**settings)
    assert len(str(caught.value)) < 600


def test_a_megabyte_of_memory_is_enough() -> None:
    assert TSMapEstimator(memory="1 MB").memory == 10**6


def test_a_factor_larger_than_the_map_is_an_error(dataset: MapDataset) -> None:
    with pytest.raises(ValueError, match="downsampling_factor is 1000000, and the map has"):
        TSMapEstimator(kernel_width="0.5 deg", downsampling_factor=10**6).run(dataset)


def test_a_file_name_is_no_model(dataset: MapDataset) -> None:
    with pytest.raises(TypeError, match=r"expected models, got the name 'foo\.yaml'; read a file"):
        dataset.copy().models = "foo.yaml"


def test_a_threshold_with_a_unit_and_peaks_that_are_a_text(dataset: MapDataset) -> None:
    maps = TSMapEstimator(kernel_width="0.5 deg").run(dataset)
    for threshold in ("5 sigma", "5 TeV", "x"):
        with pytest.raises(ValueError, match=f"threshold is '{threshold}'; expected a number"):
            maps.find_peaks(threshold=threshold)
    pytest.importorskip("matplotlib")
    with pytest.raises(TypeError, match="peaks is 'x'; expected a table with columns ra and dec"):
        maps.plot("sqrt_ts", peaks="x")
