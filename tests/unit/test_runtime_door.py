"""InvokeEndpoint against pretended replicas: who is asked, what is passed on, and what is said when it goes wrong."""

from __future__ import annotations

import asyncio
import socketserver
import tempfile
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pilothouse.api import runtime
from pilothouse.catalog import hosting
from pilothouse.config import Settings
from pilothouse.errors import ModelError, PilothouseError
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations.context import Context
from pilothouse.store.store import Store


class Echo(BaseHTTPRequestHandler):
    """Answers with its server's name and the body it got; a body "status NNN" is answered with that status."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if body == b"die":
            self.close_connection = True
            return
        status = int(body.split()[1]) if body.startswith(b"status") else 200
        words = [self.server.name, self.headers["content-type"], self.headers["accept"]]
        target = self.headers["x-amzn-sagemaker-target-container-hostname"]
        answer = " ".join([*map(str, words), *([target] if target else []), ""]).encode() + body
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.send_header("content-type", "text/csv; charset=utf-8")
        self.end_headers()
        self.wfile.write(answer)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None: ...


class Replica(AbstractContextManager["Replica"]):
    def __init__(self, folder: Path, variant: str, index: int = 0) -> None:
        self.address = {"variant": variant, "index": index, "socket": str(folder / f"{variant}{index}.sock")}
        self.server = socketserver.ThreadingUnixStreamServer(self.address["socket"], Echo)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        self.server.name = f"{variant}/{index}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()


class Door:
    """A store with one endpoint, and the door in front of it; errors come back as JSON."""

    def __init__(self, home: Path) -> None:
        home.mkdir()
        settings = Settings(home=home)
        self.store = Store(settings.database, region=settings.region, account=settings.account_id)
        self.store.migrate()
        self.context = Context(settings, self.store, DirectoryObjects(settings.objects_root))
        self.app = Starlette(routes=[Route("/{path:path}", self.handle, methods=["GET", "POST"])])

    async def handle(self, request: Request) -> Response:
        try:
            return await runtime.handle(request, self.context)
        except PilothouseError as error:
            members = vars(error) if isinstance(error, ModelError) else {"message": error.message}
            return JSONResponse({"type": type(error).__name__, **members}, 400)

    def endpoint(
        self,
        *replicas: Replica,
        status: str = "InService",
        weights: dict[str, float] | None = None,
        **members: Any,
    ) -> None:
        weights = weights or {r.address["variant"]: 1.0 for r in replicas} or {"main": 1.0}
        variants = [
            {"VariantName": name, "InitialVariantWeight": weight, **members} for name, weight in weights.items()
        ]
        state = {"_variants": variants, "_replicas": [r.address for r in replicas]}
        self.store.insert(hosting.ENDPOINT, "live", {}, status=status, state=state)

    def post(self, *bodies: str | bytes, path: str = "live/invocations", **headers: str) -> list[httpx.Response]:
        async def send() -> list[httpx.Response]:
            headers_ = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://door") as client:
                answers = [await client.post(f"/endpoints/{path}", content=b, headers=headers_) for b in bodies]
            if hasattr(self.app.state, "runtime"):
                await self.app.state.runtime.close()
                del self.app.state.runtime
            return answers

        return asyncio.run(send())


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    door = Door(tmp_path / "home")
    yield door
    door.store.close()


@pytest.fixture
def sockets() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ph") as folder:
        yield Path(folder)


def test_a_request_goes_through_with_its_types_and_comes_back_with_its_variant(door: Door, sockets: Path) -> None:
    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
        answer = door.post(
            "1,2",
            content_type="text/csv",
            accept="application/json",
            x_amzn_sagemaker_custom_attributes="trace=7",
            x_amzn_sagemaker_inference_id="id-1",
        )[0]
    assert answer.text == "main/0 text/csv application/json 1,2"
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["x-amzn-invoked-production-variant"] == "main"
    assert answer.headers["x-amzn-sagemaker-custom-attributes"] == "trace=7"
    assert answer.headers["x-amzn-sagemaker-inference-id"] == "id-1"


def test_no_accept_leaves_the_choice_to_the_model(door: Door, sockets: Path) -> None:
    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
        assert door.post("1", accept="")[0].text.split(" ")[2] == ""


def test_weights_share_the_requests_out_and_a_target_overrules_them(door: Door, sockets: Path) -> None:
    with Replica(sockets, "a") as a, Replica(sockets, "b") as b:
        door.endpoint(a, b, weights={"a": 0.0, "b": 2.0})
        drawn = door.post(*["x"] * 10)
        aimed = door.post("x", x_amzn_sagemaker_target_variant="a")
        missed = door.post("x", x_amzn_sagemaker_target_variant="c")
    assert {answer.headers["x-amzn-invoked-production-variant"] for answer in drawn} == {"b"}
    assert aimed[0].text.startswith("a/0")
    assert "no variant c. It has a, b." in missed[0].json()["message"]


def test_a_container_that_is_called_directly_is_named(door: Door, sockets: Path) -> None:
    containers = [{"ContainerHostname": "one"}, {"ContainerHostname": "two"}]
    with Replica(sockets, "main") as replica:
        door.endpoint(replica, Containers=containers, InferenceExecutionConfig={"Mode": "Direct"})
        aimed = door.post("1", content_type="text/csv", x_amzn_sagemaker_target_container_hostname="two")
        unnamed = door.post("1")
        missed = door.post("1", x_amzn_sagemaker_target_container_hostname="three")
    assert aimed[0].text.startswith("main/0 text/csv")
    assert aimed[0].text.endswith(" two 1")
    advice = "Set TargetContainerHostname to one of one, two."
    assert unnamed[0].json()["message"] == f"Endpoint live has containers that are called one by one. {advice}"
    assert missed[0].json()["message"] == f"Endpoint live has no container three. {advice}"


def test_no_container_is_named_where_they_answer_in_series(door: Door, sockets: Path) -> None:
    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
        refused = door.post("1", x_amzn_sagemaker_target_container_hostname="one")
    assert "TargetContainerHostname is for models with InferenceExecutionConfig" in refused[0].json()["message"]


def test_a_replica_that_is_gone_is_passed_over(door: Door, sockets: Path) -> None:
    with Replica(sockets, "main", 0) as gone, Replica(sockets, "main", 1) as living:
        door.endpoint(gone, living)
        Path(gone.address["socket"]).unlink()
        assert {answer.text.split()[0] for answer in door.post(*["x"] * 5)} == {"main/1"}


def test_a_request_that_kills_its_model_server_does_not_kill_them_all(door: Door, sockets: Path) -> None:
    with Replica(sockets, "main", 0) as first, Replica(sockets, "main", 1) as second:
        door.endpoint(first, second)
        error = door.post("die")[0].json()
    assert (error["type"], error["original_status"]) == ("ModelError", 500)


def test_a_request_waits_for_a_replica_that_is_being_started_again(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "PATIENCE", 30)
    door.endpoint()
    with Replica(sockets, "main") as replica:
        state = {"_replicas": [replica.address]}
        threading.Timer(0.3, door.store.update, (hosting.ENDPOINT, "live"), {"state": state}).start()
        assert door.post("x")[0].text.startswith("main/0")


def test_without_any_replica_the_service_is_unavailable(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "PATIENCE", 0.2)
    door.endpoint()
    assert door.post("x")[0].json()["type"] == "ServiceUnavailable"


@pytest.mark.parametrize("status", ["Creating", "Failed", "Deleting", None])
def test_an_endpoint_that_does_not_serve_is_not_found(door: Door, status: str | None) -> None:
    if status:
        door.endpoint(status=status)
    error = door.post("x")[0].json()
    assert error == {"type": "EndpointNotFound", "message": "Endpoint live of account 000000000000 not found."}


def test_an_error_of_the_model_says_what_the_model_said_and_where_its_log_is(door: Door, sockets: Path) -> None:
    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
        error = door.post("status 406", content_type="text/csv", accept="image/png")[0].json()
    assert error["type"] == "ModelError"
    assert error["original_status"] == 406
    assert error["original_message"] == "main/0 text/csv image/png status 406"
    assert error["message"].startswith('Received client error (406) from model with message "main/0 text/csv')
    assert error["log_stream_arn"].endswith("log-group:/aws/sagemaker/Endpoints/live")


def test_a_model_that_takes_too_long_is_given_up(door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(runtime, "TIMEOUT", 0.2)
    monkeypatch.setattr(Echo, "do_POST", lambda self: released.wait(20))
    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
        error = door.post("x")[0].json()
        released.set()
    assert (error["type"], error["original_status"]) == ("ModelError", 0)
    assert "did not answer within 0.2 seconds" in error["original_message"]


@pytest.mark.parametrize(
    ("path", "headers", "body", "kind", "part"),
    [
        ("live/async-invocations", {}, "x", "OperationNotServed", "InvokeEndpointAsync"),
        ("live/invocations-response-stream", {}, "x", "OperationNotServed", "InvokeEndpointWithResponseStream"),
        ("live/other", {}, "x", "UnknownOperation", "other"),
        ("live", {}, "x", "UnknownOperation", "/endpoints/live"),
        ("-/invocations", {}, "x", "ValidationError", "endpointName"),
        ("live/invocations", {"x-amzn-sagemaker-target-model": "m"}, "x", "ValidationError", "TargetModel is for"),
        ("live/invocations", {"x-amzn-sagemaker-custom-attributes": "x" * 1025}, "x", "ValidationError", "1024"),
        ("live/invocations", {"x-amzn-sagemaker-custom-attributes": "é"}, "x", "ValidationError", "CustomAttributes"),
        ("live/invocations", {"content-type": "text/csv\x7f"}, "x", "ValidationError", "printable US-ASCII"),
        ("live/invocations", {}, b"x" * (runtime.MAX_BODY + 1), "RequestTooLarge", "Send fewer rows"),
    ],
)
def test_what_is_not_served_is_refused(
    door: Door, path: str, headers: dict[str, str], body: str | bytes, kind: str, part: str
) -> None:
    error = door.post(body, path=path, **headers)[0].json()
    assert error["type"] == kind
    assert part in error["message"]
