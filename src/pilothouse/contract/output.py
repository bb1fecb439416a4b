"""A program's output on its way into the log: cut into lines, and bounded whatever the program prints."""

from __future__ import annotations

from collections.abc import Iterator

LONGEST_LINE = 32 << 10
"""Bytes of a line that are read; the rest of a longer one is thrown away."""

BURST = 8 << 20
"""Bytes of log that a job has at once, each line counting for `LINE_COST` more."""

LINE_COST = 64
RATE = 4 << 10
"""Bytes of log that it gets each second beside those."""

MOST = 256 << 20
"""Bytes of log that it has in all."""

TAIL = 64 << 10
"""Of what is left out, the last bytes are logged at the end all the same."""

_CUT = " … (the line is longer than this log keeps)".encode()


class Lines:
    """Cuts a stream of bytes into blocks of whole lines. A carriage return ends a line too: progress bars use it."""

    def __init__(self) -> None:
        self._carry = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> bytes:
        """The lines that are whole with `chunk`, each with its newline; b"" if none is."""
        data = self._carry + self._wanted(chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n"))
        end = data.rfind(b"\n") + 1
        whole, self._carry = data[:end], data[end:]
        if len(self._carry) > LONGEST_LINE:
            whole += self._carry[:LONGEST_LINE] + _CUT + b"\n"
            self._carry, self._skipping = b"", True
        return whole

    def rest(self) -> bytes:
        """The unfinished line at the end of the stream."""
        rest, self._carry = self._carry, b""
        return rest + b"\n" if rest else b""

    def _wanted(self, chunk: bytes) -> bytes:
        if not self._skipping:
            return chunk
        end = chunk.find(b"\n")
        if end < 0:
            return b""
        self._skipping = False
        return chunk[end + 1 :]


class Allowance:
    """Which lines go into the log: all, until there are too many; then none until some room has come again."""

    def __init__(self, now: float) -> None:
        self._room = float(BURST)
        self._left = MOST
        self._at = now
        self._full = False
        self._omitted = 0
        self._tail = b""

    def take(self, block: bytes, now: float) -> Iterator[str]:
        """The lines of `block` that may be logged at the time `now` (any clock, in seconds)."""
        self._room = min(BURST, self._room + (now - self._at) * RATE)
        self._at = now
        if self._full and self._room < TAIL:
            self._leave_out(block)
            return
        self._full = False
        if block:
            yield from self._note()
        yield from self._within(block)

    def rest(self) -> Iterator[str]:
        """What is logged at the end: how much is missing, and the last of it."""
        tail = self._tail
        yield from self._note()
        yield from (_decoded(line) for line in tail.split(b"\n") if line)

    def _within(self, block: bytes) -> Iterator[str]:
        start = 0
        while start < len(block):
            end = block.index(b"\n", start) + 1
            cost = end - start + LINE_COST
            if cost > self._room or cost > self._left:
                self._full = True
                self._leave_out(block[start:])
                return
            self._room -= cost
            self._left -= cost
            if end - start > 1:
                yield _decoded(block[start : end - 1])
            start = end

    def _leave_out(self, block: bytes) -> None:
        self._omitted += block.count(b"\n")
        tail = (self._tail + block)[-TAIL:] if len(block) < TAIL else block[-TAIL:]
        self._tail = tail

    def _note(self) -> Iterator[str]:
        if self._omitted:
            yield f"… {self._omitted} lines are left out of this log: the program prints more than it can hold."
        self._omitted, self._tail = 0, b""


def _decoded(line: bytes) -> str:
    text = line[:LONGEST_LINE] + (_CUT if len(line) > LONGEST_LINE + len(_CUT) else b"")
    return text.decode(errors="replace")
