"""InvokeEndpoint against pretended replicas: who is asked, what is passed on, and what is said when it goes wrong."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pilothouse.api import invocation, runtime, shadows
from pilothouse.catalog import async_inference, endpoint_updates, hosting
from pilothouse.config import Settings
from pilothouse.errors import ModelError, PilothouseError, StoreAway, Throttled
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.operations.context import Context
from pilothouse.store.store import Store
from tests.unit.echo import Echo, Replica


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
        capture: dict[str, Any] | None = None,
        asynchronous: dict[str, Any] | None = None,
        shadow: float | None = None,
        **members: Any,
    ) -> None:
        weights = weights or {r.address["variant"]: 1.0 for r in replicas} or {"main": 1.0}
        variants = [
            {"VariantName": name, "InitialVariantWeight": weight, **members} for name, weight in weights.items()
        ]
        state = {"_variants": variants, "_replicas": [r.address for r in replicas], "_capture": capture}
        if shadow is not None:
            variants[-1] = {"VariantName": "shadow", "InitialVariantWeight": shadow, hosting.SHADOW: True}
        if asynchronous:
            state[hosting.ASYNC] = asynchronous
        self.store.insert(hosting.ENDPOINT, "live", {}, status=status, state=state)

    def post(
        self, *bodies: str | bytes, path: str = "live/invocations", at_once: bool = False, **headers: str
    ) -> list[httpx.Response]:
        async def send() -> list[httpx.Response]:
            headers_ = {name.replace("_", "-"): value.encode() for name, value in headers.items()}
            async with httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://door") as client:
                calls = [client.post(f"/endpoints/{path}", content=b, headers=headers_) for b in bodies]
                answers = await asyncio.gather(*calls) if at_once else [await call for call in calls]
            if hasattr(self.app.state, "runtime"):
                while self.app.state.runtime._shadows._under_way:
                    await asyncio.sleep(0.01)
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


def test_a_variant_of_weight_0_does_not_stand_in_for_one_that_is_being_started_again(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Replica(sockets, "a") as a, Replica(sockets, "b") as b:
        door.endpoint(b, weights={"a": 1.0, "b": 0.0})
        monkeypatch.setattr(runtime, "PATIENCE", 0.2)
        assert door.post("x")[0].json()["type"] == "ServiceUnavailable"
        assert door.post("x", x_amzn_sagemaker_target_variant="b")[0].text.startswith("b/0")
        monkeypatch.setattr(runtime, "PATIENCE", 30)
        back = {"_replicas": [a.address, b.address]}
        threading.Timer(0.3, door.store.update, (hosting.ENDPOINT, "live"), {"state": back}).start()
        assert door.post("x")[0].text.startswith("a/0")


def test_variants_that_all_have_weight_0_share_the_requests(door: Door, sockets: Path) -> None:
    with Replica(sockets, "a") as a, Replica(sockets, "b") as b:
        door.endpoint(a, b, weights={"a": 0.0, "b": 0.0})
        assert {answer.text[0] for answer in door.post(*["x"] * 40)} == {"a", "b"}


def test_a_side_of_an_update_without_a_weighted_replica_is_passed_over(door: Door, sockets: Path) -> None:
    with Replica(sockets, "a") as a, Replica(sockets, "b") as b:
        door.endpoint(a, weights={"a": 1.0}, status="Updating")
        variants = [{"VariantName": name, "InitialVariantWeight": weight} for name, weight in (("a", 1.0), ("b", 0.0))]
        shift = {"step": 0, "share": 1.0, "until": 0.0, "variants": variants, "replicas": [b.address]}
        door.store.update(hosting.ENDPOINT, "live", state={endpoint_updates.SHIFT: shift})
        assert door.post("x")[0].text.startswith("a/0")


@pytest.mark.parametrize(("status", "share"), [("Updating", 0.0), ("Updating", 1.0), ("UpdateRollbackFailed", 0.25)])
def test_while_an_update_moves_traffic_new_replicas_get_their_share(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch, status: str, share: float
) -> None:
    """With draws that go evenly over what may be drawn. A variant that only one side has is found there."""
    draws = itertools.cycle(number / 40 for number in range(40))
    monkeypatch.setattr(runtime.random, "random", lambda: next(draws))
    with Replica(sockets, "first", 0) as first, Replica(sockets, "second", 1) as second:
        door.endpoint(first, status=status)
        variants = [{"VariantName": "second", "InitialVariantWeight": 1.0}]
        shift = {"step": 0, "share": share, "until": 0.0, "variants": variants, "replicas": [second.address]}
        door.store.update(hosting.ENDPOINT, "live", state={endpoint_updates.SHIFT: shift})
        answered = [answer.headers["x-amzn-invoked-production-variant"] for answer in door.post(*["1"] * 40)]
        aimed = [door.post("1", x_amzn_sagemaker_target_variant=name)[0].text for name in ("first", "second")]
    assert answered.count("second") == 40 * share
    assert [text.split("/")[0] for text in aimed] == ["first", "second"]


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


def test_a_serverless_variant_takes_so_many_requests_at_a_time(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are held by the model until the other three have been answered."""
    released, plain, ask = threading.Event(), Echo.do_POST, runtime.Invoker._invoke
    refusals = []

    def held(handler: Echo) -> None:
        released.wait(30)
        plain(handler)

    async def counted(invoker: runtime.Invoker, call: Any) -> Response:
        try:
            return await ask(invoker, call)
        except Throttled:
            refusals.append(call)
            if len(refusals) == 3:
                released.set()
            raise

    monkeypatch.setattr(Echo, "do_POST", held)
    monkeypatch.setattr(runtime.Invoker, "_invoke", counted)
    with Replica(sockets, "main") as replica:
        door.endpoint(replica, ServerlessConfig={"MemorySizeInMB": 1024, "MaxConcurrency": 2})
        answers = door.post(*"12345", at_once=True)
        released.set()
        after = door.post("6")[0]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 400, 400, 400]
    error = next(answer.json() for answer in answers if answer.status_code == 400)
    expected = "Rate exceeded: variant main of endpoint live takes 2 requests at a time."
    assert error == {"type": "Throttled", "message": expected}
    assert after.status_code == 200


