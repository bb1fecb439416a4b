"""The decision threshold of binary jobs."""

from __future__ import annotations

import numpy as np
import pytest

from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.problems.evaluate import Array, measure
from pilothouse.problems.tabular import threshold


def as_probabilities(scores: Array) -> Array:
    p = 1 / (1 + np.exp(-scores))
    return np.column_stack([1 - p, p])


def rare(share: float, rows: int = 3000, shift: float = -2.0) -> tuple[Array, Array]:
    """Targets with so many positives, and overlapping scores of them."""
    rng = np.random.default_rng(0)
    y = (rng.random(rows) < share).astype(np.int64)
    return y, as_probabilities(1.5 * y + shift + rng.normal(size=rows))


@pytest.mark.parametrize("metric", ["F1", "Accuracy", "BalancedAccuracy"])
def test_calibrated_metrics_do_not_lose(metric: str) -> None:
    y, p = rare(0.15)
    cut = threshold.choose(BINARY, metric, y, p)
    best = measure(metric, BINARY, y, p, threshold=cut)
    assert best >= measure(metric, BINARY, y, p, threshold=0.5) - 0.002
    assert best >= max(measure(metric, BINARY, y, p, threshold=c) for c in np.linspace(0.01, 0.99, 99)) - 0.005


@pytest.mark.parametrize("metric", ["Precision", "Recall"])
@pytest.mark.parametrize("shift", [-6.0, -2.0, -0.75, 0.5, 5.0])
def test_precision_and_recall_gain_without_going_to_a_useless_extreme(metric: str, shift: float) -> None:
    y, p = rare(0.15, shift=shift)
    cut = threshold.choose(BINARY, metric, y, p)
    assert cut is not None
    share = float((p[:, 1] >= cut).mean())
    assert 0.005 < share < 0.8
    degenerate = (p[:, 1] >= 0.5).mean() in (0, 1) or min((p[:, 1] >= 0.5).mean(), (p[:, 1] < 0.5).mean()) < 0.02
    assert degenerate or measure(metric, BINARY, y, p, threshold=cut) >= measure(metric, BINARY, y, p, threshold=0.5)
    other = "Recall" if metric == "Precision" else "Precision"
    assert measure(other, BINARY, y, p, threshold=cut) > 0.05


def test_f1_of_rare_positives_wants_a_low_threshold() -> None:
    y, p = rare(0.1, shift=-2.5)
    cut = threshold.choose(BINARY, "F1", y, p)
    assert cut is not None
    assert cut < 0.45


@pytest.mark.parametrize("score", [0.2, [0.1, 0.3]])
def test_no_row_is_positive_where_that_is_most_accurate(score: float | list[float]) -> None:
    """Scores of few values, as few columns give, have no score above which next to nothing lies."""
    p = np.broadcast_to(np.repeat(score, 50), (100,)) if isinstance(score, list) else np.full(100, score)
    y = np.concatenate([np.arange(50) < 5, np.arange(50) < 15]).astype(np.int64)
    p = np.column_stack([1 - p, p])
    cut = threshold.choose(BINARY, "Accuracy", y, p)
    assert measure("Accuracy", BINARY, y, p, threshold=cut) == 0.8


def test_every_row_is_positive_where_that_is_best_and_so_is_one_that_scores_a_little_less() -> None:
    p = np.full(100, 0.7)
    cut = threshold.choose(BINARY, "F1", np.arange(100) < 70, np.column_stack([1 - p, p]))
    assert cut is not None
    assert cut < 0.69


def test_other_metrics_keep_one_half() -> None:
    y = np.array([0, 1, 0, 1])
    assert threshold.choose(BINARY, "AUC", y, as_probabilities(np.array([-1.0, 2.0, 0.5, 1.0]))) == 0.5


@pytest.mark.parametrize("metric", threshold.CALIBRATED)
def test_rows_of_one_class_or_of_no_weight_keep_a_usable_threshold(metric: str) -> None:
    p = as_probabilities(np.array([-1.0, 2.0, 0.5, 1.0]))
    assert threshold.choose(BINARY, metric, np.ones(4), p) == 0.5
    cut = threshold.choose(BINARY, metric, np.array([0, 1, 0, 1]), p, np.array([1.0, 0.0, 1.0, 0.0]))
    assert cut is not None
    assert 0 < cut < 1


def test_rows_judged_by_the_cuts_of_other_folds_score_at_chance_when_there_is_nothing_to_learn() -> None:
    metric, scores = "BalancedAccuracy", []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y, folds = rng.permutation(np.arange(300) % 2), rng.permutation(np.arange(300) % 5)
        p = as_probabilities(rng.normal(size=300))
        cuts = threshold.choose_by_fold(BINARY, metric, y, p, folds)
        scores.append(measure(metric, BINARY, y, p, threshold=cuts))
    assert np.mean(scores) == pytest.approx(0.5, abs=0.015)


def test_there_is_none_but_for_binary() -> None:
    assert threshold.choose(MULTICLASS, "Accuracy", np.array([0, 1, 2]), np.eye(3)) is None
    assert threshold.choose(REGRESSION, "MSE", np.array([0.0]), np.array([0.0])) is None
