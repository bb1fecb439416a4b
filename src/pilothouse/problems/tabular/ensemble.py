"""The ensemble: finished candidates, weighted by greedy selection on out-of-fold predictions.

The method is Caruana et al., "Ensemble selection from libraries of models" (ICML 2004), with replacement, started from
the best single candidate. No model is trained again: the members are the candidates' own models.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import METRICS, REGRESSION
from pilothouse.problems.evaluate import measure
from pilothouse.problems.tabular import threshold, train
from pilothouse.problems.tabular.archive import Member, write_manifest
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset

Array = npt.NDArray[Any]

_STEPS = 50
_LEAST_WEIGHT = 0.03
_JUDGED_ROWS = 50_000
_LOSS_SHARE = 1.0
"""How much the log loss counts beside a metric of labels. Half to twice as much did equally well on unseen rows."""


@dataclass(frozen=True)
class Finished:
    """A finished trial: its folder, its engine, and its predictions for the training and the validation rows."""

    directory: Path
    name: str
    algorithm: str
    oof: Array
    validation: Array

    @classmethod
    def load(cls, directory: Path) -> Finished:
        result = json.loads((directory / train.RESULT).read_text())
        oof, validation = (np.load(directory / f"{part}.npy", allow_pickle=False) for part in ("oof", "validation"))
        return cls(directory, result["name"], result["algorithm"], _float64(oof), _float64(validation))


@dataclass(frozen=True)
class Judge:
    """Scores predictions of the training rows by the job's objective; higher is better."""

    problem_type: str
    metric: str
    y: Array
    w: Array | None

    def score(self, prediction: Array) -> float:
        """The objective less the log loss, where there is one.

        A metric of labels is jumpy and alone would select for luck; the loss alone would not select for the metric.
        """
        own = self.objective(prediction)
        return own if self._smooth == self.metric else own - _LOSS_SHARE * self._loss(prediction)

    def objective(self, prediction: Array) -> float:
        """The objective, negated if it is to be minimised."""
        cut = threshold.choose(self.problem_type, self.metric, self.y, prediction, self.w)
        value = measure(self.metric, self.problem_type, self.y, prediction, weights=self.w, threshold=cut)
        return value if METRICS[self.metric].direction == "Maximize" else -value

    @property
    def _smooth(self) -> str:
        return self.metric if self.problem_type == REGRESSION else "LogLoss"

    def _loss(self, prediction: Array) -> float:
        return measure(self._smooth, self.problem_type, self.y, prediction, weights=self.w)


def combine(directory: Path, dataset_directory: Path, trials: Sequence[Path], metric: str) -> dict[str, Any]:
    """Builds the ensemble of the finished trials in the folders `trials` into `directory`.

    It is measured on the validation rows only, for the training rows have chosen its weights. Writes oof.npy,
    validation.npy and model/ there, as a trial does, and returns the same result, plus `members`: the name and weight
    of each candidate that votes.
    """
    data = Dataset.load(dataset_directory)
    finished = [Finished.load(path) for path in trials]
    weights = select(judge_of(data, metric), [one.oof for one in finished])
    voters = [(one, weight) for one, weight in zip(finished, weights, strict=True) if weight > 0]
    oof = sum(weight * one.oof for one, weight in voters)
    validation = sum(weight * one.validation for one, weight in voters)
    rows = data.rows(TRAIN)
    cut = threshold.choose(data.problem_type, metric, data.y[rows], np.asarray(oof), _weights(data, rows))
    train.save_predictions(directory, np.asarray(oof), np.asarray(validation))
    archive = compose(directory / "model", voters, data.facts, cut, metric)
    metrics = train.measure(data, VALIDATION, np.asarray(validation), cut)
    seconds_a_row = metrics["InferenceLatency"] = train.one_row_latency(archive)
    return {
        "name": directory.name,
        "algorithm": "ensemble",
        "members": [{"name": one.name, "algorithm": one.algorithm, "weight": weight} for one, weight in voters],
        "metrics": {"Validation": metrics},
        "threshold": cut,
        "latency": seconds_a_row,
        "model_bytes": train.size(archive),
    }


def judge_of(data: Dataset, metric: str) -> Judge:
    """The judge on a data set's training rows."""
    rows = data.rows(TRAIN)
    return Judge(data.problem_type, metric, data.y[rows], _weights(data, rows))


def select(judge: Judge, predictions: Sequence[Array], *, steps: int = _STEPS) -> list[float]:
    """The weight of each candidate (they sum to 1; most may be 0), by `predictions` of the judge's rows.

    Never worse on these rows than the best single candidate: where no mixture gains, that one has all the weight.
    """
    judge, predictions = _sampled(judge, predictions)
    singles = [judge.score(prediction) for prediction in predictions]
    best = int(np.argmax(singles))
    counts = _climb(judge, predictions, best, singles[best], steps)
    weights = _pruned(counts / counts.sum())
    mixture = sum(weight * prediction for weight, prediction in zip(weights, predictions, strict=True) if weight > 0)
    single = int(np.argmax([judge.objective(prediction) for prediction in predictions]))
    if judge.objective(np.asarray(mixture)) <= judge.objective(predictions[single]):
        weights = np.eye(len(predictions))[single]
    return [float(weight) for weight in weights]


def compose(
    target: Path, voters: Sequence[tuple[Finished, float]], facts: dict[str, Any], cut: float | None, metric: str
) -> Path:
    """The archive content with all voters' models as members, in place at once or not at all."""
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    members = []
    for number, (one, weight) in enumerate(voters):
        path = f"members/{number}"
        shutil.copytree(one.directory / "model" / "members" / "0", partial / path)
        members.append(Member(path, one.algorithm, weight))
    shutil.copytree(voters[0][0].directory / "model" / "pipeline", partial / "pipeline")
    write_manifest(partial, facts, members, threshold=cut, objective=metric)
    partial.rename(target)
    return target


def _climb(judge: Judge, predictions: Sequence[Array], best: int, score: float, steps: int) -> Array:
    """How often each candidate was chosen on the best prefix of the greedy path."""
    counts = np.zeros(len(predictions))
    counts[best] = 1
    total, top, kept = predictions[best], score, counts.copy()
    for size in range(2, steps + 1):
        scores = [judge.score((total + prediction) / size) for prediction in predictions]
        chosen = int(np.argmax(scores))
        counts[chosen] += 1
        total = total + predictions[chosen]
        if scores[chosen] > top:
            top, kept = scores[chosen], counts.copy()
    return kept


def _pruned(weights: Array) -> Array:
    kept = np.where(weights >= _LEAST_WEIGHT, weights, 0.0)
    return np.asarray(kept / kept.sum()) if kept.any() else weights


def _sampled(judge: Judge, predictions: Sequence[Array]) -> tuple[Judge, list[Array]]:
    """At most `_JUDGED_ROWS` of the rows, evenly spread: selection needs no more."""
    if len(judge.y) <= _JUDGED_ROWS:
        return judge, list(predictions)
    rows = np.linspace(0, len(judge.y) - 1, _JUDGED_ROWS).astype(np.int64)
    weights = None if judge.w is None else judge.w[rows]
    return Judge(judge.problem_type, judge.metric, judge.y[rows], weights), [p[rows] for p in predictions]


def _weights(data: Dataset, rows: Array) -> Array | None:
    return None if data.w is None else data.w[rows]


def _float64(array: Array) -> Array:
    return np.asarray(array, dtype=np.float64)
