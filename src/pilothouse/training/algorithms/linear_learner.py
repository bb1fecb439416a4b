"""The built-in linear learner, as a program under the container contract: AWS's hyperparameters, log lines and metrics.

Linear and logistic regression by Adam on minibatches of standardised features, in NumPy; many rows stay on disk. Its
model is `weights.safetensors`, beside `model.json`, for features as they were given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from pilothouse.errors import DataError
from pilothouse.training.algorithms import container, linear_scores
from pilothouse.training.algorithms.container import Given
from pilothouse.training.algorithms.files import CSV, PARQUET, RECORDIO
from pilothouse.training.algorithms.labelled import Labelled
from pilothouse.training.algorithms.linear_parameters import Parameters, parse
from pilothouse.training.algorithms.linear_rows import Data, Rows, Scaling

Array = Any
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_TINY = 1e-12
_NAMES = {
    "binary_classifier": "binary_classification_cross_entropy",
    "multiclass_classifier": "multiclass_cross_entropy",
    "regressor": "mse",
}


def main(base: str, threads: int) -> None:
    """Trains on the channel train; validation chooses the epoch, test is only measured."""
    container.run(_train, base, threads)


def _train(given: Given) -> None:
    from threadpoolctl import threadpool_limits

    parameters = parse(given.hyperparameters)
    with given.scratch() as scratch, threadpool_limits(given.threads):
        parts = given.parts("linear learner", ("train", "validation", "test"), scratch, usual=RECORDIO)
        if any(part.is_sparse for part in parts.values()):
            raise DataError(f"The built-in linear learner reads {CSV}, {PARQUET} and {RECORDIO}. Set ContentType.")
        learner = Learner(parameters, parts)
        learner.fit()
        learner.report()
        learner.save(given)


class Learner:
    """One model in training."""

    def __init__(self, parameters: Parameters, parts: dict[str, Labelled]) -> None:
        self._parameters = parameters
        width = parts["train"].width
        if parameters.feature_dim not in (None, width):
            raise DataError(f"feature_dim is {parameters.feature_dim}, but the data has {width} features.")
        self._scaling = Scaling.of(parameters, parts["train"])
        self._rows = {name: Rows(name, part, self._scaling, parameters) for name, part in parts.items()}
        outputs = len(self._scaling.classes) if parameters.predictor == "multiclass_classifier" else 1
        self._w = np.zeros((width, outputs))
        self._b = np.zeros(outputs)

    def fit(self) -> None:
        """Goes through the rows `epochs` times, or until the loss has not fallen for a while; keeps the best epoch."""
        random = np.random.default_rng(self._parameters.seed)
        judged = "validation" if "validation" in self._rows else "train"
        best, best_epoch, kept = np.inf, 0, (self._w.copy(), self._b.copy())
        moments = [np.zeros_like(array) for array in (self._w, self._w, self._b, self._b)]
        steps = 0
        for epoch in range(self._parameters.epochs):
            steps = self._pass(random, moments, steps, epoch)
            losses = {name: self._loss(rows) for name, rows in self._rows.items() if name != "test"}
            self._tell(losses, epoch)
            if not np.isfinite(losses["train"]):
                raise DataError("The training diverged: the loss is no number. Lower learning_rate.")
            if losses[judged] < best - self._parameters.tolerance * abs(best if np.isfinite(best) else 0):
                best, best_epoch, kept = losses[judged], epoch, (self._w.copy(), self._b.copy())
            elif epoch - best_epoch >= self._parameters.patience:
                break
        self._w, self._b = kept
        self._tell({name: self._loss(rows) for name, rows in self._rows.items()}, best_epoch)

    def report(self) -> None:
        """Prints the scores of what was not trained on."""
        for part in ("validation", "test"):
            if part not in self._rows:
                continue
            told = [(self._answers(data), self._true(data)) for data in self._rows[part].pieces()]
            answers, true = (np.concatenate(arrays) for arrays in zip(*told, strict=True))
            scores = linear_scores.scores(self._parameters.predictor, answers, true)
            for name, value in scores.items():
                print(f"#quality_metric: host=algo-1, {part} {name} <score>={value:.12g}", flush=True)

    def save(self, given: Given) -> None:
        """Writes the model, with the standardisation folded into its weights."""
        from safetensors.numpy import save_file

        scaling = self._scaling
        weights = self._w / scaling.scale[:, None] * scaling.spread
        bias = (self._b - (scaling.mean / scaling.scale) @ self._w) * scaling.spread + scaling.center
        save_file({"weights": weights, "bias": bias}, given.folders.model / "weights.safetensors")
        facts = {"predictor_type": self._parameters.predictor, "classes": [float(c) for c in scaling.classes]}
        (given.folders.model / "model.json").write_text(json.dumps(facts))

    def _pass(self, random: np.random.Generator, moments: list[Array], steps: int, epoch: int) -> int:
        rate = self._parameters.rate / (1 + 0.1 * epoch)
        for rows in self._batches(random):
            steps += 1
            for place, (array, gradient) in enumerate(zip((self._w, self._b), self._gradients(rows), strict=True)):
                first, second = moments[2 * place], moments[2 * place + 1]
                first += (1 - _BETA_1) * (gradient - first)
                second += (1 - _BETA_2) * (gradient**2 - second)
                array -= rate * (first / (1 - _BETA_1**steps)) / (np.sqrt(second / (1 - _BETA_2**steps)) + _EPSILON)
        return steps

    def _batches(self, random: np.random.Generator) -> Iterator[Data]:
        size = self._parameters.batch
        for data in self._rows["train"].mixed(random):
            order = random.permutation(len(data.y))
            for start in range(0, len(order), size):
                rows = order[start : start + size]
                yield Data(data.x[rows], data.y[rows], data.weights[rows])

    def _gradients(self, rows: Data) -> tuple[Array, Array]:
        errors = self._errors(rows) * rows.weights[:, None] / rows.weights.sum()
        decay = self._parameters.l2 * self._w + self._parameters.l1 * np.sign(self._w)
        return rows.x.T @ errors + decay, errors.sum(axis=0) * self._parameters.bias

    def _errors(self, rows: Data) -> Array:
        """The derivative of each row's loss by what the model says of it."""
        raw = rows.x @ self._w + self._b
        if self._parameters.predictor == "regressor":
            difference = raw - rows.y[:, None]
            return np.sign(difference) if self._parameters.loss == "absolute_loss" else 2 * difference
        probabilities = _probabilities(raw)
        target = rows.y[:, None] == (np.arange(raw.shape[1]) if raw.shape[1] > 1 else 1)
        return probabilities - target

    def _loss(self, rows: Rows) -> float:
        """The weighted mean."""
        total = weight = 0.0
        for data in rows.pieces():
            total += float((self._losses(data) * data.weights).sum())
            weight += float(data.weights.sum())
        return total / weight

    def _losses(self, data: Data) -> Array:
        raw = data.x @ self._w + self._b
        if self._parameters.predictor == "regressor":
            difference = (raw[:, 0] - data.y) * self._scaling.spread
            return np.abs(difference) if self._parameters.loss == "absolute_loss" else difference**2
        chances = _probabilities(raw)
        if raw.shape[1] == 1:
            chances = np.column_stack([1 - chances, chances])
        return -np.log(np.maximum(chances[np.arange(len(data.y)), data.y], _TINY))

    def _answers(self, data: Data) -> Array:
        """Predictions as scores are computed of them: values, chances of the second class, or the likeliest class."""
        raw = data.x @ self._w + self._b
        if self._parameters.predictor == "regressor":
            return raw[:, 0] * self._scaling.spread + self._scaling.center
        return _probabilities(raw)[:, 0] if raw.shape[1] == 1 else raw.argmax(axis=1)

    def _true(self, data: Data) -> Array:
        if self._parameters.predictor == "regressor":
            return data.y * self._scaling.spread + self._scaling.center
        return data.y

    def _tell(self, losses: dict[str, float], epoch: int) -> None:
        name = "absolute_loss" if self._parameters.loss == "absolute_loss" else _NAMES[self._parameters.predictor]
        for part, loss in losses.items():
            print(
                f"#quality_metric: host=algo-1, epoch={epoch}, {part} {name}_objective <loss>={loss:.12g}", flush=True
            )


def _probabilities(raw: Array) -> Array:
    if raw.shape[1] == 1:
        return 1 / (1 + np.exp(-np.clip(raw, -500, 500)))
    shifted = np.exp(raw - raw.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
