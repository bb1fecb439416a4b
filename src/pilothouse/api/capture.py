"""The recorder of data capture: stores what endpoints were asked and answered, behind the requests' backs."""

from __future__ import annotations

import threading
from collections import defaultdict

import structlog

from pilothouse.catalog import data_capture, hosting
from pilothouse.catalog.data_capture import Capture, Exchange
from pilothouse.errors import PilothouseError, ServiceUnavailable
from pilothouse.objects import uri
from pilothouse.operations.context import Context

MOST_HELD = 64 << 20
"""Most bytes of exchanges that wait to be stored; what comes beyond them is not captured."""

FLUSH_SECONDS = 5.0
"""How long a record waits for others to share a file with."""

log = structlog.get_logger()

_Waiting = list[tuple[Capture, Exchange]]


class Recorder:
    """Stores exchanges from a thread of its own, which starts with the first. Those of one hour and key share files.

    While the object store is away they wait. One that is asked for a second time is stored in the same file, as an
    answer may have been lost on its way.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._waiting: _Waiting = []
        self._held = 0
        self._new = 0
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def offer(self, capture: Capture, exchange: Exchange) -> None:
        """Takes an exchange, unless too much waits already. Never waits itself."""
        with self._changed:
            if self._held + exchange.size > MOST_HELD:
                self._dropped += 1
                return
            self._held += exchange.size
            self._new += exchange.size
            self._waiting.append((capture, exchange))
            if self._thread is None:
                self._thread = self._started()
            if self._new > MOST_HELD // 4:
                self._changed.notify()

    def close(self) -> None:
        """Stores what waits, and ends."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _started(self) -> threading.Thread | None:
        thread = threading.Thread(target=self._run, name="data-capture", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the machine has none to give; the next exchange tries again
            return None
        return thread

    def _run(self) -> None:
        closing = False
        while not closing:
            with self._changed:
                self._changed.wait_for(lambda: self._closing or self._new > MOST_HELD // 4, FLUSH_SECONDS)
                taken, self._waiting, self._new, closing = self._waiting, [], 0, self._closing
                dropped, self._dropped = self._dropped, 0
            if dropped:
                log.warning("data capture left requests out: the object store is too slow", requests=dropped)
            left = self._store(taken, closing)
            with self._changed:
                self._waiting = left + self._waiting
                self._held -= sum(exchange.size for _, exchange in taken)
                self._held += sum(exchange.size for _, exchange in left)

    def _store(self, taken: _Waiting, for_good: bool) -> _Waiting:
        """Stores what can be, and returns what waits for the object store; nothing waits if it is done `for_good`.

        Once a file could not be stored no other is tried, as each may take long to fail; the next time it is the last.
        """
        away, failed, untried = "", _Waiting(), _Waiting()
        files: defaultdict[tuple[str, str, str | None, str], _Waiting] = defaultdict(list)
        for capture, exchange in taken:
            folder = data_capture.folder(exchange)
            files[exchange.endpoint, capture.destination, capture.kms_key, folder].append((capture, exchange))
        for place, records in files.items():
            tried = not away
            away = away or self._put(*place, records)
            if not away:
                continue
            if for_good:
                self._tell(place[0], f"{len(records)} records could not be stored at {place[1]}: {away}")
            elif tried:
                failed = records
            else:
                untried += records
        return untried + failed

    def _put(self, endpoint: str, destination: str, kms_key: str | None, folder: str, records: _Waiting) -> str:
        """Stores a file of records. Why they have to wait for the object store, or "" where they need not."""
        try:
            target = uri.parse(destination).join(folder, data_capture.file_name(records[0][1]))
            lines = (capture.line(exchange) for capture, exchange in records)
            objects = self._context.objects.keyed(kms_key)
            objects.put(target.bucket, target.key, lines, content_type="application/jsonlines")
        except (ServiceUnavailable, OSError) as error:  # away, or its disk is full
            log.warning("data capture waits for the object store", endpoint=endpoint, reason=str(error))
            return str(error) or type(error).__name__
        except PilothouseError as error:
            self._tell(endpoint, f"{len(records)} records could not be stored at {destination}: {error.message}")
        except Exception:  # the next file may do better
            log.exception("data capture failed", endpoint=endpoint, destination=destination)
        return ""

    def _tell(self, endpoint: str, line: str) -> None:
        log.warning("data capture failed", endpoint=endpoint, reason=line)
        try:
            self._context.store.logs.append(hosting.log_group(endpoint), "data-capture", [line])
        except PilothouseError as error:
            log.warning("an endpoint's log could not be written", endpoint=endpoint, reason=error.message)
