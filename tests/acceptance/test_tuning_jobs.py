"""Tuning jobs as boto3 and the `aws` command run them: every strategy over scripts, what stops trials and jobs."""

from __future__ import annotations

import io
import json
import os
import tarfile
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from pilothouse import composition
from pilothouse.catalog.tuning_trials import first_state
from pilothouse.config import Settings

pytestmark = pytest.mark.slow

BUCKET = "tuning"
TRIALS = int(os.environ.get("TUNING_TEST_TRIALS", "150"))  # of the job with very many
ACC = [{"Name": "acc", "Regex": "acc=([-0-9.einfa]+)"}]
LINE = (
    "GAN_loss=0.138318; Scaled_reg=2.654134; disc:[-0.017371,0.102429] real 93.3% gen 0.0% disc-combined=0.000000; "
    "disc_train_loss=1.374587; Loss = 16.020744; Iteration 0 took 0.704s; Elapsed=0s"
)
SEED = [
    {"Name": "loss", "Regex": "Loss = (.*?);"},
    {"Name": "ganloss", "Regex": "GAN_loss=(.*?);"},
    {"Name": "discloss", "Regex": "disc_train_loss=(.*?);"},
    {"Name": "disc-combined", "Regex": "disc-combined=(.*?);"},
]
HEAD = """
import argparse, json, os, sys, time
parser = argparse.ArgumentParser()
parser.add_argument("-x", type=float)
parser.add_argument("--kind")
given, _ = parser.parse_known_args()
"""
PARABOLA = HEAD + 'print("acc=%r" % (1 - (given.x - 0.3) ** 2))\n'
X = {"ContinuousParameterRanges": [{"Name": "x", "MinValue": "0", "MaxValue": "1"}]}


def kinds(*values: str) -> dict[str, Any]:
    return {"CategoricalParameterRanges": [{"Name": "kind", "Values": list(values)}]}


class Tuner:
    """A server with a bucket, and what a test does with it."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.s3 = server.client("s3")
        self.sagemaker = server.client("sagemaker")
        self.s3.create_bucket(Bucket=BUCKET)

    def definition(self, name: str, script: str, metrics: Any = ACC, **changes: Any) -> dict[str, Any]:
        program = changes.pop("program", "train.py")
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            member = tarfile.TarInfo(program)
            member.size = len(script.encode())
            tar.addfile(member, io.BytesIO(script.encode()))
        self.s3.put_object(Bucket=BUCKET, Key=f"{name}.tar.gz", Body=out.getvalue())
        source = {"sagemaker_program": program, "sagemaker_submit_directory": f"s3://{BUCKET}/{name}.tar.gz"}
        return {
            "StaticHyperParameters": source,
            "AlgorithmSpecification": {
                "TrainingImage": "pilothouse/script:1",
                "TrainingInputMode": "File",
                "MetricDefinitions": metrics,
            },
            "RoleArn": "arn:aws:iam::000000000000:role/PilothouseRole",
            "OutputDataConfig": {"S3OutputPath": f"s3://{BUCKET}/out"},
            "ResourceConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
            "StoppingCondition": {"MaxRuntimeInSeconds": 900},
            **changes,
        }

    def request(self, name: str, script: str, ranges: Any = X, jobs: int | None = 3, **changes: Any) -> dict[str, Any]:
        limits = {"MaxNumberOfTrainingJobs": jobs, "MaxParallelTrainingJobs": changes.pop("parallel", 2)}
        objective = {"Type": changes.pop("direction", "Maximize"), "MetricName": changes.pop("metric", "acc")}
        config = {
            "Strategy": "Random",
            "HyperParameterTuningJobObjective": objective,
            "ResourceLimits": {member: value for member, value in limits.items() if value is not None},
            "ParameterRanges": ranges,
            "RandomSeed": 7,
            **changes.pop("config", {}),
        }
        return {
            "HyperParameterTuningJobName": name,
            "HyperParameterTuningJobConfig": config,
            "TrainingJobDefinition": self.definition(name, script, **changes.pop("definition", {})),
            **changes,
        }

    def create(self, name: str, script: str, *arguments: Any, **changes: Any) -> None:
        self.sagemaker.create_hyper_parameter_tuning_job(**self.request(name, script, *arguments, **changes))

    def describe(self, name: str) -> dict[str, Any]:
        return self.sagemaker.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)  # type: ignore[no-any-return]

    def trials(self, name: str, **asked: Any) -> list[dict[str, Any]]:
        paginator = self.sagemaker.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
        pages = paginator.paginate(HyperParameterTuningJobName=name, **asked)
        return [job for page in pages for job in page["TrainingJobSummaries"]]

    def training(self, trial: dict[str, Any]) -> dict[str, Any]:
        return self.sagemaker.describe_training_job(TrainingJobName=trial["TrainingJobName"])  # type: ignore[no-any-return]

    def measured(self, name: str) -> int:
        """How many of the trials have printed a metric."""
        return sum("FinalMetricDataList" in self.training(trial) for trial in self.trials(name))

    def wait(self, name: str, true: Callable[[Any], bool] | None = None, seconds: float = 300) -> dict[str, Any]:
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            job = self.describe(name)
            if (true or (lambda j: j["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping")))(job):
                return job
            time.sleep(0.15)
        raise AssertionError(f"{name} is still {job}\n{self.server.log.read_text()[-5000:]}")

    def ended(self, name: str, script: str, *arguments: Any, **changes: Any) -> dict[str, Any]:
        self.create(name, script, *arguments, **changes)
        return self.wait(name)

    def programs(self) -> list[psutil.Process]:
        """The processes of training programs."""
        found = []
        for process in psutil.Process(self.server.process.pid).children(recursive=True):
            try:
                if "train.py" in process.cmdline():
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture(scope="module")
def tuner(isolating: Callable[[str], Any]) -> Tuner:
    return Tuner(isolating("auto"))


def counters(job: dict[str, Any]) -> dict[str, int]:
    """The counters that are not 0."""
    counted = {**job["TrainingJobStatusCounters"], **job["ObjectiveStatusCounters"]}
    return {name: count for name, count in counted.items() if count}


def test_the_four_metrics_of_a_log_line_are_those_of_every_trial(
    tuner: Tuner, aws_for: Callable[[Any], Callable[..., Any]]
) -> None:
    script = f"""{HEAD}
