"""The `aws` command, version 1 and, where Debian's package awscli is installed, version 2.

AWS_CLI_2 names another one of version 2 to test.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
COMMANDS = {"1": Path(sys.executable).parent / "aws", "2": Path(os.environ.get("AWS_CLI_2", "/usr/bin/aws"))}
ARCHIVE = ROOT / "tests/data/models/0.1.0/linear-learner.tar.gz"
IMAGE = "pilothouse/automl-tabular-inference:1-cpu-py3"
GROUP = "/aws/sagemaker/TrainingJobs"
EXIT_CODES = {"1": {"refused": 255, "usage": 2}, "2": {"refused": 254, "usage": 252}}
WAITED_IN_VAIN = 255
SCRIPT = (
    "TrainingImage=pilothouse/script:1,TrainingInputMode=File,ContainerEntrypoint=sh,ContainerArguments=-c,'echo done'"
)

Aws = Callable[..., Any]


@pytest.fixture(params=["1", "2"])
def version(request: pytest.FixtureRequest) -> str:
    """A version of the command that is installed."""
    if not release(request.param):
        pytest.skip(f"version {request.param} of the aws command is not installed")
    return str(request.param)


def release(version: str) -> tuple[int, ...]:
    """The release of that version of the command, as in (2, 9, 19); none if it is not installed."""
    command = COMMANDS[version]
    runs = os.access(command, os.X_OK)
    told = subprocess.run([command, "--version"], capture_output=True, text=True).stdout if runs else ""
    match = re.match(rf"aws-cli/({version}\.\d+\.\d+)", told)
    return tuple(map(int, match[1].split("."))) if match else ()


@pytest.fixture
def aws(station: Any, version: str) -> Aws:
    """Runs the command; its answer, parsed where it is JSON, or with check=False the ended process."""
    # Releases of version 2 before 2.13 do not know AWS_ENDPOINT_URL.
    old = (2, 0) <= release(version) < (2, 13)
    url = ["--endpoint-url", station.environment["AWS_ENDPOINT_URL"]] if old else []

    def run(*arguments: str, check: bool = True) -> Any:
        done = station.run(str(COMMANDS[version]), *url, *arguments, check=check)
        if not check:
            return done
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    return run


@pytest.fixture
def bucket(station: Any, version: str, files: Any) -> str:
    """A bucket of the version's own, with data and a model."""
    name, s3 = f"cli-{version}", station.server.client("s3")
    s3.create_bucket(Bucket=name)
    s3.upload_file(str(files.cells), name, "in/cells.csv")
    s3.upload_file(str(ARCHIVE), name, "model.tar.gz")
    return name


def test_the_example_goes_from_a_file_to_an_endpoint_that_answers(station: Any, version: str, files: Any) -> None:
    script = ROOT / "examples/aws_cli/automl.sh"
    path = f"{COMMANDS[version].parent}:{station.environment['PATH']}"
    arguments = [str(script), str(files.cells), "diagnosis", str(files.cells_score)]
    printed = station.run(*arguments, PATH=path).stdout.splitlines()
    labels = [line for line in printed if line in ("benign", "malignant")]
    assert len(labels) == len(files.cells_score.read_text().splitlines())
    assert any(re.fullmatch(r"cli-\S+\t0\.\d+", line) for line in printed)


