"""Pilothouse as its users have it: a started server, a CSV in its bucket, a job through boto3, an endpoint.

The job gets default settings and MaxAutoMLJobRuntimeInSeconds. The best candidate's archive predicts in this process,
and one row at a time through InvokeEndpoint.
"""

from __future__ import annotations

import contextlib
import csv
import io
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from run import Run, median_seconds, size

_NAME, _BUCKET, _ROLE = "peers", "peers", "arn:aws:iam::000000000000:role/PilothouseRole"
_JOB_GRACE, _ENDPOINT_SECONDS, _POLL = 300, 120, 0.1
_PROBLEM_TYPES = {
    "binary": "BinaryClassification",
    "multiclass": "MulticlassClassification",
    "regression": "Regression",
}
_NOT_FOR_JOBS = "LogLoss"


def main() -> None:
    import boto3

    run = Run.from_arguments()
    with _server(run.folder / "home") as environment:
        client = _clients(boto3, environment)
        s3, sagemaker = client("s3"), client("sagemaker")
        s3.create_bucket(Bucket=_BUCKET)
        s3.upload_file(str(run.folder / "train.csv"), _BUCKET, "in/train.csv")
        run.start()
        sagemaker.create_auto_ml_job_v2(**_request(run))
        job = _ended(sagemaker, time.monotonic() + run.budget + _JOB_GRACE)
        run.usable()
        _note(run, job)
        model = _download(s3, job["BestCandidate"], run.folder)
        rows = _read(run.folder / "test.csv")
        _predict(run, model, rows, _read(run.folder / "many.csv"))
        _deploy(sagemaker, job["BestCandidate"])
        run.answer["http_row_seconds"] = _invoked(client("sagemaker-runtime"), rows)
    archive = run.folder / "model.tar.gz"
    run.answer["archive_bytes"] = size(archive)
    run.finish(version=version("pilothouse"), model_bytes=size(model), remark=run.answer.pop("remark"))


@contextlib.contextmanager
def _server(home: Path) -> Iterator[dict[str, str]]:
    """The shell variables that a started server's users have, and its address; it is ended afterwards."""
    pilothouse = [sys.executable, "-m", "pilothouse"]
    serve = [*pilothouse, "serve", "--port", "0", "--home", str(home)]
    process = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        url = next((word for word in process.stdout.readline().split() if word.startswith("http")), None)
        if url is None:
            raise SystemExit("The server did not start.")
        command = [*pilothouse, "env", "--home", str(home)]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        words = (shlex.split(line) for line in printed.splitlines())
        yield dict(word[1].split("=", 1) for word in words if word[:1] == ["export"]) | {"URL": url}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _clients(boto3: Any, environment: dict[str, str]) -> Any:
    return lambda service: boto3.client(
        service,
        endpoint_url=environment["URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )


def _request(run: Run) -> dict[str, Any]:
    channel = {
        "ChannelType": "training",
        "ContentType": "text/csv;header=present",
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{_BUCKET}/in/"}},
    }
    tabular: dict[str, Any] = {
        "TargetAttributeName": run.target,
        "CompletionCriteria": {"MaxAutoMLJobRuntimeInSeconds": run.budget},
    }
    wanted = run.task["objective"]
    asked = wanted is not None and wanted != _NOT_FOR_JOBS
    if asked:
        tabular["ProblemType"] = _PROBLEM_TYPES[run.problem]
    return {
        "AutoMLJobName": _NAME,
        "AutoMLJobInputDataConfig": [channel],
        "OutputDataConfig": {"S3OutputPath": f"s3://{_BUCKET}/out"},
        "RoleArn": _ROLE,
        "AutoMLProblemTypeConfig": {"TabularJobConfig": tabular},
        **({"AutoMLJobObjective": {"MetricName": wanted}} if asked else {}),
    }


def _ended(sagemaker: Any, deadline: float) -> dict[str, Any]:
    while time.monotonic() < deadline:
        job: dict[str, Any] = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=_NAME)
        if job["AutoMLJobStatus"] == "Completed":
            return job
        if job["AutoMLJobStatus"] != "InProgress":
            raise SystemExit(f"The job is {job['AutoMLJobStatus']}: {job.get('FailureReason')}")
        time.sleep(_POLL)
    raise SystemExit(f"The job had not ended {_JOB_GRACE} s after its time.")


def _note(run: Run, job: dict[str, Any]) -> None:
    """What Describe says of the job."""
    tabular = job["ResolvedAttributes"]["AutoMLProblemTypeResolvedAttributes"]["TabularResolvedAttributes"]
    resolved = tabular["ProblemType"]
    if resolved != _PROBLEM_TYPES[run.problem]:
        raise SystemExit(f"The job took the problem for {resolved}; the data set says {run.problem}.")
    run.answer["objective"] = job["ResolvedAttributes"]["AutoMLJobObjective"]["MetricName"]
    run.answer["validation"] = job["BestCandidate"]["FinalAutoMLJobObjectiveMetric"]["Value"]
    reasons = [reason["PartialFailureMessage"] for reason in job.get("PartialFailureReasons", [])]
    run.answer["partial_failures"] = reasons
    run.answer["remark"] = f"{job['BestCandidate']['CandidateName']}, {job['AutoMLJobSecondaryStatus']}"


def _download(s3: Any, best: dict[str, Any], folder: Path) -> Path:
    from pilothouse.contract import pack

    bucket, _, key = best["InferenceContainers"][0]["ModelDataUrl"].removeprefix("s3://").partition("/")
    s3.download_file(bucket, key, str(folder / "model.tar.gz"))
    pack.unpack(folder / "model.tar.gz", folder / "model")
    return folder / "model"


def _predict(run: Run, model: Path, rows: list[list[str]], many: list[list[str]]) -> None:
    from pilothouse.problems.tabular.predictor import TabularPredictor

    predictor = TabularPredictor.load(model)
    predicted = predictor.predict(rows)
    if predicted.values is not None:
        run.valued(predicted.values)
    else:
        run.classified(predicted.probabilities, predictor.classes or [], predicted.labels)
    run.time_rows(predictor.predict, ([row] for row in rows), many)


def _deploy(sagemaker: Any, best: dict[str, Any]) -> None:
    sagemaker.create_model(ModelName=_NAME, Containers=best["InferenceContainers"], ExecutionRoleArn=_ROLE)
    variant = {"VariantName": "main", "ModelName": _NAME, "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    sagemaker.create_endpoint_config(EndpointConfigName=_NAME, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=_NAME, EndpointConfigName=_NAME)
    deadline = time.monotonic() + _ENDPOINT_SECONDS
    while (endpoint := sagemaker.describe_endpoint(EndpointName=_NAME))["EndpointStatus"] == "Creating":
        if time.monotonic() > deadline:
            raise SystemExit(f"The endpoint was not in service after {_ENDPOINT_SECONDS} s.")
        time.sleep(_POLL)
    if endpoint["EndpointStatus"] != "InService":
        raise SystemExit(f"The endpoint is {endpoint['EndpointStatus']}: {endpoint.get('FailureReason')}")


def _invoked(runtime: Any, rows: list[list[str]]) -> float:
    """The median seconds of InvokeEndpoint with one row, from the call to the answer's last byte."""

    def invoke(body: bytes) -> bytes:
        answer = runtime.invoke_endpoint(EndpointName=_NAME, ContentType="text/csv", Body=body)
        read: bytes = answer["Body"].read()
        return read

    return median_seconds(invoke, [_csv(row) for row in rows])


def _csv(row: list[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode()


def _read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))[1:]


if __name__ == "__main__":
    main()
