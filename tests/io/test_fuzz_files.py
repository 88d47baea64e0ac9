"""Damaged files by the hundred, drawn by a seed; `python tests/fuzz_files.py` draws more."""

from __future__ import annotations

import numpy as np
import pytest

from fuzz_files import BAD, make_kinds, mutate, run


def test_damaged_files_give_the_same_a_warning_or_a_clear_error() -> None:
    pytest.importorskip("yaml")
    pytest.importorskip("regions")
    counts, wrong = run(900, seed=20261129)
    assert wrong == []
    for name, found in counts.items():
        # most of what is changed is noticed
        assert found["clear error"] + found["warning"] > 0, name
        assert not sum(found[what] for what in BAD)


def test_changes_are_drawn_by_the_seed_and_change_something() -> None:
    kind = make_kinds()[0]
    first, second = (
        [mutate(kind.data, np.random.default_rng(seed), is_text=False) for seed in range(20)]
        for _ in range(2)
    )
    assert first == second
    assert sum(data != kind.data for data in first) > 15
