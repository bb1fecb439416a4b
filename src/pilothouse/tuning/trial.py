"""A trial: one point that a search tries, which on the wire is a training job of the tuning job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["InProgress", "Completed", "Failed", "Stopped"]


@dataclass(frozen=True)
class Trial:
    """What is recorded of a trial.

    number: counts from 0 over the whole tuning job.
    definition: the place of its training job definition in the request.
    values: the tuned hyperparameters, as texts.
    reports: all values of the objective that it emitted, in their order.
    value: the last of them when the trial has ended; None if it emitted none, or has not ended.
    retryable: whether it failed for no fault of its own.
    ended: which place it took among the ended ones, counting from 0; None while it runs.
    """

    number: int
    definition: int
    values: Mapping[str, str] = field(hash=False)
    status: Status = "InProgress"
    reports: tuple[float, ...] = ()
    value: float | None = None
    retryable: bool = False
    ended: int | None = None
