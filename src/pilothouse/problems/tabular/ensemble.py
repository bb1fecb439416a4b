"""The ensemble: finished candidates, weighted by their out-of-fold predictions.

No model is trained again: the members are the candidates' own models. Whatever is chosen here (the way to choose
weights, the weights, the second layer) is judged on rows that had no part in choosing the weights.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.problems.tabular import train, verdict, weights
from pilothouse.problems.tabular.archive import Assembly
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.finished import Finished, save_predictions
from pilothouse.problems.tabular.judge import Judge, sampled_rows
from pilothouse.problems.tabular.verdict import Verdict
from pilothouse.problems.tabular.weights import METHODS, mixture

Array = npt.NDArray[Any]

_DISCOUNT = 0.5
"""What of the second layer's gain is believed: on three of four sets the test rows showed more than half of it."""

_CHOOSING = 0.6
"""The share of its time that an ensemble may spend on its weights; the rest is for copying and measuring."""

_SLOWER = 8.0
"""How much longer a method may take than the one before it."""


@dataclass(frozen=True)
class Selection:
    """The weights of some finished trials, whose predictions may be calibrated, and how they came about.

    `nested`: the training rows' mixtures, each weighted as the other folds select; `familiar` likewise, of what the
    weights are chosen by. `score`: how good the latter are.
    """

    finished: list[Finished]
    method: str
    weights: list[float]
    nested: Array
    familiar: Array
    score: float

    def voters(self) -> list[tuple[Finished, float]]:
        """The trials that have weight, and how much."""
        return [(one, weight) for one, weight in zip(self.finished, self.weights, strict=True) if weight > 0]

    def mix(self, part: str) -> Array:
        """The mixture of the trials' predictions of a part: oof or validation."""
        return mixture(self.weights, [getattr(one, part) for one in self.finished])


def combine(
    directory: Path, dataset_directory: Path, trials: Sequence[Path], metric: str, seconds: float | None = None
) -> dict[str, Any]:
    """Builds the ensemble of the finished trials in the folders `trials` into `directory`.

    With few `seconds` it tries fewer ways to weigh them, which are the slower ones; None: no limit.
    Writes oof.npy, validation.npy and model/ there, as a trial does, and returns the same result, plus `members`: the
    name and weight of each candidate that votes. It is judged with weights that each fold's rows had no part in
    choosing, and on the validation rows.
    """
    deadline = None if seconds is None else time.monotonic() + _CHOOSING * seconds
    data = Dataset.load(dataset_directory)
    selected = choose(data, metric, [Finished.load(path) for path in trials], deadline)
    folds = np.asarray(data.folds[data.rows(TRAIN)])
    reached = verdict.reach(data, metric, selected.nested, selected.mix("validation"), folds, selected.familiar)
    save_predictions(directory, selected.mix("oof"), selected.mix("validation"))
    voters = selected.voters()
    archive = compose(directory / "model", voters, data, reached, metric)
    seconds_a_row = reached.metrics["Validation"]["InferenceLatency"] = train.one_row_latency(archive, data.example)
    return {
        "name": directory.name,
        "algorithm": "ensemble",
        "method": selected.method,
        "layer": max(one.layer for one, _ in voters),
        "members": [
            {"name": one.name, "algorithm": one.algorithm, "weight": weight, "calibrated": one.applied is not None}
            for one, weight in voters
        ],
        **reached.result(),
        "latency": seconds_a_row,
        "model_bytes": train.size(archive),
    }


def choose(data: Dataset, metric: str, finished: Sequence[Finished], deadline: float | None = None) -> Selection:
    """The best selection of the candidates as they are, or calibrated where that helps out of sample: one that is too
    sure of itself, or too little, has the wrong share in a mixture.
    """
    if len(finished) < 2 or not any(one.calibration for one in finished):
        return _layered(data, metric, finished, deadline)
    plain = _layered(data, metric, finished, _halfway(deadline))
    return _helpful(data, metric, _layered(data, metric, [one.calibrated() for one in finished], deadline), plain)


