"""`pilothouse demo`: the main job on real data, from a CSV file to an endpoint that answers."""

from __future__ import annotations

import csv
import io
import os
import random
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from pilothouse.errors import JobFailed

_PREFIX = "demo-"
_TARGET = "diagnosis"
_HELD_BACK = 60
_SHOWN = 10
_MAX_CANDIDATES = 6
_MAX_SECONDS = 120
_POLL = 0.5
_ENDPOINT_TIMEOUT = 120.0


@click.command()
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), default=Path(".demo"), show_default=True)
def demo(home: Path) -> None:
    """Train on scikit-learn's breast cancer data, deploy the best candidate, and predict rows that were held back.

    Everything goes through the API, as a boto3 user's code would. The home stays; `pilothouse serve` goes on with it.
    """
    from rich.console import Console

    from pilothouse.client.embedded import EmbeddedServer

    console = Console(highlight=False, soft_wrap=True)
    console.print("Starting a server …")
    with EmbeddedServer(home, PILOTHOUSE_MIN_ROWS="500") as server:
        _Demo(server, console).run()
    _how_to_go_on(console, home)


@dataclass(frozen=True)
class Table:
    """Rows of text under a header; the first column is the target."""

    header: list[str]
    rows: list[list[str]]

    def csv(self) -> str:
        """The table as a CSV file with a header."""
        return _csv([self.header, *self.rows])


def breast_cancer() -> tuple[Table, Table]:
    """The Wisconsin breast cancer data (569 rows, 30 measurements) that scikit-learn ships: to train on, held back."""
    from sklearn.datasets import load_breast_cancer

    bunch = load_breast_cancer()
    header = [_TARGET, *(name.replace(" ", "_") for name in bunch.feature_names)]
    rows = [
        [str(bunch.target_names[label]), *(str(float(value)) for value in values)]
        for label, values in zip(bunch.target, bunch.data, strict=True)
    ]
    random.Random(0).shuffle(rows)
    return Table(header, rows[_HELD_BACK:]), Table(header, rows[:_HELD_BACK])


