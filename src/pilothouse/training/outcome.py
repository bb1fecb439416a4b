"""How a training program's run ended, and what that makes of its job."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from pilothouse.launch.base import Exit
from pilothouse.launch.last_words import telling
from pilothouse.training.program import Command, End

_LONGEST_WORDS = 400
_UNREADY = {
    "requirements": "AlgorithmError: InstallRequirementsError: pip could not install it all",
    "image": "ClientError: The training image cannot be had",
}


@dataclass(frozen=True)
class Outcome:
    """The job's terminal `status` and `secondary` status with the `reason` of a failure.

    `seconds`: how long the program ran, over all its beginnings. `metrics`: the last value of each metric and its time,
    NaN and infinities included.
    """

    status: str
    secondary: str
    reason: str | None = None
    seconds: float = 0.0
    metrics: dict[str, tuple[float, float]] = field(default_factory=dict)


STOPPED = ("Stopped", "Stopped")
LATE = ("Stopped", "MaxRuntimeExceeded")


def judged(end: End, failure: str | None, command: Command) -> tuple[str, str, str | None]:
    """Status, secondary status and reason for a program that ended like this and left `failure` in its failure file."""
    if end.cut == "stop":
        return (*STOPPED, None)
    if end.cut == "time":
        return (*LATE, None)
    if end.cut is not None:
        return "Failed", "Failed", f"AlgorithmError: The program {end.cut}, {_exit_code(end)}"
    if end.code == 0:
        return "Completed", "Completed", None
    return "Failed", "Failed", _reason(end, failure, command)


def lost(ended: Exit, words: list[str]) -> str:
    """The reason when the process around the program ended without a word: killed, or by the fault in `words`."""
    if ended.code is not None:
        said = telling(words)[:_LONGEST_WORDS]
        return f"InternalServerError: The process around the program {ended.describe()}. Last line of its log: {said}"
    if ended.reason:
        return (
            f"AlgorithmError: The program {ended.reason}, so it was killed. Give it less data or smaller batches, or "
            "run fewer trials at a time (PILOTHOUSE_SLOTS), exit code: 137"
        )
    return (
        f"AlgorithmError: The training process {ended.describe()}. If the machine is short of memory, give it more or "
        "train on less data, exit code: 137"
    )


def _reason(end: End, failure: str | None, command: Command) -> str:
    if failure is not None:
        return f"AlgorithmError: {failure}, {_exit_code(end)}"
    words = telling(end.words)[:_LONGEST_WORDS]
    if command.purpose:
        return f"{_UNREADY[command.purpose]}: {words}, {_exit_code(end)}"
    how = f"ExitCode {end.code}" if end.signal is None else f"Killed by {_name(end.signal)}"
    shown = command.shown[:_LONGEST_WORDS]
    said = f'\nErrorMessage "{words}"' if words else ""
    return f'AlgorithmError: ExecuteUserScriptError:\n{how}{said}\nCommand "{shown}", {_exit_code(end)}'


def _exit_code(end: End) -> str:
    return f"exit code: {end.code if end.signal is None else 128 + end.signal}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
