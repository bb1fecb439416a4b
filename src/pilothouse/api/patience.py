"""S3's answers that take long, kept alive with white space.

A client takes a minute's silence for a lost connection and asks again. So S3 begins such an answer with status 200 and
an XML declaration, and goes on with spaces until the rest is there, which may be an error; clients know to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from starlette.responses import Response, StreamingResponse

SILENCE = 10.0
"""How long an answer may be quiet, in seconds."""

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


async def in_time(work: Awaitable[Response], refusal: Callable[[Exception], Response]) -> Response:
    """What `work` gives or raises if it is quick; else an answer that waits for it, where `refusal` words an error."""
    task = asyncio.ensure_future(work)
    await asyncio.wait({task}, timeout=SILENCE)
    if task.done():
        return task.result()
    return StreamingResponse(_waiting(task, refusal), media_type="application/xml")


async def _waiting(task: asyncio.Future[Response], refusal: Callable[[Exception], Response]) -> AsyncIterator[bytes]:
    yield _DECLARATION
    while not task.done():
        yield b" "
        await asyncio.wait({task}, timeout=SILENCE)
    try:
        answer = task.result()
    except Exception as error:
        answer = refusal(error)
    yield bytes(answer.body).removeprefix(_DECLARATION)
