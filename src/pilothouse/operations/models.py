"""Models: create, describe, list, delete. A model is a record; its server runs when an endpoint names it."""

from __future__ import annotations

from pilothouse.catalog import hosting, images, pipelines
from pilothouse.catalog.hosting import Document
from pilothouse.errors import S3Error, ValidationError
from pilothouse.objects import uri
from pilothouse.operations import creation
from pilothouse.operations.context import Context
from pilothouse.store.store import Resource
from pilothouse.wire import paging

_SORTS = {"Name": "name", "CreationTime": "created"}


def create_model(context: Context, request: Document) -> Document:
    """CreateModel. The archives must exist, and this installation must be able to serve the images in their order."""
    name = request["ModelName"]
    _must_be_new(context, name)
    containers = _containers(request)
    for title, container in zip(pipelines.names(containers), containers, strict=True):
        _check_container(context, container, f"{title}: " if len(containers) > 1 else "")
    _check_order(request, containers)
    row = creation.insert(context, hosting.MODEL, name, request, _exists(context, name))
    return {"ModelArn": row.arn}


def describe_model(context: Context, request: Document) -> Document:
    """DescribeModel."""
    row = existing(context, request["ModelName"])
    document = {"EnableNetworkIsolation": False, **row.request, "ModelArn": row.arn, "CreationTime": row.created_at}
    if "PrimaryContainer" in row.request:
        document["PrimaryContainer"] = {"Mode": "SingleModel", **row.request["PrimaryContainer"]}
    if "Containers" in row.request:
        document["Containers"] = [{"Mode": "SingleModel", **c} for c in row.request["Containers"]]
    return document


def list_models(context: Context, request: Document) -> Document:
    """ListModels: the newest first unless asked otherwise."""
    rows, token = paging.page(
        context.store,
        hosting.MODEL,
        request,
        sorts=_SORTS,
        default_sort="CreationTime",
        default_order="Descending",
        default_limit=10,
    )
    summaries = [{"ModelName": r.name, "ModelArn": r.arn, "CreationTime": r.created_at} for r in rows]
    return {"Models": summaries, "NextToken": token}


def delete_model(context: Context, request: Document) -> None:
    """DeleteModel: the record only. The archive stays, and endpoints that serve it go on."""
    existing(context, request["ModelName"])
    context.store.delete(hosting.MODEL, request["ModelName"])


def existing(context: Context, name: str) -> Resource:
    """The model's row; a missing one is a ValidationException, as in the real service."""
    row = context.store.get(hosting.MODEL, name)
    if row is None:
        raise ValidationError(f'Could not find model "{context.arn(hosting.MODEL, name)}".')
    return row


def _must_be_new(context: Context, name: str) -> None:
    if context.store.get(hosting.MODEL, name):
        raise _exists(context, name)


def _exists(context: Context, name: str) -> ValidationError:
    return ValidationError(f'Cannot create already existing model "{context.arn(hosting.MODEL, name)}".')


def _containers(request: Document) -> list[Document]:
    if "PrimaryContainer" in request and "Containers" in request:
        raise ValidationError("Give either PrimaryContainer or Containers, not both.")
    containers = hosting.containers(request)
    if not containers:
        raise ValidationError("Give the model's container in PrimaryContainer or in Containers.")
    return containers


def _check_order(request: Document, containers: list[Document]) -> None:
    """`ValidationError` for containers that can't be told apart, or can't follow one another."""
    given = [container["ContainerHostname"] for container in containers if "ContainerHostname" in container]
    if "Containers" in request and given and len(given) < len(containers):
        raise ValidationError("Give a ContainerHostname to every container of the model, or to none.")
    if len(set(given)) < len(given):
        raise ValidationError("ContainerHostname must be unique among the containers of a model.")
    if hosting.is_direct(request):
        if "PrimaryContainer" in request or not given:
            raise ValidationError("Mode Direct needs Containers, each of which has a ContainerHostname.")
        return
    refusal = pipelines.refusal(pipelines.names(containers), [pipelines.role(container) for container in containers])
    if refusal is not None:
        raise ValidationError(refusal)


def _check_container(context: Context, container: Document, where: str) -> None:
    """`ValidationError`, beginning with `where`, for a container that can't be served."""
    image = container.get("Image")
    if container.get("ModelPackageName") or image is None:
        raise ValidationError(
            f"{where}Model packages are not served by this version of Pilothouse. Give Image, ModelDataUrl."
        )
    if images.served(image) is None:
        raise ValidationError(
            f"{where}The image {image} cannot run here. Served are Pilothouse's own inference images, such as "
            f"{images.TABULAR_INFERENCE}, which the candidates of an AutoML job name in InferenceContainers."
        )
    if container.get("Mode", "SingleModel") != "SingleModel":
        raise ValidationError(f"{where}Mode MultiModel is not served by this version of Pilothouse. Use SingleModel.")
    _check_archive(context, container, where)


def _check_archive(context: Context, container: Document, where: str) -> None:
    archive = hosting.archive_uri(container)
    if archive is None:
        raise ValidationError(
            f"{where}The image {container['Image']} needs a model: give its model.tar.gz as ModelDataUrl."
        )
    address = uri.parse(archive)
    try:
        context.objects.head(address.bucket, address.key)
    except S3Error as error:
        raise ValidationError(f"{where}Could not find model data at {archive}.") from error
