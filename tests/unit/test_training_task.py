"""What a task that gave no result leaves as its reason."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import pytest

from pilothouse.config import Settings
from pilothouse.errors import JobFailed
from pilothouse.hosting.tail import Tail
from pilothouse.launch.base import AT_WORK, Exit, Program
from pilothouse.training import task
from pilothouse.work.job import OUT_OF_TIME

if TYPE_CHECKING:
    from pilothouse.work.job import Job

NATIVE = """Loading the data.
terminate called after throwing an instance of 'dmlc::Error'
  what():  [12:00:01] gbtree.cc:57: Check failed: bad_alloc
Stack trace:
  [bt] (0) /lib/libxgboost.so(+0x22) [0x7f]
  [bt] (1) /lib/libxgboost.so(+0x23) [0x7f]

"""
SEGFAULT = f"""Fatal Python error: Segmentation fault

Thread 0x00007f01 (most recent call first):
  <no Python frame>

Current thread 0x00007f00 (most recent call first):
  File "/a/long/path/to/some/module.py", line 12 in function
  ...

Extension modules: {", ".join(f"numpy.module_{number}" for number in range(400))} (total: 400)
"""


class PretendedJob:
    """Its trials end as told, having said `words`."""

    name = "job"
    settings = Settings()
    request: ClassVar[dict[str, Any]] = {}
    stop_requested = False

    def __init__(self, ended: Exit, words: str = "") -> None:
        self.ended = ended
        self.words = words
        self.trials = 0
        self.niceness: list[int] = []

    def trial(self, program: Program, **_until: Any) -> Exit:
        assert program.log is not None
        self.trials += 1
        self.niceness.append(program.nice)
        program.log.write_text(self.words)
        return self.ended


def reason(directory: Path, ended: Exit, words: str = "") -> str:
    with pytest.raises(JobFailed) as failed:
        task.run(cast("Job", PretendedJob(ended, words)), "a:b", directory, {}, late="Too late. Allow more time.")
    return failed.value.message


@pytest.mark.parametrize(
    ("words", "telling"),
    [
        ("one\ntwo\n\n", "two"),
        (NATIVE, "what():  [12:00:01] gbtree.cc:57: Check failed: bad_alloc"),
        (SEGFAULT, "Fatal Python error: Segmentation fault"),
    ],
    ids=["plain", "native error", "segmentation fault"],
)
def test_the_reason_is_the_last_line_that_tells_something(tmp_path: Path, words: str, telling: str) -> None:
    assert reason(tmp_path, Exit(signal=6), words).endswith(f" Last line of its log: {telling}")
    (tmp_path / "log").write_text(words)
    tail = Tail(tmp_path / "log", lambda _: None)
    tail.finish()
    assert tail.last == telling


def test_a_log_that_tells_nothing_is_not_quoted(tmp_path: Path) -> None:
    assert reason(tmp_path, Exit(code=1), "  [bt] (0) x\n\n") == "The process ended with exit code 1."


def test_a_line_that_the_reading_cut_is_not_quoted(tmp_path: Path) -> None:
    assert (
        reason(tmp_path, Exit(code=1), "Extension modules: " + "x" * 100_000) == "The process ended with exit code 1."
    )


def test_a_task_that_a_job_cannot_do_without_says_what_to_do_when_it_is_late(tmp_path: Path) -> None:
    assert reason(tmp_path, Exit(signal=9, reason=OUT_OF_TIME)) == "Too late. Allow more time."


def test_trials_and_what_prepares_them_come_behind_the_server(tmp_path: Path) -> None:
    """An AutoML job does all of its work by one of the two; who is begun anew is no quicker for it."""
    job = PretendedJob(Exit(signal=9))
    task.attempt(cast("Job", job), "a:b", tmp_path / "trial", {})
    with pytest.raises(JobFailed):
        task.run(cast("Job", job), "a:b", tmp_path / "prepare", {}, late="")
    assert job.niceness == [AT_WORK] * (1 + task.TRIES)
    assert AT_WORK > 0


@pytest.mark.parametrize(
    ("ended", "times"),
    [(Exit(signal=9), task.TRIES), (Exit(signal=9, reason="exceeded its memory limit"), 1), (Exit(code=1), 1)],
    ids=["killed", "over its limit", "failed"],
)
def test_a_task_that_a_job_cannot_do_without_is_begun_again_if_somebody_kills_it(
    tmp_path: Path, ended: Exit, times: int
) -> None:
    job = PretendedJob(ended)
    with pytest.raises(JobFailed):
        task.run(cast("Job", job), "a:b", tmp_path, {}, late="")
    assert job.trials == times
    (tmp_path / task.RESULT).write_text('{"done": 1}')
    assert task.run(cast("Job", job), "a:b", tmp_path, {}, late="") == {"done": 1}
