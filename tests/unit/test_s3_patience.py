"""Answers that take longer than a client waits in silence."""

from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response, StreamingResponse

from pilothouse.api import patience
from pilothouse.errors import S3Error

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def refusal(error: Exception) -> Response:
    return Response(DECLARATION + f"<Error>{error}</Error>".encode())


async def answered(ready: asyncio.Event | None, outcome: Response | Exception, silences: int = 3) -> Response | bytes:
    """The answer to work that ends with `outcome`, at once or after some silences; the bytes if it was streamed."""

    async def work() -> Response:
        if ready is not None:
            await ready.wait()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    answer = await patience.in_time(work(), refusal)
    if not isinstance(answer, StreamingResponse):
        return answer
    pieces: list[bytes] = []
    async for piece in answer.body_iterator:
        assert isinstance(piece, bytes)
        pieces.append(piece)
        if len(pieces) == silences:
            assert ready is not None
            ready.set()
    return b"".join(pieces)


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SILENCE", 0.01)


def test_a_quick_answer_is_given_as_it_is() -> None:
    quick = Response(b"done")
    assert asyncio.run(answered(None, quick)) is quick
    with pytest.raises(S3Error):
        asyncio.run(answered(None, S3Error("InvalidPart", "None such.")))


def test_a_slow_answer_is_one_document_after_spaces() -> None:
    async def scene() -> Response | bytes:
        return await answered(asyncio.Event(), Response(DECLARATION + b"<Result/>"))

    content = asyncio.run(scene())
    assert isinstance(content, bytes)
    assert content.startswith(DECLARATION + b"  ")
    assert content.removeprefix(DECLARATION).lstrip(b" ") == b"<Result/>"


def test_a_slow_refusal_is_told_in_the_document() -> None:
    async def scene() -> Response | bytes:
        return await answered(asyncio.Event(), S3Error("InvalidPart", "None such."))

    content = asyncio.run(scene())
    assert isinstance(content, bytes)
    assert content.endswith(b" <Error>None such.</Error>")
