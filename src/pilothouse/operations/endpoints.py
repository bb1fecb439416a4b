"""Endpoints: create, describe, list, delete. The rows say what should run; the hosting reconciler makes it so."""

from __future__ import annotations

from pilothouse import clock
from pilothouse.catalog import data_capture, endpoint_updates, hosting, traffic_shifts
from pilothouse.catalog.hosting import Document
from pilothouse.errors import ValidationError
from pilothouse.operations import creation, endpoint_configs, models
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.wire import paging

_SORTS = {"Name": "name", "CreationTime": "created", "Status": "status"}
_DELETABLE = (hosting.CREATING, *hosting.INVOCABLE, hosting.FAILED)


def create_endpoint(context: Context, request: Document) -> Document:
    """CreateEndpoint. What it serves is pinned now: its configuration and models may be deleted afterwards."""
    name = request["EndpointName"]
    if context.store.get(hosting.ENDPOINT, name):
        raise _exists(context, name)
    state = pinned(context, request["EndpointConfigName"])
    deployment = request.get("DeploymentConfig")
    traffic_shifts.check(deployment or {}, state["_variants"])
    row = creation.insert(
        context,
        hosting.ENDPOINT,
        name,
        request,
        _exists(context, name),
        status=hosting.CREATING,
        state=state | ({"LastDeploymentConfig": deployment} if deployment else {}),
    )
    context.wake()
    return {"EndpointArn": row.arn}


def describe_endpoint(context: Context, request: Document) -> Document:
    """DescribeEndpoint; ProductionVariants appear once the endpoint is in service."""
    row = existing(context, request["EndpointName"])
    document = {**row.request, **row.state, **endpoint_updates.described(row.state, clock.now()), **_summary(row)}
    captured = row.state.get("_capture")
    if captured:
        document["DataCaptureConfig"] = data_capture.summary(captured)
    if hosting.ASYNC in row.state:
        document["AsyncInferenceConfig"] = row.state[hosting.ASYNC]
    return document


def list_endpoints(context: Context, request: Document) -> Document:
    """ListEndpoints: the newest first unless asked otherwise."""
    rows, token = paging.page(
        context.store,
        hosting.ENDPOINT,
        request,
        sorts=_SORTS,
        default_sort="CreationTime",
        default_order="Descending",
        default_limit=10,
    )
    return {"Endpoints": [_summary(row) for row in rows], "NextToken": token}


def delete_endpoint(context: Context, request: Document) -> None:
    """DeleteEndpoint: Deleting at once, gone when its model servers are; in any status, and twice, without an error."""
    row = existing(context, request["EndpointName"])
    deleting = context.store.request_stop(hosting.ENDPOINT, row.name, status=hosting.DELETING, from_statuses=_DELETABLE)
    if deleting is not None and "_host" not in deleting.state:  # no server took it up, so there is nothing to stop
        context.store.delete(hosting.ENDPOINT, row.name, seq=deleting.seq)
    context.wake()


def existing(context: Context, name: str) -> Resource:
    """The endpoint's row; a missing one is a ValidationException, on which boto3's waiters depend."""
    row = context.store.get(hosting.ENDPOINT, name)
    if row is None:
        raise ValidationError(f'Could not find endpoint "{context.arn(hosting.ENDPOINT, name)}".')
    return row


def pinned(context: Context, config_name: str) -> Document:
    """The state of an endpoint that is to serve this configuration."""
    config = endpoint_configs.existing(context, config_name).request
    variants = [*config[hosting.VARIANTS], *config.get(hosting.SHADOWS, ())]
    names = {variant["ModelName"] for variant in variants}
    return hosting.endpoint_state(config, {name: models.existing(context, name).request for name in names})


def _summary(row: Resource) -> Document:
    return {
        "EndpointName": row.name,
        "EndpointArn": row.arn,
        "CreationTime": row.created_at,
        "LastModifiedTime": row.modified_at,
        "EndpointStatus": row.status,
    }


def _exists(context: Context, name: str) -> ValidationError:
    return ValidationError(f'Cannot create already existing endpoint "{context.arn(hosting.ENDPOINT, name)}".')
