"""Where a tuned job's artifacts go below its output path, and how its steps are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pilothouse import names
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.problems.tabular.ranges import SUFFIXES

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_SHORT = 20


@dataclass(frozen=True)
class Places:
    """Of one job. `token` tells its steps from those of other jobs, and comes out the same after a crash."""

    name: str
    output_path: str
    token: str

    @classmethod
    def of(cls, job: Job, spec: TabularJob) -> Places:
        token = names.digest(f"{job.resource.arn} {job.resource.created_at!r}")
        return cls(job.name, f"{spec.output_path}/{spec.name}", token)

    @property
    def candidates(self) -> str:
        """What the analysis leaves: the list of pipelines."""
        return f"{self.output_path}/sagemaker-automl-candidates/{self.analysis}"

    @property
    def processors(self) -> str:
        """The output path of the training jobs that fit pipelines."""
        return f"{self.output_path}/data-processor-models"

    @property
    def labels(self) -> str:
        """The archive with the labels, which all candidates share."""
        return f"{self.processors}/{self.name}-labels-1-{self.token}/output/model.tar.gz"

    def transformed(self, pipeline: str) -> str:
        """The matrix of a pipeline, as two parts."""
        return f"{self.output_path}/transformed-data/{pipeline}"

    def tuning(self, pipeline: str, algorithm: str) -> str:
        """The output path of the training jobs that tune an algorithm on a pipeline's matrix."""
        return f"{self.output_path}/tuning/{self.name[:_SHORT].rstrip('-')}-{pipeline}-{SUFFIXES[algorithm]}"

    @property
    def analysis(self) -> str:
        """The processing job that chose the pipelines."""
        return f"{self.name}-pr-1-{self.token}"

    def processor(self, pipeline: str) -> str:
        """The training job that fits a pipeline, and the model that transforms with it."""
        return f"{self.name}-{pipeline}-1-{self.token}"

    def transform(self, pipeline: str) -> str:
        """The transform job that makes a pipeline's matrix."""
        return f"{self.name}-{pipeline}-npy-1-{self.token}"
