"""Image URIs: the names under which Pilothouse's own model servers appear in container definitions."""

from __future__ import annotations

TABULAR_INFERENCE = "pilothouse/automl-tabular-inference:1-cpu-py3"
TABULAR_TRANSFORM = "pilothouse/automl-tabular-transform:1-cpu-py3"
"""Of the first and the last stage of a tuned candidate: rows to a matrix, numbers of classes to labels."""
TABULAR_ALGORITHM = "pilothouse/automl-tabular-algorithm:1-cpu-py3"
"""Of the stage between them: the matrix to predictions."""
TABULAR_TRAINING = "pilothouse/automl-tabular-training:1-cpu-py3"

_SERVED = (TABULAR_INFERENCE, TABULAR_TRANSFORM, TABULAR_ALGORITHM)


def served(image: str) -> str | None:
    """The image of Pilothouse's that answers for `image`, whatever its registry and tag; else None."""
    repository = _repository(image)
    return next((one for one in _SERVED if f"/{repository}".endswith(f"/{_repository(one)}")), None)


def _repository(image: str) -> str:
    """An image's URI without its tag and digest."""
    repository = image.split("@", 1)[0]
    head, _, tail = repository.rpartition(":")
    return head if head and "/" not in tail else repository