def test_a_job_is_created_in_shorthand_and_another_from_a_skeleton(
    aws: Aws, bucket: str, version: str, station: Any, tmp_path: Path
) -> None:
    role = station.environment["PILOTHOUSE_ROLE_ARN"]
    source = f"DataSource={{S3DataSource={{S3DataType=S3Prefix,S3Uri=s3://{bucket}/in/}}}}"
    short, full = f"short-{version}", f"skeleton-{version}"
    created = aws(
        *("sagemaker", "create-auto-ml-job", "--auto-ml-job-name", short, "--role-arn", role),
        *("--input-data-config", f"{source},TargetAttributeName=diagnosis"),
        *("--output-data-config", f"S3OutputPath=s3://{bucket}/out"),
        *("--auto-ml-job-config", "CompletionCriteria={MaxCandidates=1},Mode=ENSEMBLING"),
        *("--problem-type", "BinaryClassification", "--auto-ml-job-objective", "MetricName=F1"),
        *("--tags", "Key=team,Value=a", "Key=stage,Value=b"),
    )
    assert created["AutoMLJobArn"].endswith(f":automl-job/{short}")
    sagemaker = station.server.client("sagemaker")
    assert len(sagemaker.list_tags(ResourceArn=created["AutoMLJobArn"])["Tags"]) == 2

    skeleton = aws("sagemaker", "create-auto-ml-job", "--generate-cli-skeleton")
    [channel] = skeleton["InputDataConfig"]
    channel["DataSource"]["S3DataSource"] = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/"}
    request = {
        "AutoMLJobName": full,
        "InputDataConfig": [{"DataSource": channel["DataSource"], "TargetAttributeName": "diagnosis"}],
        "OutputDataConfig": {"S3OutputPath": f"s3://{bucket}/out"},
        "RoleArn": role,
    }
    assert request.keys() <= skeleton.keys()
    (tmp_path / "request.json").write_text(json.dumps(request))
    aws("sagemaker", "create-auto-ml-job", "--cli-input-json", f"file://{tmp_path}/request.json")

    assert sagemaker.describe_auto_ml_job(AutoMLJobName=full)["InputDataConfig"][0]["ChannelType"] == "training"
    sagemaker.stop_auto_ml_job(AutoMLJobName=full)


def test_a_job_is_stopped_and_described_in_one_word(aws: Aws, bucket: str, version: str, station: Any) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/in/"}}
    station.server.client("sagemaker").create_auto_ml_job(
        AutoMLJobName=f"stopped-{version}",
        InputDataConfig=[{"DataSource": source, "TargetAttributeName": "diagnosis"}],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/out"},
        RoleArn=station.environment["PILOTHOUSE_ROLE_ARN"],
    )
    named = ("--auto-ml-job-name", f"stopped-{version}")
    assert aws("sagemaker", "stop-auto-ml-job", *named) == ""
    status = aws("sagemaker", "describe-auto-ml-job", *named, "--query", "AutoMLJobStatus", "--output", "text").strip()
    assert status in ("Stopping", "Stopped")


def test_pages_are_turned_by_the_command(aws: Aws, version: str, bucket: str, station: Any) -> None:
    names = [f"pages-{version}-{number}" for number in range(3)]
    sagemaker = station.server.client("sagemaker")
    for name in names:
        container = {"Image": IMAGE, "ModelDataUrl": f"s3://{bucket}/model.tar.gz"}
        sagemaker.create_model(ModelName=name, PrimaryContainer=container)
    listing = ("sagemaker", "list-models", "--name-contains", f"pages-{version}", "--sort-by", "Name")
    every = aws(*listing, "--sort-order", "Ascending", "--page-size", "1")
    assert [model["ModelName"] for model in every["Models"]] == names
    first = aws(*listing, "--sort-order", "Ascending", "--max-items", "2")
    rest = aws(*listing, "--sort-order", "Ascending", "--starting-token", first["NextToken"])
    assert [model["ModelName"] for model in [*first["Models"], *rest["Models"]]] == names


def test_a_model_and_its_configuration_are_created_in_shorthand(
    aws: Aws, version: str, bucket: str, station: Any
) -> None:
    name, role = f"shorthand-{version}", station.environment["PILOTHOUSE_ROLE_ARN"]
    container = f"Image={IMAGE},ModelDataUrl=s3://{bucket}/model.tar.gz,Environment={{A=b}}"
    aws(
        *("sagemaker", "create-model", "--model-name", name, "--execution-role-arn", role),
        *("--primary-container", container),
    )
    variant = f"VariantName=main,ModelName={name},InitialInstanceCount=1,InstanceType=ml.m5.large"
    aws("sagemaker", "create-endpoint-config", "--endpoint-config-name", name, "--production-variants", variant)
    sagemaker = station.server.client("sagemaker")
    assert sagemaker.describe_model(ModelName=name)["PrimaryContainer"]["Environment"] == {"A": "b"}
    [described] = sagemaker.describe_endpoint_config(EndpointConfigName=name)["ProductionVariants"]
    assert (described["VariantName"], described["InitialInstanceCount"]) == ("main", 1)


