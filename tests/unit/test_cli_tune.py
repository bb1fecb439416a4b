"""What `pilothouse tune` makes of its options, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from pilothouse.cli import main
from pilothouse.cli.trials import short
from pilothouse.cli.tune import _ranges
from pilothouse.errors import ConfigurationError


def test_ranges_and_choices_become_parameter_ranges() -> None:
    assert _ranges(("lr=1e-4:1e-1:log", "depth=2:8:int", "width=1:9:int:log", "x=-1:1"), ("kind=a,b",)) == {
        "ContinuousParameterRanges": [
            {"Name": "lr", "MinValue": "1e-4", "MaxValue": "1e-1", "ScalingType": "Logarithmic"},
            {"Name": "x", "MinValue": "-1", "MaxValue": "1"},
        ],
        "IntegerParameterRanges": [
            {"Name": "depth", "MinValue": "2", "MaxValue": "8"},
            {"Name": "width", "MinValue": "1", "MaxValue": "9", "ScalingType": "Logarithmic"},
        ],
        "CategoricalParameterRanges": [{"Name": "kind", "Values": ["a", "b"]}],
    }


@pytest.mark.parametrize("text", ["lr", "lr=", "lr=1", "lr=1:", "lr=1:2:cubic", "lr=1:2:int:int", "=1:2"])
def test_a_range_that_cannot_be_read_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        _ranges((text,), ())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--range", "x=0:1"], "--maximize or --minimize"),
        (["--range", "x=0:1", "--maximize", "a", "--minimize", "a"], "--maximize or --minimize"),
        (["--maximize", "a"], "--range or --choice"),
    ],
)
def test_what_is_missing_is_asked_for(tmp_path: Path, options: list[str], reason: str) -> None:
    script = tmp_path / "script.py"
    script.touch()
    done = CliRunner().invoke(main, ["tune", str(script), "--metric", "a=(.)", *options])
    assert done.exit_code == 2
    assert reason in done.output


def test_too_short_a_time_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.touch()
    options = ["--metric", "a=(.)", "--maximize", "a", "--range", "x=0:1", "--time", "90s"]
    done = CliRunner().invoke(main, ["tune", str(script), *options])
    assert done.exit_code == 1
    assert isinstance(done.exception, ConfigurationError | SystemExit)
    assert "two minutes at least" in done.output + str(done.exception)


def test_numbers_are_shortened_and_other_values_are_not() -> None:
    assert short("0.0031414145296393427") == "0.00314141"
    assert short("12") == "12"
    assert short("a-long-categorical-value") == "a-long-categorical-value"
