"""A server in a process of its own that lives as long as a block of code."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from pilothouse.config import Settings
from pilothouse.credentials import AccessKey, Credentials
from pilothouse.errors import ConfigurationError
from pilothouse.home import Home

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 15.0
_MIN_ROWS = 50  # AWS's own minimum of 500 is for code that relies on it; `fit` is for everyone's small table


class EmbeddedServer:
    """`pilothouse serve` on the folder `home`, or on a temporary one that goes with it.

    A server that already runs on `home` is used, and left running. The one that is started ends with the block, and
    with this process if that is killed. `environment` is added to its variables.
    """

    def __init__(self, home: Path | None = None, **environment: str) -> None:
        settings = Settings.given()
        self._temporary = (
            None if home else tempfile.TemporaryDirectory(prefix="pilothouse-", ignore_cleanup_errors=True)
        )
        self.home = Home((home or Path(self._temporary.name if self._temporary else "")).expanduser().resolve())
        self.settings = settings.model_copy(update={"home": self.home.root})
        self.url = ""
        self._environment = {"PILOTHOUSE_MIN_ROWS": str(_MIN_ROWS), **os.environ, **environment}
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> EmbeddedServer:
        self.home.create()
        running = self.home.running()
        if running is not None:
            self.settings = self.settings.model_copy(update=running.names())
        self.url = running.url if running else self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        if self._temporary is not None:
            self._temporary.cleanup()

    @property
    def key(self) -> AccessKey:
        """The key pair that its clients sign with."""
        return Credentials(self.settings.credentials_file).ensure()

    @property
    def log(self) -> Path:
        """What the server says about itself."""
        return self.home.root / "server.log"

    def client(self, service: str) -> Any:
        """A boto3 client of this server."""
        import boto3
        from botocore.config import Config

        key = self.key
        return boto3.session.Session().client(
            service,
            endpoint_url=self.url,
            region_name=self.settings.region,
            aws_access_key_id=key.id,
            aws_secret_access_key=key.secret,
            config=Config(
                proxies={}, retries={"mode": "standard"}, read_timeout=120, ignore_configured_endpoint_urls=True
            ),
        )

    def _start(self) -> str:
        command = [sys.executable, "-m", "pilothouse", "serve", "--attached"]
        command += ["--host", "127.0.0.1", "--port", "0", "--home", str(self.home.root)]
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the caller, who then stops the server
            )
        line = self._ready_line(self._process)
        if not line:
            self._stop()
            raise ConfigurationError(f"The server did not start. {self._last_words()}")
        return line.split()[4]

    def _ready_line(self, process: subprocess.Popen[str]) -> str:
        lines: list[str] = []
        assert process.stdout is not None
        stdout = process.stdout
        reader = threading.Thread(target=lambda: lines.append(stdout.readline()), daemon=True)
        reader.start()
        reader.join(_START_TIMEOUT)
        return lines[0] if lines else ""

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("Error: ") if lines else f"It said nothing within {_START_TIMEOUT:.0f} s."

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
