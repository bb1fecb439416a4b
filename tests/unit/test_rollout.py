"""Updates of endpoints against real rows and pretended model servers: all at once, in steps, and batch by batch."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from pilothouse.catalog import endpoint_updates, hosting
from pilothouse.errors import LaunchFailed
from pilothouse.hosting import keeper
from pilothouse.work import rollout
from tests.unit.endpoint_house import Installation


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
        monkeypatch.setattr(rollout, "now", lambda: self.at)


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


ROLLING = {
    "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": 1},
    "WaitIntervalInSeconds": 60,
    "MaximumExecutionTimeoutInSeconds": 600,
}


def begin_rolling(house: Installation, at: float, **policy: Any) -> None:
    """Replaces three old replicas by three new ones, one by one, from an endpoint in service on."""
    pinned = house.pinned(InitialInstanceCount=3)
    pinned["_variants"][0]["Containers"][0]["Environment"] = {"side": "new"}
    note = endpoint_updates.replacement("second", pinned, [], at)
    house.update(note, LastDeploymentConfig={"RollingUpdatePolicy": {**ROLLING, **policy}})


def alive(house: Installation) -> dict[str, int]:
    return Counter(replica.side for replica in house.launcher.alive)


def serving(house: Installation) -> tuple[int, int]:
    """How many old and new replicas the row names."""
    return len(house.replicas()), len(shift(house).get("replicas", ()))


def until_share(house: Installation, share: float) -> None:
    house.until(lambda: shift(house).get("share") == pytest.approx(share))


def fail_after_a_batch(house: Installation, hands: Hands) -> None:
    """Begins a rolling update of which the second batch can't start, and neither can an old replica again."""
    begin_rolling(house, hands.at)
    until_share(house, 1 / 3)
    house.launcher.failure = "no memory"
    hands.at += 60


@pytest.fixture
def three(house: Installation) -> Installation:
    house.deploy(InitialInstanceCount=3)
    house.until_status("InService")
    return house