with open(os.path.join(os.environ["SM_INPUT_CONFIG_DIR"], "hyperparameters.json")) as stream:
    assert json.load(stream)["_tuning_objective_metric"] == "loss"
print({LINE!r})
"""
    request = tuner.request(
        "seed",
        script,
        definition={"metrics": SEED},
        metric="loss",
        direction="Minimize",
        Tags=[{"Key": "a", "Value": "b"}],
    )
    aws = aws_for(tuner.server)
    aws("sagemaker", "create-hyper-parameter-tuning-job", "--cli-input-json", json.dumps(request))
    job = tuner.wait("seed")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert counters(job) == {"Completed": 3, "Succeeded": 3}
    assert job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == pytest.approx(16.020744)
    assert job["TrainingJobDefinition"]["StaticHyperParameters"]["_tuning_objective_metric"] == "loss"
    described = aws("sagemaker", "describe-hyper-parameter-tuning-job", "--hyper-parameter-tuning-job-name", "seed")
    assert described["HyperParameterTuningJobStatus"] == "Completed"
    assert described["BestTrainingJob"]["TrainingJobName"] == job["BestTrainingJob"]["TrainingJobName"]
    listed = aws(
        "sagemaker", "list-training-jobs-for-hyper-parameter-tuning-job", "--hyper-parameter-tuning-job-name", "seed"
    )
    names = [trial["TrainingJobName"] for trial in listed["TrainingJobSummaries"]]
    assert [name[:9] for name in names] == ["seed-001-", "seed-002-", "seed-003-"]
    for name in names:
        trial = tuner.training({"TrainingJobName": name})
        assert {metric["MetricName"]: metric["Value"] for metric in trial["FinalMetricDataList"]} == pytest.approx(
            {"loss": 16.020744, "ganloss": 0.138318, "discloss": 1.374587, "disc-combined": 0.0}
        )
        assert trial["HyperParameters"]["_tuning_objective_metric"] == "loss"
        assert trial["TuningJobArn"] == job["HyperParameterTuningJobArn"]
        assert tuner.sagemaker.list_tags(ResourceArn=trial["TrainingJobArn"])["Tags"] == [{"Key": "a", "Value": "b"}]
    summaries = aws("sagemaker", "list-hyper-parameter-tuning-jobs", "--name-contains", "seed")
    assert summaries["HyperParameterTuningJobSummaries"][0]["TrainingJobStatusCounters"]["Completed"] == 3


@pytest.mark.parametrize("strategy", ["Random", "Bayesian"])
def test_a_strategy_tries_as_many_points_as_asked_for(tuner: Tuner, strategy: str) -> None:
    name = f"by-{strategy}"
    job = tuner.ended(name, PARABOLA, X, 9, config={"Strategy": strategy})
    assert counters(job) == {"Completed": 9, "Succeeded": 9}
    trials = tuner.trials(name, SortBy="FinalObjectiveMetricValue", SortOrder="Descending")
    assert len({trial["TunedHyperParameters"]["x"] for trial in trials}) == 9
    assert trials[0]["TrainingJobName"] == job["BestTrainingJob"]["TrainingJobName"]
    tried = float(trials[0]["TunedHyperParameters"]["x"])
    value = trials[0]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
    assert value == pytest.approx(1 - (tried - 0.3) ** 2, abs=1e-6)  # the answer has single precision, as AWS's


def test_a_grid_tries_every_combination_once(tuner: Tuner) -> None:
    script = HEAD + 'print("acc=%d" % "abcd".index(given.kind))\n'
    job = tuner.ended("grid", script, kinds(*"abcd"), None, config={"Strategy": "Grid"})
    assert counters(job) == {"Completed": 4, "Succeeded": 4}
    assert [trial["TunedHyperParameters"]["kind"] for trial in tuner.trials("grid")] == list("abcd")
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"kind": "d"}


EPOCHS = (
    HEAD + 'for epoch in range(100000):\n    print("acc=%r" % -abs(given.x - 0.3), flush=True)\n    time.sleep(0.3)\n'
)


def test_hyperband_ends_processes_that_would_not_end_themselves(tuner: Tuner) -> None:
    bands = {"HyperbandStrategyConfig": {"MinResource": 1, "MaxResource": 4}}
    job = tuner.ended("band", EPOCHS, X, 5, config={"Strategy": "Hyperband", "StrategyConfig": bands})
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert counters(job) == {"Stopped": 5, "Succeeded": 5}
    assert job["BestTrainingJob"]["TrainingJobStatus"] == "Stopped"
    assert tuner.programs() == []


def test_hyperband_lets_programs_that_end_themselves_save_their_models(tuner: Tuner) -> None:
    script = f"""{HEAD}
