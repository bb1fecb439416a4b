"""What candidates cost: expected seconds, corrected by what this job and this host have seen."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilothouse.catalog.metrics import BINARY, REGRESSION
from pilothouse.engines.design import most_products
from pilothouse.engines.linear import rows_in_memory


@dataclass(frozen=True)
class Facts:
    """What the plan needs to know of the data; `rows` are training rows, `n_classes` is 0 for regression.

    `numeric` counts those of the `columns` that are numbers, `one_hot` the columns of a linear model's categories,
    `sparse_values` the n-gram weights of all rows. `all_rows` are those of validation too, 0 for the usual fifth.
    """

    rows: int
    columns: int
    problem_type: str
    n_classes: int
    one_hot: int = 0
    sparse_values: int = 0
    numeric: int = 0
    all_rows: int = 0

    @classmethod
    def of(cls, dataset: dict[str, Any]) -> Facts:
        """The facts in a prepared data set's dataset.json."""
        features = dataset["features"]
        return cls(
            dataset["train_rows"],
            features["numeric"] + features["categorical"],
            dataset["problem_type"],
            len(dataset["classes"] or []),
            features.get("one_hot", 0),
            features.get("sparse_values", 0),
            features["numeric"],
            dataset.get("rows", 0),
        )

    @property
    def cells(self) -> int:
        """Training rows times columns."""
        return self.rows * max(self.columns, 1)


MOST_FOLDS, LEAST_FOLDS = 5, 2


@dataclass(frozen=True)
class CandidatePlan:
    """A candidate to train: `suffix` is unique in the job; `params` are the engine's; `folds` is k.

    One of `layer` 2 also learns from the out-of-fold predictions of the finished candidates of layer 1.
    """

    suffix: str
    algorithm: str
    params: dict[str, Any] = field(default_factory=dict)
    folds: int = MOST_FOLDS
    seed: int = 0
    layer: int = 1

    def trial(self, name: str, metric: str, threads: int = 1) -> dict[str, Any]:
        """The content of trial.json, but for the deadline and a second layer's inputs."""
        return {
            "name": name,
            "algorithm": self.algorithm,
            "params": self.params,
            "folds": self.folds,
            "seed": self.seed,
            "metric": metric,
            "threads": threads,
        }


_SECONDS_PER_CELL = {
    "lightgbm": 4.0e-6,
    "xgboost": 4.0e-6,
    "catboost": 1.5e-5,
    "extra-trees": 2.0e-5,
    "randomforest": 2.0e-5,
    "linear-learner": 8.0e-6,
    "nn-torch": 6.0e-5,
    "fastai": 2.0e-5,
}
"""One fit's seconds for each row and column on one ordinary core, as measured; `Costs` corrects them for this host."""

_FIXED_SECONDS = {"nn-torch": 2.0, "fastai": 1.0}
_FIXED_SECONDS_OF_OTHERS = 0.3
_VALIDATION_SHARE = 0.2
MOST_FEEDERS = 8
"""So many candidates of the first layer feed one of the second."""
_STACKED = 1.2
"""What a candidate of the second layer costs more, for its further columns."""
_CROSSED_SHARE = 0.4
"""What a column of crosses costs, in columns of the data: measured with LightGBM and CatBoost on 8 to 20 columns."""

_MULTIPLIED_SHARE = 0.05
"""What a product of a linear model costs, in columns of the data, which are several of the design's: on the peers' sets
100 make a trial up to twice as long."""

_SOLVED_AGAIN, _WALKED_SHARE = 1.7, 0.13
"""Linear models of more rows than they have in memory solve for those several times, and walk over all: in fits of a
row in memory, as measured with 16 columns and two, three, or no classes."""

_TRUSTED = 20.0
"""A correction learnt from other data is taken to be within this factor of 1."""


class Costs:
    """Expected seconds of candidates. Not thread-safe.

    `host` holds each algorithm's correction factor as earlier jobs on this host saw it; what this job sees itself
    counts for more.
    """

    def __init__(self, facts: Facts, host: Mapping[str, float] | None = None) -> None:
        self._facts = facts
        self._host = {name: clipped(ratio) for name, ratio in (host or {}).items()}
        self._seen: dict[str, list[float]] = {}

    @property
    def learned(self) -> bool:
        """Whether a trial of this job has been observed."""
        return bool(self._seen)

    def seconds(self, candidate: CandidatePlan) -> float:
        """Seconds from start to end of the candidate's trial on one core."""
        return self._expected(candidate) * self._correction(candidate.algorithm)

    def observe(self, candidate: CandidatePlan, seconds: float, *, cut_off: bool = False) -> None:
        """Learns from a finished trial; one that was cut off by its time limit would have taken longer."""
        ratio = seconds / self._expected(candidate)
        if cut_off:
            ratio = max(ratio, self._correction(candidate.algorithm))
        self._seen.setdefault(candidate.algorithm, []).append(ratio)

    def corrections(self) -> dict[str, float]:
        """Each algorithm's correction factor as this job saw it."""
        return {name: mean(ratios) for name, ratios in self._seen.items()}

    def _expected(self, candidate: CandidatePlan) -> float:
        facts, k = self._facts, candidate.folds
        rows = min(facts.rows, int(candidate.params.get("max_rows", facts.rows)))
        fitted = rows * (k - 1) / k
        solved = rows_in_memory(facts.columns)
        walked = candidate.algorithm == "linear-learner" and rows > solved
        if walked:
            fitted = _SOLVED_AGAIN * min(fitted, solved) + _WALKED_SHARE * fitted
        columns = max(facts.columns, 1) + _CROSSED_SHARE * crossed(candidate)
        columns += _MULTIPLIED_SHARE * most_products(int(candidate.params.get("products", 0)), min(rows, solved))
        seconds_per_cell = _SECONDS_PER_CELL[candidate.algorithm] * _target_factor(candidate.algorithm, facts, walked)
        seconds = fitted * columns * seconds_per_cell * (k + refit_fits(k)) * heaviness(candidate, facts.n_classes)
        fixed = _FIXED_SECONDS.get(candidate.algorithm, _FIXED_SECONDS_OF_OTHERS)
        return fixed + seconds * (_STACKED if candidate.layer > 1 else 1.0)

    def _correction(self, algorithm: str) -> float:
        own = self._seen.get(algorithm)
        if own:
            return mean(own)
        host = self._host.get(algorithm)
        others = [ratio / self._host.get(name, 1.0) for name, ratios in self._seen.items() for ratio in ratios]
        return (host or 1.0) * (mean(others) if others else 1.0)


