"""How much candidates still gain, seen from their out-of-fold predictions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilothouse.problems.tabular.progress import Progress


class Rows:
    """A data set as far as `Progress` looks at it."""

    def __init__(self, y: np.ndarray, problem_type: str, w: np.ndarray | None, metric: str = "any") -> None:
        self.y, self.problem_type, self.w, self.metric = y, problem_type, w, metric

    def rows(self, _part: int) -> np.ndarray:
        return np.arange(len(self.y))


def progress(
    monkeypatch: pytest.MonkeyPatch,
    y: np.ndarray,
    problem_type: str,
    w: np.ndarray | None = None,
    metric: str = "any",
) -> Progress:
    rows = Rows(y, problem_type, w, metric)
    monkeypatch.setattr("pilothouse.problems.tabular.dataset.Dataset.load", lambda _folder: rows)
    return Progress(Path("dataset"))


def folder(tmp_path: Path, name: str, oof: np.ndarray) -> Path:
    (tmp_path / name).mkdir()
    np.save(tmp_path / name / "oof.npy", oof)
    return tmp_path / name


def test_a_blend_of_opposite_errors_gains_and_copies_gain_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    y = np.linspace(0, 10, 500)
    error = np.sin(np.arange(500))
    seen = progress(monkeypatch, y, "Regression")
    assert seen.gain(1) == 1.0
    seen.add("high", folder(tmp_path, "high", y + error + 0.1))
    seen.add("low", folder(tmp_path, "low", y - error))
    assert seen.gain(1) > 0.5
    seen.add("copy", folder(tmp_path, "copy", y - error))
    assert seen.gain(1) == pytest.approx(0.0, abs=1e-9)
    assert sum(seen.weights().values()) == pytest.approx(1.0)


def test_absolute_errors_count_where_they_are_the_objective(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.zeros(500)
    usual, outlier = np.full(500, 1.0), np.where(np.arange(500) == 7, 100.0, 0.1)
    for metric, better in (("MSE", "usual"), ("MAE", "outlier")):
        seen = progress(monkeypatch, y, "Regression", metric=metric)
        seen.add("usual", folder(tmp_path, f"{metric}-usual", usual))
        seen.add("outlier", folder(tmp_path, f"{metric}-outlier", outlier))
        assert max(seen.weights().items(), key=lambda one: one[1])[0] == better


def test_classes_that_take_turns_are_both_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(8000) % 2
    seen = progress(monkeypatch, y, "BinaryClassification")
    good = np.where(np.arange(2) == y[:, None], 0.8, 0.2).astype(np.float32)
    seen.add("one class", folder(tmp_path, "one-class", np.tile(np.float32([0.9, 0.1]), (8000, 1))))
    seen.add("both", folder(tmp_path, "both", good))
    assert seen.weights()["both"] > 0.9


def test_the_better_classifier_has_the_weight(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y = np.arange(6000) % 3
    seen = progress(monkeypatch, y, "MulticlassClassification")
    right = np.full((6000, 3), 0.05, np.float32)
    right[np.arange(6000), y] = 0.9
    seen.add("bad", folder(tmp_path, "bad", np.full((6000, 3), 1 / 3, np.float32)))
    seen.add("good", folder(tmp_path, "good", right))
    assert seen.weights() == {"bad": 0.0, "good": 1.0}
    assert len(seen) == 2


@pytest.mark.parametrize("problem_type", ["Regression", "BinaryClassification"])
def test_the_weight_goes_to_who_is_right_about_the_rows_that_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem_type: str
) -> None:
    y = np.arange(9000) % 2
    few = np.arange(9000) % 9 < 2
    seen = progress(monkeypatch, y, problem_type, np.where(few, 1000.0, 0.001))
    for name, rows in (("of few", few), ("of many", ~few)):
        p = np.where(rows, 0.05 + 0.9 * y, 0.5)
        oof = p if problem_type == "Regression" else np.column_stack([1 - p, p])
        seen.add(name, folder(tmp_path, name, oof))
    assert seen.weights() == {"of few": 1.0, "of many": 0.0}


def test_nothing_finished_has_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress(monkeypatch, np.zeros(10), "Regression").weights() == {}
