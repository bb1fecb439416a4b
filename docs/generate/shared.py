"""The pages that belong to no family: the index of operations, and the errors that every operation can answer."""

from __future__ import annotations

from collections.abc import Iterable

from docs.generate.families import TABLES, Family
from docs.generate.pages import code_of
from docs.generate.raised import Refusal
from pilothouse import errors as tree
from pilothouse.errors import PilothouseError
from pilothouse.wire import models
from pilothouse.wire.faults import Door

_DOORS: dict[Door, str] = {
    "sagemaker": "SageMaker",
    "runtime": "SageMaker Runtime",
    "logs": "Logs",
    "sts": "STS, IAM",
    "s3": "S3",
}
_TOP = "<!-- Written by `make docs` from the code. -->"


def index(families: Iterable[Family]) -> str:
    """The page that lists all families and all operations."""
    families = list(families)
    rows = [f"| [{family.title}]({family.name}.md) | {_links(family)} |" for family in families]
    return (
        "\n\n".join(
            [
                _TOP,
                "# Reference",
                "What this version serves, written by `make docs` from the code, from botocore's service models and "
                "from a file for each family with the differences from AWS. A test holds the pages to the code.",
                "\n".join(["| family | operations |", "|---|---|", *rows]),
                _counts(families),
                "[Errors](errors.md) that every operation can answer.",
            ]
        )
        + "\n"
    )


def _links(family: Family) -> str:
    return ", ".join(
        f"[{operation.name}]({family.name}.md#{operation.name.lower()})" for operation in family.operations
    )


def _counts(families: list[Family]) -> str:
    rows = ["| service | operations in botocore's model | served |", "|---|---|---|"]
    for name in TABLES:
        service = models.service(name)
        served = sum(o.model.service_model is service for family in families for o in family.operations)
        rows.append(f"| {service.service_id} | {len(service.operation_names)} | {served} |")
    code, status = code_of(Refusal(tree.OperationNotServed), "sagemaker")
    return "\n".join(rows) + f"\n\nThe others answer {code} with status {status}, S3's NotImplemented with 501."


def errors() -> str:
    """The page of errors."""
    kinds = [kind for kind in _kinds(tree.RequestError) if kind not in (tree.RequestError, tree.S3Error)]
    rows = [
        f"| {_meaning(kind)} | " + " | ".join("{} {}".format(*code_of(Refusal(kind), door)) for door in _DOORS) + " |"
        for kind in kinds
    ]
    head = f"| | {' | '.join(_DOORS.values())} |"
    return (
        "\n\n".join(
            [
                _TOP,
                "# Errors",
                "Code and HTTP status of each error, by the service that is called. What the messages mean and what to "
                "do is in [troubleshooting](../troubleshooting.md). S3's own errors (NoSuchKey, …) carry S3's codes.",
                "\n".join([head, "|" + "---|" * (len(_DOORS) + 1), *rows]),
                "An error that is not the caller's is InternalFailure (S3: InternalError) with status 500; its message "
                "names the request id under which the server's log has more.",
            ]
        )
        + "\n"
    )


def _kinds(kind: type[PilothouseError]) -> list[type[PilothouseError]]:
    children = [child for child in kind.__subclasses__() if child.__module__ == tree.__name__]
    return [kind, *(found for child in children for found in _kinds(child))]


def _meaning(kind: type[PilothouseError]) -> str:
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())
