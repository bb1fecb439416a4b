"""The story of an AutoML job, from the first byte of data to the endpoint.

Every step is recorded once; after a crash the story is told again from the start and recorded steps are skipped.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse import clock
from pilothouse.automl import candidates, deploy
from pilothouse.automl import mode as modes
from pilothouse.automl.budget import Budget
from pilothouse.automl.candidates import Board
from pilothouse.automl.trials import OUT_OF_TIME, Trials
from pilothouse.automl.tuned.work import Tuning, begin_analysis
from pilothouse.catalog import algorithms
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.errors import JobFailed, LeaseLost, StoreAway
from pilothouse.training import task
from pilothouse.training.task import StopRequested

if TYPE_CHECKING:
    from pilothouse.work.job import Job

MAX_RUNTIME_REACHED = "MaxAutoMLJobRuntimeReached"
DEFINED = "CandidateDefinitionsGenerated"
_LATE = "The job reached MaxAutoMLJobRuntimeInSeconds while it was reading the data. Allow more time."
NOT_DEPLOYED = (
    "The best candidate was not deployed, since the job had reached MaxAutoMLJobRuntimeInSeconds. Allow more time, or "
    "create a model of its InferenceContainers and an endpoint."
)


def run(job: Job) -> None:
    """Runs the job to its end. Raises JobFailed with the reason that Describe will show."""
    spec = TabularJob.of(job.resource.request)
    started = job.once("start", lambda: {"at": clock.now()})
    deploying = deploy.SECONDS if spec.deploy is not None else 0.0
    budget = Budget(started["at"], spec.max_runtime, spec.max_runtime_per_trial, deploying=deploying)
    try:
        if job.stop_requested:
            raise StopRequested
        _tell(job, spec, budget)
    except StopRequested:
        _stopped(job, spec)
    except (LeaseLost, StoreAway):
        raise
    except Exception:
        candidates.end_open(job, "The AutoML job failed before this candidate was finished.")
        raise


def _tell(job: Job, spec: TabularJob, budget: Budget) -> None:
    chosen = job.once("mode", lambda: modes.chosen(job.objects, spec))
    mode = chosen["mode"]
    left_out = job.once("algorithms", lambda: _algorithms(spec, mode))["left_out"]
    if not job.recorded("prepare"):
        _enter(job, "AnalyzingData")
        if mode == algorithms.TUNING_MODE:
            begin_analysis(job, spec)
    facts = job.once("prepare", lambda: _prepare(job, budget))
    dataset = _dataset(job, budget)
    job.once("resolve", lambda: _resolve(job, spec, mode, facts))
    board = Board(job, spec, facts["metric"], facts["problem_type"])

    work: Tuning | Trials
    if mode == algorithms.TUNING_MODE:
        work = Tuning(job, spec, board, budget, facts, dataset, large=chosen["bytes"] >= modes.LARGE)
    else:
        work = Trials(job, spec, board, budget, facts, dataset)
    if spec.definitions_only:
        work.define()
        _complete(job, DEFINED, None, left_out)
        return
    finished = _tuned(job, work) if isinstance(work, Tuning) else _ensembled(job, work)
    _close(job, board, budget)
    undeployed = _deploy(job, spec, board, budget)
    in_time = finished and not budget.is_over()
    _complete(job, "Completed" if in_time else MAX_RUNTIME_REACHED, undeployed, left_out)


def _ensembled(job: Job, work: Trials) -> bool:
    """Ensembling mode. False if the job's time was over before all candidates had their turn."""
    _enter(job, "TrainingModels")
    return work.run()


def _tuned(job: Job, work: Tuning) -> bool:
    """Hyperparameter tuning mode. False if the job's time was over before all candidates had their turn."""
    specs = work.choose_pipelines()
    if not job.recorded("matrices"):
        _enter(job, "FeatureEngineering")
    pipelines = work.engineer(specs)
    _enter(job, "ModelTuning")
    finished = work.search(pipelines)
    if work.has_all_candidates:
        _enter(job, "MaxCandidatesReached")
    return finished


def _algorithms(spec: TabularJob, mode: str) -> dict[str, Any]:
    """What of the job's algorithms is left out for want of a library. JobFailed if that is all of them."""
    left_out = algorithms.left_out(spec.algorithms, mode)
    if not algorithms.trained(spec.algorithms, mode):
        raise JobFailed(f"The job has no algorithm to train: {left_out}")
    return {"left_out": left_out}


