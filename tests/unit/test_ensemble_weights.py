"""Ways to weigh candidates, and the judge that they go by."""

from __future__ import annotations

import numpy as np
import pytest

from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.problems.evaluate import Array, measure
from pilothouse.problems.tabular import judge as judging
from pilothouse.problems.tabular import weights
from pilothouse.problems.tabular.judge import Judge
from pilothouse.problems.tabular.weights import METHODS, chosen, convex, greedy, mixture

ROWS = 500
MIXING = ["convex", "greedy"]


def noisy(y: Array, scale: float, seed: int) -> Array:
    return np.asarray(y + np.random.default_rng(seed).normal(scale=scale, size=len(y)))


def as_probabilities(scores: Array) -> Array:
    p = 1 / (1 + np.exp(-scores))
    return np.column_stack([1 - p, p])


def classes(k: int, candidates: int, seed: int = 1) -> tuple[Array, list[Array]]:
    """Targets of k classes, and so many independent predictions of them."""
    y = np.random.default_rng(seed).integers(0, k, ROWS)
    y[:2] = k - 1
    raw = [np.exp(2 * np.eye(k)[y] + np.random.default_rng(10 + s).normal(size=(ROWS, k))) for s in range(candidates)]
    return y, [one / one.sum(axis=1, keepdims=True) for one in raw]


@pytest.fixture
def y() -> Array:
    return np.random.default_rng(0).normal(size=ROWS)


@pytest.mark.parametrize("method", MIXING)
@pytest.mark.parametrize("metric", ["MSE", "MAE", "R2"])
def test_independent_errors_average_out(y: Array, method: str, metric: str) -> None:
    predictions = [noisy(y, 1.0, 1), noisy(y, 1.0, 2), noisy(y, 20.0, 3)]
    found = chosen(method, Judge(REGRESSION, metric, y, None), predictions, [0.0] * 3)
    assert found[:2] == pytest.approx([0.5, 0.5], abs=0.12)
    assert found[2] == 0.0


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [2, 3, 100])
def test_weights_are_not_negative_and_sum_to_one(method: str, k: int) -> None:
    target, predictions = classes(k, 4)
    judge = Judge(BINARY if k == 2 else MULTICLASS, "Accuracy", target, np.linspace(0, 1, ROWS))
    found = chosen(method, judge, predictions, [0.0] * 4)
    assert sum(found) == pytest.approx(1.0)
    assert min(found) >= 0


@pytest.mark.parametrize("metric", ["F1", "Accuracy", "AUC", "BalancedAccuracy", "Precision", "Recall"])
def test_greedy_weights_are_never_worse_than_the_best_candidate(metric: str) -> None:
    target = np.random.default_rng(4).integers(0, 2, ROWS)
    judge = Judge(BINARY, metric, target, None)
    predictions = [as_probabilities(noisy(2.0 * target - 1, scale, seed)) for seed, scale in enumerate((1, 3, 5))]
    found = mixture(greedy(judge, predictions), predictions)
    assert judge.score(found) >= max(judge.score(p) for p in predictions)


def test_convex_weights_have_the_least_loss_of_all() -> None:
    target, predictions = classes(3, 3)
    best = convex(Judge(MULTICLASS, "Accuracy", target, None), predictions)
    loss = measure("LogLoss", MULTICLASS, target, mixture(best, predictions))
    for other in np.random.default_rng(0).dirichlet(np.ones(3), 200):
        assert loss <= measure("LogLoss", MULTICLASS, target, mixture(other, predictions)) + 1e-6


def test_convex_weights_have_the_least_squares_of_all(y: Array) -> None:
    predictions = [noisy(y, scale, seed) + 0.3 for seed, scale in enumerate((1.0, 1.5, 2.0))]
    judge = Judge(REGRESSION, "RMSE", y, np.linspace(0.1, 2, ROWS))
    best = judge.score(mixture(convex(judge, predictions), predictions))
    for other in np.random.default_rng(0).dirichlet(np.ones(3), 200):
        assert best >= judge.score(mixture(other, predictions)) - 1e-9


def test_perfect_and_equal_predictions_have_weights_too(y: Array) -> None:
    for predictions in ([y, y], [y, noisy(y, 1.0, 1)], [np.zeros(ROWS)] * 3):
        for metric in ("MSE", "MAE"):
            found = chosen("convex", Judge(REGRESSION, metric, y, None), predictions, [0.0] * len(predictions))
            assert sum(found) == pytest.approx(1.0)


