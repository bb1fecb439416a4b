"""The vote of an archive's members: the first layer answers once, feeds the second, and both are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.features import Features
from pilothouse.engines.base import Model
from pilothouse.errors import ConfigurationError
from pilothouse.problems.tabular import stack
from pilothouse.problems.tabular.calibration import Calibration

_LARGEST_WEIGHT = 1e100
_MOST_MEMBERS = 1_000

Feeds = tuple[tuple[int, ...], ...]
"""For each feature that a member of the second layer has beside the data's own, the members whose mean it is."""


@dataclass(frozen=True)
class Voter:
    """A member at work: its share of the vote, its model, what feeds it (nothing in the first layer), and the map by
    which it votes, if it has one.
    """

    weight: float
    model: Model
    inputs: Feeds = ()
    calibration: Calibration | None = None

    def vote(self, answer: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Its part of the mixture when the model says `answer`."""
        return self.weight * (answer if self.calibration is None else self.calibration(answer))


def vote(voters: Sequence[Voter], features: Features) -> npt.NDArray[np.float64]:
    """The weighted mean of the members' predictions: values [n], or probabilities [n, classes]."""
    answers = {i: one.model.predict(features) for i, one in enumerate(voters) if not one.inputs}
    fed: dict[Feeds, Features] = {}
    for i, one in enumerate(voters):
        if one.inputs:
            if one.inputs not in fed:
                means = [sum(answers[j] for j in group) / len(group) for group in one.inputs]
                fed[one.inputs] = stack.extended(features, [np.asarray(mean) for mean in means])
            answers[i] = one.model.predict(fed[one.inputs])
    return np.asarray(sum(one.vote(answers[i]) for i, one in enumerate(voters) if one.weight), np.float64)


def listed(members: Any) -> list[dict[str, Any]]:
    """The members that a manifest, which may be anybody's, lists; `ConfigurationError` unless they are objects, not too
    many of them, and none has another's folder.
    """
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise ConfigurationError("The model's manifest has no list of objects as its members. Fetch the archive again.")
    if len(members) > _MOST_MEMBERS:
        raise ConfigurationError(
            f"The model's manifest has {len(members):,} members; this release loads at most {_MOST_MEMBERS:,}. "
            "Combine fewer candidates."
        )
    paths = [member.get("path") for member in members]
    folders = {PurePosixPath(path) for path in paths if isinstance(path, str)}
    if len(folders) < len(paths):
        raise ConfigurationError(
            "The model's manifest doesn't give each of its members a path of its own. Fetch the archive again."
        )
    return members


def shares(members: Sequence[dict[str, Any]]) -> list[float]:
    """The weights of a manifest's members, scaled to sum to 1; `ConfigurationError` where that can't be."""
    weights = [member.get("weight") for member in members]
    valid = [float(weight) for weight in weights if isinstance(weight, int | float) and 0 <= weight <= _LARGEST_WEIGHT]
    total = sum(valid)
    if len(valid) < len(weights) or not total:
        raise ConfigurationError(
            f"The model's manifest gives its members the weights {weights}. "
            "They must be numbers that are not negative, and not all 0."
        )
    return [weight / total for weight in valid]


def feeds(members: Sequence[dict[str, Any]]) -> list[Feeds]:
    """What feeds each of a manifest's members; `ConfigurationError` unless those are members that nothing feeds."""
    first = {i for i, member in enumerate(members) if not member.get("inputs")}
    given = [member.get("inputs") or [] for member in members]
    for inputs in given:
        if not _are_of(first, inputs):
            raise ConfigurationError(
                f"The model's manifest gives a member the inputs {inputs!r}. "
                "They must be lists of the numbers of members without inputs. Fetch the archive again."
            )
    return [tuple(tuple(group) for group in inputs) for inputs in given]


def _are_of(first: set[int], inputs: Any) -> bool:
    return isinstance(inputs, list) and all(
        isinstance(group, list) and group and all(type(number) is int and number in first for number in group)
        for group in inputs
    )