def _enter(job: Job, secondary: str) -> None:
    """Once, so that after a crash the status does not go back to what the job has behind it."""

    def entered() -> dict[str, Any]:
        job.update(state={"AutoMLJobSecondaryStatus": secondary})
        job.log(secondary)
        return {}

    job.once(f"entered-{secondary}", entered)


def _prepare(job: Job, budget: Budget) -> dict[str, Any]:
    """Reads, profiles, splits and featurises in a process of its own; the dataset folder is its result."""
    arguments = {"request": job.request, "min_rows": job.settings.min_rows, "dataset": str(_dataset_folder(job))}
    target, directory = "pilothouse.automl.tasks:prepare", job.directory / "prepare"
    return task.run(job, target, directory, arguments, late=_LATE, deadline=budget.deadline())


def _dataset(job: Job, budget: Budget) -> Path:
    """The prepared dataset; made again, and the same, if this machine does not have it any more."""
    directory = _dataset_folder(job)
    if not directory.exists():
        shutil.rmtree(job.directory / "prepare", ignore_errors=True)
        _prepare(job, budget)
    return directory


def _dataset_folder(job: Job) -> Path:
    return job.directory / "dataset"


def _resolve(job: Job, spec: TabularJob, mode: str, facts: dict[str, Any]) -> dict[str, Any]:
    criteria = {
        "MaxCandidates": algorithms.max_candidates(spec.max_candidates, spec.max_runtime, mode),
        "MaxRuntimePerTrainingJobInSeconds": spec.max_runtime_per_trial,
        "MaxAutoMLJobRuntimeInSeconds": spec.max_runtime,
    }
    resolved = {
        "AutoMLJobObjective": {"MetricName": facts["metric"]},
        "ProblemType": facts["problem_type"],
        "CompletionCriteria": {name: value for name, value in criteria.items() if value is not None},
    }
    job.update(state={"ResolvedAttributes": resolved})
    return resolved


def _close(job: Job, board: Board, budget: Budget) -> None:
    """Names the best candidate, and ends what an earlier run had begun and this one had no time for."""
    failure = None if board.best() is not None else _no_candidate(board, budget)
    board.publish_best()
    candidates.end_open(job, OUT_OF_TIME)
    if failure is not None:
        raise JobFailed(failure)


def _deploy(job: Job, spec: TabularJob, board: Board, budget: Budget) -> str | None:
    """One-click deployment. A failure is not the job's: the reason comes back, the job still completes."""
    best = board.best()
    if spec.deploy is None or best is None:
        return None
    if budget.is_over() and not deploy.has_begun(job, spec):
        return NOT_DEPLOYED
    _enter(job, "DeployingModel")
    try:
        job.once("deploy", lambda: deploy.run(job, spec, best))
    except JobFailed as error:
        return error.message
    return None


def _complete(job: Job, secondary: str, undeployed: str | None, left_out: str | None) -> None:
    state: dict[str, Any] = {"EndTime": clock.now()}
    if undeployed not in (None, NOT_DEPLOYED):
        secondary = "ModelDeploymentError"
    partial = [reason for reason in (undeployed, left_out) if reason is not None]
    if partial:
        state["PartialFailureReasons"] = [{"PartialFailureMessage": reason[:1024]} for reason in partial]
    job.log(secondary)
    job.update(status="Completed", state={**state, "AutoMLJobSecondaryStatus": secondary})


def _stopped(job: Job, spec: TabularJob) -> None:
    candidates.end_open(job, "The AutoML job was stopped.")
    deploy.withdraw(job, spec)
    job.log("Stopped")
    job.update(status="Stopped", state={"AutoMLJobSecondaryStatus": "Stopped", "EndTime": clock.now()})


def _no_candidate(board: Board, budget: Budget) -> str:
    reasons = [row.state["FailureReason"] for row in board.rows() if "FailureReason" in row.state]
    first = f" The first one: {reasons[0]}" if reasons else ""
    if budget.training_is_over():
        return f"No candidate was finished within MaxAutoMLJobRuntimeInSeconds. Allow more time.{first}"
    return f"No candidate could be trained.{first}"
