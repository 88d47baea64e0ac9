"""YAML and JSON files, and what is no such file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gammagrad.io.yaml_file import read_yaml, write_yaml

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
