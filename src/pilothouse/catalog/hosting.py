"""What a deployed model consists of: the documents of a model, an endpoint configuration and an endpoint.

Whoever deploys, an operation or an AutoML job, builds its rows here, so that the two cannot differ. Insert the model,
then the configuration, then the endpoint with status `CREATING` and `endpoint_state(...)` as its state; the hosting
reconciler does the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.catalog import kms, pipelines

Document = dict[str, Any]

MODEL = "model"
ENDPOINT_CONFIG = "endpoint-config"
ENDPOINT = "endpoint"

CREATING, IN_SERVICE, UPDATING, FAILED, DELETING = "Creating", "InService", "Updating", "Failed", "Deleting"
ROLLING_BACK = "RollingBack"
"""The status of an endpoint whose old replicas are being brought back after a rolling update that failed."""

ROLLBACK_FAILED = "UpdateRollbackFailed"
"""The status of one whose old replicas could not be brought back: replicas of both configurations serve."""

CHANGING = (UPDATING, ROLLING_BACK)
INVOCABLE = (IN_SERVICE, *CHANGING, ROLLBACK_FAILED)
"""The statuses in which an endpoint answers."""

OUTPUTS = ("predicted_label", "probability", "probabilities", "labels")
"""What a classification model server can put into an answer (SAGEMAKER_INFERENCE_OUTPUT)."""

MAX_REPLICAS = 4
"""Most processes that are started for a variant, whatever its instance count asks for: they share one machine."""

ASYNC = "_async"
"""The member of an endpoint's state with its AsyncInferenceConfig, if it has one."""

SHADOW = "_shadow"
"""The member of a pinned variant that gets copies of requests, and whose answers go to nobody."""

VARIANTS, SHADOWS = "ProductionVariants", "ShadowProductionVariants"

_ROUNDING = 1e-9  # what the sum of some shares may be off by

DEFAULT_INSTANCE_TYPE = "ml.m5.xlarge"
DEFAULT_VARIANT = "AllTraffic"


def model_request(name: str, containers: Sequence[Document], role_arn: str | None = None) -> Document:
    """A CreateModel request; one container becomes the primary container."""
    request: Document = {"ModelName": name}
    if len(containers) == 1:
        request["PrimaryContainer"] = containers[0]
    else:
        request["Containers"] = list(containers)
    return request | ({"ExecutionRoleArn": role_arn} if role_arn else {})


def endpoint_config_request(name: str, model_name: str, *, instances: int = 1) -> Document:
    """A CreateEndpointConfig request with one variant that gets all traffic."""
    variant = {
        "VariantName": DEFAULT_VARIANT,
        "ModelName": model_name,
        "InitialInstanceCount": instances,
        "InstanceType": DEFAULT_INSTANCE_TYPE,
        "InitialVariantWeight": 1.0,
    }
    return {"EndpointConfigName": name, "ProductionVariants": [variant]}


def endpoint_request(name: str, config_name: str) -> Document:
    """A CreateEndpoint request."""
    return {"EndpointName": name, "EndpointConfigName": config_name}


def endpoint_state(config: Document, models: Mapping[str, Document]) -> Document:
    """The state that pins what an endpoint serves: later changes to its configuration and models don't reach it.

    `config` is a CreateEndpointConfig request, `models` the CreateModel requests by the model names it uses.
    """
    key = kms.of_volume(config)
    variants = [_pinned(variant, models[variant["ModelName"]], key) for variant in config[VARIANTS]]
    shadows = [_pinned(variant, models[variant["ModelName"]], key) for variant in config.get(SHADOWS, ())]
    state: Document = {"_variants": [*variants, *({**shadow, SHADOW: True} for shadow in shadows)]}
    for member, name in (("_capture", "DataCaptureConfig"), (ASYNC, "AsyncInferenceConfig")):
        if name in config:
            state[member] = config[name]
    return state


def containers(model: Document) -> list[Document]:
    """The container definitions of a CreateModel request, in the order of the pipeline."""
    primary = model.get("PrimaryContainer")
    return [primary] if primary else list(model.get("Containers", []))


def is_direct(model: Document) -> bool:
    """Whether the containers of a CreateModel request, or of a pinned variant, are called one by one."""
    return bool(model.get("InferenceExecutionConfig", {}).get("Mode") == pipelines.DIRECT)


def archive_uri(container: Document) -> str | None:
    """Where a container's model archive is: ModelDataUrl, or a ModelDataSource that names one compressed object."""
    source = container.get("ModelDataSource", {}).get("S3DataSource", {})
    if source.get("CompressionType") == "Gzip" and source.get("S3DataType") == "S3Object":
        return str(source["S3Uri"])
    return container.get("ModelDataUrl")


def keyed(variant: Document) -> bool:
    """Whether the volume of a pinned variant has a key."""
    return "VolumeKmsKeyId" in variant


def replica_count(variant: Document, share: float = 1.0) -> int:
    """How many processes serve a variant here, or a `share` of it, rounded up; a serverless variant has one."""
    count = max(1, min(MAX_REPLICAS, int(variant.get("InitialInstanceCount", 1))))
    return math.ceil(count * share - _ROUNDING)


def concurrency(variant: Document) -> int | None:
    """How many requests a serverless variant takes at a time; None for one that has instances."""
    limit: int | None = variant.get("ServerlessConfig", {}).get("MaxConcurrency")
    return limit


def described_variants(variants: Sequence[Document], resolved_at: float) -> Document:
    """The members of DescribeEndpoint that show pinned variants once they serve; None for shadows if there are none."""
    shown: Document = {VARIANTS: [], SHADOWS: []}
    for variant in variants:
        shown[SHADOWS if SHADOW in variant else VARIANTS].append(_described(variant, resolved_at))
    return {**shown, SHADOWS: shown[SHADOWS] or None}


def log_group(endpoint: str) -> str:
    """The log group that an endpoint's model servers write to."""
    return f"/aws/sagemaker/Endpoints/{endpoint}"


def log_group_arn(region: str, account: str, endpoint: str) -> str:
    """The ARN of an endpoint's log group."""
    return f"arn:aws:logs:{region}:{account}:log-group:{log_group(endpoint)}"


def _pinned(variant: Document, model: Document, volume_key: str | None) -> Document:
    pinned = {"InitialVariantWeight": 1.0, **variant, "Containers": containers(model)}
    if volume_key is not None:
        pinned["VolumeKmsKeyId"] = volume_key
    if "InferenceExecutionConfig" in model:
        pinned["InferenceExecutionConfig"] = model["InferenceExecutionConfig"]
    return pinned


def _described(variant: Document, resolved_at: float) -> Document:
    images = [
        {"SpecifiedImage": c["Image"], "ResolvedImage": c["Image"], "ResolutionTime": resolved_at}
        for c in variant["Containers"]
    ]
    weight = variant["InitialVariantWeight"]
    described = {
        "VariantName": variant["VariantName"],
        "DeployedImages": images,
        "CurrentWeight": weight,
        "DesiredWeight": weight,
        "CurrentInstanceCount": replica_count(variant),
        "DesiredInstanceCount": variant.get("InitialInstanceCount", 1),
    }
    if "ServerlessConfig" in variant:
        described["CurrentServerlessConfig"] = described["DesiredServerlessConfig"] = variant["ServerlessConfig"]
    return described
