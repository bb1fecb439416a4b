"""What a host remembers of earlier jobs' costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilothouse.automl.host_costs import HostCosts

DEEP_OR_HUGE = (
    "[" * 100_000,
    '{"format": "pilothouse-costs", "version": 1, "factors": {"a": 1' + "0" * 400 + "}}",
)


def test_a_host_that_saw_nothing_knows_nothing(tmp_path: Path) -> None:
    assert HostCosts(tmp_path / "costs.json").factors() == {}


def test_the_first_job_is_believed_and_later_ones_mixed_in(tmp_path: Path) -> None:
    host = HostCosts(tmp_path / "costs.json")
    host.learn({"lightgbm": 2.0})
    assert host.factors() == {"lightgbm": pytest.approx(2.0)}
    host.learn({"lightgbm": 4.0, "catboost": 1.0})
    assert 2.0 < host.factors()["lightgbm"] < 3.0
    assert host.factors()["catboost"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "text",
    [
        *DEEP_OR_HUGE,
        "",
        "{",
        "[]",
        "null",
        '{"format": "other", "version": 1, "factors": {"a": 2}}',
        '{"factors": {"a": 2}}',
    ],
)
def test_a_damaged_or_foreign_file_counts_as_empty(tmp_path: Path, text: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text)
    assert HostCosts(path).factors() == {}
    HostCosts(path).learn({"a": 2.0})
    assert HostCosts(path).factors() == {"a": pytest.approx(2.0)}


def test_wild_factors_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    factors = {"a": 1e12, "b": 1e-12, "c": -3}
    path.write_text(json.dumps({"format": "pilothouse-costs", "version": 1, "factors": factors}))
    assert HostCosts(path).factors() == {"a": 20.0, "b": 0.05, "c": 1.0}


def test_a_home_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    HostCosts(tmp_path / "absent" / "costs.json").learn({"a": 2.0})


def test_no_temporary_file_stays(tmp_path: Path) -> None:
    HostCosts(tmp_path / "costs.json").learn({"a": 2.0})
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]
