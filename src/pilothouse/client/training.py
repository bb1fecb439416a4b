"""One AutoML job from a file to a model folder, through the same API that boto3 users call."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pilothouse import names
from pilothouse.catalog.metrics import BINARY, DEFAULT_OBJECTIVE, METRICS, MULTICLASS, PROBLEM_TYPES
from pilothouse.catalog.tabular_jobs import CSV, PARQUET
from pilothouse.client.embedded import EmbeddedServer
from pilothouse.client.frames import column
from pilothouse.client.interrupt import Interrupt
from pilothouse.client.model import LEADERBOARD, Model
from pilothouse.errors import ConfigurationError, JobFailed, PilothouseError

_POLL = 0.5
_ENDED = ("Completed", "Failed", "Stopped")


@dataclass(frozen=True)
class Progress:
    """How far a job is: its DescribeAutoMLJobV2 answer, and its AutoMLCandidates, oldest first."""

    job: dict[str, Any]
    candidates: list[dict[str, Any]]

    @property
    def ended(self) -> bool:
        """Whether the job has come to its end."""
        return self.job["AutoMLJobStatus"] in _ENDED


@dataclass(frozen=True)
class Wish:
    """What a job shall do; None is left to the service. The service takes metric and problem type together or not."""

    target: str
    limit: int | None = None
    metric: str | None = None
    problem_type: str | None = None
    max_candidates: int | None = None

    def completed(self, source: Path) -> Wish:
        """With the problem type that the metric implies, or the metric that is usual for the problem type.

        `ConfigurationError` if one of them is not known.
        """
        if not self.metric and not self.problem_type:
            return self
        kind = self.problem_type or implied_problem_type(checked_metric(self.metric or ""), source, self.target)
        metric = self.metric or DEFAULT_OBJECTIVE[checked_problem_type(kind)]
        return replace(self, problem_type=checked_problem_type(kind), metric=checked_metric(metric))

    def members(self) -> dict[str, Any]:
        """The members of CreateAutoMLJobV2 that say it."""
        tabular = _without_none(
            TargetAttributeName=self.target,
            Mode="ENSEMBLING",
            ProblemType=self.problem_type,
            CompletionCriteria=_without_none(
                MaxCandidates=self.max_candidates, MaxAutoMLJobRuntimeInSeconds=self.limit
            ),
        )
        return _without_none(
            AutoMLProblemTypeConfig={"TabularJobConfig": tabular},
            AutoMLJobObjective={"MetricName": self.metric} if self.metric else None,
        )


class Training:
    """An AutoML job on `server`; `run` it, then `download` its best model."""

    def __init__(self, server: EmbeddedServer, source: Path, wish: Wish) -> None:
        self.name = f"fit-{names.token(12)}"
        self._settings = server.settings
        self._source = source
        self._wish = wish
        self._sagemaker = server.client("sagemaker")
        self._s3 = server.client("s3")

    def run(self, progress: Callable[[Progress], None]) -> None:
        """Upload, create the job and wait for its end. Ctrl-C stops the job, which keeps what is finished.

        `JobFailed` if it ends without a model; `ConfigurationError` if it is not accepted.
        """
        with refusals_in_words():
            self._create()
            with Interrupt() as interrupt:
                self._watch(progress, interrupt)
        if "BestCandidate" not in self._describe():
            raise JobFailed(
                self._describe().get("FailureReason") or "The job was stopped before a candidate was finished."
            )

    def download(self, folder: Path) -> Model:
        """Unpack the best candidate's archive as `folder`, with the leaderboard; the folder appears whole."""
        from pilothouse.contract import pack

        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = folder.with_name(f".{folder.name}.{names.token()}")
        best = self._describe()["BestCandidate"]
        location = urlsplit(best["InferenceContainers"][0]["ModelDataUrl"])
        try:
            body = self._s3.get_object(Bucket=location.netloc, Key=location.path[1:])["Body"]
            pack.unpack(body, unfinished)
            (unfinished / LEADERBOARD).write_text(
                json.dumps(leaderboard(self.name, self.candidates(), best), indent=1) + "\n"
            )
            unfinished.rename(check_output(folder))
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        return Model(folder)

    def candidates(self) -> list[dict[str, Any]]:
        """The candidates so far, oldest first."""
        pages = self._sagemaker.get_paginator("list_candidates_for_auto_ml_job").paginate(AutoMLJobName=self.name)
        return [candidate for page in pages for candidate in page["Candidates"]]

    def _create(self) -> None:
        bucket = self._settings.default_bucket
        key = f"{self.name}/input/{self._source.name}"
        ensure_bucket(self._s3, bucket)
        self._s3.upload_file(str(self._source), bucket, key)
        self._sagemaker.create_auto_ml_job_v2(
            AutoMLJobName=self.name,
            AutoMLJobInputDataConfig=[_channel(self._source, f"s3://{bucket}/{key}")],
            OutputDataConfig={"S3OutputPath": f"s3://{bucket}/{self.name}/output"},
            RoleArn=self._settings.role_arn,
            **self._wish.members(),
        )

    def _watch(self, progress: Callable[[Progress], None], interrupt: Interrupt) -> None:
        stopping = False
        while True:
            if interrupt.asked and not stopping:
                with unless_it_has_ended(lambda: self._describe()["AutoMLJobStatus"]):
                    self._sagemaker.stop_auto_ml_job(AutoMLJobName=self.name)
                stopping = True
            now = Progress(self._describe(), self.candidates())
            progress(now)
            if now.ended:
                return
            time.sleep(_POLL)

    def _describe(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._sagemaker.describe_auto_ml_job_v2(AutoMLJobName=self.name)
        return answer


def ensure_bucket(s3: Any, bucket: str) -> None:
    """Make the bucket unless it is there."""
    from botocore.exceptions import ClientError

    try:
        s3.create_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
            raise


def leaderboard(job: str, candidates: list[dict[str, Any]], best: dict[str, Any]) -> list[dict[str, Any]]:
    """The completed candidates, best first: name without the job's, objective, and all metrics of validation rows."""
    direction = best["FinalAutoMLJobObjectiveMetric"].get("Type", "Maximize")
    done = [candidate for candidate in candidates if candidate["CandidateStatus"] == "Completed"]
    done.sort(key=lambda candidate: _rank(candidate, best["CandidateName"], -1 if direction == "Maximize" else 1))
    return [
        {
            "name": candidate["CandidateName"].removeprefix(f"{job}-"),
            "objective": candidate["FinalAutoMLJobObjectiveMetric"]["MetricName"],
            "metrics": {
                metric["StandardMetricName"]: metric["Value"]
                for metric in candidate["CandidateProperties"]["CandidateMetrics"]
                if metric.get("Set") == "Validation"
            },
        }
        for candidate in done
    ]


def _rank(candidate: dict[str, Any], best: str, sign: int) -> tuple[bool, float]:
    return candidate["CandidateName"] != best, sign * candidate["FinalAutoMLJobObjectiveMetric"]["Value"]


def check_output(folder: Path) -> Path:
    """`folder`, if a model can be put there. `ConfigurationError` if something is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} exists already. Move it away, or name another folder with --out.")
    return folder


def checked_metric(metric: str) -> str:
    """`metric`, if a job can optimise it. `ConfigurationError` lists those that can be."""
    if metric not in METRICS or not METRICS[metric].objective:
        known = ", ".join(sorted(name for name, entry in METRICS.items() if entry.objective))
        raise ConfigurationError(f"There is no metric {metric} to optimise. Choose one of {known}.")
    return metric


def checked_problem_type(problem_type: str) -> str:
    """`problem_type`, if there is one of this name. `ConfigurationError` lists them."""
    if problem_type not in PROBLEM_TYPES:
        raise ConfigurationError(f"There is no problem type {problem_type}. Choose one of {', '.join(PROBLEM_TYPES)}.")
    return problem_type


def implied_problem_type(metric: str, source: Path, target: str) -> str:
    """The problem type that `metric` belongs to; where it belongs to two, the target's values decide."""
    candidates = METRICS[metric].problem_types
    if len(candidates) == 1:
        return candidates[0]
    values: set[str] = set()
    for value in column(source, target):
        values.add(value)
        if len(values) > 2:
            return MULTICLASS
    return BINARY


@contextmanager
def refusals_in_words() -> Iterator[None]:
    """Within the block, the server's refusals are `ConfigurationError`s with its sentence."""
    from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

    try:
        yield
    except ClientError as error:
        raise ConfigurationError(error.response.get("Error", {}).get("Message") or str(error)) from error
    except ParamValidationError as error:
        raise ConfigurationError(str(error)) from error
    except BotoCoreError as error:
        raise PilothouseError(f"The server does not answer: {error}") from error


@contextmanager
def unless_it_has_ended(status: Callable[[], str]) -> Iterator[None]:
    """Within the block a job is stopped, which is refused if it has ended meanwhile: that is as good."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError:
        if status() not in _ENDED:
            raise


def _channel(source: Path, uri: str) -> dict[str, Any]:
    with source.open("rb") as file:
        start = file.read(4)
    return {
        "ChannelType": "training",
        "ContentType": PARQUET if start == b"PAR1" else CSV,
        "CompressionType": "Gzip" if start[:2] == b"\x1f\x8b" else "None",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
    }


def _without_none(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in (None, {})}
