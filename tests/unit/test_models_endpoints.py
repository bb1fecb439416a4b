"""Models, endpoint configurations and endpoints as records: what is accepted, echoed, listed and refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilothouse.catalog import endpoint_updates as updates
from pilothouse.catalog import hosting, images
from pilothouse.config import Settings
from pilothouse.errors import ValidationError
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations import endpoint_configs, endpoints, models
from pilothouse.operations.context import Context
from pilothouse.store.store import Store

ARCHIVE = "s3://bucket/model.tar.gz"
IMAGE = f"683313688378.dkr.ecr.us-east-1.amazonaws.com/{images.TABULAR_INFERENCE}"
CONTAINER = {"Image": IMAGE, "ModelDataUrl": ARCHIVE, "Environment": {"SAGEMAKER_INFERENCE_OUTPUT": "probability"}}


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    settings = Settings(home=tmp_path)
    store = Store(settings.database, region=settings.region, account=settings.account_id)
    store.migrate()
    objects = DirectoryObjects(settings.objects_root)
    objects.create_bucket("bucket")
    objects.put("bucket", "model.tar.gz", b"archive")
    yield Context(settings, store, objects)
    store.close()


CAPTURE = {
    "InitialSamplingPercentage": 20,
    "DestinationS3Uri": "s3://bucket/captured",
    "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
}


def create_model(context: Context, name: str = "Churn", **members: Any) -> dict[str, Any]:
    request = {"ModelName": name, "PrimaryContainer": CONTAINER, **members}
    return models.create_model(context, {k: v for k, v in request.items() if v is not None})


def variant(**members: Any) -> dict[str, Any]:
    document = {"VariantName": "main", "ModelName": "Churn", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}
    return {k: v for k, v in {**document, **members}.items() if v is not None}


def create_config(context: Context, *variants: dict[str, Any], name: str = "Config", **members: Any) -> dict[str, Any]:
    request = {"EndpointConfigName": name, "ProductionVariants": list(variants) or [variant()], **members}
    return endpoint_configs.create_endpoint_config(context, request)


def create_endpoint(context: Context, name: str = "Live") -> dict[str, Any]:
    return endpoints.create_endpoint(context, {"EndpointName": name, "EndpointConfigName": "Config"})


def refused(call: Callable[..., Any], *arguments: Any, **members: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        call(*arguments, **members)
    return caught.value.message


def test_a_model_is_described_as_it_was_created(context: Context) -> None:
    arn = create_model(context, ExecutionRoleArn="arn:aws:iam::000000000000:role/R")["ModelArn"]
    assert arn == "arn:aws:sagemaker:us-east-1:000000000000:model/churn"
    described = models.describe_model(context, {"ModelName": "churn"})
    assert described["ModelName"] == "Churn"
    assert described["PrimaryContainer"] == {"Mode": "SingleModel", **CONTAINER}
    assert described["EnableNetworkIsolation"] is False
    assert described["ModelArn"] == arn


def test_a_single_container_may_come_in_the_list(context: Context) -> None:
    create_model(context, PrimaryContainer=None, Containers=[CONTAINER])
    described = models.describe_model(context, {"ModelName": "Churn"})
    assert described["Containers"][0]["Image"] == IMAGE
    assert "PrimaryContainer" not in described


def test_a_compressed_model_data_source_is_an_archive_too(context: Context) -> None:
    source = {"S3Uri": ARCHIVE, "S3DataType": "S3Object", "CompressionType": "Gzip"}
    container = {"Image": IMAGE, "ModelDataSource": {"S3DataSource": source}}
    assert create_model(context, PrimaryContainer=container)


@pytest.mark.parametrize(
    ("members", "part"),
    [
        ({"Containers": [CONTAINER]}, "Give either PrimaryContainer or Containers"),
        ({"PrimaryContainer": None}, "Give the model's container"),
        ({"PrimaryContainer": None, "Containers": []}, "Give the model's container"),
        (
            {"PrimaryContainer": None, "Containers": [CONTAINER, CONTAINER]},
            "container-2 (predictor) cannot follow container-1 (predictor).",
        ),
        ({"PrimaryContainer": {**CONTAINER, "Image": "123.dkr/xgboost:1"}}, "cannot run here. Served are"),
        ({"PrimaryContainer": {"ModelPackageName": "p"}}, "Model packages"),
        ({"PrimaryContainer": {"Image": IMAGE}}, "needs a model"),
        ({"PrimaryContainer": {**CONTAINER, "Mode": "MultiModel"}}, "MultiModel"),
        ({"PrimaryContainer": {**CONTAINER, "ModelDataUrl": "s3://bucket/gone"}}, "data at s3://bucket/gone."),
        ({"PrimaryContainer": {**CONTAINER, "ModelDataUrl": "s3://nowhere/gone"}}, "Could not find model data"),
    ],
)
def test_a_model_that_could_not_be_served_is_refused_at_once(
    context: Context, members: dict[str, Any], part: str
) -> None:
    assert part in refused(create_model, context, **members)
    assert models.list_models(context, {})["Models"] == []


def stage(image: str, mode: str | None = None, **members: Any) -> dict[str, Any]:
    environment = {"AUTOML_TRANSFORM_MODE": mode} if mode else {}
    return {"Image": f"registry/{image}", "ModelDataUrl": ARCHIVE, "Environment": environment, **members}


FEATURES = stage(images.TABULAR_TRANSFORM, "feature-transform")
ALGORITHM = stage(images.TABULAR_ALGORITHM)
LABELS = stage(images.TABULAR_TRANSFORM, "inverse-label-transform")
UNTOLD = stage(images.TABULAR_TRANSFORM)
DIRECT = {"InferenceExecutionConfig": {"Mode": "Direct"}}


def named(*containers: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**container, "ContainerHostname": name} for container, name in zip(containers, "abc", strict=False)]


@pytest.mark.parametrize(
    "containers",
    [
        [FEATURES, ALGORITHM, LABELS],
        [FEATURES, ALGORITHM],
        [ALGORITHM, LABELS],
        [LABELS],
        [UNTOLD, ALGORITHM, UNTOLD],
        named(FEATURES, ALGORITHM, LABELS),
    ],
)
def test_a_pipeline_may_have_the_stages_of_a_candidate(context: Context, containers: list[dict[str, Any]]) -> None:
    create_model(context, PrimaryContainer=None, Containers=containers, InferenceExecutionConfig={"Mode": "Serial"})
    described = models.describe_model(context, {"ModelName": "Churn"})
    assert described["Containers"] == [{"Mode": "SingleModel", **container} for container in containers]
    assert described["InferenceExecutionConfig"] == {"Mode": "Serial"}


@pytest.mark.parametrize(
    ("containers", "members", "part"),
    [
        ([ALGORITHM, FEATURES], {}, "container-2 (features) cannot follow container-1 (algorithm)."),
        ([FEATURES, LABELS], {}, "container-2 (labels) cannot follow container-1 (features)."),
        ([FEATURES, ALGORITHM, CONTAINER], {}, "container-3 (predictor) cannot follow container-2 (algorithm)."),
        (named(LABELS, ALGORITHM), {}, "b (algorithm) cannot follow a (labels)."),
        ([FEATURES, {**ALGORITHM, "ModelDataUrl": "s3://bucket/gone"}], {}, "container-2: Could not find model data"),
        ([FEATURES, {**ALGORITHM, "Image": "x/xgboost"}], {}, "container-2: The image x/xgboost cannot run here"),
        ([*named(FEATURES), ALGORITHM], {}, "Give a ContainerHostname to every container"),
        (named(FEATURES) + named(ALGORITHM), {}, "ContainerHostname must be unique"),
        ([CONTAINER, CONTAINER], DIRECT, "Mode Direct needs Containers, each of which has a ContainerHostname."),
    ],
)
def test_containers_that_cannot_follow_one_another_are_refused_by_name(
    context: Context, containers: list[dict[str, Any]], members: dict[str, Any], part: str
) -> None:
    assert part in refused(create_model, context, PrimaryContainer=None, Containers=containers, **members)


def test_an_endpoint_pins_how_its_containers_are_called(context: Context) -> None:
    containers = named(CONTAINER, ALGORITHM)
    create_model(context, PrimaryContainer=None, Containers=containers, **DIRECT)
    create_config(context)
    create_endpoint(context)
    (pinned,) = endpoints.existing(context, "Live").state["_variants"]
    assert (pinned["Containers"], hosting.is_direct(pinned)) == (containers, True)


def test_a_model_name_is_taken_whatever_its_case(context: Context) -> None:
    create_model(context)
    expected = 'Cannot create already existing model "arn:aws:sagemaker:us-east-1:000000000000:model/churn".'
    assert refused(create_model, context, "CHURN") == expected


def test_a_missing_model_is_a_validation_error_for_describe_and_delete(context: Context) -> None:
    expected = 'Could not find model "arn:aws:sagemaker:us-east-1:000000000000:model/gone".'
    assert refused(models.describe_model, context, {"ModelName": "gone"}) == expected
    assert refused(models.delete_model, context, {"ModelName": "gone"}) == expected


def test_deleting_a_model_keeps_its_archive(context: Context) -> None:
    create_model(context)
    assert models.delete_model(context, {"ModelName": "Churn"}) is None
    refused(models.describe_model, context, {"ModelName": "Churn"})
    assert context.objects.read("bucket", "model.tar.gz") == b"archive"


def test_models_are_listed_newest_first_in_pages(context: Context) -> None:
    for name in ("a", "b", "c"):
        create_model(context, name)
    first = models.list_models(context, {"MaxResults": 2})
    second = models.list_models(context, {"MaxResults": 2, "NextToken": first["NextToken"]})
    assert [m["ModelName"] for m in first["Models"] + second["Models"]] == ["c", "b", "a"]
    assert second.get("NextToken") is None
    assert [m["ModelName"] for m in models.list_models(context, {"NameContains": "b"})["Models"]] == ["b"]


def test_an_endpoint_configuration_is_described_with_its_defaults(context: Context) -> None:
    create_model(context)
    create_config(context)
    described = endpoint_configs.describe_endpoint_config(context, {"EndpointConfigName": "config"})
    assert described["ProductionVariants"] == [{"InitialVariantWeight": 1.0, **variant()}]
    assert described["EndpointConfigArn"].endswith(":endpoint-config/config")


def test_a_serverless_variant_needs_no_instances(context: Context) -> None:
    create_model(context)
    serverless = {"MemorySizeInMB": 1024, "MaxConcurrency": 5}
    assert create_config(context, variant(InstanceType=None, InitialInstanceCount=None, ServerlessConfig=serverless))


def asynchronous(**members: Any) -> dict[str, Any]:
    output = {"S3OutputPath": "s3://bucket/out", **members}
    return {"AsyncInferenceConfig": {"OutputConfig": {k: v for k, v in output.items() if v is not None}}}


def shadowed(*variants: dict[str, Any]) -> dict[str, Any]:
    return {"ShadowProductionVariants": list(variants)}


def test_a_shadow_is_described_beside_the_variant_that_answers(context: Context) -> None:
    create_model(context)
    create_config(context, **shadowed(variant(VariantName="shadow", InitialVariantWeight=0.5)))
    described = endpoint_configs.describe_endpoint_config(context, {"EndpointConfigName": "Config"})
    assert described["ShadowProductionVariants"][0]["InitialVariantWeight"] == 0.5
    state = endpoints.pinned(context, "Config")
    shown = hosting.described_variants(state["_variants"], 0.0)
    assert [v["VariantName"] for v in shown["ProductionVariants"]] == ["main"]
    assert [(v["VariantName"], v["CurrentWeight"]) for v in shown["ShadowProductionVariants"]] == [("shadow", 0.5)]


SERVERLESS = variant(
    InstanceType=None, InitialInstanceCount=None, ServerlessConfig={"MemorySizeInMB": 1024, "MaxConcurrency": 5}
)


def test_containers_that_are_called_one_by_one_cannot_be_called_asynchronously(context: Context) -> None:
    named = [{**CONTAINER, "ContainerHostname": name} for name in ("one", "two")]
    create_model(context, PrimaryContainer=None, Containers=named, InferenceExecutionConfig={"Mode": "Direct"})
    assert "InvokeEndpointAsync names none" in refused(create_config, context, **asynchronous())


def test_an_asynchronous_endpoint_says_so_and_keeps_it_until_an_update_takes_it(context: Context) -> None:
    create_model(context)
    create_config(context, **asynchronous())
    create_config(context, name="plain")
    create_endpoint(context)
    live = {"EndpointName": "Live"}
    config = asynchronous()["AsyncInferenceConfig"]
    assert endpoints.describe_endpoint(context, live)["AsyncInferenceConfig"] == config
    described = endpoint_configs.describe_endpoint_config(context, {"EndpointConfigName": "Config"})
    assert described["AsyncInferenceConfig"] == config
    row = endpoints.existing(context, "Live")
    adjusted = {**row.state, updates.NOTE: updates.adjustment({"main": {"InitialVariantWeight": 2.0}})}
    assert updates.finished(adjusted, 0.0)[hosting.ASYNC] == config
    replaced = {**row.state, updates.NOTE: updates.replacement("plain", endpoints.pinned(context, "plain"), [])}
    assert updates.finished(replaced, 0.0)[hosting.ASYNC] is None


@pytest.mark.parametrize(
    ("variants", "members", "part"),
    [
        ([variant(ModelName="gone")], {}, "Could not find model"),
        ([variant(ModelName=None)], {}, "names no model"),
        ([variant(), variant()], {}, "main is repeated"),
        ([variant(InstanceType=None)], {}, "needs InstanceType and InitialInstanceCount"),
        ([variant(ServerlessConfig={"MemorySizeInMB": 1024, "MaxConcurrency": 5})], {}, "both ServerlessConfig and"),
        ([variant()], shadowed(variant()), "main is repeated"),
        ([variant()], shadowed(variant(VariantName="b", ModelName="gone")), "Could not find model"),
        ([variant()], shadowed(variant(VariantName="b"), variant(VariantName="c")), "takes one variant, beside one"),
        ([variant(), variant(VariantName="b")], shadowed(variant(VariantName="c")), "takes one variant, beside one"),
        ([variant()], {**shadowed(variant(VariantName="b")), **asynchronous()}, "combined with AsyncInferenceConfig"),
        ([SERVERLESS], shadowed(variant(VariantName="b")), "main is serverless, which ShadowProductionVariants rules"),
        ([variant()], {"ExplainerConfig": {"ClarifyExplainerConfig": {}}}, "ExplainerConfig is not served"),
        ([variant()], asynchronous(S3OutputPath=None), "AsyncInferenceConfig needs S3OutputPath"),
        ([variant()], asynchronous(S3OutputPath="s3://gone/x"), 'bucket "gone" of S3OutputPath does not exist'),
        ([variant()], asynchronous(S3FailurePath="s3://gone/x"), 'bucket "gone" of S3FailurePath does not exist'),
        ([variant()], asynchronous(NotificationConfig={"SuccessTopic": "arn"}), "NotificationConfig is not served"),
        ([variant()], {**asynchronous(), "DataCaptureConfig": CAPTURE}, "cannot be combined with AsyncInference"),
        ([SERVERLESS], asynchronous(), "is serverless, which an AsyncInferenceConfig does not allow"),
        ([variant()], {"DataCaptureConfig": {**CAPTURE, "DestinationS3Uri": "s3://gone/x"}}, 'bucket "gone" of Dest'),
    ],
)
def test_a_configuration_that_could_not_be_served_is_refused_at_once(
    context: Context, variants: list[dict[str, Any]], members: dict[str, Any], part: str
) -> None:
    create_model(context)
    assert part in refused(create_config, context, *variants, **members)


def test_a_configuration_name_is_unique_and_a_missing_one_is_a_validation_error(context: Context) -> None:
    create_model(context)
    create_config(context)
    assert refused(create_config, context, name="CONFIG").startswith("Cannot create already existing endpoint config")
    gone = {"EndpointConfigName": "gone"}
    assert refused(endpoint_configs.describe_endpoint_config, context, gone).startswith(
        "Could not find endpoint config"
    )
    assert endpoint_configs.delete_endpoint_config(context, {"EndpointConfigName": "Config"}) is None
    assert endpoint_configs.list_endpoint_configs(context, {})["EndpointConfigs"] == []


@pytest.fixture
def deployed(context: Context) -> Context:
    create_model(context)
    create_config(context)
    create_endpoint(context)
    return context


def test_an_endpoint_begins_creating_without_variants(deployed: Context) -> None:
    described = endpoints.describe_endpoint(deployed, {"EndpointName": "live"})
    assert described["EndpointStatus"] == "Creating"
    assert described["EndpointName"] == "Live"
    assert described["EndpointConfigName"] == "Config"
    assert "ProductionVariants" not in described


def test_an_endpoint_pins_its_containers(deployed: Context) -> None:
    models.delete_model(deployed, {"ModelName": "Churn"})
    endpoint_configs.delete_endpoint_config(deployed, {"EndpointConfigName": "Config"})
    row = endpoints.existing(deployed, "Live")
    assert row.state["_variants"] == [{"InitialVariantWeight": 1.0, **variant(), "Containers": [CONTAINER]}]


def test_data_capture_is_pinned_and_described(context: Context) -> None:
    create_model(context)
    create_config(context, DataCaptureConfig=CAPTURE)
    create_endpoint(context)
    endpoint_configs.delete_endpoint_config(context, {"EndpointConfigName": "Config"})
    assert endpoints.describe_endpoint(context, {"EndpointName": "live"})["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 20,
        "DestinationS3Uri": "s3://bucket/captured",
        "KmsKeyId": "",
    }


def test_creating_an_endpoint_wakes_the_supervisor(context: Context) -> None:
    woken: list[bool] = []
    context = Context(context.settings, context.store, context.objects, lambda: woken.append(True))
    create_model(context)
    create_config(context)
    create_endpoint(context)
    assert woken == [True]


def test_an_endpoint_needs_a_configuration_and_a_new_name(deployed: Context) -> None:
    assert refused(create_endpoint, deployed, "LIVE").startswith('Cannot create already existing endpoint "arn:')
    endpoint_configs.delete_endpoint_config(deployed, {"EndpointConfigName": "Config"})
    assert refused(create_endpoint, deployed, "other").startswith("Could not find endpoint configuration")


def test_a_missing_endpoint_is_a_validation_error_for_describe_and_delete(context: Context) -> None:
    expected = 'Could not find endpoint "arn:aws:sagemaker:us-east-1:000000000000:endpoint/gone".'
    assert refused(endpoints.describe_endpoint, context, {"EndpointName": "gone"}) == expected
    assert refused(endpoints.delete_endpoint, context, {"EndpointName": "gone"}) == expected


def test_an_endpoint_that_no_server_took_up_is_deleted_at_once(deployed: Context) -> None:
    endpoints.delete_endpoint(deployed, {"EndpointName": "Live"})
    assert endpoints.list_endpoints(deployed, {})["Endpoints"] == []


def test_a_delete_does_not_reach_an_endpoint_that_was_made_meanwhile(
    deployed: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server has deleted the row as soon as it said so, and another client took the name."""
    mark = deployed.store.request_stop

    def marked(*names: str, **how: Any) -> Any:
        row = mark(*names, **how)
        deployed.store.delete(hosting.ENDPOINT, "Live")
        create_endpoint(deployed)
        return row

    monkeypatch.setattr(deployed.store, "request_stop", marked)
    endpoints.delete_endpoint(deployed, {"EndpointName": "Live"})
    assert endpoints.describe_endpoint(deployed, {"EndpointName": "Live"})["EndpointStatus"] == "Creating"


