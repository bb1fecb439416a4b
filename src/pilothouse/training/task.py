"""A part of a job that runs in a process of its own: a trial, the reading of the data, the ensemble.

The process writes `result.json` or `error.json` into its folder, as its last act and atomically; a job that comes back
after a crash takes over a result that is already there instead of running the task again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL
from typing import TYPE_CHECKING, Any

from pilothouse.catalog import kms
from pilothouse.errors import JobFailed, PilothouseError
from pilothouse.launch.base import AT_WORK, Exit, Program
from pilothouse.launch.last_words import telling

if TYPE_CHECKING:
    from pilothouse.work.job import Job

ENTRY = "pilothouse.work.task:main"
RESULT = "result.json"
ERROR = "error.json"
LOG = "log.txt"
TRIES = 3
"""How often a task is begun that more depends on than a candidate."""

_GRACE_SECONDS = 2.0
_LOG_TAIL_BYTES = 64 << 10  # a native error's stack trace can take half of that
_LONGEST_WORDS = 600


class StopRequested(PilothouseError):
    """The job was asked to stop."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended: with a `result`, or without one for a `reason`; `late` when its time was up."""

    result: dict[str, Any] | None = None
    reason: str = ""
    late: bool = False


def attempt(
    job: Job,
    target: str,
    directory: Path,
    arguments: dict[str, Any],
    *,
    seconds: float | None = None,
    deadline: float | None = None,
    memory: int | None = None,
    cut: Callable[[], str | None] = lambda: None,
    tries: int = 1,
) -> Outcome:
    """Runs `target` (a "module:function") in a trial slot and waits, unless its result is in `directory` already.

    `seconds` is the time that it gets from its start; it is killed a little later, so that a task which watches its own
    time can end itself. `deadline` (`time.monotonic()`) is when it is killed, or no longer started. More than `memory`
    bytes, by default a slot's equal share, end it too, and so does a reason that `cut` gives, which is asked about ten
    times a second. If somebody else kills it, it is begun anew, `tries` times in all. `StopRequested` if the job was
    asked to stop.
    """
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / RESULT).exists():
        return _outcome(directory, Exit(code=0))
    (directory / ERROR).unlink(missing_ok=True)
    program = Program(
        target=ENTRY,
        arguments={
            "target": target,
            "directory": str(directory),
            "settings": job.settings.model_dump_json(),
            "kms_key": kms.of_output(job.request),
            "arguments": arguments,
        },
        log=directory / LOG,
        time_limit=None if seconds is None else seconds + _GRACE_SECONDS,
        nice=AT_WORK,
        memory_limit=memory,
        label=f"{job.name}/{directory.name}",
    )
    ended = job.trial(program, deadline=deadline, cut=cut)
    while tries > 1 and ended.signal == SIGKILL and ended.reason is None and not (directory / RESULT).exists():
        tries -= 1
        ended = job.trial(program, deadline=deadline, cut=cut)
    if job.stop_requested:
        raise StopRequested
    return _outcome(directory, ended)


def run(
    job: Job, target: str, directory: Path, arguments: dict[str, Any], *, late: str, deadline: float | None = None
) -> dict[str, Any]:
    """Runs a task that the job can't do without, and gives its result. One that is killed is begun anew.

    JobFailed with the reason why there is none: `late`, a whole sentence, if that is `deadline`.
    """
    outcome = attempt(job, target, directory, arguments, deadline=deadline, tries=TRIES)
    if outcome.result is None:
        raise JobFailed(late if outcome.late else outcome.reason)
    return outcome.result


def _outcome(directory: Path, ended: Exit) -> Outcome:
    result, error = directory / RESULT, directory / ERROR
    if result.exists():
        return Outcome(result=json.loads(result.read_text()))
    if error.exists():
        document = json.loads(error.read_text())
        return Outcome(reason=document["reason"], late=document["late"])
    late = ended.reason is not None and ("time limit" in ended.reason or "out of time" in ended.reason)
    words = "" if ended.reason else _last_words(directory)
    return Outcome(reason=f"The process {ended.describe()}.{words}", late=late)


def printed(directory: Path) -> list[str]:
    """The lines that the process in `directory` printed, or the last of very many."""
    log = directory / LOG
    if not log.exists():
        return []
    with log.open("rb") as stream:
        start = max(0, log.stat().st_size - _LOG_TAIL_BYTES)
        stream.seek(start)
        lines = stream.read().decode(errors="replace").splitlines()
    return lines[1:] if start else lines  # the first one may be the end of a line


def _last_words(directory: Path) -> str:
    said = telling(printed(directory))
    return f" Last line of its log: {said[:_LONGEST_WORDS]}" if said else ""
