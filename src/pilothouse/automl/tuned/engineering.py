"""Feature engineering: every pipeline is fitted and its matrix made, each in processes of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.automl import steps
from pilothouse.automl.budget import Budget
from pilothouse.automl.tuned import requests, tasks, told
from pilothouse.automl.tuned.places import Places
from pilothouse.catalog import hosting
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.catalog.training_jobs import TrainingJob
from pilothouse.errors import JobFailed
from pilothouse.objects import uri
from pilothouse.problems.tabular import ranges
from pilothouse.problems.tabular.pipelines.menu import Kinds, menu
from pilothouse.problems.tabular.pipelines.pipeline import PipelineSpec
from pilothouse.training import task
from pilothouse.training.task import Outcome

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_SHARE = 0.3
"""Of a job's time: pipelines that are not begun by then are left out."""

_FIRST = "dpp0"
_LATE = "It was not begun before 30 % of the job's time had passed."


@dataclass(frozen=True)
class Ready:
    """A pipeline whose matrix is made; it has so many `columns`."""

    spec: PipelineSpec
    columns: int

    @classmethod
    def of(cls, document: dict[str, Any]) -> Ready:
        return cls(PipelineSpec(**document["spec"]), document["columns"])

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"spec": self.spec.document(), "columns": self.columns}