def test_members_that_add_nothing_are_left_out(y: Array) -> None:
    one, other = noisy(y, 1.0, 1), noisy(y, 1.0, 2)
    predictions = [(one + other) / 2, one, other]
    found = weights._pruned(
        Judge(REGRESSION, "MSE", y, None), predictions, np.array([0.5, 0.25, 0.25]), [0.1, 0.2, 0.2]
    )
    assert found.tolist() == pytest.approx([0.0, 0.5, 0.5])


@pytest.mark.parametrize("slower", [0, 1])
def test_of_two_that_do_the_same_the_slower_is_left_out(y: Array, slower: int) -> None:
    one, other = noisy(y, 1.0, 1), noisy(y, 1.0, 2)
    latencies = [0.1, 0.1, 0.1]
    latencies[slower] = 0.2
    before = np.array([0.25, 0.25, 0.5])
    found = weights._pruned(Judge(REGRESSION, "MSE", y, None), [one, one, other], before, latencies)
    assert (found[slower], found[1 - slower], found[2]) == (0.0, 0.5, 0.5)


def test_multiclass_predictions_mix() -> None:
    target, predictions = classes(3, 3)
    judge = Judge(MULTICLASS, "Accuracy", target, None)
    found = mixture(greedy(judge, predictions), predictions)
    assert judge.objective(found) > max(judge.objective(p) for p in predictions)


@pytest.mark.parametrize("metric", ["F1", "Accuracy", "AUC", "BalancedAccuracy"])
def test_the_judge_of_binary_predictions_measures_what_the_best_threshold_reaches(metric: str) -> None:
    target = (np.random.default_rng(0).random(3000) < 0.2).astype(np.int64)
    p, w = as_probabilities(noisy(2.0 * target - 2, 1.0, 1)), np.linspace(0.5, 1.5, 3000)
    cuts = [0.5] if metric == "AUC" else np.linspace(0.02, 0.98, 97)
    best = max(measure(metric, BINARY, target, p, weights=w, threshold=cut) for cut in cuts)
    assert Judge(BINARY, metric, target, w).objective(p) == pytest.approx(best, abs=0.005)


def test_a_judge_of_many_rows_looks_at_some_of_each_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judging, "_CELLS", 300)
    monkeypatch.setattr(judging, "_LEAST_ROWS", 10)
    rows = judging.sampled_rows(1000, 3)
    assert (rows // 10).tolist() == list(range(100))


def test_a_judge_looks_at_both_kinds_of_rows_that_take_turns() -> None:
    for rows in (40_000, 60_000, 100_000):
        assert (judging.sampled_rows(rows, 2) % 2).mean() == pytest.approx(0.5, abs=0.02)


def test_where_a_class_is_rare_the_log_loss_counts_as_much_as_it_can_differ() -> None:
    rare, even = np.arange(1000) < 20, np.arange(1000) < 500
    unsure, sure = as_probabilities(np.where(rare, 0.2, -3.0)), as_probabilities(np.where(rare, 2.0, -6.0))
    sure[[0, 999]] = [[0.95, 0.05], [0.05, 0.95]]  # one of each class on the wrong side
    judge = Judge(BINARY, "F1", rare.astype(int), None)
    assert judge.objective(sure) < judge.objective(unsure)
    assert judge.score(sure) > judge.score(unsure)
    for y in (even, rare):
        mine = Judge(BINARY, "F1", y.astype(int), None)
        blind = np.tile([1 - y.mean(), y.mean()], (1000, 1))
        assert mine.objective(blind) - mine.score(blind) == pytest.approx(np.log(2)), "no more than of two even classes"


def test_many_even_classes_and_a_single_one_keep_the_log_loss_as_it_is() -> None:
    y, (prediction,) = classes(5, 1)
    judge = Judge(MULTICLASS, "Accuracy", y, None)
    loss = measure("LogLoss", MULTICLASS, y, prediction)
    assert judge.score(prediction) == pytest.approx(judge.objective(prediction) - loss)
    alone = Judge(BINARY, "Accuracy", np.zeros(9, int), None)
    assert np.isfinite(alone.score(np.tile([0.9, 0.1], (9, 1))))
