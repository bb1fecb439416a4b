"""Metric definitions and what they read out of a log: RE2, every match a point, never across a line."""

from __future__ import annotations

import math
import time

import pytest

from pilothouse.catalog import built_in_training
from pilothouse.catalog.metric_definitions import check, compiled, number
from pilothouse.contract.scrape import Scraper, finite
from pilothouse.errors import ValidationError


def points(regex: str, text: str) -> list[float]:
    return [point.value for point in Scraper([("m", regex)]).scan(text.encode())]


def test_the_definitions_of_the_guide_read_its_log_line() -> None:
    line = (
        b"GAN_loss=0.138318; Scaled_reg=2.654134; disc:[-0.017371,0.102429] real 93.3% gen 0.0% disc-combined=0.000000;"
        b" disc_train_loss=1.374587; Loss = 16.020744; Iteration 0 took 0.704s; Elapsed=0s\n"
    )
    names = {
        "loss": "Loss = ",
        "ganloss": "GAN_loss=",
        "discloss": "disc_train_loss=",
        "disc-combined": "disc-combined=",
    }
    scraper = Scraper([(name, f"{text}(.*?);") for name, text in names.items()])
    values = {point.name: point.value for point in scraper.scan(line)}
    assert values == {"loss": 16.020744, "ganloss": 0.138318, "discloss": 1.374587, "disc-combined": 0.0}


@pytest.mark.parametrize(
    ("regex", "text", "values"),
    [
        (r"a=([0-9.]+)", "a=1 a=2\na=3\n", [1, 2, 3]),
        (r"^a=(\S+)$", "b a=1\na=2\na=3 \n", [2]),
        (r"a=([^,]*),", "a=1\n,a=2,\n", [2]),
        (r"a\s+(\S+)", "a\n1\na 2\n", [2]),
        (r"#011v:(\S+)", "[0]\tv:1\n[1]#011v:2\n", [1, 2]),
        (r"a=(\S*)", "a=\na=x\na=1_0\na=-1e3\n", [-1000]),
        (r"(?i)A(?:cc)?=(?P<value>\d)", "acc=5\n", [5]),
        (r"é=(\d)|x=(\d)", "é=1\nx=2\n", [1]),
        (r"a=(\S+)", "a=\xff\na=1\n", [1]),
    ],
)
def test_matches_are_points_in_their_order_and_stay_within_a_line(regex: str, text: str, values: list[float]) -> None:
    assert points(regex, text) == values


def test_a_diverged_value_is_a_point_but_no_result() -> None:
    values = points(r"loss=(\S+)", "loss=1\nloss=nan\nloss=-inf\n")
    assert values[0] == 1
    assert math.isnan(values[1])
    assert values[2] == -math.inf
    assert finite({"a": math.nan, "b": math.inf, "c": 0.0}) == {"c": 0.0}


@pytest.mark.parametrize("text", [None, b"", b"x", b"1_0", b"1" * 100, b"0x10"])
def test_what_is_no_number_is_passed_over(text: bytes | None) -> None:
    assert number(text) is None


@pytest.mark.parametrize("regex", [r"^(a+)+$", r"(a|a)*b", r"((a*)*)*c"])
def test_no_regex_takes_more_than_linear_time(regex: str) -> None:
    begun = time.monotonic()
    assert points(regex, ("a" * 30_000 + "!\n") * 10) == []
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        ("loss=[0-9]+", "has no capturing group"),
        ("(?:loss)", "has no capturing group"),
        ("(", "missing \\)"),
        (r"(?=x)(\d)", "no lookaround"),
        (r"(a)\1", "no backreferences"),
        ("((a{1000}){1000})", "cannot be used"),
        ("*(a)", "cannot be used"),
    ],
)
def test_what_re2_cannot_take_or_has_no_group_is_refused(regex: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        compiled("loss", regex)


def test_metrics_have_names_of_their_own() -> None:
    with pytest.raises(ValidationError, match='defines "a" twice'):
        check((("a", "(x)"), ("a", "(y)")))


def test_the_built_in_definitions_are_of_awss_number_and_form() -> None:
    definitions = built_in_training.metric_definitions("xgboost")
    assert len(definitions) == 40
    check(definitions)
    scraper = Scraper(definitions)
    block = b"[12]\ttrain-auc:0.75\tvalidation-auc:0.5\tvalidation-aucpr:0.25\nno [3]\tvalidation-auc:9\n"
    assert {p.name: p.value for p in scraper.scan(block)} == {
        "train:auc": 0.75,
        "validation:auc": 0.5,
        "validation:aucpr": 0.25,
    }
