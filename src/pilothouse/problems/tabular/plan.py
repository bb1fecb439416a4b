"""The plan of a tabular job: which candidates, in the order that pays first, and what each is expected to cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pilothouse.catalog.metrics import BINARY, REGRESSION

ENSEMBLE = "ensemble"
"""The `algorithm` of the last plan of a job that combines the others."""

_MOST_FOLDS = 5
_LEAST_FOLDS = 2
_FEWER_FOLDS_ABOVE = ((50_000, 4), (200_000, 3), (1_000_000, 2))
_SLACK = 1.5
"""Expected costs may be off by this factor before a candidate loses folds or rounds."""
_LEAST_SHARE = 0.25
_WORTH_STARTING = 1.5


@dataclass(frozen=True)
class Facts:
    """What the plan needs to know of the data; `rows` are training rows, `n_classes` is 0 for regression."""

    rows: int
    columns: int
    problem_type: str
    n_classes: int

    @classmethod
    def of(cls, dataset: dict[str, Any]) -> Facts:
        """The facts in a prepared data set's dataset.json."""
        columns = dataset["features"]["numeric"] + dataset["features"]["categorical"]
        return cls(dataset["train_rows"], columns, dataset["problem_type"], len(dataset["classes"] or []))


@dataclass(frozen=True)
class CandidatePlan:
    """A candidate to train: `suffix` is unique in the job; `params` are the engine's; `folds` is k."""

    suffix: str
    algorithm: str
    params: dict[str, Any] = field(default_factory=dict)
    folds: int = _MOST_FOLDS
    seed: int = 0

    def trial(self, name: str, metric: str, threads: int = 1) -> dict[str, Any]:
        """The content of trial.json, but for the deadline."""
        return {
            "name": name,
            "algorithm": self.algorithm,
            "params": self.params,
            "folds": self.folds,
            "seed": self.seed,
            "metric": metric,
            "threads": threads,
        }


_LARGE_LEAVES = {"num_leaves": 96, "learning_rate": 0.03, "min_data_in_leaf": 5, "feature_fraction": 0.7}
_SMALL_LEAVES = {"num_leaves": 15, "lambda_l2": 5.0}
_DEEP = {"max_depth": 9, "learning_rate": 0.05, "min_child_weight": 3.0}
_SHALLOW = {"depth": 4, "learning_rate": 0.08}

_PORTFOLIO: dict[str, list[dict[str, Any]]] = {
    "lightgbm": [{}, _LARGE_LEAVES, _SMALL_LEAVES, {"extra_trees": True, "feature_fraction": 0.9}],
    "catboost": [{}, _SHALLOW, {"depth": 8, "l2_leaf_reg": 5.0}],
    "xgboost": [{}, _DEEP, {"max_depth": 4}],
    "extra-trees": [{}, {"max_features": 0.9}],
    "randomforest": [{}, {"max_features": 0.3}],
    "linear-learner": [{"l2": 1.0}, {"l2": 30.0}],
}
"""Each algorithm's configurations, best first."""

_ON_FEW_ROWS: dict[str, list[dict[str, Any]]] = {
    "lightgbm": [_SMALL_LEAVES, _LARGE_LEAVES, {}, {"extra_trees": True, "feature_fraction": 0.9}],
    "catboost": [_SHALLOW, {}, {"depth": 8, "l2_leaf_reg": 5.0}],
    "xgboost": [{"max_depth": 4}, _DEEP, {}],
}
_FEW_ROWS = 10_000
"""Below so many training rows small trees come first: they were better on most such sets that were tried."""

_ORDER = ("lightgbm", "catboost", "xgboost", "extra-trees", "randomforest", "linear-learner")


def plan(
    facts: Facts,
    *,
    algorithms: Sequence[str],
    max_candidates: int,
    budget_seconds: float | None,
    slots: int,
    metric: str,
    seed: int = 0,
) -> list[CandidatePlan]:
    """At most `max_candidates` candidates: every algorithm's first configuration before anyone's second.

    From three candidates on the last is the ensemble of the others. Folds are as many as the budget lets the first
    configurations have.
    """
    wanted = max_candidates - 1 if max_candidates >= 3 else max_candidates
    chosen = _rounds(facts, algorithms)[:wanted]
    plans = [
        CandidatePlan(f"{algorithm}-{number}", algorithm, params, seed=seed + 100 * i)
        for i, (algorithm, number, params) in enumerate(chosen)
    ]
    k = _folds(facts, plans[: len(algorithms)], budget_seconds, slots)
    plans = [replace(candidate, folds=k) for candidate in plans]
    if max_candidates >= 3 and len(plans) >= 2:
        plans.append(CandidatePlan(ENSEMBLE, ENSEMBLE, {"metric": metric}, folds=k, seed=seed))
    return plans


def _rounds(facts: Facts, algorithms: Sequence[str]) -> list[tuple[str, int, dict[str, Any]]]:
    """(algorithm, number, params): the first configuration of each, then the second of each, and so on."""
    portfolio = _PORTFOLIO | (_ON_FEW_ROWS if facts.rows < _FEW_ROWS else {})
    ordered = [name for name in _ORDER if name in algorithms]
    most = max((len(portfolio[name]) for name in ordered), default=0)
    return [
        (name, number + 1, portfolio[name][number])
        for number in range(most)
        for name in ordered
        if number < len(portfolio[name])
    ]


