"""A trial as it is asked for, and the time that it has."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilothouse.errors import TrialTimeout

FOLDED_ROWS = 50_000
"""Up to so many rows tuned candidates are judged by cross-validation, above by one split."""


@dataclass(frozen=True)
class Trial:
    """What trial.json says. `deadline_seconds` counts from the start of `train`; None: no limit.

    `inputs`: the folders of the finished first-layer trials that feed this one; with any it is of the second layer, and
    has their folds.
    """

    name: str
    algorithm: str
    params: dict[str, Any]
    folds: int
    seed: int
    metric: str
    threads: int = 1
    deadline_seconds: float | None = None
    inputs: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, directory: Path) -> Trial:
        document = json.loads((directory / "trial.json").read_text())
        return cls(**{name: document[name] for name in cls.__dataclass_fields__ if name in document})


@dataclass
class TimeBudget:
    """The trial's time, shared out so that the refit has its part."""

    seconds: float | None
    begun: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return time.monotonic() - self.begun

    def deadline(self, share: float, ends: float, progress: str) -> float | None:
        """When a step must end that may take `share` of what is left until the share `ends` of the trial's time.

        `TrialTimeout` if nothing is left.
        """
        if self.seconds is None:
            return None
        left = self.seconds * ends - self.elapsed()
        if left <= 0:
            raise TrialTimeout(
                f"The trial reached its time limit of {self.seconds:.0f} s {progress}. "
                "Give the job more time, or leave out this algorithm."
            )
        return time.monotonic() + left * share
