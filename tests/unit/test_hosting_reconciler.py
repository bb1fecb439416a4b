"""The reconciler against real rows and pretended model servers: what starts, comes back, fails and goes away."""

from __future__ import annotations

import errno
import itertools
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from pilothouse.catalog import hosting, images
from pilothouse.errors import LaunchFailed, ServiceUnavailable, StoreAway
from pilothouse.hosting import keeper, pulse
from pilothouse.hosting.sockets import runtime_folder
from pilothouse.launch.base import NURSERY_ENDED, Exit
from pilothouse.launch.slots import memory_share
from pilothouse.work.endpoint_rows import EndpointRows
from pilothouse.work.hosting import HostingReconciler
from tests.unit.endpoint_house import Installation, Pong


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


def test_an_object_store_that_is_away_is_waited_for_and_no_failure_of_the_model(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    away, head = itertools.repeat(True, 4), house.objects.head

    def sometimes(bucket: str, key: str) -> Any:
        if next(away, False):
            raise ServiceUnavailable
        return head(bucket, key)

    monkeypatch.setattr(keeper, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(house.objects, "head", sometimes)
    house.deploy()
    assert "FailureReason" not in house.until_status("InService").state
    assert next(away, False) is False


def test_a_replica_that_dies_while_the_object_store_is_away_is_started_with_what_it_had(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica of an update waits: what it is to serve may have been stored since."""

    def away(*_: Any) -> Any:
        raise ServiceUnavailable

    house.deploy()
    house.until_status("InService")
    monkeypatch.setattr(house.objects, "head", away)
    (first,) = house.launcher.alive
    first.crash()
    house.until(lambda: bool(house.replicas()) and len(house.launcher.started) == 2)
    assert house.launcher.alive[0].models == first.models
    house.deploy("second")
    for _ in range(20):
        house.reconciler.tick()
        time.sleep(0.01)
    assert (house.row("second") or first).status == "Creating"
    assert len(house.launcher.started) == 2


def test_a_killed_nursery_is_no_failure_of_the_model(house: Installation) -> None:
    house.deploy()
    for _ in range(4):
        house.until(lambda: bool(house.launcher.alive))
        house.launcher.alive[0].crash(Exit(signal=9, reason=NURSERY_ENDED))
    assert "FailureReason" not in house.until_status("InService").state


def test_what_a_killed_server_had_unpacked_in_part_is_removed(house: Installation) -> None:
    half = house.settings.work_root / "models" / ".half"
    half.mkdir(parents=True)
    house.restart()
    assert not half.exists()


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


def test_a_replica_that_answers_no_ping_any_more_is_killed_and_started_again(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "PAUSE", 0.01)
    house.deploy()
    house.until_status("InService")
    (first,) = house.launcher.alive
    old = house.replicas()
    first.server.RequestHandlerClass = mute = type("Mute", (Pong,), {"every": 0, "asked": 0})
    house.until(lambda: len(house.launcher.started) == 2 and house.replicas() not in ([], old))
    assert first.end == Exit(signal=9)
    assert mute.asked == pulse.MOST


def test_a_replica_that_never_answers_fails_the_endpoint_for_that(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pong, "every", 0)
    house.deploy(ContainerStartupHealthCheckTimeoutInSeconds=0)
    reason = house.until_status("Failed").state["FailureReason"]
    assert reason.startswith("Variant AllTraffic: The model server did not answer /ping within 0 seconds. serving ")


def test_a_replica_that_answers_a_ping_now_and_then_lives(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "PAUSE", 0.0)
    house.deploy()
    house.until_status("InService")
    faint = type("Faint", (Pong,), {"every": pulse.MOST, "asked": 0})
    house.launcher.alive[0].server.RequestHandlerClass = faint
    house.until(lambda: faint.asked > 3 * pulse.MOST)
    assert len(house.launcher.alive) == len(house.launcher.started) == 1


def test_a_ping_that_is_not_answered_in_time_counts_as_one_that_is_not_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system takes connections for a server that hangs, and says nothing."""
    monkeypatch.setattr(pulse, "PAUSE", 0.0)
    monkeypatch.setattr(pulse, "PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "it"))
        hanging.listen(pulse.MOST)
        one, began = pulse.Pulse(tmp_path / "it"), time.monotonic()
        while not one.has_stopped():
            assert time.monotonic() - began < 60
            time.sleep(0.001)
        assert time.monotonic() - began >= pulse.MOST * pulse.PATIENCE
        one.close()


def test_a_deleted_endpoint_goes_though_its_replica_does_not_end_when_it_is_told(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "STOP_SECONDS", 0.1)
    house.deploy()
    house.until_status("InService")
    (replica,) = house.launcher.alive
    monkeypatch.setattr(replica, "terminate", lambda: None)
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("InService",))
    house.until(lambda: house.row() is None)
    assert replica.end == Exit(signal=9)


def test_what_is_meant_for_a_deleted_endpoint_does_not_reach_another_of_its_name(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers had both seen that it was to go; one has deleted it, and somebody has made it again since."""
    house.deploy()
    house.until_status("InService")
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("InService",))
    rows = EndpointRows(house.store)
    seen = list(rows.all().values())
    house.until(lambda: house.row() is None)
    house.deploy()
    made = house.row()
    other = HostingReconciler(house.store, house.objects, house.launcher, house.settings)
    monkeypatch.setattr(EndpointRows, "all", lambda _: {row.seq: row for row in seen})
    other.tick()
    assert house.row() == made
    assert rows.write(seen[0], ("Creating",), {"_replicas": []}) is None
    assert house.row() == made
    rows.close()
    other.stop(1)


def test_an_endpoint_comes_back_though_its_archive_was_deleted(house: Installation) -> None:
    house.deploy()
    house.until_status("InService")
    house.objects.delete("bucket", "model.tar.gz")
    house.restart()
    house.until(lambda: bool(house.replicas()))


def test_an_endpoint_whose_delete_a_killed_server_had_begun_takes_no_other_archive_with_it(house: Installation) -> None:
    copy = house.objects.read("bucket", "model.tar.gz")
    house.objects.put("bucket", "doomed.tar.gz", copy)
    house.deploy("doomed", archives=["doomed.tar.gz"])
    house.deploy()
    house.until_status("InService", "doomed")
    house.until_status("InService")
    house.objects.delete("bucket", "model.tar.gz")
    house.store.request_stop(hosting.ENDPOINT, "doomed", status="Deleting", from_statuses=("InService",))
    house.restart()
    house.until(lambda: house.row("doomed") is None and bool(house.replicas()))
    assert len(list((house.settings.work_root / "models").iterdir())) == 1


def test_an_archive_is_removed_whole_whoever_is_killed_at_it(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.deploy()
    house.until_status("InService")
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=("InService",))
    with monkeypatch.context() as killed:
        killed.setattr("pilothouse.hosting.archives.shutil.rmtree", _die)
        with pytest.raises(KeyboardInterrupt):
            house.until(lambda: house.row() is None)
    models = house.settings.work_root / "models"
    assert [path.name[0] for path in models.iterdir()] == ["."]
    house.restart()
    house.until(lambda: house.row() is None)
    assert list(models.iterdir()) == []


def _die(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


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


def test_a_stop_lets_replicas_finish_though_the_store_is_away(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise StoreAway

    house.deploy(InitialInstanceCount=2)
    house.until_status("InService")
    replicas, sockets = house.launcher.alive, Path(house.replicas()[0]["socket"]).parent
    monkeypatch.setattr(house.store, "update", away)
    monkeypatch.setattr(house.store.logs, "append", away)
    for replica in replicas:
        replica.program.log.open("a").write("the last line\n")
    house.reconciler.stop(10)
    assert [replica.terminated for replica in replicas] == [True, True]
    assert not sockets.exists()


def test_what_a_dead_replica_said_waits_for_the_store_and_holds_up_no_other_endpoint(
    house: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk of the database is full: it can be read."""

    def full(*_: Any, **__: Any) -> None:
        raise StoreAway

    for name in ("first", "second"):
        house.deploy(name)
        house.until_status("InService", name)
    first, second = house.launcher.alive
    with monkeypatch.context() as patched:
        patched.setattr(house.store.logs, "append", full)
        first.program.log.open("a").write("the last line\n")
        first.crash()
        house.until(lambda: not house.replicas("first"))
        second.crash()
        house.until(lambda: len(house.launcher.started) == 3)
    house.until(lambda: len(house.launcher.started) == 4)
    group = hosting.log_group("first")
    streams = [stream.name for stream in house.store.logs.streams(group)]
    told = [event.message for name in streams for event in house.store.logs.events(group, name)]
    assert told.count("the last line") == 1


def test_many_endpoints_are_all_seen(house: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.work.endpoint_rows._PAGE", 2)
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
