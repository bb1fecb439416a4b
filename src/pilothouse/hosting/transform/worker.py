"""The model server of one transform job: started, asked from several threads, started again when it dies."""

from __future__ import annotations

import http.client
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from pilothouse import names
from pilothouse.catalog.hosting import Document
from pilothouse.catalog.transform_jobs import TransformJob
from pilothouse.errors import DataError, JobFailed
from pilothouse.hosting import connection
from pilothouse.hosting.connection import UnixConnection
from pilothouse.hosting.keeper import START_SECONDS
from pilothouse.hosting.tail import Tail
from pilothouse.launch.base import AT_WORK, Exit, Process, Program

_POLL = 0.05
_LONGEST_ANSWER = 1000


class Worker:
    """A replica for the block, with its socket and its log in `folders`; `ask` may be called from threads.

    `start` starts its program, `ship` gets the name and the lines of its log, and `go_on`, which may raise, is called
    while it starts.
    """

    def __init__(
        self,
        label: str,
        containers: Sequence[Document],
        job: TransformJob,
        folders: tuple[Path, Path],
        *,
        start: Callable[[Program], Process],
        ship: Callable[[str, list[str]], None],
        go_on: Callable[[], None],
    ) -> None:
        self._label, self._containers, self._job = label, list(containers), job
        self._sockets, self._logs = folders
        self._start_program, self._ship, self._go_on = start, ship, go_on
        self._lock, self._log_lock = threading.Lock(), threading.Lock()
        self._closed = False
        self._process: Process | None = None
        self._socket = self._sockets
        self._tail: Tail | None = None

    def __enter__(self) -> Worker:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the replica now; requests that are on their way fail."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._finish_log()

    def follow(self) -> None:
        """Ships what the log has by now."""
        with self._log_lock:
            if self._tail is not None:
                self._tail.follow()

    def ask(self, body: bytes) -> bytes:
        """The model's answer, asked for again as often as ModelClientConfig says while that is no fault of the data's.

        `DataError` with the model's words if it refuses the data, `JobFailed` if it gives no answer.
        """
        why = ""
        for _ in range(1 + self._job.retries):
            serving, socket = self._serving()
            try:
                status, answer = self._post(socket, body)
            except TimeoutError:
                why = f"The model did not answer within {self._job.timeout} seconds."
                self._end(serving)
                continue
            except (OSError, http.client.HTTPException):
                why = f"The model ended before it answered. {self._last_words()}".strip(". ") + "."
                self._end(serving)
                continue
            if status == http.client.OK:
                return answer
            why = f"The model answered {status}: {answer[:_LONGEST_ANSWER].decode(errors='replace')}".strip(". ") + "."
            if status < http.client.INTERNAL_SERVER_ERROR:
                raise DataError(why)
        raise JobFailed(why)

    def _post(self, socket: Path, body: bytes) -> tuple[int, bytes]:
        line = UnixConnection(socket, self._job.timeout)
        headers = {"content-type": self._job.content_type or "text/csv"}
        if self._job.accept:
            headers["accept"] = self._job.accept
        try:
            line.request("POST", "/invocations", body, headers)
            response = line.getresponse()
            return response.status, response.read()
        finally:
            line.close()

    def _serving(self) -> tuple[Process | None, Path]:
        """The process that answers now, and its socket; a new one if the last has ended."""
        with self._lock:
            if not self._closed and (self._process is None or self._process.poll() is not None):
                self._start()
            return self._process, self._socket

    def _end(self, process: Process | None) -> None:
        """Ends a process that gave no answer; unless another request has seen to that already."""
        with self._lock:
            if process is not None and process is self._process:
                process.kill()
                process.wait()

    def _start(self) -> None:
        """Starts the model; again, as often as a request is sent again, if somebody kills it before it answers."""
        for left in reversed(range(1 + self._job.retries)):
            end = self._started()
            if end is None:
                return
            was_killed = end.signal == signal.SIGKILL and end.reason is None
            if self._closed or not was_killed or not left:
                raise JobFailed(f"The model server {end.describe()}. {self._last_words()}".strip())

    def _started(self) -> Exit | None:
        """Starts a process and waits until it answers; how it ended if it does not come to that."""
        self._finish_log()
        token = names.token()
        self._socket = self._sockets / f"{token}.sock"
        log = self._logs / f"replica-{token}.log"
        self._tail = Tail(log, lambda lines: self._ship(token, lines))
        program = Program(
            target="pilothouse.hosting.replica:serve",
            arguments={"containers": self._containers, "socket": str(self._socket)},
            log=log,
            nice=AT_WORK,
            label=f"transform {self._label}",
        )
        self._process = self._start_program(program)
        give_up = time.monotonic() + START_SECONDS
        while not connection.answers(self._socket):
            self._go_on()
            end = self._process.wait(_POLL)
            if end is not None:
                return end
            if time.monotonic() > give_up:
                late = f"The model server did not answer within {START_SECONDS:g} seconds. {self._last_words()}"
                raise JobFailed(late.strip())
        return None

    def _finish_log(self) -> None:
        with self._log_lock:
            if self._tail is not None:
                self._tail.finish()
                self._tail.path.unlink(missing_ok=True)

    def _last_words(self) -> str:
        self.follow()
        return "" if self._tail is None else self._tail.last
