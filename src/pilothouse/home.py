"""The home: the folder that holds an installation's state, used by one server at a time."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from pilothouse.errors import ConfigurationError
from pilothouse.private_file import write_private

_LOCK_PATIENCE = 1.0  # seconds; `running` holds the lock for an instant, which is not a second server


@dataclass(frozen=True)
class RunningServer:
    """Where the server of a home answers, and the region and account that it serves as."""

    url: str
    pid: int
    region: str
    account_id: str

    def names(self) -> dict[str, str]:
        """Its region and account, as settings have them."""
        return {"region": self.region, "account_id": self.account_id}


class Home:
    """The folder at `root`, given as an absolute path.

    The lock is the kernel's (flock), so it ends with the server, however that ends, and a stale file means nothing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def create(self) -> None:
        """Make the folder, closed to other users. An existing one is closed too."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.root.chmod(0o700)
        except OSError as error:
            raise ConfigurationError(
                f"The home {self.root} cannot be used: {error.strerror}. Name another one with --home."
            ) from error

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Hold the home for one server. `ConfigurationError` while another server holds it."""
        descriptor = self._open_lock()
        try:
            if not _lock(descriptor, fcntl.LOCK_EX, _LOCK_PATIENCE):
                raise ConfigurationError(self._in_use())
            self._running_file.unlink(missing_ok=True)  # of a server that was killed
            yield
            self._running_file.unlink(missing_ok=True)
        finally:
            os.close(descriptor)

    def announce(self, url: str, region: str, account_id: str) -> None:
        """Tell other commands where the server that holds this home answers, and what it serves as."""
        server = RunningServer(url, os.getpid(), region, account_id)
        write_private(self._running_file, json.dumps(asdict(server)) + "\n")

    def running(self) -> RunningServer | None:
        """The server that holds this home now and has announced itself, else None."""
        try:
            return RunningServer(**json.loads(self._running_file.read_text())) if self._held() else None
        except (OSError, ValueError, TypeError):
            return None

    @property
    def _running_file(self) -> Path:
        return self.root / "server.json"

    def _open_lock(self) -> int:
        return os.open(self.root / "server.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _held(self) -> bool:
        descriptor = os.open(self.root / "server.lock", os.O_RDWR | os.O_CLOEXEC)
        try:
            return not _lock(descriptor, fcntl.LOCK_SH, patience=0)
        finally:
            os.close(descriptor)

    def _in_use(self) -> str:
        other = self.running()
        who = f"process {other.pid} at {other.url}" if other else "another process"
        return f"The home {self.root} is in use by {who}. Stop that server first, or name another home with --home."


def _lock(descriptor: int, kind: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
