"""What an operation may touch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pilothouse import names
from pilothouse.config import Settings
from pilothouse.objects.base import Objects
from pilothouse.store.store import Store


def _nobody() -> None:
    """No supervisor in this process; workers poll."""


@dataclass(frozen=True)
class Context:
    """Handed to every operation. `wake` tells the supervisor in this process that there is new work."""

    settings: Settings
    store: Store
    objects: Objects
    wake: Callable[[], None] = _nobody

    def arn(self, kind: str, name: str) -> str:
        """The ARN of a resource in this installation's region and account."""
        return names.arn(self.settings.region, self.settings.account_id, kind, name)
