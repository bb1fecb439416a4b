"""A trial on one split instead of folds, for large data: one model learns, some rows stop it, others judge it."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data import split
from pilothouse.problems.tabular.bag import Array, Bag, predicted, taken, task_of
from pilothouse.problems.tabular.dataset import TRAIN, Dataset
from pilothouse.problems.tabular.trial import TimeBudget, Trial

_LEARNT = 2
"""The part of rows that a model has learnt from, or that have stopped it: nobody is judged on them."""

_FIT_ENDS = 0.6
"""The share of a trial's time that the fit may take; the refit on all rows takes longer, and learns as many rounds."""

_JUDGES, _SEED = 5, 0


@dataclass
class HeldOut(Bag):
    """A bag of one model, which was given `learnt` rows."""

    learnt: int = 0

    def fold_rows(self) -> float:
        return self.learnt


def fit(trial: Trial, data: Dataset, budget: TimeBudget) -> tuple[HeldOut, Dataset]:
    """The bag, and `data` with only those of its training rows as such that neither taught nor stopped the model.

    The job's first fold is held out: half of it stops the training early, half judges. The judging rows are of five
    numbered groups, so that none is judged by a threshold or a calibration of its own.
    """
    stratify = data.problem_type != REGRESSION
    rows = data.rows(TRAIN)
    held = rows[data.folds[rows] == 0]
    halves = split.folds(data.y[held], 2, stratify=stratify, seed=_SEED, groups=_groups(data, held))
    watched, judging = held[halves == 0], held[halves == 1]
    learnt = learning(data, rows)
    begun = time.monotonic()
    model = engines.engine(trial.algorithm).fit(
        *taken(data, learnt, trial),
        task_of(data, trial.metric),
        trial.params,
        valid=taken(data, watched, trial),
        seed=trial.seed,
        threads=trial.threads,
        deadline=budget.deadline(1.0, _FIT_ENDS, "before its model was trained"),
    )
    seconds = time.monotonic() - begun
    part = np.asarray(data.part).copy()
    part[rows] = _LEARNT
    part[judging] = TRAIN
    judged = replace(data, part=part)
    numbers = split.folds(data.y[judging], _JUDGES, stratify=stratify, seed=_SEED, groups=_groups(data, judging))
    oof = predicted(partial(model.predict, rounds=model.rounds), data.features, judging)
    return HeldOut([model], [model.rounds], [model.rounds], oof, numbers, [seconds], learnt=len(learnt)), judged


def learning(data: Dataset, rows: Array) -> Array:
    """Those of the training `rows` that a model learns from: they neither stop nor judge it."""
    return np.asarray(rows[data.folds[rows] != 0])


def _groups(data: Dataset, rows: Array) -> Array | None:
    return None if data.groups is None else data.groups[rows]
