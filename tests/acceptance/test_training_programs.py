"""What training jobs run besides a plain script: requirements, shell scripts, the built-in XGBoost."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import tarfile
import time
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xgboost
from safetensors.numpy import load

from pilothouse.launch.base import AT_WORK

pytestmark = pytest.mark.slow

BUCKET = "programs"
ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"
XGBOOST = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:1.7-1"


class Shop:
    """A server and a bucket."""

    def __init__(self, server: Any, archive: Callable[..., bytes]) -> None:
        self.server = server
        self.archive = archive
        self.s3 = server.client("s3")
        self.sagemaker = server.client("sagemaker")
        if all(bucket["Name"] != BUCKET for bucket in self.s3.list_buckets()["Buckets"]):
            self.s3.create_bucket(Bucket=BUCKET)

    def put(self, key: str, body: bytes) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)
        return f"s3://{BUCKET}/{key}"

    def ended(self, name: str, image: str, hyperparameters: dict[str, str], **changes: Any) -> dict[str, Any]:
        specification = {"TrainingImage": image, "TrainingInputMode": "File", **changes.pop("Algorithm", {})}
        self.sagemaker.create_training_job(
            TrainingJobName=name,
            AlgorithmSpecification=specification,
            HyperParameters=hyperparameters,
            RoleArn=ROLE,
            OutputDataConfig={"S3OutputPath": f"s3://{BUCKET}/out"},
            ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            StoppingCondition={"MaxRuntimeInSeconds": 300},
            **changes,
        )
        give_up = time.monotonic() + 240
        while time.monotonic() < give_up:
            job: dict[str, Any] = self.sagemaker.describe_training_job(TrainingJobName=name)
            if job["TrainingJobStatus"] not in ("InProgress", "Stopping"):
                return job
            time.sleep(0.15)
        raise AssertionError(f"{name} is still {job['SecondaryStatus']}\n{self.log(name)}")

    def log(self, name: str) -> list[str]:
        logs, group = self.server.client("logs"), "/aws/sagemaker/TrainingJobs"
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/algo")["logStreams"]
        pages = [
            logs.get_log_events(logGroupName=group, logStreamName=s["logStreamName"], startFromHead=True)["events"]
            for s in streams
        ]
        return [event["message"] for page in pages for event in page]

    def model(self, job: dict[str, Any]) -> dict[str, bytes]:
        key = job["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
        body = self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}  # type: ignore[union-attr]


@pytest.fixture(scope="module", params=["auto", "process", "unshare"])
def shop(request: pytest.FixtureRequest, isolating: Callable[[str], Any], archive: Callable[..., bytes]) -> Shop:
    return Shop(isolating(request.param), archive)


@pytest.fixture(scope="module")
def once(isolating: Callable[[str], Any], archive: Callable[..., bytes]) -> Shop:
    """For the built-in algorithms, which are not wrapped."""
    return Shop(isolating("auto"), archive)


def wheel(name: str, code: str) -> bytes:
    """A package that pip installs without an index."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = [
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}"
        for path, text in files.items()
    ]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for path, text in files.items():
            zipped.writestr(path, text)
        zipped.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,"]) + "\n")
    return out.getvalue()


def test_requirements_are_installed_once_beside_what_is_here(shop: Shop) -> None:
    files = {
        "train.py": b"import sklearn, sys\nprint('prefix', sys.argv[1:], sys.prefix)\n",
        "requirements.txt": b"scikit-learn>=1\n",
    }
    source = shop.put("requirements.tar.gz", shop.archive(files))
    given = {"sagemaker_program": '"train.py"', "sagemaker_submit_directory": f'"{source}"', "epochs": "2"}
    told = set()
    for name in ("first", "second"):
        job = shop.ended(name, "sagemaker-scikit-learn:1.2-1", given)
        assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), shop.log(name))
        told |= {line for line in shop.log(name) if line.startswith("prefix ['--epochs', '2']")}
    [said] = told
    assert "/environments/" in said
    assert any("already satisfied: scikit-learn" in line for line in shop.log("first"))
    assert not any("already satisfied" in line for line in shop.log("second"))