def test_the_command_waits_for_a_training_job(aws: Aws, version: str, bucket: str, station: Any) -> None:
    named = ("--training-job-name", f"waited-for-{version}")
    aws(
        *("sagemaker", "create-training-job", *named, "--role-arn", station.environment["PILOTHOUSE_ROLE_ARN"]),
        *("--algorithm-specification", SCRIPT, "--stopping-condition", "MaxRuntimeInSeconds=600"),
        *("--output-data-config", f"S3OutputPath=s3://{bucket}/out"),
        *("--resource-config", "InstanceType=ml.m5.large,InstanceCount=1,VolumeSizeInGB=1"),
    )
    waiter = station.server.client("sagemaker").get_waiter("training_job_completed_or_stopped")
    waiter.wait(TrainingJobName=named[1], WaiterConfig={"Delay": 1, "MaxAttempts": 300})
    assert aws("sagemaker", "wait", "training-job-completed-or-stopped", *named, check=False).returncode == 0
    assert aws("sagemaker", "describe-training-job", *named)["TrainingJobStatus"] == "Completed"
    search = ("--filter-pattern", "done", "--log-stream-name-prefix", f"{named[1]}/")
    if version == "2":  # version 1 has no tail
        printed = aws("logs", "tail", GROUP, *search, "--format", "short")
    else:
        events = aws("logs", "filter-log-events", "--log-group-name", GROUP, *search)["events"]
        printed = "".join(event["message"] + "\n" for event in events)
    assert printed.endswith("done\n")


def test_exit_codes_tell_what_went_wrong(aws: Aws, version: str) -> None:
    codes = EXIT_CODES[version]
    refused = aws("sagemaker", "describe-model", "--model-name", "none", check=False)
    assert refused.returncode == codes["refused"]
    assert "An error occurred (ValidationException) when calling the DescribeModel operation" in refused.stderr
    assert aws("sagemaker", "describe-model", check=False).returncode == codes["usage"]
    missing = ("--endpoint-name", "none")
    assert aws("sagemaker", "wait", "endpoint-deleted", *missing, check=False).returncode == 0
    in_vain = aws("sagemaker", "wait", "endpoint-in-service", *missing, check=False)
    assert (in_vain.returncode, in_vain.stdout) == (WAITED_IN_VAIN, "")
    assert "terminal failure state" in in_vain.stderr


def test_s3_rm_removes_one_object_or_all_beneath(aws: Aws, version: str, bucket: str, station: Any) -> None:
    s3 = station.server.client("s3")
    for key in ("rm/a", "rm/in/b", "rm/in/c/d", "rm/in/keep.csv", "rm/into"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert aws("s3", "rm", f"s3://{bucket}/rm/a") == f"delete: s3://{bucket}/rm/a\n"
    removed = aws("s3", "rm", f"s3://{bucket}/rm/in/", "--recursive", "--exclude", "*.csv")
    assert sorted(removed.split()[1::2]) == [f"s3://{bucket}/rm/in/b", f"s3://{bucket}/rm/in/c/d"]
    left = [row["Key"] for row in s3.list_objects_v2(Bucket=bucket, Prefix="rm/")["Contents"]]
    assert left == ["rm/in/keep.csv", "rm/into"]
    aws("s3", "rm", f"s3://{bucket}/rm", "--recursive")
    assert s3.list_objects_v2(Bucket=bucket, Prefix="rm/")["KeyCount"] == 0


def test_s3_presign_makes_an_address_for_everybody(version: str, bucket: str, station: Any, tmp_path: Path) -> None:
    station.server.client("s3").put_object(Bucket=bucket, Key="ü k", Body=b"hello")
    (tmp_path / "config").write_text("[default]\ns3 =\n  signature_version = s3v4\n")  # version 1 presigns with 2 else
    presign = ("s3", "presign", f"s3://{bucket}/ü k", "--expires-in", "3601")
    endpoint = ("--endpoint-url", station.environment["AWS_ENDPOINT_URL"])
    url = station.run(str(COMMANDS[version]), *endpoint, *presign, AWS_CONFIG_FILE=str(tmp_path / "config")).stdout
    with urllib.request.urlopen(url.strip()) as answer:
        assert answer.read() == b"hello"
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(url.strip().replace("=3601", "=3602"))
    assert error.value.code == 403
    error.value.close()
