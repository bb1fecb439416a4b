"""The built-in linear learner, as a program under the container contract: AWS's hyperparameters, log lines and metrics.

Linear and logistic regression by Adam on minibatches of standardised features, in NumPy. Its model is
`weights.safetensors`, beside `model.json`, for features as they were given.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilothouse.errors import DataError
from pilothouse.training.algorithms import container, linear_scores
from pilothouse.training.algorithms.container import Given
from pilothouse.training.algorithms.labelled import Labelled
from pilothouse.training.algorithms.linear_parameters import Parameters, parse

Array = Any
_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_TINY = 1e-12
_NAMES = {
    "binary_classifier": "binary_classification_cross_entropy",
    "multiclass_classifier": "multiclass_cross_entropy",
    "regressor": "mse",
}


@dataclass(frozen=True)
class Data:
    """A channel, ready: standardised features, and labels as numbers, or as the number of their class."""

    x: Array
    y: Array
    weights: Array


def main(base: str, threads: int) -> None:
    """Trains on the channel train; validation chooses the epoch, test is only measured."""
    container.run(_train, base, threads)


def _train(given: Given) -> None:
    from threadpoolctl import threadpool_limits

    parameters = parse(given.hyperparameters)
    parts = given.parts("linear learner", ("train", "validation", "test"))
    if any(not isinstance(part.values, np.ndarray) for part in parts.values()):
        raise DataError("The built-in linear learner reads text/csv and application/x-parquet. Set ContentType.")
    with threadpool_limits(given.threads):
        learner = Learner(parameters, parts)
        learner.fit()
        learner.report()
        learner.save(given)


class Learner:
    """One model in training."""

    def __init__(self, parameters: Parameters, parts: dict[str, Labelled]) -> None:
        self._parameters = parameters
        train = np.asarray(parts["train"].values, dtype=np.float64)
        if parameters.feature_dim not in (None, train.shape[1]):
            raise DataError(f"feature_dim is {parameters.feature_dim}, but the data has {train.shape[1]} features.")
        self._mean = train.mean(axis=0) if parameters.normalize else np.zeros(train.shape[1])
        deviation = train.std(axis=0) if parameters.normalize else np.ones(train.shape[1])
        self._scale = np.where(deviation > 0, deviation, 1.0)
        labels = np.asarray(parts["train"].labels, dtype=np.float64)
        self._classes = parameters.classes(labels)
        self._center, self._spread = self._label_scale(labels)
        self._data = {name: self._ready(name, part) for name, part in parts.items()}
        outputs = len(self._classes) if parameters.predictor == "multiclass_classifier" else 1
        self._w = np.zeros((train.shape[1], outputs))
        self._b = np.zeros(outputs)

    def fit(self) -> None:
        """Goes through the rows `epochs` times, or until the loss has not fallen for a while; keeps the best epoch."""
        random = np.random.default_rng(self._parameters.seed)
        judged = "validation" if "validation" in self._data else "train"
        best, best_epoch, kept = np.inf, 0, (self._w.copy(), self._b.copy())
        moments = [np.zeros_like(array) for array in (self._w, self._w, self._b, self._b)]
        steps = 0
        for epoch in range(self._parameters.epochs):
            steps = self._pass(random, moments, steps, epoch)
            losses = {name: self._loss(self._data[name]) for name in self._data if name != "test"}
            self._tell(losses, epoch)
            if not np.isfinite(losses["train"]):
                raise DataError("The training diverged: the loss is no number. Lower learning_rate.")
            if losses[judged] < best - self._parameters.tolerance * abs(best if np.isfinite(best) else 0):
                best, best_epoch, kept = losses[judged], epoch, (self._w.copy(), self._b.copy())
            elif epoch - best_epoch >= self._parameters.patience:
                break
        self._w, self._b = kept
        self._tell({name: self._loss(data) for name, data in self._data.items()}, best_epoch)

    def report(self) -> None:
        """Prints the scores of what was not trained on."""
        for part in ("validation", "test"):
            if part not in self._data:
                continue
            data = self._data[part]
            scores = linear_scores.scores(self._parameters.predictor, self._answers(data), self._true(data))
            for name, value in scores.items():
                print(f"#quality_metric: host=algo-1, {part} {name} <score>={value:.12g}", flush=True)

    def save(self, given: Given) -> None:
        """Writes the model, with the standardisation folded into its weights."""
        from safetensors.numpy import save_file

        weights = self._w / self._scale[:, None] * self._spread
        bias = (self._b - (self._mean / self._scale) @ self._w) * self._spread + self._center
        save_file({"weights": weights, "bias": bias}, given.folders.model / "weights.safetensors")
        facts = {"predictor_type": self._parameters.predictor, "classes": [float(c) for c in self._classes]}
        (given.folders.model / "model.json").write_text(json.dumps(facts))

    def _label_scale(self, labels: Array) -> tuple[float, float]:
        if self._parameters.predictor != "regressor" or not self._parameters.normalize_label:
            return 0.0, 1.0
        return float(labels.mean()), float(labels.std()) or 1.0

    def _ready(self, name: str, part: Labelled) -> Data:
        x = (np.asarray(part.values, dtype=np.float64) - self._mean) / self._scale
        if not np.isfinite(x).all():
            raise DataError(
                f"The channel {name} has missing values, which a linear model cannot use. Fill them before."
            )
        labels = np.asarray(part.labels, dtype=np.float64)
        if self._parameters.predictor == "regressor":
            return Data(x, (labels - self._center) / self._spread, np.ones(len(labels)))
        y = np.searchsorted(self._classes, labels).clip(max=len(self._classes) - 1)
        if (self._classes[y] != labels).any():
            raise DataError(f"The channel {name} has labels that are none of the classes of the training data.")
        return Data(x, y, self._parameters.example_weights(y, len(self._classes)))

    def _pass(self, random: np.random.Generator, moments: list[Array], steps: int, epoch: int) -> int:
        data, size = self._data["train"], self._parameters.batch
        order = random.permutation(len(data.y))
        rate = self._parameters.rate / (1 + 0.1 * epoch)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            steps += 1
            gradients = self._gradients(Data(data.x[rows], data.y[rows], data.weights[rows]))
            for place, (array, gradient) in enumerate(zip((self._w, self._b), gradients, strict=True)):
                first, second = moments[2 * place], moments[2 * place + 1]
                first += (1 - _BETA_1) * (gradient - first)
                second += (1 - _BETA_2) * (gradient**2 - second)
                array -= rate * (first / (1 - _BETA_1**steps)) / (np.sqrt(second / (1 - _BETA_2**steps)) + _EPSILON)
        return steps

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

    def _loss(self, data: Data) -> float:
        raw = data.x @ self._w + self._b
        if self._parameters.predictor == "regressor":
            difference = (raw[:, 0] - data.y) * self._spread
            absolute = self._parameters.loss == "absolute_loss"
            return float(np.mean(np.abs(difference) if absolute else difference**2))
        chances = _probabilities(raw)
        if raw.shape[1] == 1:
            chances = np.column_stack([1 - chances, chances])
        likelihood = chances[np.arange(len(data.y)), data.y]
        return float(np.average(-np.log(np.maximum(likelihood, _TINY)), weights=data.weights))

    def _answers(self, data: Data) -> Array:
        """Predictions as scores are computed of them: values, chances of the second class, or of each class."""
        raw = data.x @ self._w + self._b
        if self._parameters.predictor == "regressor":
            return raw[:, 0] * self._spread + self._center
        return _probabilities(raw)[:, 0] if raw.shape[1] == 1 else _probabilities(raw)

    def _true(self, data: Data) -> Array:
        return data.y * self._spread + self._center if self._parameters.predictor == "regressor" else data.y

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
