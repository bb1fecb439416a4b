"""What the containers of a model do: each reads a request, applies its model, and writes an answer.

What `apply` gives is what the next container's `read` would make of it: so that containers in one process can hand it
on without writing and reading it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pilothouse.catalog import hosting, metrics, pipelines
from pilothouse.hosting import answers, matrices, media, rows
from pilothouse.hosting.answers import LABEL, LABELS, PROBABILITIES, PROBABILITY, Answers
from pilothouse.hosting.matrices import Matrix
from pilothouse.hosting.media import CSV
from pilothouse.hosting.rows import Rows
from pilothouse.problems import evaluate, staged
from pilothouse.problems.base import Prediction, Predictor

Environment = Mapping[str, str]


class Container(ABC):
    """A loaded container. `reads` and `writes` are media types, `accept` the one that it answers in by default.

    `outputs` are the members of its answers, none for features. Thread-safe.
    """

    role: str
    reads: Sequence[str]
    writes: Sequence[str]
    accept: str
    outputs: Sequence[str]

    @abstractmethod
    def read(self, body: bytes, content_type: str | None) -> Any:
        """The content of a request; `CodecError` if it can't be read."""

    @abstractmethod
    def apply(self, content: Any) -> Any:
        """What the model makes of it; `InputError` if the model can't take it."""

    @abstractmethod
    def write(self, answer: Any, accept: str) -> bytes:
        """The answer in one of `writes`."""


def load(directory: Path, environment: Environment) -> Container:
    """The container of an unpacked archive; raises when the archive or its environment isn't usable."""
    role, model = staged.load(directory)
    kinds: dict[str, type[Any]] = {kind.role: kind for kind in (Whole, Features, Algorithm, Labels)}
    container: Container = kinds[role](model, environment)
    return container


class Whole(Container):
    """A predictor by itself: rows to answers."""

    role = pipelines.PREDICTOR
    reads, writes = rows.FORMATS, answers.FORMATS

    def __init__(self, predictor: Predictor, environment: Environment) -> None:
        self._predictor = predictor
        self.accept = media.default_accept(environment, self.writes)
        self.outputs = (
            answers.regression_outputs(environment)
            if predictor.problem_type == metrics.REGRESSION
            else answers.outputs(environment, hosting.OUTPUTS, "a classification model")
        )

    def read(self, body: bytes, content_type: str | None) -> Rows:
        """Rows of the predictor's columns."""
        return rows.decode(body, content_type, self._predictor.columns)

    def apply(self, content: Rows) -> Answers:
        """What is predicted for them."""
        prediction = self._predictor.predict(content)
        if prediction.labels is None:
            return _values(prediction.values)
        return Answers(self.outputs, list(self._labelled(prediction, self._predictor.classes or [])))

    def write(self, answer: Answers, accept: str) -> bytes:
        """The answers."""
        return answers.encode(answer, accept)

    def _labelled(self, prediction: Prediction, classes: list[str]) -> Iterable[list[Any]]:
        number = {label: i for i, label in enumerate(classes)}
        for label, row in zip(prediction.labels or (), _lists(prediction.probabilities), strict=True):
            answer = {LABEL: label, PROBABILITY: row[number[label]], PROBABILITIES: row, LABELS: classes}
            yield [answer[member] for member in self.outputs]


class Features(Container):
    """The first stage: rows to a matrix."""

    role = pipelines.FEATURES
    reads, writes = rows.FORMATS, matrices.FORMATS
    outputs = ()

    def __init__(self, stage: staged.Features, environment: Environment) -> None:
        self.stage = stage
        self.accept = media.default_accept(environment, self.writes)

    def read(self, body: bytes, content_type: str | None) -> Rows:
        """Rows of the columns that the features are made of."""
        return rows.decode(body, content_type, self.stage.columns)

    def apply(self, content: Rows) -> Matrix:
        """Their features."""
        return self.stage.transform(content)

    def write(self, answer: Matrix, accept: str) -> bytes:
        """The matrix."""
        return matrices.encode(answer, accept)


class Algorithm(Container):
    """The second stage: a matrix to values, or to class numbers and probabilities.

    The probability is that of class 1 where there are two classes, and else that of the predicted one, as in AWS.
    """

    role = pipelines.ALGORITHM
    reads, writes = matrices.FORMATS, answers.FORMATS

    def __init__(self, stage: staged.Algorithm, environment: Environment) -> None:
        self.stage = stage
        self.accept = media.default_accept(environment, self.writes)
        self.outputs = (
            answers.outputs(environment, answers.HANDED_ON, "the algorithm of a classification model")
            if stage.classes_count
            else answers.regression_outputs(environment)
        )

    def read(self, body: bytes, content_type: str | None) -> Matrix:
        """Features."""
        return matrices.decode(body, content_type)

    def apply(self, content: Matrix) -> Answers:
        """What is predicted for them."""
        predicted = self.stage.predict(content)
        if not self.stage.classes_count:
            return _values(predicted)
        numbers = evaluate.labels(predicted, self.stage.threshold).tolist()
        return Answers(
            self.outputs, [self._row(number, row) for number, row in zip(numbers, _lists(predicted), strict=True)]
        )

    def write(self, answer: Answers, accept: str) -> bytes:
        """The answers."""
        return answers.encode(answer, accept)

    def _row(self, number: int, probabilities: list[float]) -> list[Any]:
        probability = probabilities[1 if len(probabilities) == 2 else number]
        answer = {LABEL: number, PROBABILITY: probability, PROBABILITIES: probabilities}
        return [answer[member] for member in self.outputs]


class Labels(Container):
    """The third stage: class numbers to labels. What else it receives, it hands on."""

    role = pipelines.LABELS
    reads, writes = (CSV,), answers.FORMATS

    def __init__(self, stage: staged.Labels, environment: Environment) -> None:
        self.stage = stage
        self.accept = media.default_accept(environment, self.writes)
        self.inputs = answers.inputs(environment)
        giver = f"a container that receives {', '.join(self.inputs)} (SAGEMAKER_INFERENCE_INPUT)"
        self.outputs = answers.outputs(environment, [*self.inputs, LABELS], giver)

    def read(self, body: bytes, content_type: str | None) -> Answers:
        """The answers of the algorithm."""
        return answers.decode(body, content_type, self.inputs, len(self.stage.classes))

    def apply(self, content: Answers) -> Answers:
        """The same in the words of the data."""
        return Answers(self.outputs, [self._row(dict(zip(content.members, row, strict=True))) for row in content.rows])

    def write(self, answer: Answers, accept: str) -> bytes:
        """The answers."""
        return answers.encode(answer, accept)

    def _row(self, received: dict[str, Any]) -> list[Any]:
        answer = {**received, LABELS: self.stage.classes}
        if LABEL in received:
            answer[LABEL] = self.stage.classes[received[LABEL]]
        return [answer[member] for member in self.outputs]


def _values(values: Any) -> Answers:
    return Answers([answers.SCORE], [[float(value)] for value in values])


def _lists(probabilities: Any) -> list[list[float]]:
    listed: list[list[float]] = probabilities.tolist()
    return listed
