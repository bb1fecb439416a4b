"""The benchmark of configurations: trained as a trial is, judged on rows that it was not trained on."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("benchmarks_on_path")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a set of 700 rows whose target is a product, with some noise."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 700))
    rows = zip(a, b, a * b + 0.1 * rng.normal(size=700), strict=True)
    (tmp_path / "products").mkdir()
    with (tmp_path / "products" / "rows.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "y"], *([f"{cell:.5f}" for cell in row] for row in rows)])
    meta = {"problem": "regression", "target": "y", "files": ["rows.csv"]}
    (tmp_path / "products" / "meta.json").write_text(json.dumps(meta))
    return tmp_path


def test_configurations_are_judged_side_by_side(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import configurations

    asked = ["products", "linear-learner", 'linear-learner:{"products": 9}', "--data", str(data)]
    monkeypatch.setattr(sys, "argv", ["configurations.py", *asked])
    configurations.main()
    _, _, plain, products = (line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines())
    assert (plain[1], products[1]) == ("linear-learner", 'linear-learner {"products": 9}')
    assert float(products[2]) < 0.15 < 0.7 < float(plain[2])


def test_what_is_not_json_is_refused() -> None:
    import configurations

    with pytest.raises(argparse.ArgumentTypeError, match="not JSON"):
        configurations.Configuration.of("lightgbm:{leaves}")
