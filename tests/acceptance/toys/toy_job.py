"""A toy kind of job for the drills: it leaves a trace of all that it does, and kills whom its request tells it to.

The request: {"folder": where traces go, "steps": [names], "kills": [{"at": "step:point", "victim": who}], …}.
Points: enter (before the side effect), during (in the trial of a step), done (before the record), recorded.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from pilothouse.errors import JobFailed
from pilothouse.launch.base import Program
from pilothouse.work.job import Job
from pilothouse.work.kinds import JobKind

KIND = "toy-job"
GROUP = "/toy/jobs"
KINDS = {KIND: JobKind(KIND, target="toy_job:run", log_group=GROUP, secondary_status="ToySecondaryStatus")}


def run(job: Job) -> None:
    """Does the steps in turn, each with a side effect that can be counted."""
    request = job.request
    folder = Path(request["folder"])
    trace(folder, "attempts", str(os.getpid()))
    behave(job, request)
    for step in request.get("steps", []):
        job.once(step, lambda step=step: effect(job, folder, step))
        strike(folder, f"{step}:recorded", request)
    job.log("all steps are done")


def effect(job: Job, folder: Path, step: str) -> dict[str, Any]:
    request = job.request
    strike(folder, f"{step}:enter", request)
    result = {"step": step, "attempt": job.lease.attempt}
    if step.startswith("trial"):
        arguments = {"folder": str(folder), "step": step, "request": request, "job": os.getpid()}
        result["trial"] = job.trial(Program("toy_job:trial", arguments, label=step)).describe()
    trace(folder, "effects", step)
    strike(folder, f"{step}:done", request)
    return result


def trial(folder: str, step: str, request: dict[str, Any], job: int) -> None:
    """A trial; what kills the job from here leaves this process sleeping, for others to end."""
    trace(Path(folder), "trials", str(os.getpid()))
    if strike(Path(folder), f"{step}:during", request, job=job, nursery=os.getppid()):
        time.sleep(600)


def strike(folder: Path, point: str, request: dict[str, Any], *, job: int = 0, nursery: int = 0) -> bool:
    """kill -9 of the victim that the request names for `point`, once."""
    victims = [kill["victim"] for kill in request.get("kills", []) if kill["at"] == point]
    marker = folder / f"struck-{point.replace(':', '-')}"
    if not victims or marker.exists():
        return False
    marker.touch()
    pids = {"trial": os.getpid(), "job": job or os.getpid(), "nursery": nursery or os.getppid()}
    pids["server"] = int(os.environ["TOY_SERVER"])
    os.kill(pids[victims[0]], signal.SIGKILL)
    if victims[0] in ("nursery", "server"):
        time.sleep(600)  # to be ended from outside before anything more happens
    return True


def behave(job: Job, request: dict[str, Any]) -> None:
    match request.get("behaviour"):
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "fail":
            raise JobFailed("The toy is broken. " * 100)
        case "crash":
            raise KeyError("a bug")
        case "wait":
            while not (job.stop_requested or Path(request["folder"], "go").exists()):
                time.sleep(0.05)
        case "long trial":
            ended = job.trial(Program("time:sleep", {}, label="never") if request.get("bad") else _sleeper())
            trace(Path(request["folder"]), "trials", ended.describe())


def sleep() -> None:
    time.sleep(600)


def _sleeper() -> Program:
    return Program("toy_job:sleep", label="sleeper")


def trace(folder: Path, name: str, line: str) -> None:
    """Appends a line durably: what is traced has happened."""
    with (folder / name).open("a") as stream:
        stream.write(line + "\n")
        stream.flush()
        os.fsync(stream.fileno())
