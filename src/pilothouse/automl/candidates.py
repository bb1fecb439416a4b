"""Candidates as rows: a leaderboard entry, and the processing job that made it, kept in step."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pilothouse import clock, names
from pilothouse.catalog import images
from pilothouse.catalog.metrics import METRICS
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.store.store import NewResource, Resource

if TYPE_CHECKING:
    from pilothouse.work.job import Job

CANDIDATE = "candidate"
ENSEMBLE = "ensemble"
STEP = "processing-job"
_REASON_LIMIT = 1024
_INSTANCE = {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 50}
_DEFAULT_STEP_RUNTIME = 86_400
_TIE = 0.001


@dataclass(frozen=True)
class Board:
    """The leaderboard of one job: the only place that writes its candidates."""

    job: Job
    spec: TabularJob
    metric: str
    problem_type: str

    def rows(self) -> list[Resource]:
        """All candidates, in the order in which they were started."""
        return self.job.store.children(CANDIDATE, (self.job.resource.kind, self.job.resource.name))

    def name_of(self, suffix: str) -> str:
        return f"{self.job.resource.name}-{suffix}"

    def model_uri(self, name: str) -> str:
        """Where the candidate's archive goes."""
        return f"{self.spec.output_path}/{self.spec.name}/sagemaker-automl-candidates/model/{name}/model.tar.gz"

    def open(self, name: str) -> None:
        """Lists the candidate as InProgress, with its step; nothing happens if an earlier run has."""
        if self.job.store.get(CANDIDATE, name) is not None:
            return
        step = self._step_request(name)
        parent = (self.job.resource.kind, self.job.resource.name)
        arn = names.arn(self.job.settings.region, self.job.settings.account_id, STEP, step["ProcessingJobName"])
        steps = [
            {
                "CandidateStepType": "AWS::SageMaker::ProcessingJob",
                "CandidateStepArn": arn,
                "CandidateStepName": step["ProcessingJobName"],
            }
        ]
        facts = {"AutoMLJobArn": self.job.resource.arn, "ProcessingStartTime": clock.now()}
        also = NewResource(STEP, step["ProcessingJobName"], step, status="InProgress", state=facts, parent=parent)
        self.job.store.insert(
            CANDIDATE,
            name,
            {},
            status="InProgress",
            state={"ObjectiveStatus": "Pending", "CandidateSteps": steps},
            parent=parent,
            also=[also],
        )

    def complete(self, name: str, result: dict[str, Any]) -> None:
        """Records the measured candidate, then the best of the board on the job's row.

        Its objective is `ranking`, the cross-validated value on all rows: the validation rows alone are too few to tell
        good candidates apart.
        """
        if result["ranking"] is None:
            self.fail(name, f"{self.metric} is not defined for this candidate's predictions.")
            return
        state = {
            "ObjectiveStatus": "Succeeded",
            "FinalAutoMLJobObjectiveMetric": self._objective(result["ranking"]),
            "InferenceContainers": [self._container(name)],
            "CandidateProperties": {"CandidateMetrics": _metric_data(result["metrics"])},
            "EndTime": clock.now(),
            "_standing": result["standing"],
            "_noise": result["noise"],
            "_score": result["score"],
            "_latency": result["metrics"]["Validation"].get("InferenceLatency"),
        }
        self._end(name, "Completed", state)
        self.publish_best()

    def publish_best(self) -> None:
        """Names the best candidate so far on the job's row."""
        best = self.best()
        if best is not None:
            self.job.update(state={"_best": best.name})

    def fail(self, name: str, reason: str, *, status: str = "Failed") -> None:
        """Ends the candidate without a model, saying why."""
        self._end(name, status, _without_model(reason))

    def best(self) -> Resource | None:
        """The completed candidate with the best objective, luck and latency considered.

        The first of many is that by luck in part. So of the candidates that are within its noise of the first the
        ensemble is the best, since nested weights have no such luck, else the one with the best score, which in
        regression is the objective. Scores tie that differ by at most a thousandth of the distance between the best and
        the median candidate: then the lowest latency decides.
        """
        done = [row for row in self.rows() if row.status == "Completed"]
        if not done:
            return None
        sign = 1 if METRICS[self.metric].direction == "Maximize" else -1
        values = {row.name: sign * _standing(row) for row in done}
        first = max(done, key=lambda row: values[row.name])
        slack = max(first.state["_noise"], _tie(list(values.values())))
        near = [row for row in done if values[row.name] >= values[first.name] - slack]
        mixed = [row for row in near if row.name == self.name_of(ENSEMBLE)]
        if mixed and first.state["_noise"] > 0:
            return mixed[0]
        top = max(row.state["_score"] for row in near)
        enough = top - _tie([row.state["_score"] for row in done if row.state["_score"] <= top])
        tied = [row for row in near if row.state["_score"] >= enough]
        return min(tied, key=lambda row: row.state.get("_latency") or 0.0)

    def _end(self, name: str, status: str, state: dict[str, Any]) -> None:
        row = self.job.store.get(CANDIDATE, name)
        if row is not None and row.status == "InProgress":
            _end_row(self.job, row, status, state)

    def _objective(self, value: float) -> dict[str, Any]:
        return {
            "Type": METRICS[self.metric].direction,
            "MetricName": self.metric,
            "StandardMetricName": self.metric,
            "Value": value,
        }

    def _container(self, name: str) -> dict[str, Any]:
        keys = (
            "predicted_label"
            if self.problem_type == "Regression"
            else "predicted_label,probability,probabilities,labels"
        )
        return {
            "Image": images.TABULAR_INFERENCE,
            "ModelDataUrl": self.model_uri(name),
            "Environment": {
                "MODEL_NAME": name,
                "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
                "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
                "SAGEMAKER_INFERENCE_SUPPORTED": keys,
                "SAGEMAKER_PROGRAM": "pilothouse.hosting.replica",
                "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model",
            },
        }

    def _step_request(self, name: str) -> dict[str, Any]:
        channel = self.spec.training
        source = {"S3Uri": channel.uri, "S3DataType": channel.data_type, "LocalPath": "/opt/ml/processing/input/train"}
        target = {
            "S3Uri": self.model_uri(name).rpartition("/")[0],
            "S3UploadMode": "EndOfJob",
            "LocalPath": "/opt/ml/processing/output/model",
        }
        return {
            "ProcessingJobName": names.shortened(name, 63),
            "ProcessingInputs": [{"InputName": "train", "AppManaged": True, "S3Input": source}],
            "ProcessingOutputConfig": {"Outputs": [{"OutputName": "model", "AppManaged": True, "S3Output": target}]},
            "ProcessingResources": {"ClusterConfig": _INSTANCE},
            "StoppingCondition": {"MaxRuntimeInSeconds": self.spec.max_runtime_per_trial or _DEFAULT_STEP_RUNTIME},
            "AppSpecification": {"ImageUri": images.TABULAR_TRAINING},
            "RoleArn": self.spec.role_arn,
        }


