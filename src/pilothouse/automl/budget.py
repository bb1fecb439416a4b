"""How long a job may still train."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pilothouse import clock

_RESERVE_LEAST = 1.5
_RESERVE_MOST_SHARE = 0.25
_END_OF_JOB = 0.5
"""Seconds from the last result to the job's terminal status."""

_OVERTIME = 3.5
"""The ensemble may be so many seconds late: less than what a job may be late, and better than no ensemble."""


@dataclass
class Budget:
    """The job's limits in seconds, and when it started (epoch seconds). None: no limit.

    A part of the job's time is kept back for the ensemble and the end of the job: `combining` seconds, which whoever
    trains sets to what is expected, and `deploying` ones.
    """

    started_at: float
    job_seconds: int | None
    trial_seconds: int | None
    combining: float = 1.0
    deploying: float = 0.0

    @property
    def reserve(self) -> float:
        """Seconds kept back from training."""
        most = (self.job_seconds or 0) * _RESERVE_MOST_SHARE
        return max(_RESERVE_LEAST, min(self.combining + self.deploying + _END_OF_JOB, most))

    def remaining(self) -> float | None:
        """Seconds until the job must have ended; negative when that has passed."""
        return None if self.job_seconds is None else self.started_at + self.job_seconds - clock.now()

    def deadline(self) -> float | None:
        """When the job must have ended, on the clock of `time.monotonic()`."""
        remaining = self.remaining()
        return None if remaining is None else time.monotonic() + remaining

    def combining_deadline(self) -> float | None:
        """When the ensemble must have been made, on the clock of `time.monotonic()`."""
        deadline = self.deadline()
        return None if deadline is None else deadline + _OVERTIME

    def training_deadline(self) -> float | None:
        """When training must have ended, on the clock of `time.monotonic()`."""
        seconds = self.training_seconds()
        return None if seconds is None else time.monotonic() + seconds

    def training_ends_at(self) -> float | None:
        """When training must have ended, in epoch seconds."""
        return None if self.job_seconds is None else self.started_at + self.job_seconds - self.reserve

    def training_seconds(self) -> float | None:
        """Seconds until training must have ended."""
        remaining = self.remaining()
        return None if remaining is None else remaining - self.reserve

    def is_over(self) -> bool:
        """Whether the job's time has passed."""
        remaining = self.remaining()
        return remaining is not None and remaining <= 0

    def training_is_over(self) -> bool:
        """Whether what is left belongs to the end of the job."""
        seconds = self.training_seconds()
        return seconds is not None and seconds <= 0
