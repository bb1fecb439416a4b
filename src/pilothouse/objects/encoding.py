"""The encoding of a text file, told from its bytes."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOK = 3
"""Bytes that a byte order mark takes at most."""

_SLICE = 1 << 18
"""Bytes that are decoded at a time, to see whether they are UTF-8: what is thrown away at once needs no new memory."""

_C1 = re.compile("[\x80-\x9f]")
_WINDOWS = {byte: ord(char) for byte in range(0x80, 0xA0) if (char := bytes([byte]).decode("cp1252", "ignore"))}
"""What Windows-1252 has in place of Latin-1's control characters."""


class Utf8:
    """The bytes of a text file, piece after piece, as UTF-8 without a byte order mark.

    UTF-16 is told by its byte order mark, or by the zero byte in its first letter. Other files are taken for UTF-8.
    Once a byte shows that it isn't, while all before were ASCII, the file is Windows-1252, which is what browsers read
    where Latin-1 is declared (WHATWG Encoding Standard). `UnicodeError` for what is none of these.
    """

    def __init__(self) -> None:
        self._start = b""
        self._convert: Callable[[bytes, bool], bytes] | None = None

    def __call__(self, piece: bytes, final: bool) -> bytes:
        """The next bytes, which may be none; `final` says that no further piece comes. Characters are never cut."""
        if self._convert is None:
            piece = self._start = self._start + piece
            if len(piece) < _LOOK and not final:
                return b""
            encoding, mark = _told(piece)
            piece = piece[mark:]
            self._convert = _Bytes(marked=mark > 0) if encoding == "utf-8" else _wide(encoding)
        return self._convert(piece, final)


def _told(start: bytes) -> tuple[str, int]:
    """The encoding, and the length of the byte order mark."""
    for mark, encoding in _MARKS:
        if start.startswith(mark):
            return encoding, len(mark)
    if len(start) > 1 and (start[0] == 0) != (start[1] == 0):
        return ("utf-16-be" if start[0] == 0 else "utf-16-le"), 0
    return "utf-8", 0


def _wide(encoding: str) -> Callable[[bytes, bool], bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()

    def convert(piece: bytes, final: bool) -> bytes:
        return _text(decoder.decode(piece, final))

    return convert


class _Bytes:
    """UTF-8, or Windows-1252 from the first byte on that is neither ASCII nor UTF-8."""

    def __init__(self, marked: bool) -> None:
        self._is_utf8 = marked
        self._is_windows = False
        self._cut = b""

    def __call__(self, piece: bytes, final: bool) -> bytes:
        if self._is_windows:
            return _windows(piece)
        piece = self._cut + piece
        self._cut = b""
        if piece.isascii():
            return piece
        whole, error = _utf8(piece, final)
        self._is_utf8 = self._is_utf8 or not piece[:whole].isascii()
        if error is None:
            self._cut = piece[whole:]
            return piece[:whole]
        if self._is_utf8:
            raise UnicodeError(error.reason) from error
        self._is_windows = True
        return _windows(piece)


def _utf8(piece: bytes, final: bool) -> tuple[int, UnicodeDecodeError | None]:
    """How many bytes at the start are whole characters, and what is wrong with the next one, unless it is only cut."""
    view, whole = memoryview(piece), 0
    while whole < len(view):
        end = whole + _SLICE
        try:
            taken = codecs.utf_8_decode(view[whole:end], "strict", final and end >= len(view))[1]
        except UnicodeDecodeError as error:
            return whole + error.start, error
        if not taken:
            break
        whole += taken
    return whole, None


def _windows(piece: bytes) -> bytes:
    text = piece.decode("latin-1")
    return _text(text.translate(_WINDOWS) if _C1.search(text) else text)


def _text(text: str) -> bytes:
    if "\0" in text:
        raise UnicodeError("it has zero bytes, as no text has")
    return text.encode()
