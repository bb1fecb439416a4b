"""The second layer: features that also hold what the models of the first layer predict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.features import Features
from pilothouse.errors import ConfigurationError
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.finished import Finished

Array = npt.NDArray[Any]

Part = tuple[Array | slice, Array]
"""Rows, and what is predicted of them."""

_ROWS_AT_ONCE = 1 << 14

_LEAST_PROBABILITY = 1e-4
"""Where logits are clipped: how sure a model is beyond that says more about the model than about the row."""


def inputs(trials: Sequence[Path]) -> list[Finished]:
    """The first-layer trials among the folders `trials` that are on the same folds; the most there are on one split.

    A prediction made by a model that has seen the row in another trial's training would leak its target, so others are
    left out. `ConfigurationError` if none is left.
    """
    finished = [one for one in map(Finished.load, trials) if one.layer == 1 and one.folds]
    if not finished:
        raise ConfigurationError("The second layer has no finished trials of the first layer to build on.")
    commonest, _ = Counter(one.folds for one in finished).most_common(1)[0]
    return [one for one in finished if one.folds == commonest]


def stacked(data: Dataset, finished: Sequence[Finished]) -> Dataset:
    """The data set with the predictions of `finished` as features: for training rows those of the models that did not
    see them, for validation rows the mean of the folds' models.
    """
    return replace(data, features=_with(data, finished, [one.oof for one in finished]))


def as_met(data: Dataset, finished: Sequence[Finished]) -> Features:
    """The features that `stacked` gives, but training rows that have copies have them as later copies will: with what
    models that know the row predict.
    """
    return _with(data, finished, [one.expected for one in finished])


def _with(data: Dataset, finished: Sequence[Finished], of_training_rows: Sequence[Array]) -> Features:
    train, validation = data.rows(TRAIN), data.rows(VALIDATION)
    predictions = []
    for one, of_training in zip(finished, of_training_rows, strict=True):
        predictions.append([*_blocks(train, of_training), *_blocks(validation, one.validation)])
    return _extended(data.features, predictions)


def extended(features: Features, predictions: Sequence[Array]) -> Features:
    """The features of n rows and behind their numbers the `predictions`, each values [n] or probabilities [n, k]."""
    return _extended(features, [[(slice(None), prediction)] for prediction in predictions])


def width(outputs: int) -> int:
    """How many columns a prediction of so many classes (0: a value) adds."""
    return outputs if outputs > 2 else 1


def _blocks(rows: Array, prediction: Array) -> list[Part]:
    """Few of the rows at a time, since what is made of a prediction takes several times its memory."""
    starts = range(0, len(rows), _ROWS_AT_ONCE)
    return [(rows[start : start + _ROWS_AT_ONCE], prediction[start : start + _ROWS_AT_ONCE]) for start in starts]


def _extended(features: Features, predictions: Sequence[Sequence[Part]]) -> Features:
    widths = [width(0 if parts[0][1].ndim == 1 else parts[0][1].shape[1]) for parts in predictions]
    ends = list(accumulate(widths, initial=features.numeric.shape[1]))
    numeric = np.empty((len(features), ends[-1]), np.float32)
    numeric[:, : ends[0]] = features.numeric
    for parts, (start, end) in zip(predictions, pairwise(ends), strict=True):
        for rows, prediction in parts:
            numeric[rows, start:end] = _said(prediction)
    names = [f"layer-1:{i}:{j}" for i, count in enumerate(widths) for j in range(count)]
    return replace(features, numeric=numeric, numeric_names=[*features.numeric_names, *names])


def _said(prediction: Array) -> Array:
    """A value as it is, the log odds of a binary row, or each class's log probability less their mean."""
    prediction = np.asarray(prediction, np.float64)
    if prediction.ndim == 1:
        return prediction[:, None]
    logs = np.log(np.clip(prediction, _LEAST_PROBABILITY, 1.0))
    if logs.shape[1] == 2:
        return np.asarray(logs[:, 1:] - logs[:, :1])
    return np.asarray(logs - logs.mean(axis=1, keepdims=True))