def test_an_endpoint_that_runs_is_deleting_until_its_servers_are_down(deployed: Context) -> None:
    deployed.store.update(hosting.ENDPOINT, "Live", status="InService", state={"_host": "h", "_replicas": []})
    for _ in range(2):
        endpoints.delete_endpoint(deployed, {"EndpointName": "Live"})
        assert endpoints.describe_endpoint(deployed, {"EndpointName": "Live"})["EndpointStatus"] == "Deleting"


def test_endpoints_are_listed_by_status(deployed: Context) -> None:
    create_endpoint(deployed, "second")
    deployed.store.update(hosting.ENDPOINT, "Live", status="InService")
    listed = endpoints.list_endpoints(deployed, {"StatusEquals": "InService"})["Endpoints"]
    assert [(e["EndpointName"], e["EndpointStatus"]) for e in listed] == [("Live", "InService")]


def test_one_click_documents_are_what_the_operations_take(context: Context) -> None:
    model = hosting.model_request("auto", [CONTAINER], "arn:aws:iam::000000000000:role/R")
    config = hosting.endpoint_config_request("auto", "auto")
    models.create_model(context, model)
    endpoint_configs.create_endpoint_config(context, config)
    endpoints.create_endpoint(context, hosting.endpoint_request("auto", "auto"))
    state = endpoints.existing(context, "auto").state
    assert state == hosting.endpoint_state(config, {"auto": model})