def _layered(data: Dataset, metric: str, finished: Sequence[Finished], deadline: float | None) -> Selection:
    """The best selection of the first layer, or of both layers where the second helps out of sample."""
    judge, folds = judge_of(data, metric, TRAIN), np.asarray(data.folds[data.rows(TRAIN)])
    first = [one for one in finished if one.layer == 1]
    if not first or len(first) == len(finished):
        return select(judge, finished, folds, deadline)
    both = select(judge, finished, folds, _halfway(deadline))
    return _helpful(data, metric, both, select(judge, first, folds, deadline))


def _helpful(data: Dataset, metric: str, richer: Selection, plain: Selection) -> Selection:
    """`richer` if it is better than `plain` out of sample.

    A second-layer model has seen a fold's targets through the models that feed it, and a calibration's kind was chosen
    by all of them, so their out-of-fold predictions look better than they are. Their gain counts half, row for row,
    beside the gain on the validation rows.
    """
    held_out = judge_of(data, metric, VALIDATION)
    seen, now = (held_out.score(selection.mix("validation")) for selection in (richer, plain))
    gain, confirmed = richer.score - plain.score, seen - now
    helps = gain > 0 and _DISCOUNT * gain * len(plain.nested) + confirmed * len(held_out.y) > 0
    return richer if helps else plain


def judge_of(data: Dataset, metric: str, part: int) -> Judge:
    """The judge on a data set's training or validation rows."""
    rows = data.rows(part)
    return Judge(data.problem_type, metric, data.y[rows], None if data.w is None else data.w[rows])


def select(judge: Judge, finished: Sequence[Finished], folds: Array, deadline: float | None = None) -> Selection:
    """The weights by the method whose nested mixtures have the best score on the judge's rows.

    A method is not begun if it may not be done by `deadline` (`time.monotonic()`).
    """
    predictions = [one.expected for one in finished]
    latencies = [one.latency for one in finished]
    kept: list[tuple[float, str, Array, Array]] = []
    for method in METHODS if len(finished) > 1 else ["best"]:
        begun = time.monotonic()
        mixed, honest = nested(method, judge, predictions, folds, latencies, [one.oof for one in finished])
        kept = [max([*kept, (judge.score(mixed), method, mixed, honest)], key=lambda one: one[0])]
        took = time.monotonic() - begun
        if deadline is not None and time.monotonic() + _SLOWER * took > deadline:
            break
    [(score, method, mixed, honest)] = kept
    weights = _weighed(method, judge, predictions, latencies, np.arange(len(judge.y)))
    return Selection(list(finished), method, weights, honest, mixed, score)


def nested(
    method: str,
    judge: Judge,
    predictions: Sequence[Array],
    folds: Array,
    latencies: Sequence[float],
    others_too: Sequence[Array],
) -> tuple[Array, Array]:
    """The mixtures of each row, of `predictions` and of `others_too`, weighted as the other folds' rows select by the
    former.
    """
    mixed = np.empty(predictions[0].shape)
    same = all(one is other for one, other in zip(predictions, others_too, strict=True))
    also = mixed if same else np.empty(mixed.shape)
    for fold in np.unique(folds):
        mine, others = folds == fold, np.flatnonzero(folds != fold)
        found = _weighed(method, judge, predictions, latencies, others)
        mixed[mine] = mixture(found, (prediction[mine] for prediction in predictions))
        if not same:
            also[mine] = mixture(found, (prediction[mine] for prediction in others_too))
    return mixed, also


def compose(
    target: Path, voters: Sequence[tuple[Finished, float]], data: Dataset, reached: Verdict, metric: str
) -> Path:
    """The archive content with all voters' models as members, in place at once or not at all."""
    assembly = Assembly(target)
    for one, weight in voters:
        assembly.add_trial(one.directory / "model", weight, [path / "model" for path in one.inputs], one.applied)
    return assembly.finish(data, reached, metric)


def _halfway(deadline: float | None) -> float | None:
    return None if deadline is None else (time.monotonic() + deadline) / 2


def _weighed(
    method: str, judge: Judge, predictions: Sequence[Array], latencies: Sequence[float], among: Array
) -> list[float]:
    """The weights that a sample of the rows `among` selects."""
    rows = among[sampled_rows(len(among), predictions[0].shape[1] if predictions[0].ndim > 1 else 1)]
    looked_at = [np.asarray(prediction[rows], np.float64) for prediction in predictions]
    return weights.chosen(method, judge.on(rows), looked_at, latencies)
