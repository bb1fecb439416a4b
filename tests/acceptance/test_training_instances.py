"""Training jobs with several instances, a program for each host on this one machine; and channels in Pipe mode."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.acceptance.conftest import children_named

pytestmark = pytest.mark.slow

BUCKET = "fleet"
GROUP = "/aws/sagemaker/TrainingJobs"
REPORT = """
import json, os, pathlib, socket, time
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
me, hosts = os.environ["SM_CURRENT_HOST"], json.loads(os.environ["SM_HOSTS"])
def files(channel):
    folder = pathlib.Path(os.environ["SM_CHANNEL_" + channel])
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
def reached(host):
    while True:
        try:
            return socket.create_connection((host, 7654))
        except ConnectionRefusedError:
            time.sleep(0.02)
report = {
    "hosts": hosts,
    "resources": json.loads((base / "input/config/resourceconfig.json").read_text()),
    "shard": files("SHARD"),
    "whole": files("WHOLE"),
    "master": json.loads(os.environ["SM_TRAINING_ENV"])["is_master"],
}
try:
    addresses = [socket.gethostbyname(host) for host in hosts]
except OSError:
    addresses = []
if addresses:
    report["called"] = socket.gethostname()
    with socket.socket() as mine:
        mine.bind((me, 7654))
        mine.listen()
        talk = [reached(host) for host in hosts] if me == hosts[0] else [mine.accept()[0]]
        for each in talk:
            each.sendall(me.encode())
        report["heard"] = talk[0].recv(9).decode() if me != hosts[0] else None
print(f"score={hosts.index(me) + 1}")
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
(model / me).mkdir()
(model / me / "report.json").write_text(json.dumps(report))
(model / "both").write_text(me)
pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"], me).write_text(me)
"""
WAITS = """
import os, pathlib, signal, sys, time
me = os.environ["SM_CURRENT_HOST"]
def save(*_):
    pathlib.Path(os.environ["SM_MODEL_DIR"], me).write_text("saved")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
checkpoints = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "checkpoints")
mine = checkpoints / me
again = mine.exists()
mine.touch()
piped = checkpoints.parent / "input/data/train_0"
rows = piped.read_text() if piped.exists() else ""
print("again" if again else "ready", rows.strip(), flush=True)
if os.environ.get("FAILS") == me:
    sys.exit("this host is broken")
if not again:
    time.sleep(600)
