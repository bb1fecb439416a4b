"""The thread of a job process that keeps its lease, and ends the process when it must not go on."""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from contextlib import suppress
from typing import NoReturn

import structlog

from pilothouse.store.leases import Lease, Leases

LEASE_TTL = 15.0
"""Seconds after which a job whose process has not been heard of may be claimed by another worker."""

LEASE_LOST = 3
"""The exit code of a job process whose lease has passed to another worker."""

STORE_AWAY = 4
"""The exit code of a job process that could not reach the store; it is no fault of the job's."""

TERMINATED = 128 + signal.SIGTERM
"""The exit code of a job process that was asked to end."""

_RELEASE_PATIENCE = 3.0
_STOP = b"\0"

journal = structlog.get_logger()


class Watchdog:
    """Renews `lease` until `stop`. Ends the process if the lease is lost, and on SIGTERM, having released it.

    It need not wait for the main thread, which may be deep in native code: whatever that was doing is done again from
    the last recorded step, as after any other death.
    """

    def __init__(self, leases: Leases, lease: Lease, ttl: float = LEASE_TTL) -> None:
        self._leases = leases
        self._lease = lease
        self._ttl = ttl
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Takes SIGTERM over and begins. Only in the main thread."""
        signal.set_wakeup_fd(self._writer.fileno())
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._thread.start()

    def stop(self) -> None:
        """Ends the renewals; the lease stays as it is."""
        self._writer.send(_STOP)
        self._thread.join()

    def _watch(self) -> None:
        try:
            self._rounds()
        except Exception:  # without a watchdog the process must not go on
            self._end(LEASE_LOST, "the watchdog failed")

    def _rounds(self) -> None:
        renewed = self._renewed(time.monotonic())
        while True:
            ready, _, _ = select.select([self._reader], [], [], self._ttl / 3)
            heard = self._reader.recv(64) if ready else b""
            if signal.SIGTERM in heard:
                self._leave()
            if _STOP in heard:
                return
            renewed = self._renewed(renewed)

    def _renewed(self, last: float) -> float:
        """Renews the lease; the time of the last success."""
        now = time.monotonic()
        try:
            held = self._leases.renew(self._lease, self._ttl)
        except Exception:  # the database may be away for a moment; the lease holds a while longer
            if time.monotonic() - last >= self._ttl:
                self._end(STORE_AWAY, "the database was away until the lease ran out")
            return last
        if not held:
            self._end(LEASE_LOST, "the lease is lost; another worker has the job")
        return now

    def _leave(self) -> NoReturn:
        release = threading.Thread(target=lambda: self._leases.release(self._lease, orderly=True), daemon=True)
        release.start()
        release.join(_RELEASE_PATIENCE)
        self._end(TERMINATED, "asked to end; the job goes on later")

    def _end(self, code: int, message: str) -> NoReturn:
        with suppress(Exception):  # a log that cannot be written is no reason to go on
            journal.warning(message, kind=self._lease.kind, name=self._lease.name)
        os._exit(code)
