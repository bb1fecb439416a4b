"""Threads of the S3 door: what a call in one of them gives, how many there are, and whether somebody waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from pilothouse.api.content import Threads

PATIENCE = 60.0


@contextmanager
def occupied(threads: Threads, calls: int) -> Iterator[Callable[[], None]]:
    """So many calls under way, in a loop of their own, until what is given is called."""
    ready, release = threading.Semaphore(0), threading.Event()

    def call() -> None:
        ready.release()
        assert release.wait(PATIENCE)

    async def together() -> None:
        await asyncio.gather(*(threads.run(call) for _ in range(calls)))

    runner = threading.Thread(target=asyncio.run, args=(together(),))
    runner.start()

    def end() -> None:
        release.set()
        runner.join(PATIENCE)

    try:
        for _ in range(min(calls, threads._count)):
            assert ready.acquire(timeout=PATIENCE)
        yield end
    finally:
        end()


def test_a_call_gives_what_its_function_returns_or_raises() -> None:
    threads = Threads(2)

    def fail() -> None:
        raise KeyError("missing")

    async def calls() -> None:
        assert await threads.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(KeyError, match="missing"):
            await threads.run(fail)
        assert await threads.run(threading.get_ident) != threading.get_ident()

    asyncio.run(calls())


def test_calls_at_the_same_time_have_a_thread_each_and_are_no_crowd() -> None:
    threads = Threads(3)
    for _ in range(2):  # the second time the threads are there
        with occupied(threads, 3) as end:
            assert not threads.crowded()
            end()
    assert threads._started == 3


def test_those_beyond_the_threads_wait_and_are_a_crowd() -> None:
    threads = Threads(2)
    with occupied(threads, 2):
        assert not threads.crowded()
        with pytest.raises(TimeoutError):
            asyncio.run(asyncio.wait_for(threads.run(threading.get_ident), 0.01))
        assert threads.crowded()
    with occupied(threads, 2):  # the call that was given up has left the queue, and counts no more
        assert not threads.crowded()


def test_a_call_that_is_given_up_before_it_has_a_thread_is_not_made() -> None:
    threads = Threads(1)
    made: list[str] = []
    with occupied(threads, 1), pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(threads.run(made.append, "late"), 0.01))
    asyncio.run(threads.run(made.append, "in time"))
    assert made == ["in time"]
