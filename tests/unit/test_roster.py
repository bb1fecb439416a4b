"""How much one more candidate of each algorithm promises, and which is drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilothouse.automl.roster import Roster
from pilothouse.problems.tabular.plan import CandidatePlan

Y = np.linspace(0, 10, 500)
ERROR = np.sin(np.arange(500))


class Rows:
    """A data set as far as a roster looks at it."""

    y, w, problem_type, metric = Y, None, "Regression", "MSE"

    def rows(self, _part: int) -> np.ndarray:
        return np.arange(len(self.y))


class Job:
    """A job as far as a roster looks at it: its recorded steps."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, Any]] = {}

    def recorded(self, step: str) -> bool:
        return step in self.steps

    def once(self, step: str, do: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        return self.steps.setdefault(step, do())


@pytest.fixture
def roster(monkeypatch: pytest.MonkeyPatch) -> Roster:
    monkeypatch.setattr("pilothouse.problems.tabular.dataset.Dataset.load", lambda _folder: Rows())
    return Roster(Job(), Path("dataset"), 20)  # type: ignore[arg-type]


def finish(roster: Roster, tmp_path: Path, suffix: str, prediction: np.ndarray) -> None:
    plan = CandidatePlan(suffix, suffix.rpartition("-")[0])
    (tmp_path / suffix).mkdir()
    np.save(tmp_path / suffix / "oof.npy", prediction)
    roster.enlist([plan])
    roster.take_in(plan, tmp_path / suffix)


def test_nothing_is_promised_while_few_are_finished(roster: Roster, tmp_path: Path) -> None:
    finish(roster, tmp_path, "lightgbm-1", Y + ERROR)
    finish(roster, tmp_path, "xgboost-1", Y - ERROR)
    assert roster.promise() == {}


def test_the_share_in_the_blend_is_divided_by_the_number_of_candidates(roster: Roster, tmp_path: Path) -> None:
    finish(roster, tmp_path, "lightgbm-1", Y + ERROR)
    finish(roster, tmp_path, "xgboost-1", Y - ERROR)
    finish(roster, tmp_path, "catboost-1", Y + 9)
    assert roster.promise() == pytest.approx({"lightgbm": 0.52, "xgboost": 0.52, "catboost": 0.02})
    finish(roster, tmp_path, "xgboost-2", Y + 9)
    assert roster.promise() == pytest.approx({"lightgbm": 0.52, "xgboost": 0.26, "catboost": 0.02})


def test_a_further_candidate_is_of_the_algorithm_that_is_asked_for(roster: Roster, tmp_path: Path) -> None:
    finish(roster, tmp_path, "lightgbm-1", Y + ERROR)
    finish(roster, tmp_path, "xgboost-1", Y + 9)
    finish(roster, tmp_path, "fastai-1", Y + 9)
    of_any, of_one = roster.further(99), roster.further(99, "xgboost")
    assert of_any is not None
    assert of_one is not None
    assert (of_any.suffix, of_one.suffix) == ("lightgbm-2", "xgboost-2")
    assert roster.further(99, "fastai") is None, "nothing of it can be varied"
    assert roster.further(5, "xgboost") is None, "there are five"
