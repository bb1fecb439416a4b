"""An installation with real rows and pretended model servers, for tests of those who host endpoints."""

from __future__ import annotations

import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from pilothouse.catalog import endpoint_updates, hosting, images
from pilothouse.config import Settings
from pilothouse.launch.base import Exit, Program
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.store.resource import Resource
from pilothouse.store.store import Store
from pilothouse.work.hosting import HostingReconciler


class Pong(BaseHTTPRequestHandler):
    """Answers one ping in `every`, if that is not 0, and hangs up on the others."""

    every, asked = 1, 0

    def do_GET(self) -> None:
        type(self).asked += 1
        if self.every and self.asked % self.every == 0:
            self.send_response(200)
            self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None: ...


class PretendedReplica:
    """Answers /ping on its socket from a thread, or ends at once with a line in its log."""

    pid = 0

    def __init__(self, program: Program, failure: str | None) -> None:
        self.program = program
        self.models = [Path(container["model"]) for container in program.arguments["containers"]]
        self.side = program.arguments["containers"][0]["environment"].get("side", "old")
        self.end: Exit | None = None
        self.terminated = False
        assert program.log is not None
        if failure is not None:
            program.log.write_text(f"starting\n{failure}")
            self.end = Exit(code=1)
            return
        program.log.write_text("serving\n")
        self.server = socketserver.ThreadingUnixStreamServer(program.arguments["socket"], Pong)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def poll(self) -> Exit | None:
        return self.end

    def wait(self, timeout: float | None = None) -> Exit | None:
        return self.end

    def terminate(self) -> None:
        self.terminated = True
        self.crash(Exit(code=0))

    def kill(self) -> None:
        self.crash(Exit(signal=9))

    def crash(self, end: Exit | None = None) -> None:
        if self.end is None:
            self.server.shutdown()
            self.server.server_close()
            self.end = end or Exit(signal=11)


class PretendedLauncher:
    def __init__(self) -> None:
        self.started: list[PretendedReplica] = []
        self.failure: str | None = None
        self.hindrances: list[Exception] = []

    def launch(self, program: Program) -> PretendedReplica:
        if self.hindrances:
            raise self.hindrances.pop()
        replica = PretendedReplica(program, self.failure)
        self.started.append(replica)
        return replica

    def close(self) -> None:
        for replica in self.started:
            replica.kill()

    @property
    def alive(self) -> list[PretendedReplica]:
        return [replica for replica in self.started if replica.end is None]


class Installation:
    def __init__(self, home: Path) -> None:
        home.mkdir()
        self.settings = Settings(home=home)
        self.store = Store(self.settings.database, region="us-east-1", account="000000000000")
        self.store.migrate()
        self.objects = DirectoryObjects(self.settings.objects_root)
        self.objects.create_bucket("bucket")
        self.launcher = PretendedLauncher()
        self.peak = 0  # most replicas that were alive at a time
        self.reconciler = self.restart()

    def restart(self) -> HostingReconciler:
        """A new reconciler, as a new server process has it; what the old one launched is gone."""
        self.launcher.close()
        self.reconciler = HostingReconciler(self.store, self.objects, self.launcher, self.settings)
        return self.reconciler

    def pinned(self, archives: Sequence[str] = ("model.tar.gz",), **variant: Any) -> dict[str, Any]:
        model = hosting.model_request(
            "m",
            [{"Image": images.TABULAR_INFERENCE, "ModelDataUrl": f"s3://bucket/{key}"} for key in archives],
        )
        config = hosting.endpoint_config_request("c", "m")
        if "KmsKeyId" in variant:
            config["KmsKeyId"] = variant.pop("KmsKeyId")
        config["ProductionVariants"][0].update(variant)
        return hosting.endpoint_state(config, {"m": model})

    def update(self, note: dict[str, Any], **state: Any) -> None:
        """What UpdateEndpoint and UpdateEndpointWeightsAndCapacities write."""
        self.store.update(hosting.ENDPOINT, "live", status="Updating", state={endpoint_updates.NOTE: note, **state})

    def deploy(self, name: str = "live", archives: Sequence[str] = ("model.tar.gz",), **variant: Any) -> None:
        state = self.pinned(archives, **variant)
        self.store.insert(
            hosting.ENDPOINT, name, hosting.endpoint_request(name, "c"), status=hosting.CREATING, state=state
        )

    def row(self, name: str = "live") -> Resource | None:
        return self.store.get(hosting.ENDPOINT, name)

    def replicas(self, name: str = "live") -> list[dict[str, Any]]:
        row = self.row(name)
        return [] if row is None else row.state.get("_replicas", [])

    def until(self, condition: Callable[[], bool]) -> None:
        give_up = time.monotonic() + 120
        while not condition():
            self.peak = max(self.peak, len(self.launcher.alive))
            assert time.monotonic() < give_up, f"it never came to that; the row is {self.row()}"
            self.reconciler.tick()
            time.sleep(0.01)

    def until_status(self, status: str, name: str = "live") -> Resource:
        self.until(lambda: (row := self.row(name)) is not None and row.status == status)
        row = self.row(name)
        assert row is not None
        return row
