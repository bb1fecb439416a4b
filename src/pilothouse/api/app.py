"""The server's front: one ASGI application on one port."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from pilothouse.api import bucket, invocation, router, runtime, upload_form
from pilothouse.api.gateway import Gateway, Service, is_signed
from pilothouse.api.health import health
from pilothouse.operations.context import Context
from pilothouse.wire import models
from pilothouse.wire.sigv4 import Keys

_JSON_LIMIT = 10 << 20
_FORM_LIMIT = 1 << 20
_SCHEMAS = ("sagemaker", "sagemaker-runtime", "logs", "cloudwatch", "sts", "iam")


def create_app(context: Context, keys: Keys) -> Starlette:
    """The application. Reads the service models now (some 0.2 s), so that the first request is as quick as the next."""
    models.load(_SCHEMAS)
    gateway = Gateway(
        context,
        keys,
        {
            "sagemaker": Service(router.json, _JSON_LIMIT),
            "runtime": Service(runtime.handle, invocation.MAX_BODY),
            "logs": Service(router.json, _JSON_LIMIT),
            "cloudwatch": Service(router.json, _FORM_LIMIT),
            "cloudwatch-query": Service(router.form, _FORM_LIMIT),
            "sts": Service(router.form, _FORM_LIMIT),
            "iam": Service(router.form, _FORM_LIMIT),
            "s3": Service(bucket.handle, None, upload_form.handle),
        },
    )
    return Application(
        routes=[
            Unsigned("/health", health, methods=["GET"]),
            Everything(gateway),
        ],
        lifespan=_lifespan,
    )


class Application(Starlette):
    """Starlette without its two layers that make answers of errors: the gateway does, and uvicorn has the last word."""

    def build_middleware_stack(self) -> ASGIApp:
        """The routes, and nothing around them."""
        return self.router


class Unsigned(Route):
    """A route for requests that carry no signature: /health with one is the listing of a bucket of that name."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As `Route`, for unsigned requests only."""
        match, child = super().matches(scope)
        return (match, child) if match is Match.FULL and not is_signed(scope) else (Match.NONE, {})


class Everything(BaseRoute):
    """Hands every request to one application, whatever its path: an S3 key may hold anything."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Every HTTP request."""
        return (Match.FULL if scope["type"] == "http" else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on."""
        await self.app(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    yield
    invoker = getattr(app.state, "runtime", None)
    if invoker is not None:
        await invoker.close()