for epoch in range(3):
    print("acc=%r" % given.x, flush=True)
time.sleep(1)
open(os.path.join(os.environ["SM_MODEL_DIR"], "model"), "w").close()
"""
    request = tuner.request("whole", script, X, 2, config={"Strategy": "Hyperband"})
    request["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"] = "3"
    tuner.sagemaker.create_hyper_parameter_tuning_job(**request)
    assert counters(tuner.wait("whole")) == {"Completed": 2, "Succeeded": 2}


def test_early_stopping_ends_the_process_of_a_trial_that_lags_behind(tuner: Tuner) -> None:
    script = f"""{HEAD}
print("acc=%d" % (given.kind != "d"), flush=True)
open(os.path.join(os.environ["SM_MODEL_DIR"], "model"), "w").close()
time.sleep(600 if given.kind == "d" else 0)
"""
    early = {"Strategy": "Grid", "TrainingJobEarlyStoppingType": "Auto"}
    job = tuner.ended("early", script, kinds(*"abcd"), None, config=early, parallel=1)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert counters(job) == {"Completed": 3, "Stopped": 1, "Succeeded": 4}
    [stopped] = tuner.trials("early", StatusEquals="Stopped")
    assert stopped["TunedHyperParameters"] == {"kind": "d"}
    assert stopped["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == 0
    artifact = tuner.training(stopped)["ModelArtifacts"]["S3ModelArtifacts"].removeprefix(f"s3://{BUCKET}/")
    tuner.s3.head_object(Bucket=BUCKET, Key=artifact)
    assert tuner.programs() == []


def test_stop_ends_all_training_jobs_and_then_the_job(
    tuner: Tuner, aws_for: Callable[[Any], Callable[..., Any]]
) -> None:
    script = HEAD + 'print("acc=1", flush=True)\ntime.sleep(600)\n'
    tuner.create("stopped", script)
    tuner.wait("stopped", lambda _: tuner.measured("stopped") == 2)
    aws_for(tuner.server)(
        "sagemaker", "stop-hyper-parameter-tuning-job", "--hyper-parameter-tuning-job-name", "stopped"
    )
    job = tuner.wait("stopped")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert counters(job) == {"Stopped": 2, "Succeeded": 2}
    assert [trial["TrainingJobStatus"] for trial in tuner.trials("stopped")] == ["Stopped", "Stopped"]
    assert "HyperParameterTuningEndTime" in job
    assert tuner.programs() == []
    tuner.sagemaker.delete_hyper_parameter_tuning_job(HyperParameterTuningJobName="stopped")
    assert "stopped" not in [
        each["HyperParameterTuningJobName"]
        for each in tuner.sagemaker.list_hyper_parameter_tuning_jobs(MaxResults=100)["HyperParameterTuningJobSummaries"]
    ]
    assert len(tuner.sagemaker.list_training_jobs(NameContains="stopped-00")["TrainingJobSummaries"]) == 2


def test_stop_ends_scripts_that_ignore_it(tuner: Tuner) -> None:
    deaf = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    tuner.create("deaf", HEAD + deaf + 'print("acc=1", flush=True)\ntime.sleep(600)\n')
    tuner.wait("deaf", lambda _: tuner.measured("deaf") == 2)
    tuner.sagemaker.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName="deaf")
    job = tuner.wait("deaf")
    assert job["HyperParameterTuningJobStatus"] == "Stopped"
    assert set(counters(job)) == {"Stopped", "Succeeded"}
    assert {trial["TrainingJobStatus"] for trial in tuner.trials("deaf")} == {"Stopped"}
    assert tuner.programs() == []


def test_all_of_very_many_trials_are_counted_and_listed(tuner: Tuner) -> None:
    script = '#!/bin/sh\necho "acc=$2"\n'  # its arguments: -x, the value
    request = tuner.request("many", script, X, TRIALS, parallel=4, definition={"program": "train.sh"})
    tuner.sagemaker.create_hyper_parameter_tuning_job(**request)
    job = tuner.wait("many", seconds=900)
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert counters(job) == {"Completed": TRIALS, "Succeeded": TRIALS}
    trials = tuner.trials("many", SortBy="CreationTime", MaxResults=100)
    assert [one["TrainingJobName"].split("-")[1] for one in trials] == [f"{n + 1:03d}" for n in range(TRIALS)]
    assert len({one["TunedHyperParameters"]["x"] for one in trials}) == TRIALS
    for one in trials:
        value = one["FinalHyperParameterTuningJobObjectiveMetric"]["Value"]
        assert value == pytest.approx(float(one["TunedHyperParameters"]["x"]), rel=1e-6)
    ranked = tuner.trials("many", SortBy="FinalObjectiveMetricValue", SortOrder="Descending", MaxResults=100)
    assert len({one["TrainingJobName"] for one in ranked}) == TRIALS
    assert ranked[0]["TrainingJobName"] == job["BestTrainingJob"]["TrainingJobName"]
    assert tuner.trials("many", StatusEquals="Failed") == []


def test_a_training_job_that_somebody_stops_is_one_of_the_trials(tuner: Tuner) -> None:
    script = HEAD + 'print("acc=1", flush=True)\ntime.sleep(600 if given.kind == "a" else 0)\n'
    tuner.create("meddled", script, kinds(*"abc"), None, config={"Strategy": "Grid"}, parallel=1)
    tuner.wait("meddled", lambda job: tuner.programs())
    [first] = tuner.trials("meddled")
    tuner.sagemaker.stop_training_job(TrainingJobName=first["TrainingJobName"])
    job = tuner.wait("meddled")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert counters(job) == {"Completed": 2, "Stopped": 1, "Succeeded": 3}


def test_what_fails_for_no_fault_of_the_script_is_tried_again_and_counted_apart(
    tuner: Tuner, gate: Callable[..., Any]
) -> None:
    held = gate()
    tuner.s3.create_bucket(Bucket="broken")
    script = HEAD + 'print("acc=1", flush=True)\n' + held.line
    changes = {"OutputDataConfig": {"S3OutputPath": "s3://broken/out"}}
    retries = {"RetryStrategy": {"MaximumRetryAttempts": 1}}
    tuner.create("retried", script, X, 1, definition={**changes, **retries})
    tuner.wait("retried", lambda job: tuner.programs())
    incoming = tuner.server.home / "objects" / "broken" / "incoming"
    incoming.rmdir()
    incoming.touch()  # where nothing can be written any more
    held.open()
    job = tuner.wait("retried")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert counters(job) == {"RetryableError": 1, "Failed": 1}
    [trial] = tuner.trials("retried")
    assert trial["FailureReason"].startswith("InternalServerError")
    statuses = [one["Status"] for one in tuner.training(trial)["SecondaryStatusTransitions"]]
    assert statuses.count("Restarting") == 1
    assert statuses.count("Training") == 1


def test_a_script_that_never_prints_the_metric_fails_the_job_in_words(tuner: Tuner) -> None:
    job = tuner.ended("mute", HEAD + 'print("accuracy: 1")\n', X, 2)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("No training job emitted a finite value of the objective metric.")
    assert counters(job) == {"Completed": 2, "Failed": 2}
    assert [trial["ObjectiveStatus"] for trial in tuner.trials("mute")] == ["Failed", "Failed"]
    assert "BestTrainingJob" not in job


def test_a_job_whose_training_jobs_all_fail_tells_why_the_first_did(tuner: Tuner) -> None:
    job = tuner.ended("broken", HEAD + 'print("acc=1", flush=True)\nsys.exit("no such thing")\n', X, 2)
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("All training jobs failed.")
    assert "no such thing" in job["FailureReason"]
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 2


def test_a_number_that_is_none_never_wins(tuner: Tuner) -> None:
    script = HEAD + 'print("acc=%s" % {"a": "0.1", "b": "nan", "c": "inf"}[given.kind])\n'
    job = tuner.ended("odd", script, kinds(*"abc"), None, config={"Strategy": "Grid"})
    assert job["BestTrainingJob"]["TunedHyperParameters"] == {"kind": "a"}
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 1, "Pending": 0, "Failed": 2}


def test_a_target_ends_the_job_and_what_still_runs(tuner: Tuner, gate: Callable[..., Any]) -> None:
    held = gate()
    script = HEAD + 'print("acc=1", flush=True)\ntime.sleep(600 if given.kind == "b" else 0)\n' + held.line
    target = {"Strategy": "Grid", "TuningJobCompletionCriteria": {"TargetObjectiveMetricValue": 1.0}}
    tuner.create("target", script, kinds(*"abcdef"), None, config=target)
    tuner.wait("target", lambda _: tuner.measured("target") == 2)
    held.open()
    job = tuner.wait("target")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert counters(job) == {"Completed": 1, "Stopped": 1, "Succeeded": 2}


def test_the_end_of_its_time_ends_the_job_and_what_still_runs(tuner: Tuner) -> None:
    script = HEAD + 'print("acc=1", flush=True)\ntime.sleep(600)\n'
    request = tuner.request("late", script)
    request["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxRuntimeInSeconds"] = 12  # the API takes 120 or more
    store = composition.store(Settings(home=tuner.server.home))
    store.insert("hyper-parameter-tuning-job", "late", request, status="InProgress", state=first_state())
    store.close()
    job = tuner.wait("late")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    assert counters(job) == {"Stopped": 2, "Succeeded": 2}
    assert 12 <= job["ConsumedResources"]["RuntimeInSeconds"] < 120


def test_definitions_of_their_own_take_turns(tuner: Tuner) -> None:
    objective = {"Type": "Maximize", "MetricName": "acc"}
    definitions = [
        {
            **tuner.definition(f"several-{name}", PARABOLA),
            "DefinitionName": name,
            "TuningObjective": objective,
            "HyperParameterRanges": X,
        }
        for name in ("one", "two")
    ]
    limits = {"MaxNumberOfTrainingJobs": 4, "MaxParallelTrainingJobs": 2}
    tuner.sagemaker.create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="several",
        HyperParameterTuningJobConfig={"Strategy": "Random", "ResourceLimits": limits},
        TrainingJobDefinitions=definitions,
    )
    assert counters(tuner.wait("several")) == {"Completed": 4, "Succeeded": 4}
    names = [trial["TrainingJobDefinitionName"] for trial in tuner.trials("several")]
    assert names == ["one", "two", "one", "two"]


def test_autotune_finds_the_ranges(tuner: Tuner) -> None:
    hints = {"AutoParameters": [{"Name": "x", "ValueHint": "0.5"}, {"Name": "kind", "ValueHint": "a"}]}
    job = tuner.ended("auto", PARABOLA, hints, 3, Autotune={"Mode": "Enabled"})
    assert counters(job) == {"Completed": 3, "Succeeded": 3}
    assert job["Autotune"] == {"Mode": "Enabled"}
    for trial in tuner.trials("auto"):
        assert set(trial["TunedHyperParameters"]) == {"x"}
        given = tuner.training(trial)["HyperParameters"]
        assert given["kind"] == "a"
        assert 0.05 <= float(given["x"]) <= 5


def test_a_warm_start_goes_on_from_its_parent(tuner: Tuner) -> None:
    before = tuner.ended("parent", PARABOLA, X, 4)
    for kind in ("IdenticalDataAndAlgorithm", "TransferLearning"):
        warm = {"WarmStartType": kind, "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}]}
        request = tuner.request(
            f"warm-{kind[:8]}", PARABOLA, X, 1, config={"Strategy": "Bayesian"}, WarmStartConfig=warm
        )
        if kind == "IdenticalDataAndAlgorithm":
            request["TrainingJobDefinition"] = tuner.request("parent", PARABOLA)["TrainingJobDefinition"]
        tuner.sagemaker.create_hyper_parameter_tuning_job(**request)
    identical, transfer = tuner.wait("warm-Identica"), tuner.wait("warm-Transfer")
    best = identical["OverallBestTrainingJob"]
    mine, theirs = (
        job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] for job in (identical, before)
    )
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == max(mine, theirs)
    assert best.get("TuningJobName") == ("parent" if theirs > mine else None)
    assert "OverallBestTrainingJob" not in transfer
    assert transfer["BestTrainingJob"]["TunedHyperParameters"] == before["BestTrainingJob"]["TunedHyperParameters"]


BOOST = {"IntegerParameterRanges": [{"Name": "max_depth", "MinValue": "1", "MaxValue": "3"}]}
LINEAR = {"ContinuousParameterRanges": [{"Name": "l1", "MinValue": "1e-6", "MaxValue": "1e-2"}]}


@pytest.mark.parametrize(
    ("image", "static", "ranges", "metric"),
    [
        ("sagemaker-xgboost:1.7-1", {"num_round": "3", "objective": "binary:logistic"}, BOOST, "validation:auc"),
        ("linear-learner:1", {"predictor_type": "binary_classifier"}, LINEAR, "validation:binary_f_beta"),
    ],
)
def test_a_built_in_algorithm_measures_the_objective(
    tuner: Tuner, image: str, static: dict[str, str], ranges: dict[str, Any], metric: str
) -> None:
    rows = "\n".join(f"{i % 2},{i % 7},{i % 2 + i % 3}" for i in range(60))
    for channel in ("train", "validation"):
        tuner.s3.put_object(Bucket=BUCKET, Key=f"rows/{channel}/rows.csv", Body=rows.encode())
    name = f"built-in-{image[:6]}"
    request = tuner.request(name, PARABOLA, ranges, metric=metric)
    request["TrainingJobDefinition"].update(
        StaticHyperParameters=static,
        AlgorithmSpecification={"TrainingImage": image, "TrainingInputMode": "File"},
        InputDataConfig=[
            {
                "ChannelName": channel,
                "ContentType": "text/csv",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://{BUCKET}/rows/{channel}/"}},
            }
            for channel in ("train", "validation")
        ],
    )
    tuner.sagemaker.create_hyper_parameter_tuning_job(**request)
    job = tuner.wait(name)
    assert counters(job) == {"Completed": 3, "Succeeded": 3}
    assert job["BestTrainingJob"]["FinalHyperParameterTuningJobObjectiveMetric"]["MetricName"] == metric
