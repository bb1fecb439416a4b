"""How a training program's run ended, and what that makes of its job."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from dataclasses import dataclass, field

from pilothouse.launch.base import Exit
from pilothouse.launch.last_words import telling
from pilothouse.training.documents import End

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


@dataclass(frozen=True)
class Verdict:
    """What the end of one host's program says of the job. `at`: when it ended, in epoch seconds; 0 if nobody knows."""

    status: str
    secondary: str
    reason: str | None = None
    at: float = 0.0


def judged(end: End, failure: str | None) -> Verdict:
    """The verdict on a program that ended like this and left `failure` in its failure file."""
    if end.cut == "stop":
        return Verdict(*STOPPED, at=end.at)
    if end.cut == "time":
        return Verdict(*LATE, at=end.at)
    if end.cut is not None:
        return Verdict("Failed", "Failed", f"AlgorithmError: The program {end.cut}, {_exit_code(end)}", end.at)
    if end.code == 0:
        return Verdict("Completed", "Completed", at=end.at)
    return Verdict("Failed", "Failed", _reason(end, failure), end.at)


def together(verdicts: Sequence[Verdict], *, stopped: bool) -> Verdict:
    """The verdict on a job from those on its hosts. `stopped`: whether it was to stop before one of them failed.

    The first failure counts, and fails the job, since the others were ended for it; unless the end of the time, or a
    stop, that some of them met has broken it off.
    """
    late = [each for each in verdicts if (each.status, each.secondary) == LATE]
    ended = [each for each in verdicts if (each.status, each.secondary) == STOPPED]
    failed = sorted((each for each in verdicts if each.status == "Failed"), key=lambda each: each.at)
    order: list[Verdict] = [*late, *(ended if stopped else ()), *failed, *ended, *verdicts]
    return order[0]


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


def _reason(end: End, failure: str | None) -> str:
    if failure is not None:
        return f"AlgorithmError: {failure}, {_exit_code(end)}"
    words = telling(end.words)[:_LONGEST_WORDS]
    if end.purpose:
        return f"{_UNREADY[end.purpose]}: {words}, {_exit_code(end)}"
    how = f"ExitCode {end.code}" if end.signal is None else f"Killed by {_name(end.signal)}"
    shown = end.shown[:_LONGEST_WORDS]
    said = f'\nErrorMessage "{words}"' if words else ""
    return f'AlgorithmError: ExecuteUserScriptError:\n{how}{said}\nCommand "{shown}", {_exit_code(end)}'


def _exit_code(end: End) -> str:
    return f"exit code: {end.code if end.signal is None else 128 + end.signal}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
