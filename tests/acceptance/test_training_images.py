"""PILOTHOUSE_LAUNCHER=docker: any image runs under the container contract, by whichever engine works here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.launch.engine import engine

pytestmark = pytest.mark.slow

BUCKET = "images"
IMAGE = f"localhost/pilothouse-test:{os.getpid()}"  # test processes side by side have one engine
GROUP = "/aws/sagemaker/TrainingJobs"
TRAIN = r"""#!/bin/sh
set -e
rate=$(sed 's/.*"rate": "\([0-9.]*\)".*/\1/' /opt/ml/input/config/hyperparameters.json)
echo "rate=$rate; rows=$(cat /opt/ml/input/data/train/* | wc -l); quoted=$QUOTED"
if [ "$rate" = 9 ]; then echo "no such rate" > /opt/ml/output/failure; exit 3; fi
if [ "$rate" = 8 ]; then trap 'echo told; echo saved > /opt/ml/model/late; exit 0' TERM; while :; do sleep 0.1; done; fi
if [ "$rate" = 7 ]; then trap '' TERM; while :; do sleep 1; done; fi
echo weights > /opt/ml/model/weights
echo "$0" > /opt/ml/output/data/word
"""
TOOLS = ("sh", "cat", "echo", "wc", "sed", "sleep")


@pytest.fixture(scope="module")
def engine_variables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The variables with which an engine works here; skips where none does. The engine has the test's image then."""
    folder = tmp_path_factory.mktemp("image")
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("There is no busybox here to make an image of.")
    configuration = folder / "containers.conf"  # for machines that may not raise limits, or have cgroups of both kinds
    configuration.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
    )
    program = engine().program if _engine_answers() else pytest.skip("No container engine works here.")
    _import_image(program, folder, Path(busybox))
    for variables in ({}, {"CONTAINERS_CONF": str(configuration)}):
        run = [program, "run", "--rm", "--network", "host", "--pids-limit", "64", IMAGE, "echo", "works"]
        if subprocess.run(run, capture_output=True, env={**os.environ, **variables}, check=False).returncode == 0:
            yield variables
            subprocess.run([program, "rmi", "--force", IMAGE], capture_output=True, check=False)
            return
    pytest.skip("The container engine runs no container here.")


def _engine_answers() -> bool:
    try:
        return bool(engine())
    except Exception:
        return False


def _import_image(program: str, folder: Path, busybox: Path) -> None:
    root = folder / "root"
    for name in ("bin", "etc", "tmp", "opt", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for tool in TOOLS:
        (root / "bin" / tool).symlink_to("busybox")
    (root / "bin/train").write_text(TRAIN)
    (root / "bin/train").chmod(0o755)
    with tarfile.open(folder / "root.tar", "w") as tar:
        tar.add(root, arcname=".")
    subprocess.run([program, "import", str(folder / "root.tar"), IMAGE], capture_output=True, check=True)


@pytest.fixture(scope="module")
def server(server_with: Callable[..., Any], engine_variables: dict[str, str]) -> Any:
    started = server_with(PILOTHOUSE_STOP_GRACE="2", PILOTHOUSE_LAUNCHER="docker", **engine_variables)
    started.client("s3").create_bucket(Bucket=BUCKET)
    started.client("s3").put_object(Bucket=BUCKET, Key="train/rows", Body=b"1\n2\n3\n")
    return started


def create(server: Any, name: str, rate: int, **changes: Any) -> None:
    server.client("sagemaker").create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={
            "TrainingImage": IMAGE,
            "TrainingInputMode": "File",
            "MetricDefinitions": [
                {"Name": "rate", "Regex": "rate=([0-9.]+)"},
                {"Name": "rows", "Regex": "rows=(\\d+)"},
            ],
            **changes.pop("Algorithm", {}),
        },
        HyperParameters={"rate": str(rate)},
        Environment={"QUOTED": '"two\nlines"'},
        InputDataConfig=[
            {
                "ChannelName": "train",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/train/"}},
            }
        ],
        RoleArn="arn:aws:iam::000000000000:role/PilothouseRole",
        OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
        ResourceConfig={
            "InstanceType": "ml.m5.large",
            "InstanceCount": changes.pop("hosts", 1),
            "VolumeSizeInGB": 1,
            **changes.pop("Volume", {}),
        },
        StoppingCondition={"MaxRuntimeInSeconds": 600},
        **changes,
    )


def wait(server: Any, name: str, true: Callable[[Any], bool] | None = None) -> dict[str, Any]:
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        job: dict[str, Any] = server.client("sagemaker").describe_training_job(TrainingJobName=name)
        if (true or (lambda j: j["TrainingJobStatus"] not in ("InProgress", "Stopping")))(job):
            return job
        time.sleep(0.1)
    raise AssertionError(f"{job['SecondaryStatus']}\n{log(server, name)}")


def log(server: Any, name: str) -> str:
    logs = server.client("logs")
    streams = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
    pages = [
        logs.get_log_events(logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True)
        for stream in streams
    ]
    return "\n".join(event["message"] for page in pages for event in page["events"])


def content(server: Any, name: str, archive: str) -> dict[str, bytes]:
    body = server.client("s3").get_object(Bucket=BUCKET, Key=f"out/{name}/output/{archive}.tar.gz")["Body"]
    with tarfile.open(fileobj=body, mode="r|gz") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isfile()}  # type: ignore[union-attr]


