"""Updates of endpoints: UpdateEndpoint, UpdateEndpointWeightsAndCapacities. The hosting reconciler carries them out."""

from __future__ import annotations

from pilothouse import clock
from pilothouse.catalog import endpoint_updates as updates
from pilothouse.catalog import hosting, traffic_shifts
from pilothouse.catalog.hosting import Document
from pilothouse.errors import ValidationError
from pilothouse.operations import endpoints
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource

_ADJUSTABLE = (hosting.IN_SERVICE,)
_REPLACEABLE = (hosting.IN_SERVICE, hosting.ROLLBACK_FAILED)


def update_endpoint(context: Context, request: Document) -> Document:
    """UpdateEndpoint: a new fleet beside the old one, which serves on until all of the new one answers."""
    row = _existing(context, request, _REPLACEABLE)
    name = request["EndpointConfigName"]
    pinned = endpoints.pinned(context, name)
    kept = row.state.get("LastDeploymentConfig") if request.get("RetainDeploymentConfig") else None
    deployment = request.get("DeploymentConfig", kept)
    note = updates.replacement(name, pinned, _retained(request), clock.now())
    traffic_shifts.check(deployment or {}, updates.outcome({**row.state, updates.NOTE: note})["_variants"])
    return _begin(context, row, note, {"LastDeploymentConfig": deployment}, _REPLACEABLE)


def update_endpoint_weights_and_capacities(context: Context, request: Document) -> Document:
    """UpdateEndpointWeightsAndCapacities: the replicas that are still wanted serve on throughout."""
    row = _existing(context, request, _ADJUSTABLE)
    variants = {variant["VariantName"]: variant for variant in row.state["_variants"]}
    changes: dict[str, Document] = {}
    for desired in request["DesiredWeightsAndCapacities"]:
        name = desired["VariantName"]
        if name not in variants:
            raise ValidationError(f"Endpoint {row.name} has no variant {name}. It has {', '.join(variants)}.")
        if name in changes:
            raise ValidationError(f"DesiredWeightsAndCapacities names variant {name} twice. Name it once.")
        changes[name] = _change(name, desired, serverless="ServerlessConfig" in variants[name])
    return _begin(context, row, updates.adjustment(changes), {}, _ADJUSTABLE)


def _existing(context: Context, request: Document, statuses: tuple[str, ...]) -> Resource:
    row = endpoints.existing(context, request["EndpointName"])
    if row.status not in statuses:
        raise _refusal(row)
    return row


def _begin(context: Context, row: Resource, note: Document, state: Document, statuses: tuple[str, ...]) -> Document:
    """Makes an endpoint of one of `statuses` Updating; another update that came between makes it a refusal."""
    state = {**state, updates.NOTE: note, "FailureReason": None}
    if context.store.update(hosting.ENDPOINT, row.name, status=hosting.UPDATING, state=state, expect_status=statuses):
        context.wake()
        return {"EndpointArn": row.arn}
    raise _refusal(endpoints.existing(context, row.name))


def _refusal(row: Resource) -> ValidationError:
    if row.status in (hosting.CREATING, *hosting.CHANGING):
        return ValidationError(f'Cannot update in-progress endpoint "{row.arn}".')
    return ValidationError(f'Cannot update endpoint "{row.arn}": its status is {row.status}, and must be InService.')


def _retained(request: Document) -> list[str]:
    """The properties of variants that an UpdateEndpoint request leaves as they are."""
    excluded = [one["VariantPropertyType"] for one in request.get("ExcludeRetainedVariantProperties", [])]
    if excluded and not request.get("RetainAllVariantProperties"):
        raise ValidationError("ExcludeRetainedVariantProperties needs RetainAllVariantProperties. Set it to true.")
    return [name for name in updates.PROPERTIES if request.get("RetainAllVariantProperties") and name not in excluded]


def _change(name: str, desired: Document, *, serverless: bool) -> Document:
    """What a DesiredWeightAndCapacity changes of a pinned variant."""
    changes: Document = {}
    if updates.WEIGHT in desired:
        changes["InitialVariantWeight"] = desired[updates.WEIGHT]
    if updates.COUNT in desired:
        if serverless or desired[updates.COUNT] < 1:
            why = "is serverless" if serverless else "needs at least one instance"
            raise ValidationError(f"Variant {name} {why}. Leave DesiredInstanceCount out or change it.")
        changes["InitialInstanceCount"] = desired[updates.COUNT]
    if "ServerlessUpdateConfig" in desired:
        if not serverless:
            raise ValidationError(f"Variant {name} is not serverless. Leave ServerlessUpdateConfig out.")
        changes["ServerlessConfig"] = desired["ServerlessUpdateConfig"]
    return changes