def test_a_package_that_a_source_archive_brings_is_that_of_its_job(shop: Shop) -> None:
    for word in ("hello", "goodbye"):
        files = {
            "train.py": b"import tiny\nprint('tiny says', tiny.WORD)\n",
            "requirements.txt": b"./tiny-1.0-py3-none-any.whl\n",
            "tiny-1.0-py3-none-any.whl": wheel("tiny", f"WORD = {word!r}\n"),
        }
        source = shop.put(f"{word}.tar.gz", shop.archive(files))
        given = {"sagemaker_program": "train.py", "sagemaker_submit_directory": source}
        job = shop.ended(f"says-{word}", "sagemaker-scikit-learn:1.2-1", given)
        assert job["TrainingJobStatus"] == "Completed", (job.get("FailureReason"), shop.log(f"says-{word}"))
        assert f"tiny says {word}" in shop.log(f"says-{word}")


def test_requirements_that_cannot_be_installed_fail_the_job_in_words(shop: Shop) -> None:
    source = shop.put("broken.tar.gz", shop.archive({"train.py": b"", "requirements.txt": b"./not-there.whl\n"}))
    job = shop.ended(
        "uninstallable",
        "pytorch-training:2.1-cpu-py310",
        {"sagemaker_program": "train.py", "sagemaker_submit_directory": source},
    )
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: InstallRequirementsError")
    assert "not-there.whl" in job["FailureReason"]


def test_shell_scripts_and_channels_of_source_run(shop: Shop) -> None:
    files = {"run.sh": b'#!/bin/sh\necho "args $*"\necho "niceness $(nice)"\n'}
    shop.put("channel/sourcedir.tar.gz", shop.archive(files))
    channel = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/channel/"}
    given = {
        "sagemaker_program": "run.sh",
        "sagemaker_submit_directory": "/opt/ml/input/data/code/sourcedir.tar.gz",
        "lr": "0.5",
    }
    channels = [{"ChannelName": "code", "DataSource": {"S3DataSource": channel}}]
    job = shop.ended("shell", "huggingface-pytorch-training:2.1", given, InputDataConfig=channels)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert "args --lr 0.5" in shop.log("shell")
    assert f"niceness {min(19, os.nice(0) + AT_WORK)}" in shop.log("shell")  # the server comes first


def rows(count: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 4))
    y = (x[:, 0] + x[:, 1] * x[:, 2] + random.normal(scale=0.3, size=count) > 0).astype(float)
    return np.column_stack([y, x])


def channels(shop: Shop, prefix: str, content_type: str | None, parts: dict[str, bytes]) -> list[dict[str, Any]]:
    made = []
    for name, body in parts.items():
        uri = shop.put(f"{prefix}/{name}/part", body)
        source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": uri}}
        made.append(
            {"ChannelName": name, "DataSource": source, **({"ContentType": content_type} if content_type else {})}
        )
    return made


def csv(table: np.ndarray) -> bytes:
    return "\n".join(",".join(map(repr, row)) for row in table.tolist()).encode()


def test_the_built_in_xgboost_trains_on_csv_and_reports_by_awss_names(once: Shop) -> None:
    train, validation = rows(600, 1), rows(300, 2)
    given = {
        "objective": "binary:logistic", "num_round": "30", "eta": "0.3", "max_depth": "3",
        "eval_metric": "auc,logloss,accuracy,f1", "_tuning_objective_metric": "validation:auc",
    }  # fmt: skip
    parts = channels(once, "binary", "text/csv", {"train": csv(train), "validation": csv(validation)})
    job = once.ended("binary", XGBOOST, given, InputDataConfig=parts)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    metrics = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
    names = ("auc", "logloss", "accuracy", "f1")
    assert set(metrics) == {f"{part}:{name}" for part in ("train", "validation") for name in names}
    assert 0.8 < metrics["validation:auc"] <= metrics["train:auc"] <= 1

    booster = xgboost.Booster(model_file=bytearray(once.model(job)["xgboost-model"]))
    predicted = booster.predict(xgboost.DMatrix(validation[:, 1:]))
    assert metrics["validation:accuracy"] == pytest.approx(np.mean((predicted > 0.5) == validation[:, 0]), abs=1e-5)
    lines = [line for line in once.log("binary") if line.startswith("[")]
    assert len(lines) == 30
    assert lines[0].startswith("[0]\ttrain-auc:")
    definitions = {d["Name"] for d in job["AlgorithmSpecification"]["MetricDefinitions"]}
    assert {"validation:auc", "validation:rmse", "train:mlogloss"} <= definitions


