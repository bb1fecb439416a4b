"""Fixtures that several test folders share: a real server, the clients that people use, and PostgreSQL."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pilothouse.launch.preload import SINGLE_THREADED

os.environ.update(
    SINGLE_THREADED
)  # as in the processes that train; before NumPy is loaded, whose threads wait for cores

settings.register_profile("pilothouse", deadline=None)  # how long an example takes says nothing about the code
settings.load_profile("pilothouse")

START_TIMEOUT = 180
STOP_TIMEOUT = 60
BIN = Path(sys.executable).parent
POSTGRES_ACCOUNT = "postgres"


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would reach another server, and with one thread a library."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PILOTHOUSE_", "SAGEMAKER_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "AWS_CONFIG_FILE": os.devnull, **extra}


class ServerProcess:
    """`pilothouse serve --port 0` on a home of its own, as a process, and what is needed to talk to it."""

    def __init__(self, home: Path, *options: str, **environment: str) -> None:
        self.home = home
        self.options = options
        self.extra = environment
        self.process: subprocess.Popen[str] | None = None
        self.url = ""
        self.log = home.parent / f"{home.name}.log"
        self._printed: tuple[object, dict[str, str]] | None = None

    def start(self) -> ServerProcess:
        """Starts it and waits until it answers."""
        command = [sys.executable, "-m", "pilothouse", "serve", "--port", "0", "--home", str(self.home), *self.options]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=log, text=True, env=clean_environment(**self.extra)
            )
        line = self._ready_line()
        assert line.startswith("Pilothouse is ready at http://"), f"no ready line: {line!r}\n{self.log.read_text()}"
        self.url = line.split()[4]
        return self

    def _ready_line(self) -> str:
        lines: list[str] = []
        assert self.process is not None
        assert self.process.stdout is not None
        reader = threading.Thread(target=lambda: lines.append(self.process.stdout.readline()), daemon=True)
        reader.start()
        reader.join(START_TIMEOUT)
        return lines[0] if lines else ""

    def environment(self) -> dict[str, str]:
        """The variables that `pilothouse env` prints for this server; asked again when server or keys are others."""
        about = self.url, (self.home / "credentials.json").read_bytes()
        if self._printed is None or self._printed[0] != about:
            text = pilothouse("env", "--home", str(self.home)).stdout
            words = [shlex.split(line) for line in text.splitlines()]
            self._printed = about, dict(word[1].split("=", 1) for word in words if word[0] == "export")
        return dict(self._printed[1])

    def client(self, service: str, **options: Any) -> Any:
        """A boto3 client as a user's code would have it after `eval "$(pilothouse env)"`."""
        import boto3

        environment = self.environment()
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=environment["AWS_DEFAULT_REGION"],
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
            **options,
        )

    def healthy(self) -> bool:
        """Whether GET /health answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=10) as answer:
                return answer.status == 200
        except OSError:
            return False

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_TIMEOUT)
        finally:
            self.kill()

    def kill(self) -> None:
        """kill -9, as an accident would."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(STOP_TIMEOUT)
        if self.process.stdout is not None:
            self.process.stdout.close()


