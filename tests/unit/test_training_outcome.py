"""What a program's end makes of its job, in AWS's words."""

from __future__ import annotations

from typing import Any

import pytest

from pilothouse.launch.base import Exit
from pilothouse.training.documents import End
from pilothouse.training.outcome import LATE, STOPPED, Verdict, judged, lost, together

SHOWN = "python train.py --lr 1"


def end(**changes: Any) -> End:
    usual = {"code": 0, "signal": None, "cut": None, "words": [], "seconds": 1.0, "at": 5.0, "shown": SHOWN}
    return End(**{**usual, **changes})


@pytest.mark.parametrize(
    ("how", "status", "secondary"),
    [
        ({}, "Completed", "Completed"),
        ({"cut": "stop"}, "Stopped", "Stopped"),
        ({"cut": "stop", "code": 1}, "Stopped", "Stopped"),
        ({"cut": "time", "code": None, "signal": 9}, "Stopped", "MaxRuntimeExceeded"),
    ],
)
def test_ends_that_are_no_failures(how: dict[str, Any], status: str, secondary: str) -> None:
    assert judged(end(**how), "a failure file") == Verdict(status, secondary, at=5.0)


@pytest.mark.parametrize(
    ("how", "failure", "purpose", "reason"),
    [
        ({"code": 3}, "bad data", "", "AlgorithmError: bad data, exit code: 3"),
        (
            {"code": 1, "words": ["Traceback (most recent call last):", '  File "a.py", line 1', "ValueError: x", ""]},
            None,
            "",
            'AlgorithmError: ExecuteUserScriptError:\nExitCode 1\nErrorMessage "ValueError: x"\n'
            'Command "python train.py --lr 1", exit code: 1',
        ),
        (
            {"code": None, "signal": 11},
            None,
            "",
            "AlgorithmError: ExecuteUserScriptError:\nKilled by SIGSEGV\n"
            'Command "python train.py --lr 1", exit code: 139',
        ),
        (
            {"code": 1, "words": ["ERROR: no such package"]},
            None,
            "requirements",
            "AlgorithmError: InstallRequirementsError: pip could not install it all: ERROR: no such package, "
            "exit code: 1",
        ),
        (
            {"code": 125, "words": ["Error: manifest unknown"]},
            None,
            "image",
            "ClientError: The training image cannot be had: Error: manifest unknown, exit code: 125",
        ),
        (
            {"code": None, "signal": 9, "cut": "had more than 5 processes at once"},
            None,
            "",
            "AlgorithmError: The program had more than 5 processes at once, exit code: 137",
        ),
    ],
)
def test_a_failure_says_what_the_program_said(
    how: dict[str, Any], failure: str | None, purpose: str, reason: str
) -> None:
    assert judged(end(**how, purpose=purpose), failure) == Verdict("Failed", "Failed", reason, 5.0)


def test_a_process_that_was_killed_or_broke_is_told_apart() -> None:
    over = lost(Exit(signal=9, reason="exceeded its memory limit of 1 GiB (it used 2 GiB)"), [])
    assert over.startswith("AlgorithmError: The program exceeded its memory limit of 1 GiB")
    assert "was killed by signal 9 (SIGKILL)" in lost(Exit(signal=9), [])
    broken = lost(Exit(code=1), ["Traceback", "OSError: No space left on device"])
    assert broken.startswith("InternalServerError: ")
    assert broken.endswith("OSError: No space left on device")


DONE, ENDED, TIME = Verdict("Completed", "Completed", at=9), Verdict(*STOPPED, at=9), Verdict(*LATE, at=9)
FIRST, SECOND = (Verdict("Failed", "Failed", reason, at) for reason, at in (("first", 3.0), ("second", 4.0)))


@pytest.mark.parametrize(
    ("hosts", "stopped", "verdict"),
    [
        ([DONE, DONE], False, DONE),
        ([DONE, SECOND, FIRST], False, FIRST),
        ([ENDED, FIRST, DONE], False, FIRST),
        ([ENDED, FIRST, DONE], True, ENDED),
        ([FIRST, DONE], True, FIRST),
        ([DONE, ENDED], True, ENDED),
        ([FIRST, TIME], False, TIME),
    ],
)
def test_the_first_failure_of_a_host_is_the_jobs_unless_a_stop_or_the_time_broke_it_off(
    hosts: list[Verdict], stopped: bool, verdict: Verdict
) -> None:
    assert together(hosts, stopped=stopped) == verdict
