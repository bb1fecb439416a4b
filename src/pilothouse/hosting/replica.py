"""A replica: one model server process, which answers GET /ping and POST /invocations on a Unix socket."""

from __future__ import annotations

import asyncio
import csv
import os
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from threadpoolctl import threadpool_limits

from pilothouse.catalog import metrics
from pilothouse.errors import PilothouseError
from pilothouse.hosting import codecs
from pilothouse.hosting.codecs import CodecError
from pilothouse.problems.base import InputError, Predictor, load_predictor

DRAIN_SECONDS = 8
"""How long requests in flight may take to finish after SIGTERM."""

_LARGEST_FIELD = 1 << 30
_SMALL = 4096  # bytes; some rows
_KEEP_ALIVE = 75  # seconds; longer than the caller's, which is the one to close idle connections


def serve(model: str, socket: str, environment: dict[str, str]) -> None:
    """Serves the model in the folder `model` on `socket` until SIGTERM; listening means ready.

    `environment` is the container definition's. A model that cannot be loaded ends the process with the reason as the
    last line of its output.
    """
    csv.field_size_limit(_LARGEST_FIELD)
    try:
        server = ModelServer.load(Path(model), environment)
    except Exception as error:
        reason = error.message if isinstance(error, PilothouseError) else f"{type(error).__name__}: {error}"
        print("The model cannot be loaded.", " ".join(reason.split()), file=sys.stderr, flush=True)
        os._exit(1)
    print(f"Serving {server.problem_type} predictions as {', '.join(server.outputs)}.", flush=True)
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

    predictor: Predictor
    outputs: list[str]
    accept: str

    def __post_init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")

    @classmethod
    def load(cls, directory: Path, environment: Mapping[str, str]) -> ModelServer:
        """The server of an unpacked model; raises when the model or its environment isn't usable."""
        threadpool_limits(1)  # one row is not worth a thread pool, and two busy replicas would fight over cores
        predictor = load_predictor(directory)
        classification = predictor.problem_type != metrics.REGRESSION
        return cls(predictor, codecs.outputs(environment, classification), codecs.default_accept(environment))

    @property
    def problem_type(self) -> str:
        """The model's problem type, as the API spells it."""
        return self.predictor.problem_type

    def app(self) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[Route("/ping", self._ping), Route("/invocations", self._invocations, methods=["POST"])]
        )

    def answer(self, body: bytes, content_type: str | None, accept: str) -> bytes:
        """The predictions for the rows in `body`, in the format `accept`; `CodecError` if the body can't be read."""
        rows = codecs.decode(body, content_type, self.predictor.columns)
        return codecs.encode(self.predictor.predict(rows), self.outputs, self.predictor.classes, accept)

    async def _ping(self, request: Request) -> Response:  # noqa: ARG002
        return Response(status_code=200)

    async def _invocations(self, request: Request) -> Response:
        try:
            accept = codecs.accepted(request.headers.get("accept"), self.accept)
            body = await request.body()
            content_type = request.headers.get("content-type")
            if len(body) <= _SMALL:
                content = self.answer(body, content_type, accept)
            else:
                loop = asyncio.get_running_loop()
                content = await loop.run_in_executor(self._worker, self.answer, body, content_type, accept)
        except CodecError as error:
            return PlainTextResponse(error.message, error.status)
        except InputError as error:
            return PlainTextResponse(str(error), 400)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            print(f"A prediction failed. {reason}", file=sys.stderr, flush=True)
            return PlainTextResponse(f"The prediction failed: {reason}", 500)
        return Response(content, media_type=accept)
