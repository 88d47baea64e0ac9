"""YAML and JSON files, and what is no such file."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gammagrad import TSMapEstimator
from gammagrad.errors import GammagradError
from gammagrad.io import read_yaml, write_yaml

DATA = {"a": [1, 2.5, None, True], "b": {"unit": "cm-2 s-1", "text": "naïve"}, "c": 1e-12}


@pytest.mark.parametrize("name", ["file.yaml", "file.yml", "file.json"])
def test_content_comes_back(name: str, tmp_path: Path) -> None:
    write_yaml(DATA, tmp_path / name)
    assert read_yaml(tmp_path / name) == DATA


def test_the_ending_json_means_json(tmp_path: Path) -> None:
    write_yaml(DATA, tmp_path / "file.json")
    assert json.loads((tmp_path / "file.json").read_text()) == DATA


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.yaml"):
        read_yaml(tmp_path / "nothing.yaml")


def test_a_mistake_has_a_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text("a: 1\nb: [1, 2\nc: 3\n")
    with pytest.raises(ValueError, match=r"wrong\.yaml, line \d"):
        read_yaml(path)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="not a text file"):
        read_yaml(path)


# ---------------------------------------------------------------- YAML that is too much


def test_aliases_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    lines = ["a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    (tmp_path / "bomb.yaml").write_text("\n".join([*lines, "kernel_width: *a11"]))
    start = time.perf_counter()
    with pytest.raises(GammagradError, match=r"bomb\.yaml: line .*more than 200000 values"):
        read_yaml(tmp_path / "bomb.yaml")
    assert time.perf_counter() - start < 10
    (tmp_path / "few.yaml").write_text("a: &a [1, 2]\nb: *a\n")
    assert read_yaml(tmp_path / "few.yaml") == {"a": [1, 2], "b": [1, 2]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &a [*a]", "refers to itself"),
        # newer versions of pyyaml count by themselves
        ("[" * 5000, "too large, or nested too deeply|exceeded maximum nesting depth"),
        ("# no JSON\n" + "[" * 60 + "]" * 60, "nested more than 50 levels"),
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' is there twice"),
        ("c:\n  a: 1\n  'a': 2\n", "line 3: 'a' is there twice"),
        ('{"a": 1, "a": 2}', "'a' is there twice"),
        ("a: 2020-99-99", "month must be in"),
        ("a: " + "9" * 6000, "Exceeds the limit"),
        ("a: !!python/object:os.system x", "could not determine a constructor"),
        ("a: \x00", "not YAML|special characters"),
        ("- [" + "1, " * 300_000 + "1]", "more than 200000 values"),
    ],
)
def test_yaml_that_says_too_much_or_two_things(tmp_path: Path, text: str, message: str) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "c.yaml").write_text(text)
    start = time.perf_counter()
    with pytest.raises(GammagradError, match=rf"c\.yaml.*({message})"):
        read_yaml(tmp_path / "c.yaml")
    assert time.perf_counter() - start < 10


def test_json_that_is_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"a":' * 100_000)
    with pytest.raises(GammagradError, match=r"c\.json"):
        read_yaml(tmp_path / "c.json")


def test_a_long_value_is_cut_in_a_message() -> None:
    for value in (list(range(10**5)), "x" * 10**6, {i: i for i in range(10**5)}, 10**6000):
        with pytest.raises(ValueError, match="kernel_width is") as caught:
            TSMapEstimator(kernel_width=value)
        assert len(str(caught.value)) < 500
