"""UpdateEndpoint and UpdateEndpointWeightsAndCapacities: what they note, what is described, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.catalog import endpoint_updates as updates
from pilothouse.catalog import hosting, images, rolling_updates, traffic_shifts
from pilothouse.config import Settings
from pilothouse.errors import ValidationError
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations import endpoint_configs, endpoint_updates, endpoints, models
from pilothouse.operations.context import Context
from pilothouse.store.store import Store

SERVERLESS = {"MemorySizeInMB": 2048, "MaxConcurrency": 5}
LIVE = {"EndpointName": "live"}


def variant(name: str, **members: Any) -> dict[str, Any]:
    document = {"VariantName": name, "ModelName": "m", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    return {k: v for k, v in {**document, **members}.items() if v is not None}


def serverless(name: str) -> dict[str, Any]:
    return variant(name, InstanceType=None, InitialInstanceCount=None, ServerlessConfig=SERVERLESS)


def configure(context: Context, name: str, *variants: dict[str, Any]) -> None:
    request = {"EndpointConfigName": name, "ProductionVariants": list(variants)}
    endpoint_configs.create_endpoint_config(context, request)


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    """An endpoint in service with the variants a, b and s, which is serverless."""
    settings = Settings(home=tmp_path)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    context = Context(settings, store, DirectoryObjects(settings.objects_root))
    context.objects.create_bucket("bucket")
    context.objects.put("bucket", "model.tar.gz", b"archive")
    container = {"Image": images.TABULAR_INFERENCE, "ModelDataUrl": "s3://bucket/model.tar.gz"}
    models.create_model(context, {"ModelName": "m", "PrimaryContainer": container})
    configure(context, "first", variant("a"), variant("b", InitialVariantWeight=3.0), serverless("s"))
    configure(context, "second", variant("a", InitialInstanceCount=2, InitialVariantWeight=7.0), variant("new"))
    endpoints.create_endpoint(context, {**LIVE, "EndpointConfigName": "first"})
    serving(context)
    yield context
    store.close()


def serving(context: Context) -> None:
    """What the reconciler does of an endpoint."""
    row = endpoints.existing(context, "live")
    if updates.NOTE in row.state:
        state = updates.finished(row.state, 1.0)
    else:
        state = hosting.described_variants(row.state["_variants"], 1.0)
    context.store.update(hosting.ENDPOINT, "live", status="InService", state=state)


def described(context: Context) -> dict[str, Any]:
    return endpoints.describe_endpoint(context, LIVE)


def figures(context: Context) -> dict[str, tuple[float, int]]:
    variants = described(context)["ProductionVariants"]
    return {v["VariantName"]: (v["CurrentWeight"], v["DesiredInstanceCount"]) for v in variants}


def update(context: Context, **members: Any) -> dict[str, Any]:
    return endpoint_updates.update_endpoint(context, {**LIVE, "EndpointConfigName": "second", **members})


def test_an_update_brings_a_shadow_and_another_takes_it_away(context: Context) -> None:
    for name, shadows in (("shadowed", [variant("shadow", InitialVariantWeight=0.5)]), ("plain", [])):
        request = {
            "EndpointConfigName": name,
            "ProductionVariants": [variant("a")],
            "ShadowProductionVariants": shadows,
        }
        endpoint_configs.create_endpoint_config(context, request)
    update(context, EndpointConfigName="shadowed")
    pending = described(context)["PendingDeploymentSummary"]
    assert [v["VariantName"] for v in pending["ProductionVariants"]] == ["a"]
    assert [v["DesiredWeight"] for v in pending["ShadowProductionVariants"]] == [0.5]
    serving(context)
    adjust(context, {"VariantName": "shadow", "DesiredWeight": 0.75})
    assert [v["DesiredWeight"] for v in described(context)["ShadowProductionVariants"]] == [0.75]
    serving(context)
    assert [v["CurrentWeight"] for v in described(context)["ShadowProductionVariants"]] == [0.75]
    update(context, EndpointConfigName="plain")
    serving(context)
    assert "ShadowProductionVariants" not in described(context)


def adjust(context: Context, *desired: dict[str, Any]) -> dict[str, Any]:
    request = {**LIVE, "DesiredWeightsAndCapacities": list(desired)}
    return endpoint_updates.update_endpoint_weights_and_capacities(context, request)


def refused(call: Callable[..., Any], *arguments: Any, **members: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        call(*arguments, **members)
    return caught.value.message


def test_an_update_is_pending_until_it_is_done(context: Context) -> None:
    assert update(context)["EndpointArn"].endswith(":endpoint/live")
    during = described(context)
    assert (during["EndpointStatus"], during["EndpointConfigName"]) == ("Updating", "first")
    assert during["PendingDeploymentSummary"]["EndpointConfigName"] == "second"
    assert [v["VariantName"] for v in during["PendingDeploymentSummary"]["ProductionVariants"]] == ["a", "new"]
    assert len(during["ProductionVariants"]) == 3
    serving(context)
    after = described(context)
    assert (after["EndpointConfigName"], "PendingDeploymentSummary" in after) == ("second", False)
    assert figures(context) == {"a": (7.0, 2), "new": (1.0, 1)}


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"RetainAllVariantProperties": True}, (5.0, 4)),
        ({"RetainAllVariantProperties": False}, (7.0, 2)),
        (
            {
                "RetainAllVariantProperties": True,
                "ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}],
            },
            (7.0, 4),
        ),
    ],
)
def test_the_properties_of_variants_are_retained_as_asked(
    context: Context, members: dict[str, Any], expected: tuple[float, int]
) -> None:
    adjust(context, {"VariantName": "a", "DesiredWeight": 5.0, "DesiredInstanceCount": 4})
    serving(context)
    update(context, **members)
    serving(context)
    assert figures(context) == {"a": expected, "new": (1.0, 1)}


def test_weights_and_capacities_change_by_variant(context: Context) -> None:
    change = {"VariantName": "s", "ServerlessUpdateConfig": {"MaxConcurrency": 9}}
    adjust(context, {"VariantName": "b", "DesiredWeight": 0.0, "DesiredInstanceCount": 2}, change)
    during = {v["VariantName"]: v for v in described(context)["ProductionVariants"]}
    assert (during["b"]["CurrentWeight"], during["b"]["DesiredWeight"]) == (3.0, 0.0)
    assert (during["b"]["CurrentInstanceCount"], during["b"]["DesiredInstanceCount"]) == (1, 2)
    assert during["s"]["DesiredServerlessConfig"] == {"MemorySizeInMB": 2048, "MaxConcurrency": 9}
    serving(context)
    assert figures(context) == {"a": (1.0, 1), "b": (0.0, 2), "s": (1.0, 1)}
    assert described(context)["ProductionVariants"][2]["CurrentServerlessConfig"]["MaxConcurrency"] == 9
    assert described(context)["EndpointConfigName"] == "first"


def test_data_capture_is_retained_as_asked(context: Context) -> None:
    capture = {
        "InitialSamplingPercentage": 20,
        "DestinationS3Uri": "s3://bucket/captured",
        "CaptureOptions": [{"CaptureMode": "Input"}],
    }
    request = {"EndpointConfigName": "captured", "ProductionVariants": [variant("a")], "DataCaptureConfig": capture}
    endpoint_configs.create_endpoint_config(context, request)
    excluded = [{"VariantPropertyType": "DataCaptureConfig"}]
    sampled = []
    for name, members in [
        ("captured", {"RetainAllVariantProperties": True}),
        ("captured", {}),
        ("second", {"RetainAllVariantProperties": True}),
        ("second", {"RetainAllVariantProperties": True, "ExcludeRetainedVariantProperties": excluded}),
    ]:
        update(context, EndpointConfigName=name, **members)
        serving(context)
        sampled.append(described(context).get("DataCaptureConfig", {}).get("CurrentSamplingPercentage"))
    assert sampled == [None, 20, 20, None]


def test_the_last_deployment_is_kept_when_asked(context: Context) -> None:
    routing = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 0}
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": 5}}
    update(context, DeploymentConfig=policy)
    serving(context)
    update(context, RetainDeploymentConfig=True)
    assert described(context)["LastDeploymentConfig"] == policy
    serving(context)
    update(context)
    assert "LastDeploymentConfig" not in described(context)


def test_the_deployment_that_an_endpoint_was_made_with_can_be_kept(context: Context) -> None:
    deployment = blue_green("ALL_AT_ONCE")
    made = {"EndpointName": "made", "EndpointConfigName": "second", "DeploymentConfig": deployment}
    endpoints.create_endpoint(context, made)
    assert endpoints.describe_endpoint(context, {"EndpointName": "made"})["LastDeploymentConfig"] == deployment


def percent(value: int) -> dict[str, Any]:
    return {"Type": "CAPACITY_PERCENT", "Value": value}


def instances(value: int) -> dict[str, Any]:
    return {"Type": "INSTANCE_COUNT", "Value": value}


def blue_green(kind: str, wait: int = 60, limit: int | None = None, **size: Any) -> dict[str, Any]:
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **size}
    policy = {"TrafficRoutingConfiguration": routing}
    return {"BlueGreenUpdatePolicy": policy | ({"MaximumExecutionTimeoutInSeconds": limit} if limit else {})}


def rolling(size: dict[str, Any], wait: int = 60, limit: int | None = None, **members: Any) -> dict[str, Any]:
    policy = {"MaximumBatchSize": size, "WaitIntervalInSeconds": wait}
    policy |= {"MaximumExecutionTimeoutInSeconds": limit} if limit else {}
    policy |= {"RollbackMaximumBatchSize": members["back"]} if members else {}
    return {"RollingUpdatePolicy": policy}


@pytest.mark.parametrize(
    ("total", "size", "expected"),
    [
        (1, percent(50), [1.0, 1.0]),
        (4, percent(50), [0.5, 1.0, 1.0]),
        (4, percent(30), [0.25, 0.5, 0.75, 1.0, 1.0]),
        (5, instances(2), [0.4, 0.8, 1.0, 1.0]),
        (100, percent(29), [0.29, 0.58, 0.87, 1.0, 1.0]),
    ],
)
def test_a_batch_is_never_larger_than_asked_for_but_for_one_instance(
    total: int, size: dict[str, Any], expected: list[float]
) -> None:
    variants = [{"InitialInstanceCount": total}]
    policy = rolling(size)["RollingUpdatePolicy"]
    assert rolling_updates.shares(policy, variants) == pytest.approx(expected)
    back = {**policy, "RollbackMaximumBatchSize": size}
    assert rolling_updates.stepped_back(expected[0], back, variants) == 0
    assert rolling_updates.stepped_back(1.0, back, variants) == pytest.approx(1 - expected[0])
    assert rolling_updates.stepped_back(1.0, policy, variants) == 0


@pytest.mark.parametrize(
    ("deployment", "expected"),
    [
        ({}, [1.0]),
        (blue_green("ALL_AT_ONCE"), [1.0]),
        (blue_green("CANARY", CanarySize=percent(10)), [0.1, 1.0]),
        (blue_green("CANARY", CanarySize=instances(1)), [1 / 3, 1.0]),
        (blue_green("LINEAR", LinearStepSize=percent(30)), [0.3, 0.6, 0.9, 1.0]),
        (blue_green("LINEAR", LinearStepSize=percent(50)), [0.5, 1.0]),
        (blue_green("LINEAR", LinearStepSize=instances(1)), [1 / 3, 2 / 3, 1.0]),
        (rolling(instances(1)), [1 / 3, 2 / 3, 1.0, 1.0]),
        (rolling(percent(50)), [1 / 3, 2 / 3, 1.0, 1.0]),
        (rolling(percent(5)), [1 / 3, 2 / 3, 1.0, 1.0]),
    ],
)
def test_traffic_moves_in_the_steps_that_are_asked_for(
    context: Context, deployment: dict[str, Any], expected: list[float]
) -> None:
    """The configuration has three instances."""
    update(context, DeploymentConfig=deployment)
    assert traffic_shifts.shares(endpoints.existing(context, "live").state) == pytest.approx(expected)
    pending = described(context)["PendingDeploymentSummary"]
    assert pending["StartTime"] > 0
    assert [v["InstanceType"] for v in pending["ProductionVariants"]] == ["ml.m5.large"] * 2
    assert [v["CurrentInstanceCount"] for v in pending["ProductionVariants"]] == [0, 0]
    assert pending["ProductionVariants"][0]["DeployedImages"][0]["SpecifiedImage"] == images.TABULAR_INFERENCE
    assert [v["VariantStatus"] for v in pending["ProductionVariants"]] == [[{"Status": "Creating"}]] * 2
    serving(context)
    adjust(context, {"VariantName": "a", "DesiredWeight": 2.0})
    assert traffic_shifts.shares(endpoints.existing(context, "live").state) == [1.0]


def test_the_first_step_is_one_of_the_instances_that_there_will_be(context: Context) -> None:
    """Those that are retained, where they are, not those of the configuration."""
    configure(context, "two", variant("a", InitialInstanceCount=2))

    def members(size: int) -> dict[str, Any]:
        deployment = blue_green("CANARY", CanarySize=instances(size))
        return {"EndpointConfigName": "two", "RetainAllVariantProperties": True, "DeploymentConfig": deployment}

    assert "it is 100%" in refused(update, context, **members(1))
    adjust(context, {"VariantName": "a", "DesiredInstanceCount": 4})
    serving(context)
    update(context, **members(2))
    assert traffic_shifts.shares(endpoints.existing(context, "live").state) == [0.5, 1.0]


def test_an_endpoint_that_was_not_rolled_back_gets_another_configuration_only(context: Context) -> None:
    context.store.update(hosting.ENDPOINT, "live", status="UpdateRollbackFailed")
    part = "its status is UpdateRollbackFailed, and must be InService"
    assert part in refused(adjust, context, {"VariantName": "a", "DesiredWeight": 1.0})
    update(context)
    assert described(context)["EndpointStatus"] == "Updating"


@pytest.mark.parametrize("status", ["Creating", "Updating", "RollingBack", "Failed", "Deleting"])
def test_only_an_endpoint_in_service_is_updated(context: Context, status: str) -> None:
    context.store.update(hosting.ENDPOINT, "live", status=status)
    part = f"is {status}" if status in ("Failed", "Deleting") else "Cannot update in-progress endpoint"
    assert part in refused(update, context)
    assert part in refused(adjust, context, {"VariantName": "a", "DesiredWeight": 1.0})


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"EndpointName": "gone"}, "Could not find endpoint"),
        ({"EndpointConfigName": "gone"}, "Could not find endpoint configuration"),
        ({"ExcludeRetainedVariantProperties": [{"VariantPropertyType": "DesiredWeight"}]}, "RetainAllVariantProp"),
        ({"DeploymentConfig": rolling(percent(51))}, "MaximumBatchSize must be at least 5% and at most 50%"),
        ({"DeploymentConfig": rolling(percent(4))}, "it is 4%"),
        ({"DeploymentConfig": rolling(instances(2))}, "it is 67%"),
        ({"DeploymentConfig": rolling(instances(1), back=instances(4))}, "RollbackMaximumBatchSize must be at least"),
        (
            {"DeploymentConfig": rolling(instances(1), 200, limit=600)},
            "must be larger than the 600 seconds",
        ),
        ({"DeploymentConfig": {**rolling(percent(50)), **blue_green("ALL_AT_ONCE")}}, "Leave one of them out"),
        ({"DeploymentConfig": blue_green("CANARY")}, "of type CANARY needs CanarySize"),
        ({"DeploymentConfig": blue_green("CANARY", CanarySize=percent(51))}, "must be at most 50% of the instances"),
        ({"DeploymentConfig": blue_green("CANARY", CanarySize=instances(2))}, "it is 67%"),
        ({"DeploymentConfig": blue_green("LINEAR", LinearStepSize=percent(9))}, "at least 10% and at most 50%"),
        (
            {"DeploymentConfig": blue_green("LINEAR", 200, limit=600, LinearStepSize=percent(25))},
            "must be larger than the 600 seconds",
        ),
        ({"DeploymentConfig": {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}]}}}, "no CloudWatch alarms"),
    ],
)
def test_an_update_that_cannot_be_made_is_refused(context: Context, members: dict[str, Any], part: str) -> None:
    assert part in refused(update, context, **members)
    assert described(context)["EndpointStatus"] == "InService"


@pytest.mark.parametrize(
    ("desired", "part"),
    [
        ([{"VariantName": "gone", "DesiredWeight": 1.0}], "has no variant gone. It has a, b, s."),
        ([{"VariantName": "a", "DesiredWeight": 1.0}] * 2, "names variant a twice"),
        ([{"VariantName": "a", "DesiredInstanceCount": 0}], "needs at least one instance"),
        ([{"VariantName": "s", "DesiredInstanceCount": 2}], "Variant s is serverless"),
        ([{"VariantName": "a", "ServerlessUpdateConfig": {"MaxConcurrency": 2}}], "Variant a is not serverless"),
    ],
)
def test_an_adjustment_that_cannot_be_made_is_refused(
    context: Context, desired: list[dict[str, Any]], part: str
) -> None:
    assert part in refused(adjust, context, *desired)
    assert described(context)["EndpointStatus"] == "InService"
