"""A tuned job's training as its story tells it: choose pipelines, engineer features, search."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pilothouse.automl import steps
from pilothouse.automl.budget import Budget
from pilothouse.automl.candidates import Board
from pilothouse.automl.tuned import document, requests, tasks
from pilothouse.automl.tuned.engineering import Engineering, Ready
from pilothouse.automl.tuned.ledger import Ledger
from pilothouse.automl.tuned.places import Places
from pilothouse.automl.tuned.trials import Trials
from pilothouse.catalog import algorithms
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.problems.tabular import tuned as trials
from pilothouse.problems.tabular.pipelines.pipeline import PipelineSpec

if TYPE_CHECKING:
    from pilothouse.work.job import Job


def begin_analysis(job: Job, spec: TabularJob) -> None:
    """The processing job that all candidates have as their first step begins."""
    request = requests.analysis(spec, Places.of(job, spec))
    steps.begin(job, steps.PROCESSING, request["ProcessingJobName"], request)


class Tuning:
    """The training of one job, whose prepared data with these facts are at `dataset`. `large`: whether they are as
    large as AUTO would tune for, so that trials which do badly early are stopped.
    """

    def __init__(
        self,
        job: Job,
        spec: TabularJob,
        board: Board,
        budget: Budget,
        facts: dict[str, Any],
        dataset: Path,
        *,
        large: bool,
    ) -> None:
        self._job, self._spec, self._board, self._budget = job, spec, board, budget
        self._facts, self._dataset, self._large = facts, dataset, large
        self._places = Places.of(job, spec)
        self._engineering = Engineering(job, spec, self._places, budget, dataset)
        self._most = algorithms.max_candidates(spec.max_candidates, spec.max_runtime, algorithms.TUNING_MODE)
        self.has_all_candidates = False

    def choose_pipelines(self) -> list[PipelineSpec]:
        """No more than there may be candidates."""
        trained = algorithms.trained(self._spec.algorithms, algorithms.TUNING_MODE)
        return self._engineering.chosen(self._facts, trained, self._most)

    def define(self) -> None:
        """Describes the pipelines in S3, with what would be tuned of each, instead of training."""
        self.choose_pipelines()

    def engineer(self, specs: Sequence[PipelineSpec]) -> list[Ready]:
        """The pipelines whose matrices could be made. `JobFailed` if there are none."""
        if self._facts["classes"]:
            self._job.once("labels", self._upload_labels)
        return self._engineering.run(specs)

    def search(self, ready: Sequence[Ready]) -> bool:
        """Trains the candidates. False if the job's time was over before all of them had their turn."""
        tuning = document.tuning_job(
            self._spec,
            self._places,
            ready,
            metric=self._board.metric,
            problem_type=self._board.problem_type,
            candidates=self._most,
            parallel=max(1, min(self._job.settings.slots, self._most)),
            multi_fidelity=self._large and trials.folds(self._facts) == 1,
        )
        suggested = document.suggestions(tuning, ready, self._board.problem_type)
        running = Trials(
            self._job,
            self._spec,
            self._board,
            self._budget,
            self._facts,
            self._dataset,
            self._engineering,
            ready,
            tuning,
            Ledger(self._job, self._board, self._places, ready, tuning),
            suggested,
        )
        finished = running.run()
        self.has_all_candidates = running.has_all
        return finished

    def _upload_labels(self) -> dict[str, Any]:
        from pilothouse.problems.tabular import stages

        with tempfile.TemporaryDirectory(dir=self._job.directory) as scratch:
            folder = stages.save_labels(Path(scratch) / "model", self._facts["classes"])
            tasks.upload(self._job.objects, folder, Path(scratch), self._places.labels)
        return {}
