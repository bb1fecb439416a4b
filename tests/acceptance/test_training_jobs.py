"""Training jobs as boto3 and the `aws` command run them: scripts under the container contract, metrics, logs, ends."""

from __future__ import annotations

import io
import json
import tarfile
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

from pilothouse.launch.slots import Slots

pytestmark = pytest.mark.slow

BUCKET = "training"
ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
GROUP = "/aws/sagemaker/TrainingJobs"
SLOTS = 2  # of the servers of `isolating`
LINE = (
    "GAN_loss=0.138318; Scaled_reg=2.654134; disc:[-0.017371,0.102429] real 93.3% gen 0.0% disc-combined=0.000000; "
    "disc_train_loss=1.374587; Loss = 16.020744; Iteration 0 took 0.704s; Elapsed=0s"
)
DEFINITIONS = [
    {"Name": "loss", "Regex": "Loss = (.*?);"},
    {"Name": "ganloss", "Regex": "GAN_loss=(.*?);"},
    {"Name": "discloss", "Regex": "disc_train_loss=(.*?);"},
    {"Name": "disc-combined", "Regex": "disc-combined=(.*?);"},
]


class Trainer:
    """A server with a bucket, and what a test does with it."""

    def __init__(self, server: Any, archive: Callable[..., bytes]) -> None:
        self.server = server
        self.archive = archive
        self.s3 = server.client("s3")
        self.sagemaker = server.client("sagemaker")
        self.logs = server.client("logs")
        self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, body: bytes | str) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body if isinstance(body, bytes) else body.encode())
        return f"s3://{BUCKET}/{key}"

    def request(self, name: str, script: str | None = None, **changes: Any) -> dict[str, Any]:
        given = changes.pop("HyperParameters", {})
        if script is not None:
            source = self.put(
                f"{name}/sourcedir.tar.gz", self.archive({"train.py": script, **changes.pop("files", {})})
            )
            given = {"sagemaker_program": "train.py", "sagemaker_submit_directory": source, **given}
        specification = {"TrainingImage": IMAGE, "TrainingInputMode": "File", **changes.pop("Algorithm", {})}
        request = {
            "TrainingJobName": name,
            "AlgorithmSpecification": specification,
            "HyperParameters": given,
            "RoleArn": ROLE,
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 300},
            **changes,
        }
        return {member: value for member, value in request.items() if value != {}}

    def create(self, name: str, script: str | None = None, **changes: Any) -> None:
        self.sagemaker.create_training_job(**self.request(name, script, **changes))

    def describe(self, name: str) -> dict[str, Any]:
        return self.sagemaker.describe_training_job(TrainingJobName=name)

    def wait(self, name: str, seconds: float = 240, true: Callable[[Any], bool] | None = None) -> dict[str, Any]:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            job = self.describe(name)
            if (true or (lambda j: j["TrainingJobStatus"] not in ("InProgress", "Stopping")))(job):
                return job
            time.sleep(0.15)
        raise AssertionError(f"{name} is still {job['SecondaryStatus']}\n{self.log(name)[-20:]}")

    def ended(self, name: str, script: str | None = None, **changes: Any) -> dict[str, Any]:
        self.create(name, script, **changes)
        return self.wait(name)

    def log(self, name: str) -> list[str]:
        found: list[str] = []
        try:
            streams = self.logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=f"{name}/")["logStreams"]
        except ClientError:
            return []
        for stream in streams:
            token: dict[str, Any] = {}
            while True:
                page = self.logs.get_log_events(
                    logGroupName=GROUP, logStreamName=stream["logStreamName"], startFromHead=True, **token
                )
                found += [event["message"] for event in page["events"]]
                if token.get("nextToken") == page["nextForwardToken"]:
                    break
                token = {"nextToken": page["nextForwardToken"]}
        return found

    def unpacked(self, address: str) -> dict[str, bytes]:
        key = address.removeprefix(f"s3://{BUCKET}/")
        body = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def trainer(isolating: Callable[[str], Any], archive: Callable[..., bytes]) -> Trainer:
    return Trainer(isolating("auto"), archive)


