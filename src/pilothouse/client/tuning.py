"""One tuning job over a script, through the same API that boto3 users call."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pilothouse import names
from pilothouse.catalog import training_images, training_jobs
from pilothouse.client.embedded import EmbeddedServer
from pilothouse.client.interrupt import Interrupt
from pilothouse.client.training import check_output, ensure_bucket, refusals_in_words, unless_it_has_ended
from pilothouse.errors import ConfigurationError, JobFailed

STRATEGIES = ("Bayesian", "Random", "Grid", "Hyperband")
_POLL = 0.5
_PAGE = 100
_ENDED = ("Completed", "Failed", "Stopped")
_REQUIREMENTS = "requirements.txt"
_CHANNEL = "training"
_LONGEST = 28 * 86_400  # seconds that a trial may take: the service's limit


@dataclass(frozen=True)
class Wish:
    """What shall be tuned. `ranges` is the wire's ParameterRanges, `metrics` holds (name, regex) pairs."""

    script: Path
    ranges: dict[str, list[dict[str, Any]]]
    metrics: tuple[tuple[str, str], ...]
    objective: str
    maximize: bool
    jobs: int | None
    parallel: int
    strategy: str = "Bayesian"
    static: dict[str, str] = field(default_factory=dict)
    data: Path | None = None
    early_stopping: bool = False
    limit: int | None = None
    seed: int | None = None

    def config(self) -> dict[str, Any]:
        """The HyperParameterTuningJobConfig that says it."""
        limits = {
            "MaxNumberOfTrainingJobs": self.jobs,
            "MaxParallelTrainingJobs": self.parallel,
            "MaxRuntimeInSeconds": self.limit,
        }
        kind = "Maximize" if self.maximize else "Minimize"
        config = {
            "Strategy": self.strategy,
            "HyperParameterTuningJobObjective": {"Type": kind, "MetricName": self.objective},
            "ResourceLimits": {member: value for member, value in limits.items() if value is not None},
            "ParameterRanges": self.ranges,
            "TrainingJobEarlyStoppingType": "Auto" if self.early_stopping else "Off",
        }
        return config if self.seed is None else {**config, "RandomSeed": self.seed}


@dataclass(frozen=True)
class Progress:
    """How far a job is: its Describe answer, and the summaries of its newest training jobs, or of all once it ended."""

    job: dict[str, Any]
    trials: list[dict[str, Any]]

    @property
    def ended(self) -> bool:
        """Whether the job has come to its end."""
        return self.job["HyperParameterTuningJobStatus"] in _ENDED


class Tuning:
    """A tuning job on `server`; `run` it, then `download` what its best trial saved."""

    def __init__(self, server: EmbeddedServer, wish: Wish) -> None:
        self.name = f"tune-{names.token(12)}"
        self._settings, self._wish = server.settings, wish
        self._sagemaker, self._s3 = server.client("sagemaker"), server.client("s3")

    def run(self, progress: Callable[[Progress], None]) -> Progress:
        """Upload, create the job and wait for its end, which comes back. Ctrl-C stops the job; what has ended stays.

        `JobFailed` if no trial emitted the objective; `ConfigurationError` if the job is not accepted.
        """
        with refusals_in_words():
            self._create()
            with Interrupt() as interrupt:
                ended = self._watch(progress, interrupt)
        if "BestTrainingJob" not in ended.job:
            raise JobFailed(
                ended.job.get("FailureReason") or "The job was stopped before a trial emitted the objective."
            )
        return ended

    def download(self, ended: Progress, folder: Path) -> None:
        """Unpacks what the best trial saved in its model folder as `folder`."""
        from pilothouse.contract import pack

        best = ended.job["BestTrainingJob"]["TrainingJobName"]
        artifacts = self._sagemaker.describe_training_job(TrainingJobName=best)["ModelArtifacts"]
        location = urlsplit(artifacts["S3ModelArtifacts"])
        body = self._s3.get_object(Bucket=location.netloc, Key=location.path[1:])["Body"]
        folder.parent.mkdir(parents=True, exist_ok=True)
        pack.unpack(body, check_output(folder))

    def _create(self) -> None:
        bucket = self._settings.default_bucket
        ensure_bucket(self._s3, bucket)
        source = f"{self.name}/source/sourcedir.tar.gz"
        self._s3.put_object(Bucket=bucket, Key=source, Body=_archive(self._wish.script))
        static = {
            **self._wish.static,
            training_jobs.PROGRAM: self._wish.script.name,
            training_jobs.SUBMIT_DIRECTORY: f"s3://{bucket}/{source}",
        }
        definition = {
            "AlgorithmSpecification": {
                "TrainingImage": training_images.SCRIPT,
                "TrainingInputMode": "File",
                "MetricDefinitions": [{"Name": name, "Regex": regex} for name, regex in self._wish.metrics],
            },
            "StaticHyperParameters": static,
            "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/{self.name}/output"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 30},
            "StoppingCondition": {"MaxRuntimeInSeconds": _LONGEST},
            "RoleArn": self._settings.role_arn,
        }
        if self._wish.data is not None:
            definition["InputDataConfig"] = [self._channel(bucket, self._wish.data)]
        self._sagemaker.create_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=self.name,
            HyperParameterTuningJobConfig=self._wish.config(),
            TrainingJobDefinition=definition,
        )

    def _channel(self, bucket: str, data: Path) -> dict[str, Any]:
        prefix = f"{self.name}/data/"
        files = sorted(path for path in data.rglob("*") if path.is_file()) if data.is_dir() else [data]
        if not files:
            raise ConfigurationError(f"The folder {data} has no files. Name the data that the script reads.")
        for path in files:
            name = path.relative_to(data).as_posix() if data.is_dir() else path.name
            self._s3.upload_file(str(path), bucket, prefix + name)
        source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{prefix}"}
        return {"ChannelName": _CHANNEL, "DataSource": {"S3DataSource": source}}

    def _watch(self, progress: Callable[[Progress], None], interrupt: Interrupt) -> Progress:
        stopping = False
        while True:
            if interrupt.asked and not stopping:
                with unless_it_has_ended(lambda: self._describe()["HyperParameterTuningJobStatus"]):
                    self._sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=self.name)
                stopping = True
            job = self._describe()
            now = Progress(job, self._newest())
            if now.ended:
                now = Progress(job, self._all())
            progress(now)
            if now.ended:
                return now
            time.sleep(_POLL)

    def _describe(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._sagemaker.describe_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=self.name
        )
        return answer

    def _newest(self) -> list[dict[str, Any]]:
        answer = self._sagemaker.list_training_jobs_for_hyper_parameter_tuning_job(
            HyperParameterTuningJobName=self.name, SortBy="CreationTime", SortOrder="Descending", MaxResults=_PAGE
        )
        return list(answer["TrainingJobSummaries"])[::-1]

    def _all(self) -> list[dict[str, Any]]:
        paginator = self._sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        asked = {"HyperParameterTuningJobName": self.name, "SortBy": "CreationTime"}
        pages = paginator.paginate(**asked, PaginationConfig={"PageSize": _PAGE})
        return [trial for page in pages for trial in page["TrainingJobSummaries"]]


def _archive(script: Path) -> bytes:
    """The script, and the requirements.txt beside it, if there is one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path in (script, script.with_name(_REQUIREMENTS)):
            if path.is_file():
                archive.add(path.resolve(), arcname=path.name)
    return out.getvalue()
