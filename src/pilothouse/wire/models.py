"""Service models: what AWS says an operation takes and answers. botocore's bundled models are the only schema."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from typing import Any

from botocore.loaders import JSONFileLoader, Loader
from botocore.model import OperationModel, ServiceModel

from pilothouse.errors import UnknownOperation

_TARGETS = {"SageMaker": "sagemaker", "Logs_20140328": "logs", "GraniteServiceVersion20100801": "cloudwatch"}
"""The service that each prefix of X-Amz-Target means."""

_SIGNED = {"monitoring": "cloudwatch"}
"""Services that sign with a name other than their model's."""


def signed(name: str) -> str:
    """The service, by botocore's name for it, that signs its requests with `name`."""
    return _SIGNED.get(name, name)


@cache
def service(name: str) -> ServiceModel:
    """The model of a service, by botocore's name for it ("sagemaker-runtime"). Read once, in some 50 ms."""
    return ServiceModel(_loader().load_service_model(name, "service-2"), name)


@cache
def _loader() -> Loader:
    return Loader(
        include_default_search_paths=False, extra_search_paths=[Loader.BUILTIN_DATA_PATH], file_loader=_Schemas()
    )


class _Schemas(JSONFileLoader):  # type: ignore[misc]
    """Files without their texts for people, as plain dicts: a fraction of the memory, and nobody here reads those."""

    def load_file(self, file_path: str) -> Any:
        """The file of this name, with one of the endings that models have; None if there is none."""
        for ending, opened in ((".json", open), (".json.gz", gzip.open)):
            with suppress(FileNotFoundError), opened(file_path + ending, "rb") as stream:
                return json.loads(stream.read(), object_pairs_hook=_without_documentation)
        return None


def _without_documentation(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A member of a shape may be called documentation too: its value is an object."""
    return {name: value for name, value in pairs if name != "documentation" or not isinstance(value, str)}


def load(names: Iterable[str]) -> None:
    """Read these services' models now, so that no request waits for it."""
    for name in names:
        service(name)


@cache
def operation(service_name: str, operation_name: str) -> OperationModel:
    """The model of an operation, or `UnknownOperation`. One object an operation, so that its shapes are built once."""
    known = service(service_name)
    if operation_name not in known.operation_names:
        raise UnknownOperation(f"{operation_name or 'The operation'} is not an operation of {known.service_id}.")
    return known.operation_model(operation_name)


def operation_of_target(service_name: str, target: str) -> str:
    """The operation that an X-Amz-Target ("SageMaker.ListTags") names; `UnknownOperation` if not of this service."""
    prefix, _, name = target.partition(".")
    if _TARGETS.get(prefix) != service_name or not name:
        raise UnknownOperation(
            f'X-Amz-Target "{target}" does not name an operation of {service(service_name).service_id}.'
        )
    return name


def service_of_target(target: str) -> str | None:
    """The service that an X-Amz-Target belongs to, if it is one of those served."""
    return _TARGETS.get(target.partition(".")[0])