@pytest.fixture(scope="module")
def plain(isolating: Callable[[str], Any], archive: Callable[..., bytes]) -> Trainer:
    return Trainer(isolating("process"), archive)


@pytest.fixture(scope="module")
def unshared(isolating: Callable[[str], Any], archive: Callable[..., bytes]) -> Trainer:
    return Trainer(isolating("unshare"), archive)


@pytest.fixture(params=["trainer", "plain", "unshared"])
def either(request: pytest.FixtureRequest) -> Trainer:
    """At whatever level of isolation works here, at the lowest, and without bubblewrap."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


def metrics(job: dict[str, Any]) -> dict[str, float]:
    return {m["MetricName"]: m["Value"] for m in job.get("FinalMetricDataList", [])}


def test_the_definitions_of_the_guide_read_its_log_line(trainer: Trainer) -> None:
    job = trainer.ended("guide", f"print({LINE!r})", Algorithm={"MetricDefinitions": DEFINITIONS})
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert metrics(job) == {"loss": 16.020744, "ganloss": 0.138318, "discloss": 1.374587, "disc-combined": 0.0}
    assert LINE in trainer.log("guide")
    statuses = [t["Status"] for t in job["SecondaryStatusTransitions"]]
    assert statuses == ["Starting", "Downloading", "Training", "Uploading", "Completed"]
    assert job["TrainingEndTime"] >= job["TrainingStartTime"] >= job["CreationTime"]
    assert job["BillableTimeInSeconds"] >= 1
    assert trainer.unpacked(job["ModelArtifacts"]["S3ModelArtifacts"]) == {}


CONTRACT = """
import json, os, pathlib, subprocess, sys
base = pathlib.Path(os.environ["SAGEMAKER_BASE_DIR"])
config = base / "input/config"
report = {
    "argv": sys.argv[1:],
    "cwd": os.getcwd(),
    "sm": {k: v for k, v in os.environ.items() if k.startswith(("SM_", "TRAINING_", "AWS_", "USER_", "SAGEMAKER_"))},
    "secret": [k for k in os.environ if k == "PILOTHOUSE_NURSERY_SOCKET"],
    "files": sorted(str(p.relative_to(base)) for p in (base / "input").rglob("*") if p.is_file()),
    **{name: json.loads((config / f"{name}.json").read_text())
       for name in ("hyperparameters", "inputdataconfig", "resourceconfig")},
}
out = pathlib.Path(os.environ["SM_OUTPUT_DATA_DIR"])
(out / "report.json").write_text(json.dumps(report))
model = pathlib.Path(os.environ["SM_MODEL_DIR"])
(model / "weights").write_text(open(os.path.join(os.environ["SM_CHANNEL_TRAIN"], "a.csv")).read())
(model / "link").symlink_to("weights")
(model / "passwd").symlink_to("/etc/passwd")
os.mkfifo(model / "pipe")
"""


def test_a_script_finds_what_the_contract_says(either: Trainer) -> None:
    either.put("data/train/a.csv", "1,2\n")
    either.put("data/train/deep/b.csv", "3,4\n")
    either.put("data/train/deep/empty", "")
    either.put("data/trainer.csv", "no")
    listing = json.dumps([{"prefix": f"s3://{BUCKET}/data/"}, "train/a.csv", "trainer.csv"])
    manifest = either.put("manifests/some.manifest", listing)
    sources = {
        "train": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/data/train"},
        "shards": {
            "S3DataType": "S3Prefix",
            "S3Uri": f"s3://{BUCKET}/data/train/",
            "S3DataDistributionType": "ShardedByS3Key",
        },
        "listed": {"S3DataType": "ManifestFile", "S3Uri": manifest},
    }
    channels = [
        {"ChannelName": name, "DataSource": {"S3DataSource": source}, "ContentType": "text/csv", "InputMode": mode}
        for (name, source), mode in zip(sources.items(), ("File", "FastFile", "File"), strict=True)
    ]
    channels[0]["DataSource"]["S3DataSource"]["S3Uri"] += "/"  # type: ignore[index]
    job = either.ended(
        "contract",
        CONTRACT,
        InputDataConfig=channels,
        HyperParameters={"lr": "0.1", "name": '"a b"', "k": "3", "flag": "true", "_tuning_objective_metric": "loss"},
        Environment={"USER_SETTING": "yes", "USER_PATH": "/opt/ml/input/data/train"},
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    report = json.loads(either.unpacked(f"s3://{BUCKET}/out/contract/output/output.tar.gz")["report.json"])
    assert report["argv"] == ["--flag", "True", "-k", "3", "--lr", "0.1", "--name", "a b"]
    assert report["hyperparameters"]["lr"] == "0.1"
    assert report["hyperparameters"]["name"] == '"a b"'
    assert report["hyperparameters"]["_tuning_objective_metric"] == "loss"
    sm = report["sm"]
    assert (sm["SM_HP_LR"], sm["SM_HP_NAME"], sm["SM_CURRENT_HOST"]) == ("0.1", "a b", "algo-1")
    assert json.loads(sm["SM_CHANNELS"]) == ["listed", "shards", "train"]
    assert json.loads(sm["SM_HPS"]) == {"flag": True, "k": 3, "lr": 0.1, "name": "a b"}
    assert sm["TRAINING_JOB_NAME"] == "contract"
    assert sm["TRAINING_JOB_ARN"] == job["TrainingJobArn"]
    assert sm["USER_SETTING"] == "yes"
    assert sm["USER_PATH"] == sm["SM_CHANNEL_TRAIN"]
    assert sm["AWS_ENDPOINT_URL"] == either.server.url
    assert report["secret"] == []
    assert report["inputdataconfig"]["shards"] == {
        "ContentType": "text/csv",
        "TrainingInputMode": "FastFile",
        "S3DistributionType": "ShardedByS3Key",
        "RecordWrapperType": "None",
    }
    assert report["resourceconfig"]["hosts"] == ["algo-1"]
    data = {name.removeprefix("input/data/") for name in report["files"] if name.startswith("input/data/")}
    assert data == {
        *("train/a.csv", "train/deep/b.csv", "train/deep/empty"),
        *("shards/a.csv", "shards/deep/b.csv", "shards/deep/empty"),
        *("listed/train/a.csv", "listed/trainer.csv"),
    }
    assert either.unpacked(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"weights": b"1,2\n", "link": b"1,2\n"}
    assert any("model/passwd, model/pipe" in line for line in either.log("contract"))


def test_a_failure_file_becomes_the_reason(trainer: Trainer) -> None:
    script = 'import os, sys; open(os.environ["SM_OUTPUT_DIR"] + "/failure", "w").write("bad rows" * 400); sys.exit(7)'
    job = trainer.ended("failure", script)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Failed", "Failed")
    assert job["FailureReason"].startswith("AlgorithmError: bad rows")
    assert len(job["FailureReason"]) == 1024


def test_an_exception_becomes_the_reason(trainer: Trainer) -> None:
    job = trainer.ended("exception", "raise KeyError('no such column')", HyperParameters={"lr": "1"})
    reason = job["FailureReason"]
    assert reason.startswith("AlgorithmError: ExecuteUserScriptError:\nExitCode 1\n")
    assert "KeyError: 'no such column'" in reason
    assert reason.endswith("exit code: 1")
    assert "train.py --lr 1" in reason
    assert any(line.startswith("Traceback") for line in trainer.log("exception"))


def test_metrics_follow_a_running_program_and_nan_is_left_out(trainer: Trainer) -> None:
    script = (
        "import sys, time, pathlib\n"
        "for i in range(5): print(f'epoch {i} acc={i / 10}', file=sys.stderr); time.sleep(0.05)\n"
        "print('loss=0.5'); print('loss=nan'); print('half=0.5', end='', flush=True)\n"
        "time.sleep(600)\n"
    )
    definitions = [{"Name": name, "Regex": rf"{name}=(\S+)"} for name in ("acc", "loss", "half", "never")]
    trainer.create("live", script, Algorithm={"MetricDefinitions": definitions})
    job = trainer.wait("live", true=lambda j: metrics(j).get("acc") == 0.4)
    assert job["TrainingJobStatus"] == "InProgress"
    trainer.sagemaker.stop_training_job(TrainingJobName="live")
    job = trainer.wait("live")
    assert metrics(job) == {"acc": 0.4, "half": 0.5}


SAVES = """
import os, signal, sys, time
def save(*_):
    open(os.environ["SM_MODEL_DIR"] + "/saved", "w").write("in time")
    sys.exit(0)
