"""The verdict on a candidate: its threshold, its calibration, its metrics, and what it is ranked by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.problems import evaluate
from pilothouse.problems.evaluate import Cut
from pilothouse.problems.tabular import calibration, threshold
from pilothouse.problems.tabular.calibration import Calibration
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.judge import Judge

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Verdict:
    """What the predictions of a candidate's training and validation rows say.

    `ranking` is the objective on all rows, each predicted by what has not seen it; NaN where it is undefined.
    Candidates are chosen by `standing`: the same where no row has a copy, else with rows that have copies predicted as
    later ones will be (see `Finished`). `noise` is its standard error. `score`, where higher is better, tells apart
    candidates that differ by noise only: the log loss of all rows, or what the judge calls smooth.
    `metrics` are by Set: `Train` of the training rows, `Validation` of the others. `calibrated` are the training rows'
    predictions as they were judged, where there is a calibration: none fitted the map of its own fold.
    """

    threshold: float | None
    calibration: Calibration | None
    metrics: dict[str, dict[str, float]]
    ranking: float
    standing: float
    noise: float
    score: float
    calibrated: Array | None = None

    def result(self) -> dict[str, Any]:
        """Its part of result.json."""
        return {
            "metrics": self.metrics,
            "ranking": self.ranking if math.isfinite(self.ranking) else None,
            "standing": self.standing if math.isfinite(self.standing) else None,
            "noise": self.noise,
            "score": self.score,
            "threshold": self.threshold,
            "calibration": None if self.calibration is None else self.calibration.document(),
        }


def reach(
    data: Dataset, metric: str, oof: Array, validation: Array, folds: Array, familiar: Array | None = None
) -> Verdict:
    """The verdict by the objective `metric`.

    `oof`: predictions of the training rows by what has not seen them, `folds` a number for each. `familiar` (see
    `Finished`) may fit the calibration in their place. The threshold and the
    calibration are chosen on them; each fold is judged by what the other folds choose, the validation rows by what all
    of them choose.
    """
    rows, y, w = data.rows(TRAIN), data.y[data.rows(TRAIN)], _weights(data, TRAIN)
    expected = oof if familiar is None else familiar
    kept = None if data.problem_type == REGRESSION else calibration.choose(y, expected, folds, w)
    # One map for all rows: fitted fold by fold, two numbers cannot overfit, but would shift folds against each other.
    honest = oof if data.problem_type != MULTICLASS else calibration.honest(kept, y, oof, folds, w, fitted=expected)
    if kept is not None and data.problem_type == BINARY:
        honest = kept(oof)
    held = validation if kept is None else kept(validation)
    cut = threshold.choose(data.problem_type, metric, y, honest, w)
    by_fold = threshold.choose_by_fold(data.problem_type, metric, y, honest, folds, w)
    train = evaluate.evaluate(data.problem_type, y, honest, weights=w, threshold=by_fold)
    both = np.concatenate([rows, data.rows(VALIDATION)])
    judge = Judge(data.problem_type, metric, data.y[both], None if data.w is None else data.w[both])
    cuts = _cuts(by_fold, cut, len(both))
    parts = np.concatenate([folds, np.full(len(held), -1)])
    predicted = np.concatenate([honest, held])
    as_met = predicted if familiar is None else np.concatenate([expected if kept is None else kept(expected), held])
    standing = judge.measure(as_met, cuts)
    return Verdict(
        cut,
        kept,
        {"Train": train, "Validation": measure(data, VALIDATION, held, cut)},
        judge.measure(predicted, cuts),
        standing,
        _noise(standing, judge, as_met, cuts, parts),
        judge.smooth(as_met),
        None if kept is None else honest,
    )


def measure(data: Dataset, part: int, prediction: Array, cut: Cut) -> dict[str, float]:
    """The metrics of a prediction of the rows in `part`, which none of the models behind it has seen."""
    return evaluate.evaluate(
        data.problem_type, data.y[data.rows(part)], prediction, weights=_weights(data, part), threshold=cut
    )


def _cuts(by_fold: Array | None, cut: float | None, rows: int) -> Cut:
    if by_fold is None:
        return None
    return np.concatenate([by_fold, np.full(rows - len(by_fold), cut)])


def _noise(standing: float, judge: Judge, predicted: Array, cuts: Cut, parts: Array) -> float:
    """The standard error of an objective: as it differs between the parts; of classifiers at least a share's."""
    values = []
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        values.append(judge.on(rows).measure(predicted[rows], cuts[rows] if isinstance(cuts, np.ndarray) else cuts))
    known = [value for value in values if math.isfinite(value)]
    between = float(np.std(known, ddof=1)) / math.sqrt(len(known)) if len(known) > 1 else 0.0
    share = 0.0 if judge.problem_type == REGRESSION else math.sqrt(max(0.0, standing * (1 - standing)) / len(parts))
    return max(between, share)


def _weights(data: Dataset, part: int) -> Array | None:
    return None if data.w is None else data.w[data.rows(part)]
