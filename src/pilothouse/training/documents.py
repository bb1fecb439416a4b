"""What the process around a training program is told, and what it tells.

It is told a `Task`. It writes files into the task's directory: `events.jsonl` (see `events`), `seconds` (how long the
program has run), and at the end, whole or not at all, `end.json`, an `End`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pilothouse.launch.confined import Limits

EVENTS, SECONDS, END = "events.jsonl", "seconds", "end.json"


@dataclass(frozen=True)
class Command:
    """One thing to run: `argv`, or the function `target` ("module:function"); `shown` is what people call it.

    `purpose`: what of the program's own is made ready, if it is not the program. `removal`: the command that ends what
    runs elsewhere and `argv` only waits for.
    """

    argv: tuple[str, ...] = ()
    shown: str = ""
    folder: str = "/"
    environment: dict[str, str] = field(default_factory=dict)
    target: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    purpose: str = ""
    removal: tuple[str, ...] = ()

    @classmethod
    def of(cls, document: dict[str, Any]) -> Command:
        """The command that a document tells."""
        return cls(**{**document, "argv": tuple(document["argv"]), "removal": tuple(document["removal"])})


@dataclass(frozen=True)
class Task:
    """All that the process needs: commands that run one after the other until one fails, and how they end.

    `seconds` is the time that they have together, `grace` the time from SIGTERM to SIGKILL, `own` lines that the log
    begins with.
    """

    directory: str
    commands: tuple[Command, ...]
    metrics: tuple[tuple[str, str], ...]
    limits: Limits
    seconds: float
    grace: float
    own: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The task as JSON."""
        return {**vars(self), "commands": [vars(command) for command in self.commands], "limits": vars(self.limits)}

    @classmethod
    def of(cls, document: dict[str, Any]) -> Task:
        """The task that `document` tells."""
        commands = tuple(map(Command.of, document["commands"]))
        metrics = tuple((name, regex) for name, regex in document["metrics"])
        return cls(
            **{
                **document,
                "commands": commands,
                "metrics": metrics,
                "limits": Limits(**document["limits"]),
                "own": tuple(document["own"]),
            }
        )


@dataclass(frozen=True)
class End:
    """How the program ended: by exit `code` or by `signal`; `cut` says what ended it: "stop", "time" or a reason.

    `words` are its last lines, `seconds` how long it ran, `at` when it ended in epoch seconds. `shown` and `purpose`
    are those of the last command, so that whoever judges the end needs nothing else of the program.
    """

    code: int | None
    signal: int | None
    cut: str | None
    words: list[str]
    seconds: float
    at: float
    shown: str = ""
    purpose: str = ""
