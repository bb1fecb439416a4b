"""Whether the server is up, for probes that hold no key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


async def health(request: Request) -> Response:  # noqa: ARG001
    """GET /health: 200 while requests are answered."""
    return JSONResponse({"status": "ok"})
