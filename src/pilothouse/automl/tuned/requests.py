"""The requests of a tuned candidate's steps and the definitions of its containers, in the words of the service."""

from __future__ import annotations

from typing import Any

from pilothouse.automl.steps import DEFAULT_RUNTIME, INSTANCE
from pilothouse.automl.tuned.places import Places
from pilothouse.catalog import hosting, images
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.catalog.tabular_jobs import Channel, TabularJob
from pilothouse.problems.tabular.pipelines.pipeline import PipelineSpec

Document = dict[str, Any]

MATRIX = "application/x-npy"
_PROGRAM = {"SAGEMAKER_PROGRAM": "sagemaker_serve", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
_KEYS = "predicted_label,probability,probabilities"


def analysis(spec: TabularJob, places: Places) -> Document:
    """The processing job that analyses the data and chooses the pipelines."""
    source = {**_source(spec.training), "LocalPath": "/opt/ml/processing/input/train"}
    target = {"S3Uri": places.candidates, "S3UploadMode": "EndOfJob", "LocalPath": "/opt/ml/processing/output"}
    return {
        "ProcessingJobName": places.analysis,
        "ProcessingInputs": [{"InputName": "train", "AppManaged": True, "S3Input": source}],
        "ProcessingOutputConfig": {"Outputs": [{"OutputName": "pipelines", "AppManaged": True, "S3Output": target}]},
        "ProcessingResources": {"ClusterConfig": INSTANCE},
        "StoppingCondition": {"MaxRuntimeInSeconds": spec.max_runtime or DEFAULT_RUNTIME},
        "AppSpecification": {"ImageUri": images.TABULAR_TRAINING},
        "RoleArn": spec.role_arn,
    }


def processor(spec: TabularJob, places: Places, pipeline: PipelineSpec) -> Document:
    """The training job that fits a pipeline."""
    hyperparameters = {name: str(value) for name, value in pipeline.document().items() if name != "name"}
    return {
        "TrainingJobName": places.processor(pipeline.name),
        "AlgorithmSpecification": {"TrainingImage": images.TABULAR_TRANSFORM, "TrainingInputMode": "File"},
        "HyperParameters": {"pipeline": pipeline.name, **hyperparameters},
        "InputDataConfig": [_channel(channel) for channel in spec.channels],
        "OutputDataConfig": {"S3OutputPath": places.processors},
        **training_resources(spec),
    }


def transform_model(spec: TabularJob, places: Places, pipeline: PipelineSpec) -> Document:
    """The model that transforms with a fitted pipeline."""
    name = places.processor(pipeline.name)
    return hosting.model_request(name, [_features(places, pipeline.name)], spec.role_arn)


def transform(spec: TabularJob, places: Places, pipeline: PipelineSpec) -> Document:
    """The transform job that makes the pipeline's matrix."""
    channel = spec.training
    source = {"S3DataSource": _source(channel)}
    return {
        "TransformJobName": places.transform(pipeline.name),
        "ModelName": places.processor(pipeline.name),
        "TransformInput": {
            "DataSource": source,
            "ContentType": channel.content_type,
            "CompressionType": "Gzip" if channel.gzip else "None",
        },
        "TransformOutput": {"S3OutputPath": places.transformed(pipeline.name), "Accept": MATRIX},
        "TransformResources": {"InstanceType": INSTANCE["InstanceType"], "InstanceCount": 1},
    }


def training_resources(spec: TabularJob) -> Document:
    """What all training jobs of the job have alike."""
    return {
        "ResourceConfig": INSTANCE,
        "StoppingCondition": {"MaxRuntimeInSeconds": spec.max_runtime_per_trial or DEFAULT_RUNTIME},
        "RoleArn": spec.role_arn,
    }


def matrix_channels(places: Places, pipeline: str) -> list[Document]:
    """The channels of a training job on a pipeline's matrix."""
    return [
        {
            "ChannelName": part,
            "DataSource": {
                "S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"{places.transformed(pipeline)}/{part}/"}
            },
            "ContentType": MATRIX,
        }
        for part in ("train", "validation")
    ]


def containers(places: Places, pipeline: str, problem_type: str, model_uri: str) -> list[Document]:
    """The InferenceContainers of a candidate: features, algorithm, and, for classes, labels."""
    algorithm = {"MAX_CONTENT_LENGTH": "20971520", "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv"}
    if problem_type == REGRESSION:
        return [_features(places, pipeline), _container(images.TABULAR_ALGORITHM, model_uri, algorithm)]
    algorithm |= {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label", "SAGEMAKER_INFERENCE_SUPPORTED": _KEYS}
    labels = {
        "AUTOML_TRANSFORM_MODE": "inverse-label-transform",
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
        "SAGEMAKER_INFERENCE_INPUT": "predicted_label",
        "SAGEMAKER_INFERENCE_OUTPUT": "predicted_label",
        "SAGEMAKER_INFERENCE_SUPPORTED": "predicted_label,probability,labels,probabilities",
        **_PROGRAM,
    }
    return [
        _features(places, pipeline),
        _container(images.TABULAR_ALGORITHM, model_uri, algorithm),
        _container(images.TABULAR_TRANSFORM, places.labels, labels),
    ]


def _features(places: Places, pipeline: str) -> Document:
    uri = f"{places.processors}/{places.processor(pipeline)}/output/model.tar.gz"
    environment = {
        "AUTOML_SPARSE_ENCODE_RECORDIO_PROTOBUF": "1",
        "AUTOML_TRANSFORM_MODE": "feature-transform",
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/x-recordio-protobuf",
        **_PROGRAM,
    }
    return _container(images.TABULAR_TRANSFORM, uri, environment)


def _container(image: str, uri: str, environment: Document) -> Document:
    return {"Image": image, "ModelDataUrl": uri, "Environment": environment}


def _source(channel: Channel) -> Document:
    return {"S3DataType": channel.data_type, "S3Uri": channel.uri}


def _channel(channel: Channel) -> Document:
    return {
        "ChannelName": "train" if channel.kind == "training" else "validation",
        "DataSource": {"S3DataSource": _source(channel)},
        "ContentType": channel.content_type,
        "CompressionType": "Gzip" if channel.gzip else "None",
    }