signal.signal(signal.SIGTERM, save)
print("ready")
time.sleep(600)
"""


def test_a_stopped_job_saves_its_model_in_its_grace(either: Trainer) -> None:
    either.create("stopped", SAVES)
    either.wait("stopped", true=lambda _: "ready" in either.log("stopped"))
    either.sagemaker.stop_training_job(TrainingJobName="stopped")
    job = either.wait("stopped")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "FailureReason" not in job
    assert either.unpacked(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"saved": b"in time"}
    assert [t["Status"] for t in job["SecondaryStatusTransitions"]][-3:] == ["Stopping", "Uploading", "Stopped"]
    with pytest.raises(ClientError, match=r"ValidationException.*has ended with status Stopped"):
        either.sagemaker.stop_training_job(TrainingJobName="stopped")


def test_max_runtime_stops_the_job_and_keeps_its_model(trainer: Trainer) -> None:
    job = trainer.ended("late", SAVES, StoppingCondition={"MaxRuntimeInSeconds": 5})
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    assert trainer.unpacked(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"saved": b"in time"}


def test_a_script_that_ignores_sigterm_is_killed_with_all_it_started(either: Trainer) -> None:
    script = (
        "import os, signal, subprocess, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(987)'], start_new_session=True)\n"
        "print('ready'); time.sleep(600)\n"
    )
    either.create("stubborn", script)
    either.wait("stubborn", true=lambda _: "ready" in either.log("stubborn"))
    asked = time.monotonic()
    either.sagemaker.stop_training_job(TrainingJobName="stubborn")
    job = either.wait("stubborn")
    assert time.monotonic() - asked > 2.5  # of its grace; without the kill it would sleep for ten minutes
    assert job["TrainingJobStatus"] == "Stopped"
    assert not [p for p in psutil.process_iter() if "time.sleep(987)" in " ".join(commandline(p))]


def commandline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_a_fork_bomb_ends_with_its_job_failed(either: Trainer) -> None:
    script = "import os, time\nfor _ in range(20):\n    os.fork()\ntime.sleep(60)\n"
    job = either.ended("bomb", script)
    assert job["TrainingJobStatus"] == "Failed"
    assert "more than 512 processes at once" in job["FailureReason"] or "BlockingIOError" in job["FailureReason"]
    assert len(psutil.Process(either.server.process.pid).children(recursive=True)) < 20


def test_a_gigabyte_of_output_is_bounded_and_its_last_metric_counts(trainer: Trainer) -> None:
    script = (
        "import sys\n"
        "block = ('x' * 99 + '\\n') * 10_000\n"
        "for _ in range(1000): sys.stdout.write(block)\n"
        "sys.stdout.write('y' * 100_000_000 + '\\n')\n"
        "print('the end acc=0.75')\n"
    )
    job = trainer.ended("flood", script, Algorithm={"MetricDefinitions": [{"Name": "acc", "Regex": "acc=([0-9.]+)"}]})
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert metrics(job) == {"acc": 0.75}
    log = trainer.log("flood")
    assert sum(len(line) for line in log) < 16 << 20
    assert any("lines are left out of this log" in line for line in log)
    assert log[-1] == "the end acc=0.75"


def test_a_regex_that_would_never_end_elsewhere_reads_quickly(trainer: Trainer) -> None:
    definitions = [{"Name": "redos", "Regex": "^(a+)+$"}, {"Name": "acc", "Regex": "((?:[0-9]+)+)!"}]
    script = "for _ in range(100): print('a' * 20_000 + 'b')\nprint('7' * 50 + '!')"
    job = trainer.ended("redos", script, Algorithm={"MetricDefinitions": definitions})
    assert job["TrainingJobStatus"] == "Completed"
    assert metrics(job) == {"acc": pytest.approx(float("7" * 50))}
    assert job["TrainingTimeInSeconds"] < 200


def test_memory_beyond_the_share_fails_the_job_in_words(plain: Trainer) -> None:
    script = "import time\nheld = []\nwhile True:\n    held.append(bytearray(64 << 20)); time.sleep(0.01)\n"
    job = plain.ended("memory", script)
    assert job["TrainingJobStatus"] == "Failed"
    assert "memory limit" in job["FailureReason"] or "MemoryError" in job["FailureReason"]


def test_checkpoints_are_restored_and_kept(trainer: Trainer) -> None:
    trainer.put("checkpoints/one/epoch-1", "first")
    script = (
        "import os, pathlib\n"
        "folder = pathlib.Path(os.environ['SAGEMAKER_BASE_DIR'], 'checkpoints')\n"
        "assert (folder / 'epoch-1').read_text() == 'first'\n"
        "(folder / 'sub').mkdir(); (folder / 'sub/epoch-2').write_text('second')\n"
    )
    config = {"S3Uri": f"s3://{BUCKET}/checkpoints/one"}
    job = trainer.ended("checkpoints", script, CheckpointConfig=config)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    body = trainer.s3.get_object(Bucket=BUCKET, Key="checkpoints/one/sub/epoch-2")["Body"].read()
    assert body == b"second"


def test_a_container_entry_point_runs(either: Trainer) -> None:
    words = [
        "-c",
        'echo "acc=$(cat /opt/ml/input/config/resourceconfig.json | grep -c algo-1)"; touch "$SM_MODEL_DIR/m"',
    ]
    algorithm = {
        "ContainerEntrypoint": ["/bin/sh"],
        "ContainerArguments": words,
        "MetricDefinitions": [{"Name": "acc", "Regex": "acc=([0-9]+)"}],
    }
    job = either.ended("entrypoint", Algorithm=algorithm)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert metrics(job) == {"acc": 1.0}
    assert either.unpacked(job["ModelArtifacts"]["S3ModelArtifacts"]) == {"m": b""}


def test_files_are_uploaded_unpacked_and_encrypted_if_the_request_says_so(trainer: Trainer) -> None:
    output = {"S3OutputPath": f"s3://{BUCKET}/out", "CompressionType": "NONE", "KmsKeyId": "alias/ours"}
    script = (
        "import os\n"
        "for folder in 'SM_MODEL_DIR', 'SM_OUTPUT_DATA_DIR', 'SAGEMAKER_BASE_DIR':\n"
        "    os.chdir(os.environ[folder]); os.makedirs('checkpoints/a', exist_ok=True)\n"
        "    open('checkpoints/a/b', 'w').write('secret' * 9)\n"
    )
    config = {"S3Uri": f"s3://{BUCKET}/checkpoints/unpacked"}
    job = trainer.ended("unpacked", script, OutputDataConfig=output, CheckpointConfig=config)
    assert job["ModelArtifacts"]["S3ModelArtifacts"] == f"s3://{BUCKET}/out/unpacked/output/model/"
    assert job["OutputDataConfig"]["KmsKeyId"] == "alias/ours"
    below = ["out/unpacked/output/model/checkpoints", "out/unpacked/output/output/checkpoints", "checkpoints/unpacked"]
    for key in (f"{folder}/a/b" for folder in below):
        answer = trainer.s3.get_object(Bucket=BUCKET, Key=key)
        assert answer["Body"].read() == b"secret" * 9
        assert answer["ServerSideEncryption"] == "aws:kms"
        assert answer["SSEKMSKeyId"] == "arn:aws:kms:us-east-1:000000000000:alias/ours"
    stored = [path for path in (trainer.server.home / "objects").rglob("*") if path.is_file()]
    assert len(stored) > 3
    assert not [path for path in stored if b"secret" * 9 in path.read_bytes()]


def test_the_aws_command_runs_a_job(trainer: Trainer, aws_for: Callable[[Any], Callable[..., Any]]) -> None:
    aws = aws_for(trainer.server)
    request = trainer.request("by-command", "print('acc=1')")
    created = aws("sagemaker", "create-training-job", "--cli-input-json", json.dumps(request))
    assert created["TrainingJobArn"].endswith(":training-job/by-command")
    trainer.wait("by-command")
    aws("sagemaker", "wait", "training-job-completed-or-stopped", "--training-job-name", "by-command")
    listed = aws("sagemaker", "list-training-jobs", "--name-contains", "by-com", "--status-equals", "Completed")
    assert [job["TrainingJobName"] for job in listed["TrainingJobSummaries"]] == ["by-command"]
    aws("sagemaker", "delete-training-job", "--training-job-name", "by-command")
    with pytest.raises(ClientError, match=r"ValidationException.*Requested resource not found"):
        trainer.describe("by-command")
    again = trainer.ended("by-command", "print('again')")
    assert again["TrainingJobStatus"] == "Completed"
    assert "again" in trainer.log("by-command")


@pytest.mark.parametrize("level", ["trainer", "unshared"])
def test_a_wrapped_program_sees_nothing_of_the_installation(request: pytest.FixtureRequest, level: str) -> None:
    trainer: Trainer = request.getfixturevalue(level)
    home = trainer.server.home.resolve()
    places = ["/usr/x", "/etc/x", "/opt/ml/x", "/tmp/x"] if level == "trainer" else []
    script = (
        "import os, pathlib\n"
        f"home = pathlib.Path({str(home)!r})\n"
        "print('home', [p.name for p in home.iterdir()] if home.exists() else [])\n"
        "print('few processes', sum(name.isdigit() for name in os.listdir('/proc')) < 4)\n"
        f"for place in {places!r}:\n"
        "    try: open(place, 'w'); print('wrote', place)\n"
        "    except OSError as error: print('refused', place)\n"
        "print([line for line in open('/proc/self/status') if line.startswith('CapEff')][0])\n"
    )
    job = trainer.ended("wrapped", script)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    log = trainer.log("wrapped")
    if "namespaces" not in log[0] and "bubblewrap:" not in log[0]:
        pytest.skip(log[0])
    assert log[1:3] == ["home []", "few processes True"]
    assert log[-1] == "CapEff:\t0000000000000000"
    if "bubblewrap:" in log[0]:
        assert log[3:7] == ["refused /usr/x", "refused /etc/x", "wrote /opt/ml/x", "wrote /tmp/x"]


def test_an_isolated_program_has_no_network(trainer: Trainer) -> None:
    script = "import socket; print(sorted(name for _, name in socket.if_nameindex()))"
    trainer.ended("offline", script, EnableNetworkIsolation=True)
    log = trainer.log("offline")
    isolated = "bubblewrap:" in log[0] or "namespaces" in log[0]
    assert log[1] == "['lo']" if isolated else "has no effect" in log[1]


def test_a_job_that_waits_for_a_slot_can_be_stopped(trainer: Trainer) -> None:
    slots = Slots(trainer.server.home / "work" / "slots", SLOTS)
    held = [slots.try_acquire() for _ in range(SLOTS)]
    assert None not in held
    trainer.create("waits", "print('never')")
    trainer.wait(
        "waits", true=lambda _: (trainer.server.home / "work" / "training-job" / "waits" / "algo-1" / "ml").exists()
    )
    trainer.sagemaker.stop_training_job(TrainingJobName="waits")
    job = trainer.wait("waits")
    for slot in held:
        slot.release()  # type: ignore[union-attr]
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "Stopped")
    assert "never" not in trainer.log("waits")


def test_data_that_is_gone_by_now_is_the_clients_error(trainer: Trainer) -> None:
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": trainer.put("odd/folder//file", "x")}}
    job = trainer.ended("odd", "", InputDataConfig=[{"ChannelName": "train", "DataSource": source}])
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")  # named outright, it is a file
    source["S3DataSource"]["S3Uri"] = f"s3://{BUCKET}/odd/"
    job = trainer.ended("odder", "", InputDataConfig=[{"ChannelName": "train", "DataSource": source}])
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("ClientError: ")
    assert "cannot be a file of its channel" in job["FailureReason"]