def end_open(job: Job, reason: str) -> None:
    """Ends every candidate of a stopped job that is still in progress."""
    for row in job.store.children(CANDIDATE, (job.resource.kind, job.resource.name)):
        if row.status == "InProgress":
            _end_row(job, row, "Stopped", _without_model(reason))


def _end_row(job: Job, row: Resource, status: str, state: dict[str, Any]) -> None:
    """The step first, the candidate last: its terminal status is the record that it is done."""
    step = row.state["CandidateSteps"][0]["CandidateStepName"]
    outcome = {"ProcessingEndTime": state["EndTime"], "FailureReason": state.get("FailureReason")}
    job.store.update(STEP, step, status=status, state=outcome, lease=job.lease)
    job.store.update(CANDIDATE, row.name, status=status, state=state, lease=job.lease)
    job.log(f"Candidate {row.name} {status}" + (f": {state['FailureReason']}" if "FailureReason" in state else ""))


def _without_model(reason: str) -> dict[str, Any]:
    return {"ObjectiveStatus": "Failed", "FailureReason": reason[:_REASON_LIMIT], "EndTime": clock.now()}


def _tie(values: list[float]) -> float:
    """By how much values, of which the highest is the best, may differ from it and still tie."""
    return _TIE * (max(values) - statistics.median(values))


def _standing(row: Resource) -> float:
    """What the candidate is chosen by; rows of earlier releases have only the objective."""
    standing = row.state.get("_standing")
    return float(row.state["FinalAutoMLJobObjectiveMetric"]["Value"] if standing is None else standing)


def _metric_data(metrics: dict[str, dict[str, float]]) -> list[dict[str, Any]]:
    return [
        {"MetricName": name, "StandardMetricName": name, "Set": part, "Value": value}
        for part, values in metrics.items()
        for name, value in values.items()
    ]