def test_the_built_in_xgboost_reads_libsvm_and_stops_early(once: Shop) -> None:
    def libsvm(table: np.ndarray) -> bytes:
        lines = [f"{row[0]:g} " + " ".join(f"{i}:{v}" for i, v in enumerate(row[1:]) if v > -1) for row in table]
        return "\n".join(lines).encode()

    parts = channels(once, "libsvm", None, {"train": libsvm(rows(300, 3)), "validation": libsvm(rows(100, 4))})
    given = {"num_round": "500", "objective": "reg:linear", "early_stopping_rounds": "5", "eval_metric": "rmse"}
    job = once.ended("libsvm", "xgboost:1", given, InputDataConfig=parts)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert len([line for line in once.log("libsvm") if line.startswith("[")]) < 200


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("unknown", {"depth": "3"}, "Extraneous hyperparameter found: depth"),
        ("range", {"eta": "7"}, "Hyperparameter eta: 7 is not between 0 and 1"),
        ("classes", {"objective": "multi:softmax"}, "needs the hyperparameter num_class"),
        ("metric", {"eval_metric": "best"}, "eval_metric: 'best' is not one of"),
        ("labels", {"objective": "binary:logistic"}, "XGBoostError: "),
    ],
)
def test_the_built_in_xgboost_says_what_is_wrong(once: Shop, name: str, changes: dict[str, str], reason: str) -> None:
    parts = channels(once, name, "text/csv", {"train": b"5,1,2\n7,2,3\n"})
    job = once.ended(f"xgb-{name}", XGBOOST, {"num_round": "2", **changes}, InputDataConfig=parts)
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert reason in job["FailureReason"]


def test_an_xgboost_image_runs_a_script_too(shop: Shop) -> None:
    source = shop.put(
        "script.tar.gz", shop.archive({"entry.py": b"import xgboost; print('version', xgboost.__version__)"})
    )
    given = {"sagemaker_program": "entry.py", "sagemaker_submit_directory": source}
    definitions = {"MetricDefinitions": [{"Name": "v", "Regex": r"version ([0-9]+)\."}]}
    job = shop.ended("script", XGBOOST, given, Algorithm=definitions)
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["FinalMetricDataList"][0]["Value"] >= 1


def test_the_built_in_linear_learner_trains_and_reports_by_awss_names(once: Shop) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(800, 3)) * [1, 10, 0.1] + [0, 5, 1]
    y = (x @ [1.0, 0.2, -10.0] + 9 + random.logistic(scale=0.3, size=800) > 0).astype(float)
    table = np.column_stack([y, x])
    parts = channels(once, "linear", "text/csv", {"train": csv(table[:500]), "validation": csv(table[500:])})
    given = {"predictor_type": "binary_classifier", "epochs": "20", "mini_batch_size": "50", "feature_dim": "3"}
    job = once.ended(
        "linear", "382416733822.dkr.ecr.us-east-1.amazonaws.com/linear-learner:1", given, InputDataConfig=parts
    )
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    metrics = {m["MetricName"]: m["Value"] for m in job["FinalMetricDataList"]}
    assert metrics["validation:binary_classification_accuracy"] > 0.85
    assert metrics["validation:objective_loss"] < 0.4
    assert {"train:objective_loss", "validation:roc_auc_score", "validation:binary_f_beta"} <= set(metrics)
    model = once.model(job)
    arrays = load(model["weights.safetensors"])
    predicted = table[500:, 1:] @ arrays["weights"][:, 0] + arrays["bias"][0] > 0
    accuracy = np.mean(predicted == table[500:, 0])
    assert metrics["validation:binary_classification_accuracy"] == pytest.approx(accuracy)
    listed = {d["Name"] for d in job["AlgorithmSpecification"]["MetricDefinitions"]}
    assert set(metrics) <= listed