def _folds(facts: Facts, plans: Sequence[CandidatePlan], budget_seconds: float | None, slots: int) -> int:
    k = _MOST_FOLDS
    for rows, fewer in _FEWER_FOLDS_ABOVE:
        k = fewer if facts.rows > rows else k
    costs = Costs(facts)
    while budget_seconds is not None and k > _LEAST_FOLDS:
        if sum(costs.seconds(replace(candidate, folds=k)) for candidate in plans) <= budget_seconds * slots:
            break
        k -= 1
    return k


_SECONDS_PER_CELL = {
    "lightgbm": 4.0e-6,
    "xgboost": 4.0e-6,
    "catboost": 2.0e-5,
    "extra-trees": 1.2e-5,
    "randomforest": 1.2e-5,
    "linear-learner": 8.0e-6,
}
"""One fit's seconds for each row and column on one ordinary core, as measured; `Costs` corrects them for this host."""

_REFIT_FITS = 1.5
"""What a refit on all rows costs, in fits of a fold."""

_FIXED_SECONDS = 0.3


class Costs:
    """Expected seconds of candidates, corrected by what has been seen in this job. Not thread-safe."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._seen: dict[str, list[float]] = {}

    @property
    def learned(self) -> bool:
        """Whether a trial of this job has been observed."""
        return bool(self._seen)

    def seconds(self, candidate: CandidatePlan) -> float:
        """Seconds from start to end of the candidate's trial on one core."""
        return self._expected(candidate) * self._correction(candidate.algorithm)

    def observe(self, candidate: CandidatePlan, seconds: float) -> None:
        """Learns from a finished trial."""
        self._seen.setdefault(candidate.algorithm, []).append(seconds / self._expected(candidate))

    def _expected(self, candidate: CandidatePlan) -> float:
        facts = self._facts
        cells = facts.rows * (candidate.folds - 1) / candidate.folds * max(facts.columns, 1)
        fits = candidate.folds + _REFIT_FITS
        seconds_per_cell = _SECONDS_PER_CELL[candidate.algorithm] * _target_factor(candidate.algorithm, facts)
        return _FIXED_SECONDS + cells * seconds_per_cell * fits * _heavier(candidate)

    def _correction(self, algorithm: str) -> float:
        own = self._seen.get(algorithm)
        ratios = own if own else [ratio for seen in self._seen.values() for ratio in seen]
        return sum(ratios) / len(ratios) if ratios else 1.0


def _target_factor(algorithm: str, facts: Facts) -> float:
    """What the target costs: boosters grow a tree for each class, and go on for longer in regression."""
    if algorithm in ("extra-trees", "randomforest"):
        return 1.0
    if facts.problem_type == REGRESSION:
        return 0.1 if algorithm == "linear-learner" else 4.0
    return 1.0 if facts.problem_type == BINARY else 1.0 + 0.7 * (facts.n_classes - 1)


def _heavier(candidate: CandidatePlan) -> float:
    """How much more a variant costs than its algorithm's first configuration."""
    params = candidate.params
    if candidate.algorithm == "lightgbm":
        return float(max(1.0, params.get("num_leaves", 31) / 31))
    if candidate.algorithm == "catboost":
        return float(2.0 ** ((params.get("depth", 6) - 6) / 2))
    if candidate.algorithm == "xgboost":
        return float(max(1.0, 2.0 ** ((params.get("max_depth", 6) - 6) / 2)))
    return 1.0


@dataclass(frozen=True)
class Allowance:
    """A candidate, perhaps with fewer folds than planned, and the seconds that it may take (None: no limit)."""

    candidate: CandidatePlan
    seconds: float | None


def allow(
    candidate: CandidatePlan,
    waiting: Sequence[CandidatePlan],
    costs: Costs,
    *,
    seconds_left: float | None,
    slots: int,
) -> Allowance | None:
    """What `candidate` may take so that those `waiting` behind it get their share; None if it isn't worth starting.

    Shares go by expected cost. A candidate that is expected to need more than its share gets fewer folds; boosters and
    forests fit themselves into what they are given. It isn't worth starting when some trial of this job is finished
    and even two folds are expected to need much more than what is left.
    """
    if seconds_left is None:
        return Allowance(candidate, None)
    own = costs.seconds(candidate)
    together = own + sum(costs.seconds(other) for other in waiting if other.algorithm != ENSEMBLE)
    share = min(seconds_left, max(_SLACK * seconds_left * slots * own / together, seconds_left * _LEAST_SHARE))
    while candidate.folds > _LEAST_FOLDS and costs.seconds(candidate) > share:
        candidate = replace(candidate, folds=candidate.folds - 1)
    if costs.learned and costs.seconds(candidate) > seconds_left * _WORTH_STARTING:
        return None
    return Allowance(candidate, share)
