"""An object's bytes between a connection and the threads of the S3 door, in portions of about a mebibyte."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from typing import Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from pilothouse.errors import S3Error
from pilothouse.objects.base import CHUNK

Portion = list[bytes]

_THREADS = 64
_limiter: RunVar[CapacityLimiter] = RunVar("pilothouse.api.content")


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns, called in a thread of this door."""
    limiter = _limiter.get(None)
    if limiter is None:
        limiter = CapacityLimiter(_THREADS)
        _limiter.set(limiter)
    return await to_thread.run_sync(function, *arguments, limiter=limiter)


async def portions(pieces: AsyncIterable[bytes]) -> AsyncIterator[Portion]:
    """`pieces`, some at a time, as they are."""
    portion: Portion = []
    size = 0
    async for piece in pieces:
        portion.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield portion
            portion, size = [], 0
    yield portion


def bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """`pieces`; EntityTooLarge as soon as they are more than `most` bytes."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > most:
            raise too_large(most)
        yield piece


def pulled(arriving: AsyncIterator[Portion]) -> Generator[bytes, None, None]:
    """The pieces of `arriving`, for a thread to iterate: the next portion arrives while the thread works on one.

    Called in the event loop. Whoever iterates closes it, so that nothing goes on arriving after an error.
    """
    return _pulled(arriving, asyncio.get_running_loop())


def _pulled(arriving: AsyncIterator[Portion], loop: asyncio.AbstractEventLoop) -> Generator[bytes, None, None]:
    coming = asyncio.run_coroutine_threadsafe(_next(arriving), loop)
    try:
        while (portion := coming.result()) is not None:
            coming = asyncio.run_coroutine_threadsafe(_next(arriving), loop)
            yield from portion
    finally:
        coming.cancel()


async def _next(arriving: AsyncIterator[Portion]) -> Portion | None:
    return await anext(arriving, None)


def too_large(most: int) -> S3Error:
    """EntityTooLarge: more than `most` bytes."""
    return S3Error(
        "EntityTooLarge",
        f"Your proposed upload exceeds the maximum allowed size of {most} bytes.",
        400,
        MaxSizeAllowed=str(most),
    )
