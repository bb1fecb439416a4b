"""Servers that training programs run on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pilothouse.launch import unshared

SLOTS = 2
_VARIABLES = {"PILOTHOUSE_SLOTS": str(SLOTS), "PILOTHOUSE_STOP_GRACE": "3"}
_LITTLE_MEMORY = {"PILOTHOUSE_MEMORY_FRACTION": "0.15"}


@pytest.fixture(scope="session")
def isolating(server_with: Callable[..., Any]) -> Callable[[str], Any]:
    """Gives the server whose programs run at a level of isolation: "auto", whatever works here; "process", where they
    are no more than processes, and have little memory; "unshare", in namespaces without bubblewrap.
    """

    def server(level: str) -> Any:
        reason = unshared.works() if level == "unshare" else None
        if reason is not None:
            pytest.skip(f"unshare does not work here: {reason}")
        little = _LITTLE_MEMORY if level == "process" else {}
        return server_with(PILOTHOUSE_ISOLATION=level, **_VARIABLES, **little)

    return server