CAPTURE = {
    "EnableCapture": True,
    "InitialSamplingPercentage": 100,
    "DestinationS3Uri": "s3://captured/below",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
    "CaptureContentTypeHeader": {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]},
}


def captured(door: Door) -> list[tuple[str, list[dict[str, Any]]]]:
    objects = door.context.objects
    files = [(info.key, objects.read(info.bucket, info.key)) for info in objects.walk("captured")]
    return [(key, [json.loads(line) for line in content.splitlines()]) for key, content in files]


def test_what_was_asked_and_answered_is_captured(door: Door, sockets: Path) -> None:
    door.context.objects.create_bucket("captured")
    with Replica(sockets, "main") as replica:
        door.endpoint(replica, capture=CAPTURE)
        attributes = {"x_amzn_sagemaker_custom_attributes": "trace=7", "x_amzn_sagemaker_inference_id": "id-1"}
        door.post("1,2", "status 400", content_type="text/csv", **attributes)
    ((key, (record,)),) = captured(door)
    assert re.fullmatch(r"below/live/main/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f-]{36}\.jsonl", key)
    assert record["captureData"] == {
        "endpointInput": {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2", "encoding": "CSV"},
        "endpointOutput": {
            "observedContentType": "text/csv; charset=utf-8",
            "mode": "OUTPUT",
            "data": "main/0 text/csv */* 1,2",
            "encoding": "CSV",
        },
    }
    event = record["eventMetadata"]
    assert (event["customAttributes"], event["inferenceId"]) == (["trace=7"], "id-1")
    assert datetime.fromisoformat(event["inferenceTime"]).strftime("below/live/main/%Y/%m/%d/%H") == key[:29]
    assert record["eventVersion"] == "0"


@pytest.mark.parametrize(("percentage", "enabled"), [(0, True), (100, False)])
def test_nothing_is_captured_that_was_not_drawn(door: Door, sockets: Path, percentage: int, enabled: bool) -> None:
    door.context.objects.create_bucket("captured")
    with Replica(sockets, "main") as replica:
        capture = {**CAPTURE, "InitialSamplingPercentage": percentage, "EnableCapture": enabled}
        door.endpoint(replica, capture=capture)
        door.post("1,2", "3,4")
    assert captured(door) == []


def test_a_capture_that_cannot_be_stored_fails_no_request_and_is_told_in_the_log(door: Door, sockets: Path) -> None:
    with Replica(sockets, "main") as replica:
        door.endpoint(replica, capture=CAPTURE)
        assert door.post("1,2")[0].status_code == 200
    (event,) = door.store.logs.events("/aws/sagemaker/Endpoints/live", "data-capture")
    assert event.message.startswith("1 records could not be stored at s3://captured/below: ")


def variants_asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the model servers that are asked, as they are."""
    asked: list[str] = []
    plain = Echo.do_POST

    def noted(handler: Echo) -> None:
        asked.append(handler.server.name)
        plain(handler)

    monkeypatch.setattr(Echo, "do_POST", noted)
    return asked


def test_a_shadow_gets_copies_whose_answers_are_captured_and_not_returned(door: Door, sockets: Path) -> None:
    door.context.objects.create_bucket("captured")
    with Replica(sockets, "main") as main, Replica(sockets, "shadow") as shadow:
        door.endpoint(main, shadow, shadow=1.0, capture=CAPTURE)
        answers = door.post("1,2", "3,4", content_type="text/csv")
        aimed = door.post("1", x_amzn_sagemaker_target_variant="shadow")[0].json()
    assert [answer.text for answer in answers] == ["main/0 text/csv */* 1,2", "main/0 text/csv */* 3,4"]
    assert {answer.headers["x-amzn-invoked-production-variant"] for answer in answers} == {"main"}
    assert aimed["message"] == "Endpoint live has no variant shadow. It has main."
    told = {key.split("/")[2]: records for key, records in captured(door)}
    outputs = {name: [r["captureData"]["endpointOutput"]["data"] for r in records] for name, records in told.items()}
    assert sorted(outputs["shadow"]) == ["shadow/0 text/csv */* 1,2", "shadow/0 text/csv */* 3,4"]
    assert sorted(outputs["main"]) == ["main/0 text/csv */* 1,2", "main/0 text/csv */* 3,4"]


@pytest.mark.parametrize(("weight", "copies"), [(0.0, 0), (0.25, 10), (1.0, 40), (3.0, 40)])
def test_the_weights_say_what_share_is_copied(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch, weight: float, copies: int
) -> None:
    draws = itertools.cycle(number / 40 for number in range(40))
    monkeypatch.setattr(runtime.random, "random", lambda: next(draws))
    asked = variants_asked(monkeypatch)
    with Replica(sockets, "main") as main, Replica(sockets, "shadow") as shadow:
        door.endpoint(main, shadow, weights={"main": 1.0, "shadow": 1.0}, shadow=weight)
        door.post(*["1"] * 40)
        give_up = time.monotonic() + 30
        while asked.count("shadow/0") < copies and time.monotonic() < give_up:
            time.sleep(0.01)  # copies may come after the answers
    assert (asked.count("main/0"), asked.count("shadow/0")) == (40, copies)


@pytest.mark.parametrize("fault", ["dies", "refuses", "is gone"])
def test_a_shadow_that_fails_changes_no_answer_and_is_told_in_the_log(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    plain = Echo.do_POST
    monkeypatch.setattr(shadows, "_TELL", 3600.0)

    def fail(handler: Echo) -> None:
        if handler.server.name == "main/0":
            plain(handler)
        elif fault == "refuses":
            handler.send_error(500)
        else:
            handler.close_connection = True

    monkeypatch.setattr(Echo, "do_POST", fail)
    with Replica(sockets, "main") as main, Replica(sockets, "shadow") as shadow:
        door.endpoint(main, shadow, shadow=1.0)
        if fault == "is gone":
            Path(shadow.address["socket"]).unlink()
        assert [answer.status_code for answer in door.post("1", "2")] == [200, 200]
    (event,) = door.store.logs.events("/aws/sagemaker/Endpoints/live", "shadow")
    assert event.message.startswith("1 copies of requests were not answered by the shadow. The last one: ")


def test_a_slow_shadow_keeps_nobody_waiting(door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It answers only when all requests have been answered; what it has no room for is not copied."""
    released, plain, answered = threading.Event(), Echo.do_POST, []
    monkeypatch.setattr(shadows, "MOST_COPIES", 2)
    monkeypatch.setattr(shadows, "_TELL", 3600.0)

    def slow(handler: Echo) -> None:
        if handler.server.name == "main/0":
            answered.append(1)
            if len(answered) == 5:
                released.set()
        else:
            assert released.wait(60)
        plain(handler)

    monkeypatch.setattr(Echo, "do_POST", slow)
    with Replica(sockets, "main") as main, Replica(sockets, "shadow") as shadow:
        door.endpoint(main, shadow, shadow=1.0)
        assert [answer.status_code for answer in door.post(*"12345")] == [200] * 5
    (event,) = door.store.logs.events("/aws/sagemaker/Endpoints/live", "shadow")
    assert event.message.endswith("The last one: too many copies are under way")


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


def test_a_request_that_is_cut_off_late_is_asked_of_another_replica_in_what_is_left_of_its_time(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ends when the time in which any replica must be found is over."""
    given, post = [], runtime.Line.post
    monkeypatch.setattr(runtime, "PATIENCE", 0.3)

    async def noted(line: runtime.Line, path: str, body: bytes, headers: dict[str, str], seconds: float) -> Any:
        given.append(seconds)
        if len(given) == 1:
            await asyncio.sleep(0.5)
            raise runtime.Lost
        return await post(line, path, body, headers, seconds)

    monkeypatch.setattr(runtime.Line, "post", noted)
    with Replica(sockets, "main", 0) as first, Replica(sockets, "main", 1) as second:
        door.endpoint(first, second)
        assert door.post("x")[0].text.startswith("main/1")
    assert given[1] < given[0] - 0.4


def test_a_request_waits_for_a_replica_that_is_being_started_again(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "PATIENCE", 30)
    door.endpoint()
    with Replica(sockets, "main") as replica:
        state = {"_replicas": [replica.address]}
        threading.Timer(0.3, door.store.update, (hosting.ENDPOINT, "live"), {"state": state}).start()
        assert door.post("x")[0].text.startswith("main/0")


@pytest.mark.parametrize("silent", [False, True])
def test_an_endpoint_that_is_known_answers_while_the_store_is_away(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch, silent: bool
) -> None:
    released, get, asked = threading.Event(), door.store.get, []

    def once(kind: str, name: str) -> Any:
        asked.append(name)
        if len(asked) == 1:
            return get(kind, name)
        released.wait(30 if silent else 0)
        raise StoreAway

    monkeypatch.setattr(door.store, "get", once)
    monkeypatch.setattr(runtime, "_ROW_AGE", 0.0)
    monkeypatch.setattr(runtime, "_STORE_PATIENCE", 0.1)
    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
        began = time.monotonic()
        answers = door.post("x", "y", path="LIVE/invocations")
        took = time.monotonic() - began
        released.set()
    assert [answer.text.split()[-1] for answer in answers] == ["x", "y"]
    assert len(asked) == 2
    assert took < 20


def test_calls_that_come_at_once_after_a_pause_go_to_the_replicas_of_now(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "_ROW_AGE", 0.05)

    async def answers() -> list[str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door.app), base_url="http://door") as client:
            post = partial(client.post, "/endpoints/live/invocations", content="x")
            before = await post()
            door.store.update(hosting.ENDPOINT, "live", state={"_replicas": [new.address]})
            await asyncio.sleep(0.3)
            after = await asyncio.gather(*[post() for _ in range(3)])
            await door.app.state.runtime.close()
        return [answer.text.split()[0] for answer in (before, *after)]

    with Replica(sockets, "main", 0) as old, Replica(sockets, "main", 1) as new:
        door.endpoint(old)
        assert asyncio.run(answers()) == ["main/0", "main/1", "main/1", "main/1"]


def test_while_the_store_is_silent_few_calls_wait_for_it(
    door: Door, sockets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first does: until then nobody knows."""
    released, get = threading.Event(), door.store.get
    monkeypatch.setattr(runtime, "_ROW_AGE", 0.0)
    monkeypatch.setattr(runtime, "_STORE_PATIENCE", 2.0)

    def silent(*_: str) -> None:
        released.wait(30)
        raise StoreAway

    async def waits() -> list[float]:
        took = []
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door.app), base_url="http://door") as client:
            post = partial(client.post, "/endpoints/live/invocations", content="x")
            await post()
            monkeypatch.setattr(door.store, "get", silent)
            for _ in range(3):
                began = time.monotonic()
                assert (await post()).status_code == 200
                took.append(time.monotonic() - began)
                monkeypatch.setattr(runtime, "_ROW_AGE", 1.5)
            released.set()
            await door.app.state.runtime.close()
        monkeypatch.setattr(door.store, "get", get)
        return took

    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
        first, *others = asyncio.run(waits())
    assert first >= 1.9
    assert max(others) < 1.9


