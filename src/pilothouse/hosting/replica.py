"""A replica: one model server process, which answers GET /ping and POST /invocations on a Unix socket."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from threadpoolctl import threadpool_limits

from pilothouse.errors import ConfigurationError, PilothouseError
from pilothouse.hosting import containers, media
from pilothouse.hosting.media import CodecError
from pilothouse.hosting.pipeline import ContainerFailed, Pipeline
from pilothouse.problems.base import InputError

DRAIN_SECONDS = 8
"""How long requests in flight may take to finish after SIGTERM."""

TARGET = "x-amzn-sagemaker-target-container-hostname"
"""The header of a request to one container among several that are called directly."""

_SMALL = 4096  # bytes; some rows
_KEEP_ALIVE = 75  # seconds; longer than the caller's, which is the one to close idle connections


def serve(containers: list[dict[str, Any]], socket: str, direct: bool = False) -> None:
    """Serves the containers of a model on `socket` until SIGTERM; listening means ready.

    Each has a `name`, the folder of its unpacked `model`, and the `environment` of its definition. They answer in
    series, or, if `direct`, the one that a request names. What cannot be loaded ends the process with the reason as the
    last line of its output.
    """
    media.allow_long_cells()
    try:
        server = ModelServer.load(containers, direct)
    except Exception as error:
        reason = error.message if isinstance(error, PilothouseError) else f"{type(error).__name__}: {error}"
        print("The model cannot be loaded.", " ".join(reason.split()), file=sys.stderr, flush=True)
        os._exit(1)
    print(*(pipeline.describe() for pipeline in server.pipelines.values()), sep="\n", flush=True)
    config = uvicorn.Config(
        server.app(),
        uds=socket,
        log_level="warning",
        access_log=False,
        lifespan="off",
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    uvicorn.Server(config).run()


@dataclass
class ModelServer:
    """A loaded model behind its two routes.

    A few rows are predicted at once, which is quicker than to hand them to a thread; more, one request at a time in a
    thread, so that /ping always answers.
    """

    pipelines: dict[str, Pipeline]
    """By the name of the container that a request may ask for; "" for requests that name none."""

    def __post_init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    @classmethod
    def load(cls, definitions: Sequence[Mapping[str, Any]], direct: bool = False) -> ModelServer:
        """The server of unpacked containers as `serve` takes them; raises when one of them isn't usable."""
        threadpool_limits(1)  # one row is not worth a thread pool, and two busy replicas would fight over cores
        loaded = {one["name"]: _loaded(one, alone=len(definitions) == 1) for one in definitions}
        if direct:
            return cls({name: Pipeline({name: container}) for name, container in loaded.items()})
        return cls({"": Pipeline(loaded)})

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[Route("/ping", self._ping), Route("/invocations", self._invocations, methods=["POST"])]
        )

    async def _ping(self, request: Request) -> Response:  # noqa: ARG002
        return Response(status_code=200)

    async def _invocations(self, request: Request) -> Response:
        try:
            pipeline = self._asked(request.headers.get(TARGET, ""))
            accept = pipeline.accepted(request.headers.get("accept"))
            body = await request.body()
            content_type = request.headers.get("content-type")
            if len(body) <= _SMALL:
                content = pipeline.answer(body, content_type, accept)
            else:
                loop = asyncio.get_running_loop()
                content = await loop.run_in_executor(self._worker, pipeline.answer, body, content_type, accept)
        except CodecError as error:
            return PlainTextResponse(error.message, error.status)
        except InputError as error:
            return PlainTextResponse(str(error), 400)
        except Exception as error:
            reason = error.message if isinstance(error, ContainerFailed) else f"{type(error).__name__}: {error}"
            print(f"A prediction failed. {reason}", file=sys.stderr, flush=True)
            return PlainTextResponse(f"The prediction failed: {reason}", 500)
        return Response(content, media_type=accept)

    def _asked(self, name: str) -> Pipeline:
        if name not in self.pipelines:
            raise CodecError(400, f"There is no container {name!r} here. There is {', '.join(self.pipelines)}.")
        return self.pipelines[name]


def _loaded(definition: Mapping[str, Any], alone: bool) -> containers.Container:
    """A container; what is wrong with it is said with its name, unless it is the only one."""
    try:
        return containers.load(Path(definition["model"]), definition["environment"])
    except PilothouseError as error:
        raise error if alone else ConfigurationError(f"{definition['name']}: {error.message}") from error
