"""The server of one home: its socket, its doors, and the worker behind them, started and stopped in order."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import structlog
import uvicorn
from starlette.applications import Starlette

from pilothouse import composition, environment
from pilothouse.config import Settings
from pilothouse.credentials import Credentials
from pilothouse.errors import ConfigurationError
from pilothouse.home import Home

_REQUESTS_DRAIN = 3  # seconds that requests under way get to finish after a stop
_WORKER_DRAIN = 4.0  # seconds that job processes and replicas get to end after that
_EXIT = 9.5  # seconds after which a stop ends the process whatever still hangs
_KEEP_ALIVE = 75  # seconds; clients pool connections, and one closed under them costs them a retry
_DESCRIPTORS = 65536  # as many as are of use; some programs walk through all that they are allowed, however many
_CONNECTIONS = 4096  # at most, whatever the limit of descriptors

log = structlog.get_logger()


class Server:
    """Serves the home of `settings`; with `worker`, also runs its jobs and endpoints.

    `run` returns after SIGTERM or SIGINT, within 10 s: it takes no new job, lets requests under way finish, then ends
    job processes, whose jobs go on at the next start. It must be called from the main thread.
    """

    def __init__(self, settings: Settings, *, worker: bool = True) -> None:
        self.settings = settings
        self.home = Home(settings.home)
        self.credentials = Credentials(settings.credentials_file)
        self._worker = worker

    def run(self, ready: Callable[[str], None]) -> None:
        """Serve. `ready` gets the URL once requests are answered. `ConfigurationError` if it cannot start."""
        self.home.create()
        descriptors = raise_descriptors()
        with self.home.serving():
            self.credentials.ensure()
            environment.write_sdk_defaults(self.settings)
            refuse_open_door(self.settings.host, self.credentials)
            with listen(self.settings.host, self.settings.port) as listener:
                self._serve(listener, ready, connections(descriptors))

    def _serve(self, listener: socket.socket, ready: Callable[[str], None], most: int) -> None:
        from pilothouse.api.app import create_app

        url = environment.url(self.settings.host, listener.getsockname()[1])
        with contextlib.ExitStack() as stack:
            store = stack.enter_context(contextlib.closing(composition.store(self.settings)))
            store.migrate()
            supervisor = (
                stack.enter_context(composition.worker(self.settings, store, drain=_WORKER_DRAIN))
                if self._worker
                else None
            )

            def announce() -> None:
                self.home.announce(url, self.settings.region, self.settings.account_id)
                ready(url)

            leaving = _end_process_once_leaving(_EXIT)

            def stop() -> None:
                leaving.set()
                if supervisor is not None:
                    supervisor.stop_claiming()

            context = composition.front(self.settings, store, supervisor.wake if supervisor else _nobody)
            app = create_app(context, self.credentials)
            gc.collect()
            gc.freeze()  # what is loaded now stays; collections that walk through it would stop every request
            _Doors(_uvicorn_config(app, most), announce, stop).run_until_signal(listener)
            log.info("stopping")


class _Doors(uvicorn.Server):
    """uvicorn that says when it listens and when it is asked to stop, and that ends with exit code 0."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None], on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._on_stop = on_stop

    def run_until_signal(self, listener: socket.socket) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _ignore)  # uvicorn raises the signal again when it is done
        self.run(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        first = not self.should_exit
        super().handle_exit(sig, frame)
        if first:
            self._on_stop()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on `host` and `port`. `ConfigurationError` if that is not possible."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0]  # noqa: S104
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened on: {error.strerror}. Name another --port; 0 picks a free one."
        ) from error


def raise_descriptors() -> int:
    """How many files this process may have open, after raising that as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return _DESCRIPTORS
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft >= wanted:
        return soft
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError):  # some systems allow fewer than their hard limit says
        return soft
    return wanted


def connections(descriptors: int) -> int:
    """How many connections to serve: each can need a file or a replica's socket too, and the worker needs its own."""
    return min(_CONNECTIONS, descriptors // 3)


def refuse_open_door(host: str, credentials: Credentials) -> None:
    """`ConfigurationError` if `host` can be reached from other machines while there is no key to ask callers for."""
    if not _loopback(host) and not credentials.all():
        raise ConfigurationError(
            f"{host} can be reached from outside, and there is no access key. Make one: `pilothouse keys create`."
        )


def _loopback(host: str) -> bool:
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(host or "0.0.0.0", None)}  # noqa: S104
    except OSError:
        return False
    return all(str(address).startswith("127.") or address == "::1" for address in addresses)


def _uvicorn_config(app: Starlette, most: int) -> uvicorn.Config:
    from pilothouse.api.connection import Connection

    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        limit_concurrency=most,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_REQUESTS_DRAIN,
    )


def _end_process_once_leaving(seconds: float) -> threading.Event:
    """An event that ends this process so many seconds after it was set, if nothing has by then.

    Its thread waits from the start: when it is needed, the machine may have no process or thread to give.
    """
    leaving = threading.Event()

    def wait() -> None:
        leaving.wait()
        time.sleep(seconds)
        os._exit(0)

    threading.Thread(target=wait, name="leaving", daemon=True).start()
    return leaving


def _nobody() -> None:
    """No supervisor in this process; workers look for themselves."""


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """The signal has done its work."""
