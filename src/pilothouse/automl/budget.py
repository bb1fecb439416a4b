"""How long a job may still train."""

from __future__ import annotations

import time
from dataclasses import dataclass

from pilothouse import clock

_RESERVE_SHARE = 0.08
_RESERVE_LEAST = 2.0
_RESERVE_MOST = 60.0


@dataclass(frozen=True)
class Budget:
    """The job's limits in seconds, and when it started (epoch seconds). None: no limit.

    A part of the job's time is kept back for the ensemble and the end of the job.
    """

    started_at: float
    job_seconds: int | None
    trial_seconds: int | None

    @property
    def reserve(self) -> float:
        """Seconds kept back from training."""
        share = (self.job_seconds or 0) * _RESERVE_SHARE
        return min(max(share, _RESERVE_LEAST), _RESERVE_MOST)

    def remaining(self) -> float | None:
        """Seconds until the job must have ended; negative when that has passed."""
        return None if self.job_seconds is None else self.started_at + self.job_seconds - clock.now()

    def deadline(self) -> float | None:
        """When the job must have ended, on the clock of `time.monotonic()`."""
        remaining = self.remaining()
        return None if remaining is None else time.monotonic() + remaining

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
