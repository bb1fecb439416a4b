"""Forms with a file, as browsers send them (multipart/form-data, RFC 7578): fields first, then the file's bytes.

    --BOUNDARY\\r\\n Content-Disposition: form-data; name="key"\\r\\n \\r\\n value \\r\\n
    --BOUNDARY\\r\\n Content-Disposition: form-data; name="file"; filename="a.csv"\\r\\n \\r\\n bytes \\r\\n
    --BOUNDARY--\\r\\n

What comes after the file is not looked at, as S3 has it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import unquote

from pilothouse.errors import S3Error

MEDIA_TYPE = "multipart/form-data"
LARGEST_FIELDS = 20 << 10
"""Bytes that may come before the file's."""

_FILE = "file"
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(r"^content-disposition:\s*form-data(;.*)$", re.IGNORECASE | re.MULTILINE)
_NAME = re.compile(r';\s*name=(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_FILENAME = re.compile(r';\s*filename=(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_ENCODED_FILENAME = re.compile(r";\s*filename\*=utf-8''([^\s;]+)", re.IGNORECASE)


class Form:
    """One form, read once and in order: `fields`, then the file by iterating. `S3Error` if it is malformed."""

    def __init__(self, stream: AsyncIterator[bytes], content_type: str) -> None:
        self._stream = stream
        self._mark = f"\r\n--{_boundary(content_type)}".encode("latin-1")
        self._held = b"\r\n"
        self._left = LARGEST_FIELDS
        self.filename = ""
        """The file's name on the sender's machine, without its folders, once `fields` has been read."""

    async def fields(self) -> dict[str, str]:
        """What comes before the file, by name in lower case; of fields with one name, the last."""
        fields: dict[str, str] = {}
        await self._until(self._mark)
        while not (await self._until(b"\r\n")).startswith(b"--"):
            disposition = _disposition(await self._until(b"\r\n\r\n"))
            name = _first(_NAME, disposition).lower()
            if name == _FILE:
                self.filename = re.split(r"[/\\]", _filename(disposition))[-1]
                return fields
            fields[name] = _text(await self._until(self._mark))
        raise S3Error("InvalidArgument", "POST requires exactly one file upload per request.", 400)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (end := self._held.find(self._mark)) < 0:
            whole = len(self._held) - len(self._mark) + 1  # what follows may be the beginning of a mark
            if whole > 0:
                yield self._held[:whole]
                self._held = self._held[whole:]
            self._held += await self._next()
        yield self._held[:end]

    async def _until(self, mark: bytes) -> bytes:
        """What comes before the next `mark`, and the mark is passed over."""
        while (end := self._held.find(mark)) < 0:
            if len(self._held) > self._left:
                break
            self._held += await self._next()
        self._left -= end + len(mark)
        if end < 0 or self._left < 0:
            raise S3Error(
                "MaxPostPreDataLengthExceeded",
                "Your POST request fields preceding the upload file were too large: at most "
                f"{LARGEST_FIELDS} bytes may come before the file.",
                400,
            )
        before, self._held = self._held[:end], self._held[end + len(mark) :]
        return before

    async def _next(self) -> bytes:
        async for piece in self._stream:
            if piece:
                return piece
        raise _malformed("it ends too early")


def _boundary(content_type: str) -> str:
    boundary = _first(_BOUNDARY, content_type)
    if not boundary:
        raise _malformed("its Content-Type names no boundary")
    return boundary


def _disposition(head: bytes) -> str:
    found = _DISPOSITION.search(_text(head).replace("\r\n", "\n"))
    if found is None:
        raise _malformed("a part has no Content-Disposition")
    return found[1]


def _filename(disposition: str) -> str:
    encoded = _first(_ENCODED_FILENAME, disposition)
    return unquote(encoded) if encoded else _first(_FILENAME, disposition)


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return next((group for group in found.groups() if group is not None), "") if found else ""


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise _malformed("a field is not UTF-8") from None


def _malformed(reason: str) -> S3Error:
    return S3Error(
        "MalformedPOSTRequest",
        f"The body of your POST request is not well-formed multipart/form-data: {reason}.",
        400,
    )
