"""Predictions of finished candidates stay on disk: what combines or feeds many has few of them in memory."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pilothouse.catalog.metrics import MULTICLASS
from pilothouse.data.features import Features
from pilothouse.problems.tabular import ensemble, stack
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.finished import Finished, save_predictions
from pilothouse.problems.tabular.judge import Judge

ROWS, CLASSES, MANY = 50_000, 8, 9
ONE = ROWS * CLASSES * 8
"""Bytes of a candidate's predictions in double precision."""

Y = np.arange(ROWS) % CLASSES
PART = (np.arange(ROWS) % 5 == 4).astype(np.int8)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> list[Finished]:
    folder, rng = tmp_path_factory.mktemp("finished"), np.random.default_rng(0)
    found = []
    for i in range(MANY):
        scores = rng.normal(size=(ROWS, CLASSES))
        scores[np.arange(ROWS), Y] += 2
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        (folder / str(i)).mkdir()
        save_predictions(folder / str(i), p[PART == TRAIN], p[PART == VALIDATION])
        (folder / str(i) / "result.json").write_text(json.dumps({"name": str(i), "algorithm": "lightgbm"}))
        found.append(Finished.load(folder / str(i)))
    return found


def peak(do: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        do()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_ensemble_of_three_times_as_many_needs_little_more_memory(
    finished: list[Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ensemble, "METHODS", ["convex"])
    monkeypatch.setattr(ensemble, "sampled_rows", lambda rows, _classes: np.arange(0, rows, 50))
    train = PART == TRAIN
    judge, folds = Judge(MULTICLASS, "Accuracy", Y[train], None), np.arange(train.sum()) % 2
    few, many = (peak(lambda m=m: ensemble.select(judge, finished[:m], folds)) for m in (MANY // 3, MANY))
    assert many - few < ONE


def test_a_second_layer_is_made_without_all_that_feeds_it_in_memory(finished: list[Finished]) -> None:
    features = Features(np.zeros((ROWS, 2), np.float32), np.zeros((ROWS, 0), np.int32), ["a", "b"], [], [])
    data = Dataset(Path(), {}, features, Y, None, PART, np.zeros(ROWS, np.int8))
    made: list[Features] = []
    most = peak(lambda: made.append(stack.stacked(data, finished).features))
    numeric = made[0].numeric
    assert numeric.shape == (ROWS, 2 + MANY * CLASSES)
    assert most < numeric.nbytes + 2 * ONE
    whole = np.empty((ROWS, CLASSES))
    whole[PART == TRAIN], whole[PART == VALIDATION] = finished[-1].oof, finished[-1].validation
    np.testing.assert_array_equal(numeric[:, -CLASSES:], stack.extended(features, [whole]).numeric[:, 2:])
