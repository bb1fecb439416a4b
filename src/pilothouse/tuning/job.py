"""The story of a tuning job: what its parents found, its trials, its end.

After a crash it is told again: trials that ended are known from their rows, those that had not go on, and the search
is made again from both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pilothouse import clock
from pilothouse.catalog import training_jobs, tuning_trials
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.errors import JobFailed
from pilothouse.tuning import completion, warmstart
from pilothouse.tuning.board import Board, Parent
from pilothouse.tuning.ledger import Ledger, trial_of
from pilothouse.tuning.search import Search, seed_of
from pilothouse.tuning.trial import Trial
from pilothouse.tuning.trials import Trials

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_ENDINGS = {
    "jobs": "MaxNumberOfTrainingJobs is reached.",
    "runtime": "MaxRuntimeInSeconds is reached.",
    "target": "TargetObjectiveMetricValue is reached.",
    "not improving": "The objective has not improved in MaxNumberOfTrainingJobsNotImproving training jobs.",
    "converged": "The objective has converged.",
}
_LONGEST_REASON = 1024


def run(job: Job) -> None:
    """Runs the job to its terminal status."""
    spec = TuningJob.of(job.request)
    started = job.once("start", lambda: {"at": clock.now()})["at"]
    parents = [_parent(document) for document in job.once("parents", lambda: _read_parents(job, spec))["parents"]]
    ledger = Ledger(job, spec)
    board = Board(job, spec, ledger, started, parents)
    seed = seed_of(spec, f"{job.resource.arn} {job.resource.seq} {job.resource.created_at!r}")
    inherited = warmstart.inherited(spec, [(parent.job, parent.trials) for parent in parents])
    trials = Trials(
        job, spec, ledger, Search.restored(spec, seed, ledger.trials, inherited), started, changed=board.publish
    )
    trials.run()
    _end(job, ledger, board, trials)


def _end(job: Job, ledger: Ledger, board: Board, trials: Trials) -> None:
    """The terminal status: Stopped if that was asked for, even while it is being written."""
    ending = trials.ending
    converged_at = clock.now() if ending is not None and ending.reason == "converged" else None
    state = {**board.state(converged_at), "HyperParameterTuningEndTime": clock.now()}
    failure = completion.failure(ledger.trials)
    status = "Completed" if failure is None else "Failed"
    reason = None if failure is None else _with_the_first(job, ledger, failure)
    if not job.refresh().stop_requested:
        job.log(reason or (_ENDINGS[ending.reason] if ending else "There is nothing left to try."))
        written = job.store.update(
            tuning_trials.KIND,
            job.name,
            status=status,
            state={**state, "FailureReason": reason},
            lease=job.lease,
            expect_status=("InProgress",),
        )
        if written is not None:
            return
    job.log("Stopped")
    job.update(status="Stopped", state=state)


def _with_the_first(job: Job, ledger: Ledger, failure: str) -> str:
    """A job's FailureReason with that of its first failed training job, if there is one."""
    for trial in ledger.trials:
        row = job.store.get(training_jobs.KIND, ledger.name(trial.number)) if trial.status == "Failed" else None
        if row is not None and "FailureReason" in row.state:
            return f"{failure} The first, {row.name}: {row.state['FailureReason']}"[:_LONGEST_REASON]
    return failure


def _read_parents(job: Job, spec: TuningJob) -> dict[str, Any]:
    """What the parents of a warm start are and found: recorded, since they can be deleted while the job runs."""
    found = []
    for name in spec.warm_start.parents if spec.warm_start else ():
        row = job.store.get(tuning_trials.KIND, name)
        if row is None:
            raise JobFailed(f"The parent tuning job '{name}' was deleted before this one began. Name another.")
        children = job.store.children(training_jobs.KIND, (row.kind, row.name))
        trials = [{"name": child.name, "trial": asdict(trial_of(child))} for child in children]
        found.append({"request": row.request, "trials": trials})
    return {"parents": found}


def _parent(document: dict[str, Any]) -> Parent:
    trials: Sequence[Trial] = [_trial(each["trial"]) for each in document["trials"]]
    names = {trial.number: each["name"] for trial, each in zip(trials, document["trials"], strict=True)}
    return Parent(TuningJob.of(document["request"]), trials, names)


def _trial(document: dict[str, Any]) -> Trial:
    return Trial(**{**document, "reports": tuple(document["reports"])})