def test_an_endpoint_that_is_not_known_waits_for_the_store(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: str) -> None:
        raise StoreAway

    monkeypatch.setattr(door.store, "get", away)
    assert door.post("x")[0].json()["type"] == "StoreAway"


def test_slow_calls_at_other_doors_hold_up_no_endpoint(door: Door, sockets: Path) -> None:
    """They have all the threads that the doors share."""
    released, handle = threading.Event(), door.handle

    async def behind_others(request: Request) -> Response:
        others = [asyncio.create_task(run_in_threadpool(released.wait, 30)) for _ in range(50)]
        await asyncio.sleep(0.1)
        try:
            return await asyncio.wait_for(handle(request), 10)
        finally:
            released.set()
            await asyncio.gather(*others)

    door.app = Starlette(routes=[Route("/{path:path}", behind_others, methods=["POST"])])
    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
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
        ("live/invocations-response-stream", {}, "x", "OperationNotServed", "InvokeEndpointWithResponseStream"),
        ("live/other", {}, "x", "UnknownOperation", "other"),
        ("live", {}, "x", "UnknownOperation", "/endpoints/live"),
        ("-/invocations", {}, "x", "ValidationError", "endpointName"),
        ("live/invocations", {"x-amzn-sagemaker-target-model": "m"}, "x", "ValidationError", "TargetModel is for"),
        ("live/invocations", {"x-amzn-sagemaker-custom-attributes": "x" * 1025}, "x", "ValidationError", "1024"),
        ("live/invocations", {"x-amzn-sagemaker-custom-attributes": "é"}, "x", "ValidationError", "CustomAttributes"),
        ("live/invocations", {"content-type": "text/csv\x7f"}, "x", "ValidationError", "printable US-ASCII"),
        ("live/invocations", {}, b"x" * (invocation.MAX_BODY + 1), "RequestTooLarge", "Send fewer rows"),
    ],
)
def test_what_is_not_served_is_refused(
    door: Door, path: str, headers: dict[str, str], body: str | bytes, kind: str, part: str
) -> None:
    error = door.post(body, path=path, **headers)[0].json()
    assert error["type"] == kind
    assert part in error["message"]