def pilothouse(*arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the `pilothouse` command to its end."""
    command = [sys.executable, "-m", "pilothouse", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=clean_environment(**environment))
    assert not check or done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}"
    return done


def stop_all(servers: Iterable[ServerProcess]) -> None:
    """Ends servers side by side."""
    running = [server for server in servers if server.process is not None]
    for server in running:
        server.process.terminate()
    for server in running:
        server.stop()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers, each on a home of its own unless told which; ends them all."""
    started: list[ServerProcess] = []

    def start(*options: str, home: Path | None = None, **environment: str) -> ServerProcess:
        server = ServerProcess(home or tmp_path / f"home-{len(started)}", *options, **environment)
        started.append(server)
        return server.start()

    yield start
    stop_all(started)


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A started server."""
    return start_server()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A started server that the tests of one module share."""
    server = ServerProcess(tmp_path_factory.mktemp("shared") / "home").start()
    yield server
    server.stop()


@contextmanager
def served(app: Any, **options: Any) -> Iterator[int]:
    """The port at which an ASGI application is served in this process, over the server's own kind of connection."""
    import uvicorn

    from pilothouse.api.connection import Connection

    quick = {"lifespan": "off", "log_config": None, "access_log": False, "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(app, http=Connection, **{**quick, **options}))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join(STOP_TIMEOUT)


@pytest.fixture(scope="session")
def serving() -> Callable[..., AbstractContextManager[int]]:
    """`served`, for tests."""
    return served


class S3Door:
    """The S3 door alone, in this process, over a directory of its own."""

    KEY_ID, SECRET = "AKIDEXAMPLE", "secret"

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = ""

    def secret(self, access_key_id: str) -> str | None:
        """The secret of the only key."""
        return self.SECRET if access_key_id == self.KEY_ID else None

    @contextmanager
    def open(self) -> Iterator[S3Door]:
        """Serves as long as the block runs."""
        from pilothouse.api.app import create_app
        from pilothouse.config import Settings
        from pilothouse.objects.directory import DirectoryObjects
        from pilothouse.operations.context import Context

        nothing: Any = None
        context = Context(Settings(home=self.home), nothing, DirectoryObjects(self.home / "objects"))
        with served(create_app(context, self)) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    def environment(self) -> dict[str, str]:
        """The variables that lead an AWS client here."""
        return {
            "AWS_ACCESS_KEY_ID": self.KEY_ID,
            "AWS_SECRET_ACCESS_KEY": self.SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    def client(self, **options: Any) -> Any:
        """A boto3 client."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.KEY_ID,
            aws_secret_access_key=self.SECRET,
            **options,
        )


@pytest.fixture(scope="module")
def s3_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Door]:
    """An S3 door that the tests of one module share."""
    with S3Door(tmp_path_factory.mktemp("door")).open() as door:
        yield door


@pytest.fixture(scope="session")
def server_with(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ServerProcess]]:
    """Gives a started server with these options and variables: the same one to all that ask for it."""
    started: dict[Any, ServerProcess] = {}

    def server(*options: str, **environment: str) -> ServerProcess:
        key = (options, frozenset(environment.items()))
        if key not in started:
            started[key] = ServerProcess(tmp_path_factory.mktemp("shared") / "home", *options, **environment).start()
        return started[key]

    yield server
    stop_all(started.values())


@pytest.fixture
def aws(server: ServerProcess) -> Callable[..., Any]:
    """Runs the real `aws` command against `server`; its answer, parsed where it is JSON."""
    return aws_command(server)


@pytest.fixture
def aws_for() -> Callable[[ServerProcess], Callable[..., Any]]:
    """Makes such a function for a server of the test's choice."""
    return aws_command


@pytest.fixture
def shared_aws(shared_server: ServerProcess) -> Callable[..., Any]:
    """Runs the real `aws` command against the server that the tests of a module share."""
    return aws_command(shared_server)


def aws_command(server: ServerProcess) -> Callable[..., Any]:
    """A function that runs the real `aws` command against `server`."""
    environment = clean_environment(**server.environment())

    def run(*arguments: str, check: bool = True) -> Any:
        command = [str(BIN / "aws"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
        if not check:
            return done
        assert done.returncode == 0, f"{shlex.join(command)} ended with {done.returncode}:\n{done.stderr}"
        try:
            return json.loads(done.stdout)
        except ValueError:
            return done.stdout

    return run


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The SQLAlchemy URL of a PostgreSQL of the tests' own, on a unix socket; skips where none is installed."""
    folder = postgresql_programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    with running_postgresql(folder) as url:
        yield url


def postgresql_programs() -> Path | None:
    """The folder of initdb and pg_ctl, or None where PostgreSQL is not installed."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "pg_ctl").exists()), None)


@contextmanager
def running_postgresql(folder: Path, settings: str = "listen_addresses=") -> Iterator[str]:
    """Starts a server with the programs in `folder`; yields the SQLAlchemy URL of an empty database."""
    place = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(place, POSTGRES_ACCOUNT)
    data = place / "data"
    _run_postgresql(folder / "initdb", "-D", data, "-U", POSTGRES_ACCOUNT, "-A", "trust", "--no-sync", "-E", "UTF8")
    options = f"-k {place} -c {settings} -c fsync=off"
    _run_postgresql(folder / "pg_ctl", "-D", data, "-o", options, "-l", place / "log", "-w", "start")
    try:
        yield f"postgresql+pg8000://{POSTGRES_ACCOUNT}@/postgres?unix_sock={place}/.s.PGSQL.5432"
    finally:
        _run_postgresql(folder / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(place, ignore_errors=True)


def _run_postgresql(*command: object) -> None:
    """PostgreSQL refuses to run as root, so root runs it as the account that its package makes."""
    words = [str(word) for word in command]
    if os.getuid() == 0:
        words = ["runuser", "-u", POSTGRES_ACCOUNT, "--", *words]
    done = subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=120, cwd="/")
    assert done.returncode == 0, done.stderr
