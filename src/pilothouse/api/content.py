"""An object's bytes between a connection and the threads of the S3 door, in portions of about a mebibyte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pilothouse.api.pace import Pace
from pilothouse.errors import S3Error
from pilothouse.objects.base import CHUNK

Portion = list[bytes]


class Threads:
    """At most so many threads, which start when they are first needed."""

    def __init__(self, count: int) -> None:
        self._count, self._under_way = count, 0
        self._executor = ThreadPoolExecutor(count, "s3")

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` returns, called in one of them."""
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, function, *arguments)
        finally:
            self._under_way -= 1

    def crowded(self) -> bool:
        """Whether somebody waits for one."""
        return self._under_way > self._count


storing = Threads(64)
"""Threads for those that wait for a client's bytes."""

_others = Threads(64)


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns, called in a thread of this door that waits for no client."""
    return await _others.run(function, *arguments)


async def portions(pieces: AsyncIterable[bytes]) -> AsyncIterator[Portion]:
    """`pieces`, some at a time, as they are; `RequestTimeout` if they come too slowly for a crowd, as in `Pace`."""
    portion: Portion = []
    size, pace = 0, Pace(storing.crowded)
    asked = time.monotonic()
    async for piece in pieces:
        pace.add(time.monotonic() - asked, len(piece))
        portion.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield portion
            portion, size = [], 0
        asked = time.monotonic()
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