def test_an_asynchronous_request_is_answered_with_the_places_of_what_comes_later(door: Door) -> None:
    door.endpoint(asynchronous={"OutputConfig": {"S3OutputPath": "s3://bucket/out/"}})
    headers = {"inference_id": "id-1", "inputlocation": "s3://bucket/in.csv", "requestttlseconds": "60"}
    headers = {f"x_amzn_sagemaker_{name}": value for name, value in headers.items()}
    answer = door.post("", path="live/async-invocations", **headers)[0]
    assert (answer.status_code, answer.json()) == (202, {"InferenceId": "id-1"})
    assert answer.headers["x-amzn-sagemaker-outputlocation"] == "s3://bucket/out/id-1.out"
    assert answer.headers["x-amzn-sagemaker-failurelocation"] == "s3://bucket/out/id-1-error.out"
    (row,) = door.store.find(async_inference.INVOCATION)
    assert row.request["RequestTTLSeconds"] == 60


@pytest.mark.parametrize(
    ("headers", "body", "part"),
    [
        ({}, "", "either as InputLocation or as Body"),
        ({"inputlocation": "s3://bucket/in"}, "1,2", "either as InputLocation or as Body"),
        ({"inputlocation": "s3://bucket"}, "", "names a bucket"),
        ({"inputlocation": "file:///etc/passwd"}, "", "at 'inputLocation' failed to satisfy constraint"),
        ({"requestttlseconds": "59"}, "x", "greater than or equal to 60"),
        ({"requestttlseconds": "soon"}, "x", "RequestTTLSeconds must be a whole number"),
        ({"invocationtimeoutseconds": "3601"}, "x", "less than or equal to 3600"),
        ({"filename": "a.b.c"}, "x", "at 'filename' failed to satisfy constraint"),
        ({}, "x" * 128_001, "less than or equal to 128000"),
    ],
)
def test_an_asynchronous_request_that_could_not_be_processed_is_refused_at_once(
    door: Door, headers: dict[str, str], body: str, part: str
) -> None:
    door.endpoint(asynchronous={"OutputConfig": {"S3OutputPath": "s3://bucket/out"}})
    members = {f"x_amzn_sagemaker_{name}": value for name, value in headers.items()}
    error = door.post(body, path="live/async-invocations", **members)[0].json()
    assert error["type"] == "ValidationError"
    assert part in error["message"]
    assert not door.store.find(async_inference.INVOCATION)


def test_an_endpoint_is_called_in_its_own_way_only(door: Door, sockets: Path) -> None:
    with Replica(sockets, "main") as replica:
        door.endpoint(replica)
        assert "Call it by InvokeEndpoint." in door.post("x", path="live/async-invocations")[0].json()["message"]
        config = {"OutputConfig": {"S3OutputPath": "s3://bucket/out"}}
        door.store.update(hosting.ENDPOINT, "live", state={hosting.ASYNC: config})
        assert "Call it by InvokeEndpointAsync." in door.post("x")[0].json()["message"]


@pytest.mark.parametrize("status", ["Creating", "Failed", "Deleting", None])
def test_an_asynchronous_endpoint_that_does_not_serve_is_not_found(door: Door, status: str | None) -> None:
    if status:
        door.endpoint(status=status, asynchronous={"OutputConfig": {"S3OutputPath": "s3://bucket/out"}})
    assert door.post("x", path="live/async-invocations")[0].json()["type"] == "EndpointNotFound"