class Engineering:
    """Of one job, whose prepared data are at `dataset`. What is done is done once, whatever crashes."""

    def __init__(self, job: Job, spec: TabularJob, places: Places, budget: Budget, dataset: Path) -> None:
        self._job, self._spec, self._places, self._budget = job, spec, places, budget
        self._dataset = dataset
        self._left_out: list[str] = []

    def chosen(self, facts: dict[str, Any], algorithms: Sequence[str], most: int) -> list[PipelineSpec]:
        """The pipelines for data with these facts, at most `most`; described in S3, where the analysis ends."""
        document = self._job.once("pipelines", lambda: self._choose(facts, algorithms, most))
        steps.end(self._job, steps.PROCESSING, self._places.analysis, "Completed")
        return [PipelineSpec(**each) for each in document["pipelines"]]

    def run(self, specs: Sequence[PipelineSpec]) -> list[Ready]:
        """Makes their matrices. `JobFailed` if none comes out."""
        document = self._job.once("matrices", lambda: self._all(specs))
        ready = [Ready.of(each) for each in document["ready"]]
        for each in ready:
            if not self.matrix(each.spec).exists():  # on another machine, or after its disk was lost
                shutil.rmtree(self._folder(each.spec), ignore_errors=True)
                self._made(each.spec)
        return ready

    def stage(self, spec: PipelineSpec) -> Path:
        """The folder of the pipeline's `FeatureStage`."""
        return self._folder(spec) / "fit" / tasks.STAGE

    def matrix(self, spec: PipelineSpec) -> Path:
        """The pipeline's matrix of all rows."""
        return self._folder(spec) / "transform" / tasks.MATRIX_FILE

    def _choose(self, facts: dict[str, Any], algorithms: Sequence[str], most: int) -> dict[str, Any]:
        specs = menu(Kinds.of(facts), algorithms)[:most]
        place = uri.parse(f"{self._places.candidates}/pipelines.json")
        described = [_described(spec, facts["problem_type"]) for spec in specs]
        self._job.objects.put(place.bucket, place.key, json.dumps(described, indent=1).encode())
        return {"pipelines": [spec.document() for spec in specs]}

    def _all(self, specs: Sequence[PipelineSpec]) -> dict[str, Any]:
        with ThreadPoolExecutor(self._job.settings.slots, thread_name_prefix="pipeline") as pool:
            made = list(pool.map(self._made, specs))
        ready = [Ready(spec, columns) for spec, columns in zip(specs, made, strict=True) if columns]
        if not ready:
            raise JobFailed(f"No data processing pipeline could be made. The first reason: {self._left_out[0]}")
        return {"ready": [each.document() for each in ready]}

    def _made(self, spec: PipelineSpec) -> int | None:
        """The columns of the pipeline's matrix; None if it has none, or its time was over."""
        begun = self._job.store.get(steps.TRAINING, self._places.processor(spec.name))
        if begun is None and self._is_late(spec):
            self._left_out.append(_LATE)
            return None
        if not self._fitted(spec):
            return None
        return self._transformed(spec)

    def _is_late(self, spec: PipelineSpec) -> bool:
        """Whether too much of the job's time has passed; the first pipeline is always made."""
        remaining, whole = self._budget.remaining(), self._budget.job_seconds
        return spec.name != _FIRST and remaining is not None and remaining < (1 - _SHARE) * (whole or 0)

    def _fitted(self, spec: PipelineSpec) -> bool:
        request = requests.processor(self._spec, self._places, spec)
        name = request["TrainingJobName"]
        if not self._begun(steps.TRAINING, name, request):
            return False
        arguments = {
            "pipeline": spec.document(),
            "dataset": str(self._dataset),
            "model_uri": TrainingJob.of(request).model_uri,
        }
        outcome = self._attempt("fit", steps.TRAINING, name, spec, arguments)
        steps.tell(self._job, name, told.of_pipeline(spec, outcome, self._folder(spec) / "fit"))
        return self._ended(steps.TRAINING, name, outcome) is not None

    def _transformed(self, spec: PipelineSpec) -> int | None:
        request = requests.transform(self._spec, self._places, spec)
        name = request["TransformJobName"]
        self._model(spec)
        if not self._begun(steps.TRANSFORM, name, request):
            return None
        arguments = {
            "stage": str(self.stage(spec)),
            "dataset": str(self._dataset),
            "output": request["TransformOutput"]["S3OutputPath"],
        }
        outcome = self._attempt("transform", steps.TRANSFORM, name, spec, arguments)
        result = self._ended(steps.TRANSFORM, name, outcome)
        return None if result is None else int(result["columns"])

    def _begun(self, kind: str, name: str, request: dict[str, Any]) -> bool:
        """Whether the step may be done: one that an earlier run of the job saw fail stays failed."""
        row = steps.begin(self._job, kind, name, request)
        if row.status in ("Failed", "Stopped"):
            self._left_out.append(str(row.state.get("FailureReason")))
            return False
        return True

    def _attempt(self, what: str, kind: str, name: str, spec: PipelineSpec, arguments: dict[str, Any]) -> Outcome:
        return task.attempt(
            self._job,
            f"pilothouse.automl.tuned.tasks:{what}",
            self._folder(spec) / what,
            arguments,
            deadline=self._budget.training_deadline(),
            cut=lambda: steps.stopped(self._job, kind, name),
            tries=task.TRIES,
        )

    def _ended(self, kind: str, name: str, outcome: Outcome) -> dict[str, Any] | None:
        """Ends the step; its result, if it has one."""
        if outcome.result is None:
            status = "Stopped" if outcome.late or steps.stopped(self._job, kind, name) else "Failed"
            self._left_out.append(outcome.reason)
            steps.end(self._job, kind, name, status, outcome.reason)
        else:
            steps.end(self._job, kind, name, "Completed")
        return outcome.result

    def _model(self, spec: PipelineSpec) -> None:
        request = requests.transform_model(self._spec, self._places, spec)
        if self._job.store.get(hosting.MODEL, request["ModelName"]) is None:
            parent = (self._job.resource.kind, self._job.resource.name)
            self._job.store.insert(hosting.MODEL, request["ModelName"], request, parent=parent, lease=self._job.lease)

    def _folder(self, spec: PipelineSpec) -> Path:
        return self._job.directory / "pipelines" / spec.name


def _described(spec: PipelineSpec, problem_type: str) -> dict[str, Any]:
    """The candidates that a pipeline stands for: what it does, and what is tuned of its algorithm."""
    tunable = ranges.tunable(spec.algorithm, problem_type)
    return {
        **spec.document(),
        "description": spec.describe(),
        "HyperParameterRanges": tunable.ranges,
        "StaticHyperParameters": dict(tunable.static),
    }
