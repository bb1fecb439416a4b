"""What a candidate begins with: the steps that it lists, the rows that begin with it, the containers it will have."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pilothouse import names
from pilothouse.automl import steps
from pilothouse.catalog import images
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.store.store import NewResource

if TYPE_CHECKING:
    from pilothouse.work.job import Job

Document = dict[str, Any]


@dataclass(frozen=True)
class Opening:
    """`steps`: CandidateSteps, the candidate's own last. `rows`: those that are inserted with it. `containers`: its
    InferenceContainers, published when it is completed. `state`: private members of its row.
    """

    steps: list[Document]
    rows: list[NewResource]
    containers: list[Document]
    state: Document = field(default_factory=dict)


def of_ensembling(job: Job, spec: TabularJob, problem_type: str, name: str, model_uri: str) -> Opening:
    """A candidate of ensembling mode: one processing job, one container."""
    request = _processing_request(spec, name, model_uri)
    step = request["ProcessingJobName"]
    return Opening(
        [steps.listed(job, steps.PROCESSING, step)],
        [steps.begun(job, steps.PROCESSING, step, request)],
        [_container(problem_type, name, model_uri)],
    )


def _container(problem_type: str, name: str, model_uri: str) -> Document:
    keys = "predicted_label" if problem_type == REGRESSION else "predicted_label,probability,probabilities,labels"
    return {
        "Image": images.TABULAR_INFERENCE,
        "ModelDataUrl": model_uri,
        "Environment": {
            "MODEL_NAME": name,
            "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
            "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
            "SAGEMAKER_INFERENCE_SUPPORTED": keys,
            "SAGEMAKER_PROGRAM": "pilothouse.hosting.replica",
            "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model",
        },
    }


def _processing_request(spec: TabularJob, name: str, model_uri: str) -> Document:
    channel = spec.training
    source = {"S3Uri": channel.uri, "S3DataType": channel.data_type, "LocalPath": "/opt/ml/processing/input/train"}
    target = {
        "S3Uri": model_uri.rpartition("/")[0],
        "S3UploadMode": "EndOfJob",
        "LocalPath": "/opt/ml/processing/output/model",
    }
    return {
        "ProcessingJobName": names.shortened(name, 63),
        "ProcessingInputs": [{"InputName": "train", "AppManaged": True, "S3Input": source}],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "model", "AppManaged": True, "S3Output": target}]},
        "ProcessingResources": {"ClusterConfig": steps.INSTANCE},
        "StoppingCondition": {"MaxRuntimeInSeconds": spec.max_runtime_per_trial or steps.DEFAULT_RUNTIME},
        "AppSpecification": {"ImageUri": images.TABULAR_TRAINING},
        "RoleArn": spec.role_arn,
    }