def crossed(candidate: CandidatePlan) -> int:
    """How many columns the candidate's crosses add (see `engines.crosses`)."""
    columns = int(candidate.params.get("crosses", 0))
    return columns * (columns - 1)


_COMBINING_FIXED = 0.6
_SECONDS_PER_JUDGED_ROW = 6e-6
_JUDGED_ROWS = 50_000
_SECONDS_PER_ROW = 1.2e-5
"""Reading all predictions, thresholds by fold, and the metrics of the outcome."""


def combining_seconds(facts: Facts, candidates: int) -> float:
    """What the ensemble of so many candidates is expected to take on an ordinary host."""
    rows = min(facts.rows, _JUDGED_ROWS)
    weighing = rows * candidates * (1 + 0.2 * facts.n_classes) * _SECONDS_PER_JUDGED_ROW
    return _COMBINING_FIXED + facts.rows * _SECONDS_PER_ROW + weighing


def refit_fits(k: int) -> float:
    """What a refit on all rows costs, in fits of one of k folds: more rows, and more rounds for them."""
    return k / (k - 1) / (1 - _VALIDATION_SHARE) * (1 + 1 / k)


def mean(ratios: list[float]) -> float:
    """The geometric mean."""
    return math.exp(sum(math.log(max(ratio, 1e-6)) for ratio in ratios) / len(ratios))


def clipped(ratio: float) -> float:
    """A correction factor that may be trusted: not further from 1 than `_TRUSTED` times; 1 for nonsense."""
    return min(_TRUSTED, max(1 / _TRUSTED, ratio)) if math.isfinite(ratio) and ratio > 0 else 1.0


_REGRESSION_FACTOR = {"lightgbm": 1.3, "xgboost": 1.3, "catboost": 2.0, "linear-learner": 0.1}


def _target_factor(algorithm: str, facts: Facts, walked: bool) -> float:
    """What the target costs: boosters grow a tree for each class, and go on for longer in regression; forests grow
    larger leaves for two classes; linear regression is solved at once, or where data are wide in steps that cost no
    more, unless its rows are walked over.
    """
    if algorithm in ("nn-torch", "fastai"):
        return 1.0
    if facts.problem_type == REGRESSION:
        return 1.0 if walked else _REGRESSION_FACTOR.get(algorithm, 1.0)
    if algorithm in ("extra-trees", "randomforest"):
        return 1.0 if facts.problem_type == BINARY else 3.0
    return 1.0 if facts.problem_type == BINARY else 1.0 + 0.7 * (facts.n_classes - 1)


_LARGER_TREES = 0.35
"""By what power of its leaves a tree costs more: larger trees take longer, but the fewer of them do."""


def heaviness(candidate: CandidatePlan, n_classes: int) -> float:
    """How much more a variant costs than its algorithm's first configuration."""
    params = candidate.params
    if candidate.algorithm == "lightgbm":
        size = max(0.6, params.get("num_leaves", 31) / 31) ** _LARGER_TREES * (
            2.5 if params.get("extra_trees") else 1.0
        )
        return float(size * (0.05 / params.get("learning_rate", 0.05)) ** 0.8)
    if candidate.algorithm == "catboost":
        return float(2.0 ** ((params.get("depth", 6) - 6) / 2) * (0.09 / _catboost_rate(params, n_classes)) ** 0.8)
    if candidate.algorithm == "xgboost":
        size = max(0.6, 2.0 ** ((params.get("max_depth", 6) - 6) / 5))
        return float(size * (0.08 / params.get("learning_rate", 0.08)) ** 0.8)
    if candidate.algorithm in ("extra-trees", "randomforest"):
        features = params.get("max_features", 0.5)
        share = features if isinstance(features, float) else 0.5
        return float(params.get("n_estimators", 200) / 200 * max(0.5, share / 0.5))
    return 1.0


_ONE_RATE_FROM_CLASSES = 6
"""CatBoost's engine learns at one rate from so many classes on, whatever it is asked."""


def _catboost_rate(params: Mapping[str, Any], n_classes: int) -> float:
    """The learning rate as it compares to that of the first configuration, 0.09."""
    if n_classes >= _ONE_RATE_FROM_CLASSES:
        return 0.09
    rate = params.get("learning_rate", 0.09)
    return float(max(rate, min(0.3, rate * params.get("hurry", 1.0))))
