"""Image URIs: the names under which Pilothouse's own model servers appear in container definitions."""

from __future__ import annotations

TABULAR_INFERENCE = "pilothouse/automl-tabular-inference:1-cpu-py3"
TABULAR_TRANSFORM = "pilothouse/automl-tabular-transform:1-cpu-py3"
"""Of the first and the last stage of a tuned candidate: rows to a matrix, numbers of classes to labels."""
TABULAR_ALGORITHM = "pilothouse/automl-tabular-algorithm:1-cpu-py3"
"""Of the stage between them: the matrix to predictions."""
TABULAR_TRAINING = "pilothouse/automl-tabular-training:1-cpu-py3"

_BUILT_IN = {"pilothouse/automl-tabular-inference": "tabular"}


def built_in_problem(image: str) -> str | None:
    """The problem whose built-in model server answers for `image`, whatever its registry and tag; else None."""
    repository = image.split("@", 1)[0]
    head, _, tail = repository.rpartition(":")
    if head and "/" not in tail:
        repository = head
    return next(
        (problem for name, problem in _BUILT_IN.items() if repository == name or repository.endswith("/" + name)), None
    )
