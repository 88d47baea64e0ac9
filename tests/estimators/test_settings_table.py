"""The tables of settings, and all that follows from them."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from gammagrad import KernelBackgroundEstimator, TSMapEstimator
from gammagrad.cli.command import make_parser
from gammagrad.estimators.settings import REQUIRED, Estimator

ESTIMATORS = [(TSMapEstimator, "ts-map"), (KernelBackgroundEstimator, "background")]


@pytest.mark.parametrize(("estimator", "command"), ESTIMATORS)
def test_signature_options_and_docstring_have_the_settings_of_the_table(
    estimator: type[Estimator], command: str
) -> None:
    signature = inspect.signature(estimator).parameters
    assert set(estimator.table) == set(signature) - {"kernel_model"}
    help_text = " ".join(_help(command).split())
    for name, row in estimator.table.items():
        default = signature[name].default
        assert default is (inspect.Parameter.empty if row.default is REQUIRED else row.default)
        assert row.sentence
        assert "\n" not in row.sentence
        assert re.search(rf"^    {name} : ", inspect.getsource(estimator), re.MULTILINE), name
        if row.option is not None:
            assert f" {row.option.flag}" in help_text
            assert " ".join(row.sentence.split()[:4]) in help_text
        if row.default is not REQUIRED and row.default is not None:
            # a default passes its own check
            row.checked(row.default)


def _help(command: str) -> str:
    # no hyphens: lines of the help are broken at them
    parser = make_parser()._subparsers._group_actions[0].choices[command]
    return "\n".join(parser.format_help().splitlines())


def test_one_setting_is_named_in_its_table_and_where_it_is_used_only() -> None:
    """No list of names, no second check, no option beside the table."""
    source = Path(inspect.getfile(TSMapEstimator)).parents[2]
    for name in ("background_floor", "kernel_containment", "downsampling_factor"):
        files = [
            path.relative_to(source).as_posix()
            for path in sorted(source.rglob("*.py"))
            if re.search(rf'["\']{name}["\']|\b{name}: Setting', path.read_text())
        ]
        assert set(files) <= {
            "estimators/ts_map/settings.py",
            "estimators/ts_map/downsampling.py",  # an error of a run names it
            "cli/fit_options.py",  # kernel_width and kernel_containment take each other's place
            "interop/ts_map.py",  # the settings that gammapy's estimator has too
        }, name
