"""Endpoint configurations: create, describe, list, delete."""

from __future__ import annotations

from collections import Counter

from pilothouse.catalog import hosting
from pilothouse.catalog.data_capture import Capture
from pilothouse.catalog.hosting import Document
from pilothouse.errors import ValidationError
from pilothouse.objects import uri
from pilothouse.operations import creation, models
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.wire import paging

_SORTS = {"Name": "name", "CreationTime": "created"}
_NOT_SERVED = ("ExplainerConfig",)


def create_endpoint_config(context: Context, request: Document) -> Document:
    """CreateEndpointConfig. The models that its variants name must exist."""
    name = request["EndpointConfigName"]
    if context.store.get(hosting.ENDPOINT_CONFIG, name):
        raise _exists(context, name)
    _check_features(request)
    _check_capture(context, request)
    _check_variants(context, [*request[hosting.VARIANTS], *request.get(hosting.SHADOWS, ())])
    _check_shadow(context, request)
    _check_async(context, request)
    row = creation.insert(context, hosting.ENDPOINT_CONFIG, name, request, _exists(context, name))
    return {"EndpointConfigArn": row.arn}


def describe_endpoint_config(context: Context, request: Document) -> Document:
    """DescribeEndpointConfig."""
    row = existing(context, request["EndpointConfigName"])
    return {
        "EnableNetworkIsolation": False,
        **row.request,
        **{
            member: [{"InitialVariantWeight": 1.0, **variant} for variant in row.request[member]]
            for member in (hosting.VARIANTS, hosting.SHADOWS)
            if row.request.get(member)
        },
        "EndpointConfigArn": row.arn,
        "CreationTime": row.created_at,
    }


def list_endpoint_configs(context: Context, request: Document) -> Document:
    """ListEndpointConfigs: the newest first unless asked otherwise."""
    rows, token = paging.page(
        context.store,
        hosting.ENDPOINT_CONFIG,
        request,
        sorts=_SORTS,
        default_sort="CreationTime",
        default_order="Descending",
        default_limit=10,
    )
    summaries = [{"EndpointConfigName": r.name, "EndpointConfigArn": r.arn, "CreationTime": r.created_at} for r in rows]
    return {"EndpointConfigs": summaries, "NextToken": token}


def delete_endpoint_config(context: Context, request: Document) -> None:
    """DeleteEndpointConfig: the record only; endpoints made from it go on."""
    existing(context, request["EndpointConfigName"])
    context.store.delete(hosting.ENDPOINT_CONFIG, request["EndpointConfigName"])


def existing(context: Context, name: str) -> Resource:
    """The configuration's row; a missing one is a ValidationException, as in the real service."""
    row = context.store.get(hosting.ENDPOINT_CONFIG, name)
    if row is None:
        arn = context.arn(hosting.ENDPOINT_CONFIG, name)
        raise ValidationError(f'Could not find endpoint configuration "{arn}".')
    return row


def _exists(context: Context, name: str) -> ValidationError:
    arn = context.arn(hosting.ENDPOINT_CONFIG, name)
    return ValidationError(f'Cannot create already existing endpoint configuration "{arn}".')


def _check_features(request: Document) -> None:
    asked = [member for member in _NOT_SERVED if request.get(member)]
    if asked:
        raise ValidationError(f"{asked[0]} is not served by this version of Pilothouse. Leave it out.")


def _check_capture(context: Context, request: Document) -> None:
    """`ValidationError` if what is captured would have no bucket to go to."""
    capture = Capture.of(request.get("DataCaptureConfig"))
    if capture is not None:
        _check_bucket(context, "DestinationS3Uri", capture.destination)


def _check_bucket(context: Context, member: str, address: str) -> None:
    if not context.objects.bucket_exists(bucket := uri.parse(address).bucket):
        raise ValidationError(f'The bucket "{bucket}" of {member} does not exist. Create it, then try again.')


def _check_async(context: Context, request: Document) -> None:
    """`ValidationError` if an asynchronous endpoint could not answer, or would have to do what isn't served."""
    config = request.get("AsyncInferenceConfig")
    if not config:
        return
    output = config["OutputConfig"]
    if output.get("NotificationConfig"):
        raise ValidationError("NotificationConfig is not served: there is no SNS here. Look for the objects in S3.")
    if not output.get("S3OutputPath"):
        raise ValidationError("AsyncInferenceConfig needs S3OutputPath in its OutputConfig.")
    if Capture.of(request.get("DataCaptureConfig")) is not None:
        raise ValidationError("DataCaptureConfig cannot be combined with AsyncInferenceConfig. Leave one of them out.")
    for member in ("S3OutputPath", "S3FailurePath"):
        if output.get(member):
            _check_bucket(context, member, output[member])
    for variant in request["ProductionVariants"]:
        name = variant["VariantName"]
        if "ServerlessConfig" in variant:
            raise ValidationError(f"Variant {name} is serverless, which an AsyncInferenceConfig does not allow.")
        if hosting.is_direct(models.existing(context, variant["ModelName"]).request):
            raise ValidationError(
                f"The containers of variant {name} are called one by one, and InvokeEndpointAsync names none."
            )


def _check_shadow(context: Context, request: Document) -> None:
    """`ValidationError` if there are shadow variants that could not be served."""
    shadows = request.get(hosting.SHADOWS)
    if not shadows:
        return
    if len(shadows) > 1 or len(request[hosting.VARIANTS]) > 1:
        raise ValidationError("ShadowProductionVariants takes one variant, beside one of ProductionVariants.")
    if request.get("AsyncInferenceConfig"):
        raise ValidationError("ShadowProductionVariants cannot be combined with AsyncInferenceConfig.")
    for variant in (*request[hosting.VARIANTS], *shadows):
        model = models.existing(context, variant["ModelName"]).request
        if "ServerlessConfig" in variant or hosting.is_direct(model):
            kind = "is serverless" if "ServerlessConfig" in variant else "has containers that are called one by one"
            raise ValidationError(f"Variant {variant['VariantName']} {kind}, which ShadowProductionVariants rules out.")


def _check_variants(context: Context, variants: list[Document]) -> None:
    repeated = [name for name, count in Counter(v["VariantName"] for v in variants).items() if count > 1]
    if repeated:
        raise ValidationError(f"Variant names must be unique in an endpoint configuration: {repeated[0]} is repeated.")
    for variant in variants:
        _check_variant(context, variant)


def _check_variant(context: Context, variant: Document) -> None:
    name = variant["VariantName"]
    if "ModelName" not in variant:
        raise ValidationError(f"Variant {name} names no model. Give its ModelName.")
    models.existing(context, variant["ModelName"])
    instances = {"InstanceType", "InitialInstanceCount"} & variant.keys()
    if "ServerlessConfig" in variant and instances:
        raise ValidationError(f"Variant {name} gives both ServerlessConfig and {min(instances)}. Leave one out.")
    if "ServerlessConfig" not in variant and len(instances) < 2:
        raise ValidationError(f"Variant {name} needs InstanceType and InitialInstanceCount, or ServerlessConfig.")
