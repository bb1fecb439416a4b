"""The containers of a model in series: what the one answers is the next one's request."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pilothouse.catalog import pipelines
from pilothouse.errors import ConfigurationError, PilothouseError
from pilothouse.hosting import media
from pilothouse.hosting.answers import Answers
from pilothouse.hosting.containers import Algorithm, Container, Features, Labels
from pilothouse.problems.base import InputError
from pilothouse.problems.staged import check_classes, check_width

BATCH = 4096
"""Rows that go through several containers at a time: what is between them need not be in memory for all rows."""


class ContainerFailed(PilothouseError):
    """A container could not answer."""


@dataclass(frozen=True)
class Pipeline:
    """Loaded containers by their names, in order. Thread-safe.

    Within a process an answer is handed on as it is, neither written nor read: they agree on a format that keeps it.
    """

    containers: dict[str, Container]

    def __post_init__(self) -> None:
        """`ConfigurationError` if one of the containers can't take what the one before it answers."""
        refusal = pipelines.refusal(list(self.containers), [one.role for one in self.containers.values()])
        if refusal is not None:
            raise ConfigurationError(refusal)
        for (before, first), (after, second) in pairwise(self.containers.items()):
            _check_formats(before, first, after, second)
            if isinstance(first, Features) and isinstance(second, Algorithm):
                check_width(first.stage, second.stage)
            if isinstance(first, Algorithm) and isinstance(second, Labels):
                check_classes(first.stage, second.stage)
                _check_members(before, first, after, second)

    def accepted(self, accept: str | None) -> str:
        """The format that an Accept header asks of the last container; `CodecError` 406 if it can't."""
        last = self._ordered[-1]
        return media.accepted(accept, last.accept, last.writes)

    def answer(self, body: bytes, content_type: str | None, accept: str) -> bytes:
        """What the containers make of the rows in `body`, in the format that `accepted` gave.

        `CodecError` or `InputError` if the request can't be read, `ContainerFailed` if a container fails.
        """
        content = self._ordered[0].read(body, content_type)
        if len(self.containers) == 1 or len(content) <= BATCH:
            answer = self._through(content)
        else:
            answer = self._in_batches(content)
        return self._ordered[-1].write(answer, accept)

    def describe(self) -> str:
        """A line for the log."""
        parts = [
            f"{name} ({one.role}: {', '.join(one.outputs) or one.accept})" for name, one in self.containers.items()
        ]
        return f"Serving {', then '.join(parts)}."

    @property
    def _ordered(self) -> list[Container]:
        return list(self.containers.values())

    def _through(self, content: Any) -> Any:
        """The last container's answer. Only what the first one can't take is the caller's fault."""
        answer, first = content, True
        for name, container in self.containers.items():
            try:
                answer = container.apply(answer)
            except Exception as error:
                if first and isinstance(error, InputError):
                    raise
                where = f"{name}: " if len(self.containers) > 1 else ""
                raise ContainerFailed(f"{where}{type(error).__name__}: {error}") from error
            first = False
        return answer

    def _in_batches(self, content: Any) -> Answers:
        """As `_through`; several containers end in answers."""
        batches = [content[start : start + BATCH] for start in range(0, len(content), BATCH)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="predict") as pool:
            parts: list[Answers] = list(pool.map(self._through, batches))
        return Answers(parts[0].members, [row for part in parts for row in part.rows])


def _check_formats(before: str, first: Container, after: str, second: Container) -> None:
    if first.accept not in second.reads:
        raise ConfigurationError(
            f"{before} answers {first.accept}, which {after} does not read. "
            f"Set its SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT to {' or '.join(second.reads)}."
        )


def _check_members(before: str, first: Algorithm, after: str, second: Labels) -> None:
    if list(first.outputs) != second.inputs:
        raise ConfigurationError(
            f"{before} answers {', '.join(first.outputs)}, and {after} expects {', '.join(second.inputs)}. "
            f"SAGEMAKER_INFERENCE_OUTPUT of the one must be SAGEMAKER_INFERENCE_INPUT of the other."
        )