class _Demo:
    """The acts of the demonstration, in order."""

    def __init__(self, server: Any, console: Any) -> None:
        self._settings = server.settings
        self._console = console
        self._url = server.url
        self._s3 = server.client("s3")
        self._sagemaker = server.client("sagemaker")
        self._runtime = server.client("sagemaker-runtime")
        self._name = f"{_PREFIX}{time.strftime('%Y%m%d-%H%M%S')}"

    def run(self) -> None:
        """All acts. `JobFailed` if the job or its endpoint fails."""
        from pilothouse.client.training import refusals_in_words

        with refusals_in_words():
            self._clear_the_stage()
            training, held_back = breast_cancer()
            self._create_job(self._upload(training), training)
            self._watch()
            self._show()
            self._await_endpoint()
            self._predict(held_back)

    def _clear_the_stage(self) -> None:
        """What earlier runs left running would only take this one's cores and memory."""
        for job in self._pages("list_auto_ml_jobs", "AutoMLJobSummaries", StatusEquals="InProgress"):
            self._console.print(f"Stopping the job {job['AutoMLJobName']} of an earlier run.")
            self._sagemaker.stop_auto_ml_job(AutoMLJobName=job["AutoMLJobName"])
        for endpoint in self._pages("list_endpoints", "Endpoints"):
            if endpoint["EndpointStatus"] not in ("Deleting", "Creating"):
                self._console.print(f"Removing the endpoint {endpoint['EndpointName']} of an earlier run.")
                self._sagemaker.delete_endpoint(EndpointName=endpoint["EndpointName"])

    def _pages(self, operation: str, member: str, **filters: str) -> list[dict[str, Any]]:
        pages = self._sagemaker.get_paginator(operation).paginate(NameContains=_PREFIX, **filters)
        return [entry for page in pages for entry in page[member]]

    def _upload(self, training: Table) -> str:
        from pilothouse.client.training import ensure_bucket

        bucket, key = self._settings.default_bucket, f"{self._name}/train.csv"
        ensure_bucket(self._s3, bucket)
        self._s3.put_object(Bucket=bucket, Key=key, Body=training.csv().encode())
        return f"s3://{bucket}/{key}"

    def _create_job(self, uri: str, training: Table) -> None:
        size = f"{len(training.rows)} rows x {len(training.header)} columns"
        self._console.print(f"CreateAutoMLJobV2 {self._name} at {self._url}, {size} in {uri}")
        self._sagemaker.create_auto_ml_job_v2(
            AutoMLJobName=self._name,
            AutoMLJobInputDataConfig=[
                {
                    "ChannelType": "training",
                    "ContentType": "text/csv;header=present",
                    "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}},
                }
            ],
            OutputDataConfig={"S3OutputPath": uri.rpartition("/")[0] + "/output"},
            AutoMLProblemTypeConfig={
                "TabularJobConfig": {
                    "TargetAttributeName": _TARGET,
                    "Mode": "ENSEMBLING",
                    "CompletionCriteria": {
                        "MaxCandidates": _MAX_CANDIDATES,
                        "MaxAutoMLJobRuntimeInSeconds": _MAX_SECONDS,
                    },
                }
            },
            ModelDeployConfig={"EndpointName": self._name},
            RoleArn=self._settings.role_arn,
        )

    def _watch(self) -> None:
        from pilothouse.cli.board import Board
        from pilothouse.client.training import Progress

        with Board(self._console) as board:
            while True:
                job = self._describe()
                board(progress := Progress(job, self._candidates()))
                if progress.ended:
                    break
                time.sleep(_POLL)
        if job["AutoMLJobStatus"] != "Completed":
            raise JobFailed(job.get("FailureReason") or f"The job {self._name} was stopped.")

    def _show(self) -> None:
        from pilothouse.cli.board import metrics_table
        from pilothouse.client.training import leaderboard

        job = self._describe()
        ranking = leaderboard(self._name, self._candidates(), job["BestCandidate"])
        seconds = (job["EndTime"] - job["CreationTime"]).total_seconds()
        self._console.print(f"\nCompleted in {seconds:.0f} s. Leaderboard, measured on rows kept for validation:")
        self._console.print(metrics_table(ranking))
        container = job["BestCandidate"]["InferenceContainers"][0]
        self._console.print(f"\nBest candidate: {ranking[0]['name']}, {container['ModelDataUrl']}")

    def _await_endpoint(self) -> None:
        deadline = time.monotonic() + _ENDPOINT_TIMEOUT
        while (status := self._endpoint()["EndpointStatus"]) == "Creating" and time.monotonic() < deadline:
            time.sleep(_POLL)
        if status != "InService":
            raise JobFailed(self._endpoint().get("FailureReason") or f"The endpoint is still {status}.")
        self._console.print(f"Endpoint: {self._name}, {status}")

    def _predict(self, held_back: Table) -> None:
        """The first rows are shown one by one; all count."""
        body = _csv(row[1:] for row in held_back.rows)
        answer = self._runtime.invoke_endpoint(EndpointName=self._name, ContentType="text/csv", Body=body)
        predicted = [row[0] for row in csv.reader(io.StringIO(answer["Body"].read().decode())) if row]
        truth = [row[0] for row in held_back.rows]
        self._console.print(f"\nInvokeEndpoint, {len(truth)} rows that were held back:")
        for said, true in list(zip(predicted, truth, strict=True))[:_SHOWN]:
            self._console.print(f"  predicted {said:<10} truth {true:<10} {'' if said == true else '<- wrong'}")
        right = sum(said == true for said, true in zip(predicted, truth, strict=True))
        self._console.print(f"  … {right} of {len(truth)} right")

    def _describe(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._sagemaker.describe_auto_ml_job_v2(AutoMLJobName=self._name)
        return answer

    def _candidates(self) -> list[dict[str, Any]]:
        pages = self._sagemaker.get_paginator("list_candidates_for_auto_ml_job").paginate(AutoMLJobName=self._name)
        return [candidate for page in pages for candidate in page["Candidates"]]

    def _endpoint(self) -> dict[str, Any]:
        answer: dict[str, Any] = self._sagemaker.describe_endpoint(EndpointName=self._name)
        return answer


def _csv(rows: Any) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _how_to_go_on(console: Any, home: Path) -> None:
    activate = "" if shutil.which("pilothouse") else f". {os.path.relpath(Path(sys.executable).parent)}/activate; "
    console.print(
        "\nThe server has stopped; job, model and endpoint are kept. To go on, in two shells:\n"
        f"  {activate}pilothouse serve --home {home}\n"
        f'  {activate}eval "$(pilothouse env --home {home})"; aws sagemaker list-auto-ml-jobs\n'
        "and for your own data: pilothouse fit data.csv --target column",
        markup=False,
    )