def test_replicas_are_replaced_batch_by_batch(three: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch serves and bakes before as many old replicas end; never is more than a batch too many alive."""
    house, hands = three, Hands(monkeypatch)
    for started in (3, 6):
        assert len(house.launcher.started) == started
        begin_rolling(house, hands.at)
        for batch in (1, 2, 3):
            until_share(house, batch / 3)
            assert serving(house) == (4 - batch, batch)
            assert len(house.launcher.alive) == 4
            hands.at += 59
            for _ in range(3):
                house.reconciler.tick()
            assert serving(house) == (4 - batch, batch)
            hands.at += 1
        row = house.until_status("InService")
        assert endpoint_updates.SHIFT not in row.state
        assert (row.state["EndpointConfigName"], len(row.state["_replicas"])) == ("second", 3)
        house.until(lambda: alive(house) == {"new": 3})
        assert house.peak == 4


def test_a_batch_that_is_not_alive_when_its_time_is_over_replaces_nothing(
    three: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, hands = three, Hands(monkeypatch)
    begin_rolling(house, hands.at)
    until_share(house, 1 / 3)
    house.launcher.hindrances = [LaunchFailed() for _ in range(1000)]
    next(replica for replica in house.launcher.alive if replica.side == "new").crash()
    hands.at += 60
    house.until(lambda: serving(house) == (3, 0))
    for _ in range(5):
        house.reconciler.tick()
        time.sleep(0.01)
    assert (serving(house), alive(house)) == ((3, 0), {"old": 3})
    assert house.until_status("Updating").state[endpoint_updates.SHIFT]["share"] == pytest.approx(1 / 3)
    house.launcher.hindrances = []
    until_share(house, 2 / 3)
    assert serving(house) == (2, 2)


def test_a_server_that_starts_after_a_batch_s_time_starts_what_it_replaces_too(
    three: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, hands = three, Hands(monkeypatch)
    begin_rolling(house, hands.at)
    until_share(house, 1 / 3)
    known = len(house.launcher.started)
    hands.at += 60
    house.restart()
    until_share(house, 2 / 3)
    assert Counter(replica.side for replica in house.launcher.started[known:]) == {"old": 3, "new": 2}
    assert (serving(house), alive(house)) == ((2, 2), {"old": 2, "new": 2})


def test_what_is_described_of_a_rolling_update(three: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    house, hands = three, Hands(monkeypatch)
    begin_rolling(house, hands.at)
    until_share(house, 1 / 3)
    hands.at += 60
    until_share(house, 2 / 3)
    row = house.until_status("Updating")
    for at, status in ((hands.at, "Baking"), (hands.at + 60, "Updating")):
        told = endpoint_updates.described(row.state, at)
        assert told["ProductionVariants"][0]["CurrentInstanceCount"] == 2
        summary = told["PendingDeploymentSummary"]
        assert (summary["EndpointConfigName"], summary["StartTime"]) == ("second", 1000)
        (variant,) = summary["ProductionVariants"]
        assert (variant["CurrentInstanceCount"], variant["DesiredInstanceCount"]) == (2, 3)
        assert variant["VariantStatus"] == [{"Status": status}]


def test_a_rolling_update_goes_on_at_its_batch_after_a_restart(
    three: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, hands = three, Hands(monkeypatch)
    begin_rolling(house, hands.at)
    until_share(house, 1 / 3)
    hands.at += 60
    until_share(house, 2 / 3)
    house.restart().tick()
    assert (serving(house), shift(house)["until"]) == ((0, 0), 1120)
    house.until(lambda: serving(house) == (2, 2))
    assert alive(house) == {"old": 2, "new": 2}
    for _ in range(2):
        hands.at += 60
        until_share(house, 1.0)
    house.until_status("InService")
    house.until(lambda: alive(house) == {"new": 3})


@pytest.mark.parametrize("restarted", [True, False])
def test_a_batch_that_fails_brings_the_old_replicas_back(
    three: Installation, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """Until they are back, those of the new ones that are well keep their share."""
    house, hands = three, Hands(monkeypatch)
    before = house.until_status("InService").state
    fail_after_a_batch(house, hands)
    row = house.until_status("RollingBack")
    assert "no memory" in row.state["FailureReason"]
    house.launcher.failure = None
    house.launcher.hindrances = [LaunchFailed() for _ in range(1000)]
    for _ in range(5):
        house.reconciler.tick()
        time.sleep(0.01)
    assert house.until_status("RollingBack").state[endpoint_updates.SHIFT]["share"] == pytest.approx(1 / 3)
    assert serving(house) == (2, 1)
    if restarted:
        house.restart()
    house.launcher.hindrances = []
    row = house.until_status("InService")
    assert row.state["FailureReason"].count("goes on as it was before the update") == 1
    assert len(row.state["_replicas"]) == 3
    assert {name: row.state[name] for name in before if name not in ("_replicas", "_host")} == {
        name: before[name] for name in before if name not in ("_replicas", "_host")
    }
    assert not {endpoint_updates.NOTE, endpoint_updates.SHIFT} & row.state.keys()
    house.until(lambda: alive(house) == {"old": 3})


def test_a_late_rolling_update_is_taken_back_in_batches(three: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    house, hands = three, Hands(monkeypatch)
    begin_rolling(house, hands.at, RollbackMaximumBatchSize={"Type": "CAPACITY_PERCENT", "Value": 50})
    for batch in (1, 2, 3):
        until_share(house, batch / 3)
        hands.at += 60
    hands.at = 1601.0
    seen: list[tuple[float, int, int]] = []

    def step() -> bool:
        if shift(house) and (not seen or seen[-1][0] != shift(house)["share"]):
            seen.append((shift(house)["share"], *serving(house)))
        row = house.row()
        return row is not None and row.status == "InService"

    house.until(step)
    assert [share for share, *_ in seen] == pytest.approx([1.0, 2 / 3, 1 / 3])
    assert [old for _, old, _ in seen] == [1, 1, 2]
    row = house.until_status("InService")
    assert "MaximumExecutionTimeoutInSeconds" in row.state["FailureReason"]
    house.until(lambda: alive(house) == {"old": 3})


@pytest.fixture
def impatient(three: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Replicas that fail are started again without a pause."""
    monkeypatch.setattr(keeper, "_FIRST_PAUSE", 0.0)
    return three


@pytest.mark.parametrize("restarted", [True, False])
def test_old_replicas_that_cannot_come_back_leave_both_sides_in_service(
    impatient: Installation, monkeypatch: pytest.MonkeyPatch, restarted: bool
) -> None:
    """Until an update succeeds, whatever becomes of the server or of another update in between."""
    house, hands = impatient, Hands(monkeypatch)
    fail_after_a_batch(house, hands)
    row = house.until_status("UpdateRollbackFailed")
    assert "no memory" in row.state["FailureReason"]
    assert "The update was not taken back" in row.state["FailureReason"]
    assert endpoint_updates.NOTE not in row.state
    house.launcher.failure = None
    if restarted:
        house.restart()
    house.until(lambda: alive(house) == {"old": 2, "new": 1} and serving(house) == (2, 1))
    row = house.until_status("UpdateRollbackFailed")
    assert endpoint_updates.described(row.state, hands.at)["ProductionVariants"][0]["CurrentInstanceCount"] == 2

    hands.at -= 60
    house.launcher.failure = "no model"
    begin_rolling(house, hands.at)
    row = house.until_status("UpdateRollbackFailed")
    assert "no model" in row.state["FailureReason"]
    assert (shift(house)["share"], serving(house)) == (pytest.approx(1 / 3), (2, 1))
    house.launcher.failure = None
    begin_rolling(house, hands.at)
    told = endpoint_updates.described(house.until_status("Updating").state, hands.at)
    assert told["PendingDeploymentSummary"]["ProductionVariants"][0]["CurrentInstanceCount"] == 0
    row = house.until_status("InService")
    assert not {endpoint_updates.NOTE, endpoint_updates.SHIFT} & row.state.keys()
    assert len(row.state["_replicas"]) == 3
    house.until(lambda: alive(house) == {"new": 3})


def test_where_no_old_replica_comes_back_the_new_ones_serve(
    impatient: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, hands = impatient, Hands(monkeypatch)
    begin_rolling(house, hands.at)
    for batch in (1, 2, 3):
        until_share(house, batch / 3)
        hands.at += 60
    house.launcher.failure = "no memory"
    hands.at = 1601.0
    house.until_status("UpdateRollbackFailed")
    house.launcher.failure = None
    house.until(lambda: serving(house) == (0, 3))
    house.restart().tick()
    house.until(lambda: serving(house) == (0, 3))
    assert alive(house) == {"new": 3}


@pytest.mark.parametrize("status", ["RollingBack", "UpdateRollbackFailed"])
def test_an_endpoint_that_rolls_back_can_be_deleted(
    impatient: Installation, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    house, hands = impatient, Hands(monkeypatch)
    fail_after_a_batch(house, hands)
    house.until_status(status)
    house.store.request_stop(hosting.ENDPOINT, "live", status="Deleting", from_statuses=(status,))
    house.until(lambda: house.row() is None)
    assert house.launcher.alive == []
