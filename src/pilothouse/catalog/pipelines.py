"""Inference pipelines: what each container of a model does, and which may follow which.

A container is a whole predictor, as an ensembling candidate has, or one of the stages of a tuned candidate: features
(rows to numbers), algorithm (numbers to predictions), labels (class numbers to the labels of the data).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pilothouse.catalog import images

PREDICTOR, FEATURES, ALGORITHM, LABELS = "predictor", "features", "algorithm", "labels"
SERIAL, DIRECT = "Serial", "Direct"

_STAGES = (FEATURES, ALGORITHM, LABELS)
_BY_IMAGE = {images.TABULAR_INFERENCE: PREDICTOR, images.TABULAR_ALGORITHM: ALGORITHM}
_BY_MODE = {"feature-transform": FEATURES, "inverse-label-transform": LABELS}

Document = dict[str, Any]


def names(containers: Sequence[Document]) -> list[str]:
    """What the containers are called: by their ContainerHostname, else by their place, as in AWS."""
    return [c.get("ContainerHostname") or f"container-{number}" for number, c in enumerate(containers, start=1)]


def role(container: Document) -> str | None:
    """What a container does, as its definition says; None where only its archive does."""
    by_image = _BY_IMAGE.get(images.served(container["Image"]) or "")
    return by_image or _BY_MODE.get(container.get("Environment", {}).get("AUTOML_TRANSFORM_MODE", ""))


def refusal(names: Sequence[str], roles: Sequence[str | None]) -> str | None:
    """Why containers with these roles can't work in this order, or None if they can, as far as the roles are known."""
    for (before, first), (after, second) in pairwise(zip(names, roles, strict=True)):
        if first is not None and second is not None and (first, second) not in pairwise(_STAGES):
            return (
                f"{after} ({second}) cannot follow {before} ({first}). A pipeline consists of features, algorithm and, "
                "for classification, labels, in this order; a predictor stands alone."
            )
    return None