def running(variables: dict[str, str]) -> list[str]:
    listed = [engine().program, "ps", "--all", "--format", "json", "--filter", f"ancestor={IMAGE}"]
    said = subprocess.run(listed, capture_output=True, env={**os.environ, **variables}, check=True).stdout
    return json.loads(said or b"[]") or []


def test_an_image_trains_as_in_the_cloud(server: Any) -> None:
    create(server, "cloudlike", 2)
    job = wait(server, "cloudlike")
    said = log(server, "cloudlike")
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), said)
    assert {metric["MetricName"]: metric["Value"] for metric in job["FinalMetricDataList"]} == {"rate": 2, "rows": 3}
    assert 'quoted="two\nlines"' in said
    assert "as a container of" in said
    assert content(server, "cloudlike", "model") == {"weights": b"weights\n"}
    assert content(server, "cloudlike", "output") == {"word": b"/bin/train\n"}


def test_its_failure_file_and_exit_code_are_the_reason(server: Any) -> None:
    create(server, "failing", 9)
    assert wait(server, "failing")["FailureReason"] == "AlgorithmError: no such rate, exit code: 3"


def test_an_entry_point_of_the_job_takes_its_place(server: Any) -> None:
    words = {"ContainerEntrypoint": ["sh", "-c"], "ContainerArguments": ["echo rate=5; echo $0 > /opt/ml/model/x"]}
    create(server, "pointed", 2, Algorithm=words)
    job = wait(server, "pointed")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert content(server, "pointed", "model") == {"x": b"sh\n"}


def test_with_a_key_for_its_volume_it_writes_to_memory_and_nowhere_else(server: Any) -> None:
    script = "echo kept > /tmp/x; echo lost > /x || cat /tmp/x > /opt/ml/model/x; cat /proc/mounts"
    words = {"ContainerEntrypoint": ["sh", "-c"], "ContainerArguments": [script]}
    create(server, "keyed", 2, Algorithm=words, Volume={"VolumeKmsKeyId": "alias/ours"})
    job, said = wait(server, "keyed"), log(server, "keyed")
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), said)
    assert content(server, "keyed", "model") == {"x": b"kept\n"}
    kinds = {line.split()[1]: line.split()[2] for line in said.splitlines() if " rw," in line or " ro," in line}
    assert kinds["/tmp"] == kinds["/opt/ml"] == "tmpfs", said


def test_several_instances_are_containers_that_know_each_other_and_read_from_pipes(server: Any) -> None:
    script = "me=$(cat /proc/sys/kernel/hostname); cat /etc/hosts > /opt/ml/model/$me; cat /opt/ml/input/data/train_0"
    words = {"ContainerEntrypoint": ["sh", "-c"], "ContainerArguments": [script], "TrainingInputMode": "Pipe"}
    create(server, "fleet", 2, Algorithm=words, hosts=2)
    job = wait(server, "fleet")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    model = content(server, "fleet", "model")
    assert sorted(model) == ["algo-1", "algo-2"]
    for table in model.values():
        named = {name: line.split()[0] for line in table.decode().splitlines() for name in line.split()[1:]}
        assert named["algo-2"].removesuffix(".2") == named["algo-1"].removesuffix(".1")
    assert log(server, "fleet").splitlines().count("3") == 2  # the last of the channel's rows, by a pipe


@pytest.mark.parametrize(("rate", "told"), [(8, True), (7, False)])
def test_a_stop_reaches_the_container_and_leaves_none(
    server: Any, engine_variables: dict[str, str], rate: int, told: bool
) -> None:
    name = f"stopped-{rate}"
    create(server, name, rate)
    wait(server, name, lambda job: job.get("FinalMetricDataList"))
    server.client("sagemaker").stop_training_job(TrainingJobName=name)
    assert wait(server, name)["TrainingJobStatus"] == "Stopped"
    assert ("told" in log(server, name)) == told
    assert content(server, name, "model") == ({"late": b"saved\n"} if told else {})
    assert running(engine_variables) == []


def test_an_image_that_is_nowhere_fails_the_job_in_words(server: Any) -> None:
    create(server, "nowhere", 2, Algorithm={"TrainingImage": "localhost/no-such-image:1"})
    job = wait(server, "nowhere")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: The training image cannot be had: ")


def test_a_killed_server_leaves_no_container_and_the_job_goes_on(
    start_server: Callable[..., Any], engine_variables: dict[str, str]
) -> None:
    server = start_server(PILOTHOUSE_STOP_GRACE="2", PILOTHOUSE_LAUNCHER="docker", **engine_variables)
    server.client("s3").create_bucket(Bucket=BUCKET)
    server.client("s3").put_object(Bucket=BUCKET, Key="train/rows", Body=b"1\n")
    create(server, "killed", 8)
    wait(server, "killed", lambda job: job.get("FinalMetricDataList"))
    server.kill()
    server.start()
    wait(server, "killed", lambda job: log(server, "killed").count("rate=8") == 2)
    assert len(running(engine_variables)) == 1
    server.client("sagemaker").stop_training_job(TrainingJobName="killed")
    assert wait(server, "killed")["TrainingJobStatus"] == "Stopped"
    assert running(engine_variables) == []
