"""The reconciler against real rows and pretended model servers: what starts, comes back, fails and goes away."""

from __future__ import annotations

import errno
import itertools
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from pilothouse.catalog import endpoint_updates, hosting, images
from pilothouse.config import Settings
from pilothouse.contract.pack import pack
from pilothouse.errors import LaunchFailed
from pilothouse.hosting import fleet, keeper
from pilothouse.hosting.sockets import runtime_folder
from pilothouse.launch.base import Exit, Program
from pilothouse.launch.slots import memory_share
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.store.resource import Resource
from pilothouse.store.store import Store
from pilothouse.work import hosting as work_hosting
from pilothouse.work.hosting import HostingReconciler


class Pong(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
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
            assert time.monotonic() < give_up, f"it never came to that; the row is {self.row()}"
            self.reconciler.tick()
            time.sleep(0.01)

    def until_status(self, status: str, name: str = "live") -> Resource:
        self.until(lambda: (row := self.row(name)) is not None and row.status == status)
        row = self.row(name)
        assert row is not None
        return row


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setattr(keeper, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(fleet, "GRACE", 0.0)
    installation = Installation(tmp_path / "home")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "manifest.json").write_text(json.dumps({"version": 1}))
    pack(tmp_path / "model", tmp_path / "model.tar.gz")
    installation.objects.upload(tmp_path / "model.tar.gz", "s3://bucket/model.tar.gz")
    yield installation
    installation.reconciler.stop(5)
    installation.launcher.close()
    installation.store.close()


def test_an_endpoint_is_in_service_once_all_its_replicas_answer(house: Installation) -> None:
    house.deploy(InitialInstanceCount=2)
    row = house.until_status("InService")
    variant = row.state["ProductionVariants"][0]
    assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"], variant["CurrentWeight"]) == (2, 2, 1.0)
    assert variant["DeployedImages"][0]["SpecifiedImage"] == images.TABULAR_INFERENCE
    assert sorted((r["variant"], r["index"]) for r in house.replicas()) == [("AllTraffic", 0), ("AllTraffic", 1)]
    assert all(Path(r["socket"]).is_socket() for r in house.replicas())
    assert (house.launcher.alive[0].models[0] / "manifest.json").is_file()


def test_endpoints_are_read_again_only_when_something_was_written(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.deploy()
    house.until_status("InService")
    house.reconciler.tick()
    reads: list[str] = []
    find = house.store.find
    monkeypatch.setattr(house.store, "find", lambda kind, **how: reads.append(kind) or find(kind, **how))
    for _ in range(3):
        house.reconciler.tick()
    assert not reads
    house.launcher.alive[0].crash()
    house.until(lambda: bool(house.replicas()) and len(house.launcher.started) == 2)
    assert reads


def test_a_replica_runs_all_containers_of_its_variant(house: Installation) -> None:
    house.objects.put("bucket", "second.tar.gz", house.objects.read("bucket", "model.tar.gz"))
    house.deploy(archives=["model.tar.gz", "second.tar.gz"])
    row = house.until_status("InService")
    assert len(row.state["ProductionVariants"][0]["DeployedImages"]) == 2
    (replica,) = house.launcher.alive
    assert [container["name"] for container in replica.program.arguments["containers"]] == [
        "container-1",
        "container-2",
    ]
    assert len(set(replica.models)) == 2
    assert all((model / "manifest.json").is_file() for model in replica.models)


def test_an_archive_that_is_gone_is_named_by_its_container(house: Installation) -> None:
    house.deploy(archives=["model.tar.gz", "gone.tar.gz"])
    reason = house.until_status("Failed").state["FailureReason"]
    assert "container-2: Could not find model data at s3://bucket/gone.tar.gz" in reason


def test_replicas_of_a_variant_are_capped(house: Installation) -> None:
    house.deploy(InitialInstanceCount=100)
    row = house.until_status("InService")
    assert len(house.launcher.alive) == hosting.MAX_REPLICAS
    assert row.state["ProductionVariants"][0]["DesiredInstanceCount"] == 100


def test_a_model_that_does_not_load_fails_the_endpoint_with_the_last_line_of_its_log(house: Installation) -> None:
    house.launcher.failure = "The model cannot be loaded. It is no model."
    house.deploy()
    row = house.until_status("Failed")
    assert "The model cannot be loaded. It is no model." in row.state["FailureReason"]
    assert "/aws/sagemaker/Endpoints/live" in row.state["FailureReason"]
    assert len(house.launcher.started) == 3
    group = hosting.log_group("live")
    stream = house.store.logs.streams(group)[0].name
    assert stream.startswith("AllTraffic/0-")
    assert next(event.message for event in house.store.logs.events(group, stream)) == "starting"


def test_an_archive_that_is_gone_or_broken_fails_the_endpoint(house: Installation) -> None:
    house.objects.put("bucket", "model.tar.gz", b"no archive")
    house.deploy()
    assert "not a tar.gz" in house.until_status("Failed").state["FailureReason"]
    house.objects.delete("bucket", "model.tar.gz")
    house.deploy("second")
    assert "Could not find model data" in house.until_status("Failed", "second").state["FailureReason"]


def test_what_this_machine_lacks_is_waited_for_and_no_failure_of_the_model(house: Installation) -> None:
    full, refused = OSError(errno.ENOSPC, "No space left on device", "/home/x"), LaunchFailed("Too many open files.")
    house.launcher.hindrances = [full, refused] * 4
    house.deploy()
    assert "FailureReason" not in house.until_status("InService").state
    assert house.launcher.hindrances == []


def test_a_hindered_start_is_not_tried_again_before_its_pause_is_over(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "_FIRST_PAUSE", 60.0)
    house.launcher.hindrances = [LaunchFailed()] * 2
    house.deploy()
    house.until(lambda: len(house.launcher.hindrances) == 1)
    for _ in range(5):
        house.reconciler.tick()
        time.sleep(0.01)
    assert len(house.launcher.hindrances) == 1
    assert house.launcher.started == []


def test_a_replica_may_use_as_much_memory_as_a_trial(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    assert house.launcher.alive[0].program.memory_limit == memory_share(house.settings)


def test_a_replica_that_crashes_comes_back_on_a_new_socket_while_the_other_serves(house: Installation) -> None:
    house.deploy(InitialInstanceCount=2)
    house.until_status("InService")
    before = {r["socket"] for r in house.replicas()}
    house.launcher.alive[0].crash()
    house.until(lambda: len(house.replicas()) == 1)
    assert {r["socket"] for r in house.replicas()} < before
    house.until(lambda: len(house.replicas()) == 2)
    assert {r["socket"] for r in house.replicas()} != before
    assert house.until_status("InService")


def test_replicas_come_back_after_a_restart_of_the_server(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    old = house.replicas()
    house.restart()
    house.reconciler.tick()
    assert house.replicas() == []
    house.until(lambda: bool(house.replicas()))
    assert house.replicas() != old
    assert house.until_status("InService")


def test_an_endpoint_comes_back_though_its_archive_was_deleted(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    house.objects.delete("bucket", "model.tar.gz")
    house.restart()
    house.until(lambda: bool(house.replicas()))


def test_a_deleted_endpoint_goes_when_its_replicas_have_gone(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    replica = house.launcher.alive[0]
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("InService",))
    house.until(lambda: house.row() is None)
    assert replica.terminated
    assert house.launcher.alive == []
    assert list((house.settings.work_root / "models").iterdir()) == []


def test_a_name_can_be_used_again_after_a_delete(house: Installation) -> None:
    for _ in range(2):
        house.deploy()
        house.until_status("InService")
        house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("InService",))
        house.until(lambda: house.row() is None)
    assert len(house.launcher.started) == 2


def test_an_endpoint_deleted_while_creating_is_never_in_service(house: Installation) -> None:
    house.deploy()
    house.reconciler.tick()
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("Creating",))
    house.until(lambda: house.row() is None)
    assert house.launcher.alive == []


def test_a_failed_endpoint_can_be_deleted(house: Installation) -> None:
    house.launcher.failure = "no"
    house.deploy()
    house.until_status("Failed")
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("Failed",))
    house.until(lambda: house.row() is None)


def adjusted(**changes: Any) -> dict[str, Any]:
    return endpoint_updates.adjustment({"AllTraffic": changes})


def test_an_update_serves_from_the_old_replicas_until_all_new_ones_answer(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    (old,) = house.launcher.alive
    house.launcher.hindrances = [LaunchFailed()]
    house.update(endpoint_updates.replacement("second", house.pinned(InitialInstanceCount=2), []))
    house.until(lambda: len(house.launcher.alive) == 2)
    assert (house.until_status("Updating").state["_replicas"][0]["socket"]) == old.program.arguments["socket"]
    row = house.until_status("InService")
    assert row.state["EndpointConfigName"] == "second"
    assert row.state["ProductionVariants"][0]["CurrentInstanceCount"] == 2
    assert endpoint_updates.NOTE not in row.state
    sockets = {replica["socket"] for replica in house.replicas()}
    assert len(sockets) == 2
    house.until(lambda: old.terminated)
    assert {replica.program.arguments["socket"] for replica in house.launcher.alive} == sockets


def test_replaced_replicas_serve_on_for_as_long_as_asked(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    policy = {"BlueGreenUpdatePolicy": {"TerminationWaitInSeconds": 3600}}
    house.update(endpoint_updates.replacement("second", house.pinned(), []), LastDeploymentConfig=policy)
    house.until_status("InService")
    for _ in range(3):
        house.reconciler.tick()
    assert len(house.launcher.alive) == 2
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("InService",))
    house.until(lambda: house.row() is None)
    assert house.launcher.alive == []


def test_an_update_that_does_not_load_leaves_the_endpoint_as_it_was(house: Installation) -> None:
    house.deploy()
    before = house.until_status("InService")
    house.launcher.failure = "The model cannot be loaded."
    house.update(endpoint_updates.replacement("second", house.pinned(InitialInstanceCount=2), []))
    row = house.until_status("InService")
    reason = row.state.pop("FailureReason")
    assert reason.startswith("Variant AllTraffic: The model server")
    assert "goes on as it was before the update." in reason
    assert row.state == before.state
    assert len(house.launcher.alive) == 1
    house.launcher.failure = None
    house.update(adjusted(InitialVariantWeight=2.0), FailureReason=None)
    assert house.until_status("InService").state["ProductionVariants"][0]["CurrentWeight"] == 2.0


def test_more_or_fewer_replicas_are_added_or_taken_away_and_the_others_stay(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    (first,) = house.launcher.alive
    house.update(adjusted(InitialInstanceCount=3))
    assert len(house.until_status("InService").state["_replicas"]) == 3
    assert first in house.launcher.alive
    house.update(adjusted(InitialInstanceCount=1))
    house.until_status("InService")
    house.until(lambda: house.launcher.alive == [first])


def test_an_update_goes_on_after_a_restart_of_the_server(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    house.launcher.hindrances = [LaunchFailed()]
    house.update(endpoint_updates.replacement("second", house.pinned(InitialInstanceCount=2), []))
    house.reconciler.tick()
    house.restart()
    row = house.until_status("InService")
    assert row.state["EndpointConfigName"] == "second"
    house.until(lambda: len(house.launcher.alive) == 2)


LINEAR = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "LINEAR",
            "WaitIntervalInSeconds": 60,
            "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 40},
        },
        "MaximumExecutionTimeoutInSeconds": 600,
    }
}


class Hands:
    """A clock that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.at = 1000.0
        monkeypatch.setattr(work_hosting, "now", lambda: self.at)


def shift(house: Installation) -> dict[str, Any]:
    row = house.row()
    assert row is not None
    return row.state.get(endpoint_updates.SHIFT) or {}


def begin_linear(house: Installation, at: float) -> None:
    house.deploy()
    house.until_status("InService")
    note = endpoint_updates.replacement("second", house.pinned(InitialInstanceCount=2), [], at)
    house.update(note, LastDeploymentConfig=LINEAR)
    house.until(lambda: len(shift(house).get("replicas", ())) == 2)


def test_traffic_moves_in_steps_each_after_its_wait(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)
    begin_linear(house, hands.at)
    (old,) = house.replicas()
    for share, until in ((0.4, 1060), (0.8, 1120)):
        house.until(lambda share=share: shift(house)["share"] == share)
        assert shift(house)["until"] == until
        hands.at += 59
        for _ in range(3):
            house.reconciler.tick()
        assert (shift(house)["share"], house.replicas()) == (share, [old])
        hands.at += 1
    row = house.until_status("InService")
    assert endpoint_updates.SHIFT not in row.state
    assert (row.state["EndpointConfigName"], len(row.state["_replicas"])) == ("second", 2)
    house.until(lambda: len(house.launcher.alive) == 2)


def test_a_shift_goes_on_where_it_was_after_a_restart(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    hands = Hands(monkeypatch)
    begin_linear(house, hands.at)
    hands.at += 60
    house.until(lambda: shift(house)["share"] == 0.8)
    gone = shift(house)["replicas"]
    house.restart().tick()
    assert (shift(house)["share"], shift(house)["replicas"]) == (0.8, [])
    house.until(lambda: len(shift(house)["replicas"]) == 2)
    assert shift(house)["until"] == 1120
    assert all(replica not in gone for replica in shift(house)["replicas"])
    hands.at += 60
    assert house.until_status("InService").state["EndpointConfigName"] == "second"


@pytest.mark.parametrize("late", [True, False])
def test_a_shift_is_taken_back_when_it_is_late_or_a_replica_cannot_be_kept(
    house: Installation, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    hands = Hands(monkeypatch)
    begin_linear(house, hands.at)
    if late:
        hands.at += 601
    else:
        house.launcher.failure = "no memory"
        house.launcher.alive[-1].crash()
    row = house.until_status("InService")
    assert ("MaximumExecutionTimeoutInSeconds" if late else "no memory") in row.state["FailureReason"]
    assert row.state["FailureReason"].count("goes on as it was before the update") == 1
    assert (endpoint_updates.SHIFT in row.state, len(row.state["_replicas"])) == (False, 1)
    house.until(lambda: len(house.launcher.alive) == 1)


def test_an_endpoint_can_be_deleted_while_it_is_updated(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    house.launcher.failure = "no"
    house.update(endpoint_updates.replacement("second", house.pinned(), []))
    house.reconciler.tick()
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("Updating",))
    house.until(lambda: house.row() is None)
    assert house.launcher.alive == []


def test_a_stop_lets_replicas_finish_and_leaves_the_rows(house: Installation) -> None:
    house.deploy(InitialInstanceCount=2)
    house.until_status("InService")
    house.reconciler.stop(10)
    assert all(replica.terminated for replica in house.launcher.started)
    row = house.row()
    assert row is not None
    assert row.status == "InService"
    assert house.replicas() == []
    house.restart()
    house.until(lambda: len(house.replicas()) == 2)


def test_many_endpoints_are_all_seen(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.work.hosting._PAGE", 2)
    for number in range(5):
        house.deploy(f"e{number}")
    for number in range(5):
        house.until_status("InService", f"e{number}")


def test_the_runtime_folder_is_private_short_and_swept(tmp_path: Path) -> None:
    folder = runtime_folder(tmp_path)
    (folder / "left.sock").touch()
    assert runtime_folder(tmp_path) == folder
    assert list(folder.iterdir()) == []
    assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(folder / "12345678.sock")) < 100
    folder.chmod(0o755)
    others = [runtime_folder(tmp_path) for _ in range(2)]
    assert len({folder, *others}) == 3
    for path in itertools.chain(others, [folder]):
        path.rmdir()
