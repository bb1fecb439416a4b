"""The pipelines that a data set gets: some for each algorithm, each algorithm's likeliest first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from pilothouse.problems.tabular.pipelines.pipeline import PipelineSpec
from pilothouse.problems.tabular.trial import FOLDED_ROWS

MOST = 10
_ONE_HOT, _TERMS = 300, 64
_MOST_CELLS = 100_000_000
"""Of a matrix: 400 MB. One-hot columns are as many as that leaves room for."""


@dataclass(frozen=True)
class Kinds:
    """What a data set has: rows, numbers, categories, text."""

    rows: int
    numeric: int
    categorical: int
    text: bool

    @classmethod
    def of(cls, facts: dict[str, Any]) -> Kinds:
        """From the facts in dataset.json."""
        features = facts["features"]
        text = bool(features.get("sparse_values", 0))
        return cls(facts["rows"], features["numeric"], features["categorical"], text)

    @property
    def one_hot(self) -> int:
        """The most columns that a category may have."""
        if not self.categorical:
            return 0
        room = _MOST_CELLS // max(self.rows, 1) // self.categorical
        return max(1, min(_ONE_HOT, room))


def menu(kinds: Kinds, algorithms: Sequence[str]) -> list[PipelineSpec]:
    """At most ten different pipelines, dpp0 on, the algorithms in turn."""
    columns = [list(_distinct(_OFFERS[name](kinds))) for name in algorithms]
    turns = [spec for turn in zip_longest(*columns) for spec in turn if spec is not None]
    return [replace(spec, name=f"dpp{number}") for number, spec in enumerate(turns[:MOST])]


def _distinct(offers: Iterator[PipelineSpec]) -> Iterator[PipelineSpec]:
    seen: set[PipelineSpec] = set()
    for offer in offers:
        if offer not in seen:
            seen.add(offer)
            yield offer


def _offer(kinds: Kinds, algorithm: str, numbers: str, **asked: Any) -> PipelineSpec:
    """A pipeline without what the data have none of; with effects where candidates are judged by one split, whose
    other rows can teach them.
    """
    asked["effects"] = kinds.categorical > 0 and kinds.rows > FOLDED_ROWS
    if not kinds.categorical:
        asked = {key: value for key, value in asked.items() if key not in ("one_hot", "frequencies", "ranks")}
    if kinds.numeric < 2:
        asked.pop("products", None)
    if not kinds.numeric:
        asked.pop("hinges", None)
        numbers = "raw"
    if not kinds.text:
        asked.pop("terms", None)
    return PipelineSpec("", algorithm, numbers, **asked)


def _xgboost(kinds: Kinds) -> Iterator[PipelineSpec]:
    one_hot = kinds.one_hot
    yield _offer(kinds, "xgboost", "raw", ranks=True, frequencies=True)
    yield _offer(kinds, "xgboost", "raw", one_hot=one_hot, frequencies=True, terms=_TERMS)
    yield _offer(kinds, "xgboost", "raw", products=True, ranks=True, frequencies=True)
    yield _offer(kinds, "xgboost", "raw", one_hot=one_hot, frequencies=True)


def _linear_learner(kinds: Kinds) -> Iterator[PipelineSpec]:
    one_hot = kinds.one_hot
    yield _offer(kinds, "linear-learner", "robust", hinges=True, one_hot=one_hot, terms=_TERMS)
    yield _offer(kinds, "linear-learner", "robust", one_hot=one_hot)
    yield _offer(kinds, "linear-learner", "normal", hinges=True, products=True, one_hot=one_hot, frequencies=True)


def _mlp(kinds: Kinds) -> Iterator[PipelineSpec]:
    one_hot = kinds.one_hot
    yield _offer(kinds, "mlp", "robust", one_hot=one_hot, frequencies=True, terms=_TERMS)
    yield _offer(kinds, "mlp", "normal", one_hot=one_hot, frequencies=True)
    yield _offer(kinds, "mlp", "normal", hinges=True, one_hot=one_hot)


_OFFERS = {"xgboost": _xgboost, "linear-learner": _linear_learner, "mlp": _mlp}