"""

PIPED = """
import json, os, pathlib
folder, me = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"], "input/data"), os.environ["SM_CURRENT_HOST"]
mode = json.loads(os.environ["SM_INPUT_DATA_CONFIG"])["train"]["TrainingInputMode"]
epochs = [pathlib.Path(folder, f"train_{epoch}").read_text().split() for epoch in range(3)]
report = {"mode": mode, "epochs": epochs, "file": pathlib.Path(folder, "other/x").read_text()}
pathlib.Path(os.environ["SM_MODEL_DIR"], me).write_text(json.dumps(report))
"""


class Fleet:
    """A server and a bucket."""

    def __init__(self, server: Any, archive: Callable[..., bytes]) -> None:
        self.server = server
        self.archive = archive
        self.s3, self.sagemaker, self.logs = (server.client(name) for name in ("s3", "sagemaker", "logs"))
        if all(bucket["Name"] != BUCKET for bucket in self.s3.list_buckets()["Buckets"]):
            self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, body: bytes) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def create(self, name: str, script: str, hosts: int = 2, **changes: Any) -> None:
        source = self.put(f"{name}.tar.gz", self.archive({"train.py": script}))
        self.sagemaker.create_training_job(
            **{
                "TrainingJobName": name,
                "AlgorithmSpecification": {
                    "TrainingImage": "pilothouse/script:1",
                    "TrainingInputMode": "File",
                    "MetricDefinitions": [{"Name": "score", "Regex": "score=([0-9]+)"}],
                },
                "HyperParameters": {"sagemaker_program": "train.py", "sagemaker_submit_directory": source},
                "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
                "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
                "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": hosts, "VolumeSizeInGB": 1},
                "StoppingCondition": {"MaxRuntimeInSeconds": 300},
                **changes,
            }
        )

    def wait(self, name: str, true: Callable[[], bool] = lambda: False) -> dict[str, Any]:
        give_up = time.monotonic() + 240
        while time.monotonic() < give_up:
            job: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
            if job["TrainingJobStatus"] not in ("InProgress", "Stopping") or true():
                return job
            time.sleep(0.15)
        raise AssertionError(f"{name} is still {job['SecondaryStatus']}\n{self.log(name)}")

    def streams(self, name: str) -> list[str]:
        found = self.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/algo")["logStreams"]
        return [stream["logStreamName"] for stream in found]

    def log(self, name: str) -> list[str]:
        pages = [
            self.logs.get_log_events(logGroupName=GROUP, logStreamName=stream, startFromHead=True)["events"]
            for stream in self.streams(name)
        ]
        return [event["message"] for page in pages for event in page]

    def files(self, name: str, kind: str = "model") -> dict[str, bytes]:
        body = self.s3.get_object(Bucket=BUCKET, Key=f"out/{name}/output/{kind}.tar.gz")["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]


@pytest.fixture(params=["auto", "process", "unshare"])
def either(request: pytest.FixtureRequest, isolating: Callable[[str], Any], archive: Callable[..., bytes]) -> Fleet:
    """At whatever level of isolation works here, at the lowest, and without bubblewrap."""
    return Fleet(isolating(request.param), archive)


@pytest.fixture
def fleet(isolating: Callable[[str], Any], archive: Callable[..., bytes]) -> Fleet:
    return Fleet(isolating("auto"), archive)


def source(uri: str, distribution: str = "FullyReplicated") -> dict[str, Any]:
    return {
        "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri, "S3DataDistributionType": distribution}}
    }


def test_each_host_has_its_own_world_and_the_model_is_of_all(either: Fleet) -> None:
    for key in ("a", "b", "c", "deep/d", "deep/e"):
        either.put(f"data/{key}", b"1\n")
    channels = [
        {"ChannelName": "shard", **source(f"s3://{BUCKET}/data/", "ShardedByS3Key")},
        {"ChannelName": "whole", **source(f"s3://{BUCKET}/data/")},
    ]
    either.create("world", REPORT, InputDataConfig=channels)
    job = either.wait("world")
    log = either.log("world")
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), log)
    assert job["ResourceConfig"]["InstanceCount"] == 2
    model = either.files("world")
    assert sorted(model) == ["algo-1/report.json", "algo-2/report.json", "both"]
    assert model["both"] == b"algo-1"
    assert either.files("world", "output") == {"algo-1": b"algo-1", "algo-2": b"algo-2"}
    first, second = (json.loads(model[f"algo-{number}/report.json"]) for number in (1, 2))
    assert first["hosts"] == second["hosts"] == ["algo-1", "algo-2"]
    assert (first["master"], second["master"]) == (True, False)
    assert second["resources"]["current_host"] == "algo-2"
    assert second["resources"]["instance_groups"][0]["hosts"] == ["algo-1", "algo-2"]
    assert (first["shard"], second["shard"]) == (["a", "c", "deep/e"], ["b", "deep/d"])
    assert first["whole"] == second["whole"] == ["a", "b", "c", "deep/d", "deep/e"]
    if any("bubblewrap:" in line or "namespaces:" in line for line in log):
        assert (first["called"], second["called"]) == ("algo-1", "algo-2")
        assert second["heard"] == "algo-1"
    assert [stream.rsplit("-", 1)[0] for stream in either.streams("world")] == ["world/algo-1", "world/algo-2"]
    assert {m["MetricName"] for m in job["FinalMetricDataList"]} == {"score"}


GROUPS = [
    {"InstanceGroupName": name, "InstanceType": type, "InstanceCount": count}
    for name, type, count in (("makers", "ml.c5.xlarge", 1), ("takers", "ml.m5.large", 2))
]
GROUPED = """
import json, os, pathlib
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
told = "CHANNELS", "CURRENT_INSTANCE_GROUP_HOSTS", "IS_HETERO"
report = {name: json.loads(os.environ[f"SM_{name}"]) for name in told}
report["resources"] = json.loads((base / "input/config/resourceconfig.json").read_text())
report["group"] = os.environ["SM_CURRENT_INSTANCE_GROUP"]
report["files"] = sorted(path.name for path in (base / "input/data").rglob("*") if path.is_file())
pathlib.Path(os.environ["SM_MODEL_DIR"], os.environ["SM_CURRENT_HOST"]).write_text(json.dumps(report))
"""


def test_groups_of_instances_have_channels_of_their_own(fleet: Fleet) -> None:
    for key in ("raw/r", "made/a", "made/b", "made/c", "all/x"):
        fleet.put(f"grouped/{key}", b"1")
    channels = [
        {"ChannelName": "raw", **source(f"s3://{BUCKET}/grouped/raw/")},
        {"ChannelName": "made", **source(f"s3://{BUCKET}/grouped/made/", "ShardedByS3Key")},
        {"ChannelName": "all", **source(f"s3://{BUCKET}/grouped/all/")},
    ]
    for channel, group in zip(channels, ("makers", "takers"), strict=False):
        channel["DataSource"]["S3DataSource"]["InstanceGroupNames"] = [group]
    resources = {"InstanceGroups": GROUPS, "VolumeSizeInGB": 1}
    fleet.create("grouped", GROUPED, ResourceConfig=resources, InputDataConfig=channels)
    job = fleet.wait("grouped")
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), fleet.log("grouped"))
    assert job["ResourceConfig"] == resources
    hosts = {host: json.loads(report) for host, report in fleet.files("grouped").items()}
    assert {host: report["group"] for host, report in hosts.items()} == {
        "algo-1": "makers",
        "algo-2": "takers",
        "algo-3": "takers",
    }
    assert [hosts[f"algo-{number}"]["files"] for number in (1, 2, 3)] == [["r", "x"], ["a", "c", "x"], ["b", "x"]]
    assert [hosts[f"algo-{number}"]["CHANNELS"] for number in (1, 2)] == [["all", "raw"], ["all", "made"]]
    second = hosts["algo-2"]
    assert (second["IS_HETERO"], second["CURRENT_INSTANCE_GROUP_HOSTS"]) == (True, ["algo-2", "algo-3"])
    assert second["resources"]["hosts"] == ["algo-1", "algo-2", "algo-3"]
    assert second["resources"]["current_group_name"] == "takers"
    assert second["resources"]["current_instance_type"] == "ml.m5.large"
    assert second["resources"]["instance_groups"] == [
        {"instance_group_name": "makers", "instance_type": "ml.c5.xlarge", "hosts": ["algo-1"]},
        {"instance_group_name": "takers", "instance_type": "ml.m5.large", "hosts": ["algo-2", "algo-3"]},
    ]


def test_a_host_that_fails_fails_the_job_and_ends_the_others(fleet: Fleet) -> None:
    fleet.create("broken", WAITS, hosts=3, Environment={"FAILS": "algo-2"})
    job = fleet.wait("broken")
    assert job["TrainingJobStatus"] == "Failed"
    assert 'ErrorMessage "this host is broken"' in job["FailureReason"]
    assert programs(fleet.server) == []


def test_a_stop_reaches_all_hosts(fleet: Fleet) -> None:
    fleet.create("halted", WAITS)
    fleet.wait("halted", lambda: fleet.log("halted").count("ready ") == 2)
    fleet.sagemaker.stop_training_job(TrainingJobName="halted")
    assert fleet.wait("halted")["TrainingJobStatus"] == "Stopped"
    assert fleet.files("halted") == {"algo-1": b"saved", "algo-2": b"saved"}


def test_a_killed_job_process_begins_again_on_all_hosts(fleet: Fleet) -> None:
    rows = fleet.put("rows/piped", b"all rows")
    fleet.create(
        "again",
        WAITS,
        CheckpointConfig={"S3Uri": f"s3://{BUCKET}/checkpoints"},
        InputDataConfig=[{"ChannelName": "train", "InputMode": "Pipe", **source(rows)}],
    )
    fleet.wait("again", lambda: fleet.log("again").count("ready all rows") == 2)
    before = programs(fleet.server)
    [process] = children_named("again", psutil.Process(fleet.server.process.pid).children()[0])
    process.kill()
    assert fleet.wait("again")["TrainingJobStatus"] == "Completed"
    assert fleet.log("again").count("again all rows") == 2
    assert not any(psutil.pid_exists(pid) for pid in before)
    assert len(fleet.streams("again")) == 4


def test_a_built_in_algorithm_does_it_on_one_host(fleet: Fleet) -> None:
    rows = "\n".join(f"{number % 2},{number % 2},{number % 7}" for number in range(200))
    uri = fleet.put("rows/rows.csv", rows.encode())
    fleet.create(
        "builtin",
        "",
        AlgorithmSpecification={"TrainingImage": "xgboost:1", "TrainingInputMode": "File"},
        HyperParameters={"num_round": "2", "objective": "binary:logistic"},
        InputDataConfig=[{"ChannelName": "train", "ContentType": "text/csv", **source(uri, "ShardedByS3Key")}],
    )
    job = fleet.wait("builtin")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert len(fleet.streams("builtin")) == 1
    assert fleet.log("builtin")[0] == "The built-in xgboost does on one host what 2 were asked for."


def test_pipes_bring_a_channel_to_each_host_epoch_by_epoch(either: Fleet) -> None:
    for number in range(4):
        either.put(f"piped/{number}", f"{number}\n".encode())
    either.put("other/x", b"as a file")
    channels = [
        {"ChannelName": "train", "InputMode": "Pipe", **source(f"s3://{BUCKET}/piped/", "ShardedByS3Key")},
        {"ChannelName": "other", **source(f"s3://{BUCKET}/other/")},
    ]
    either.create("piped", PIPED, InputDataConfig=channels)
    job = either.wait("piped")
    assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), either.log("piped"))
    model = {host: json.loads(report) for host, report in either.files("piped").items()}
    assert [model[host]["epochs"] for host in ("algo-1", "algo-2")] == [[["0", "2"]] * 3, [["1", "3"]] * 3]
    assert (model["algo-1"]["mode"], model["algo-1"]["file"]) == ("Pipe", "as a file")


def test_a_channel_that_breaks_off_fails_the_job_in_words(fleet: Fleet) -> None:
    fleet.put("damaged/x.gz", b"no gzip")
    damaged = {"ChannelName": "train", "InputMode": "Pipe", "CompressionType": "Gzip"}
    script = "import os, time\nopen(os.environ['SAGEMAKER_BASE_DIR'] + '/input/data/train_0').read()\ntime.sleep(600)"
    fleet.create("damaged", script, hosts=1, InputDataConfig=[{**damaged, **source(f"s3://{BUCKET}/damaged/")}])
    reason = fleet.wait("damaged")["FailureReason"]
    assert reason.startswith("ClientError: Data download for the channel train failed: Not a gzipped file")


def programs(server: Any) -> list[int]:
    """The processes of training programs."""
    found = []
    for process in psutil.Process(server.process.pid).children(recursive=True):
        try:
            if "train.py" in process.cmdline() and process.name() not in ("bwrap", "unshare", "sh"):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
