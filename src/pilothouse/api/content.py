"""An object's bytes between a connection and the threads of the S3 door, in portions of about a mebibyte."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator
from queue import SimpleQueue
from typing import Any

from pilothouse.api.pace import Pace
from pilothouse.errors import S3Error
from pilothouse.objects.base import CHUNK

Portion = list[bytes]
_Call = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[..., Any], tuple[Any, ...]]


class Threads:
    """At most so many threads, which start when they are first needed and end with the process.

    asyncio's way to an executor makes two futures and a lock for each call, which a small request would feel.
    """

    def __init__(self, count: int, name: str = "s3") -> None:
        self._count, self._started, self._name = count, 0, name
        self._under_way = 0  # calls that wait for a thread or have one
        self._counting = threading.Lock()
        self._calls: SimpleQueue[_Call] = SimpleQueue()

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function` returns, called in one of them."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Any] = loop.create_future()
        self._make_room()
        self._calls.put((loop, outcome, function, arguments))
        return await outcome

    def crowded(self) -> bool:
        """Whether somebody waits for one."""
        return self._under_way > self._count

    def _make_room(self) -> None:
        """Count one more call, and start a thread for it if all may be busy."""
        with self._counting:
            if self._started < min(self._count, self._under_way + 1):
                try:
                    threading.Thread(target=self._serve, name=self._name, daemon=True).start()
                except RuntimeError:  # the machine has none to give
                    if not self._started:
                        raise
                else:
                    self._started += 1
            self._under_way += 1

    def _serve(self) -> None:
        while True:
            self._call(*self._calls.get())

    def _call(
        self,
        loop: asyncio.AbstractEventLoop,
        outcome: asyncio.Future[Any],
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
    ) -> None:
        tell: Callable[[Any], None]
        try:
            tell, what = outcome.set_result, None if outcome.cancelled() else function(*arguments)
        except BaseException as error:
            tell, what = outcome.set_exception, error
        with self._counting:
            self._under_way -= 1
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(_tell, outcome, tell, what)


def _tell(outcome: asyncio.Future[Any], tell: Callable[[Any], None], what: Any) -> None:
    if not outcome.done():  # its caller may have given up
        tell(what)


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
