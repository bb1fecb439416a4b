"""Who may claim what, who may write, and what counts as progress."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pilothouse.errors import LeaseLost
from pilothouse.store.leases import FORGIVEN, TERMINAL, Lease
from pilothouse.store.store import NewResource, Store

KIND = "automl-job"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}", region="us-east-1", account="000000000000")
    store.migrate()
    store.insert(KIND, "job", {}, status="InProgress", also=[NewResource("candidate", "c", parent=(KIND, "job"))])
    yield store
    store.close()


def claimed(store: Store) -> Lease:
    lease = store.leases.claim([KIND], owner="test", ttl=60)
    assert lease is not None
    return lease


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_a_job_that_ended_is_never_claimed_even_when_asked_for(store: Store, status: str) -> None:
    store.update(KIND, "job", status=status)
    assert store.leases.claim([KIND], owner="test", ttl=60, statuses=("InProgress", *TERMINAL)) is None


def test_a_job_that_was_stopped_while_it_waited_is_claimed_to_be_ended(store: Store) -> None:
    store.request_stop(KIND, "job")
    assert store.leases.stop_requested(claimed(store))


def test_a_child_is_never_claimed_by_itself(store: Store) -> None:
    store.insert("training-job", "trial", {}, parent=(KIND, "job"), status="InProgress")
    assert store.leases.claim(["training-job"], owner="test", ttl=60) is None


def test_an_expired_lease_guards_until_another_takes_it(store: Store) -> None:
    lease = store.leases.claim([KIND], owner="test", ttl=0)
    assert lease is not None
    store.update(KIND, "job", state={"a": 1}, lease=lease)
    assert store.leases.renew(lease, 60)
    assert store.leases.claim([KIND], owner="test", ttl=60) is None


@pytest.mark.parametrize("write", ["own", "child", "insert", "step", "fruitless"])
def test_a_lost_lease_writes_nothing(store: Store, write: str) -> None:
    lost = claimed(store)
    store.leases.release(lost)
    claimed(store)
    before = (store.get(KIND, "job"), store.get("candidate", "c"))
    writes = {
        "own": lambda: store.update(KIND, "job", status="Completed", lease=lost),
        "child": lambda: store.update("candidate", "c", status="Completed", lease=lost),
        "insert": lambda: store.insert("candidate", "new", {}, parent=(KIND, "job"), lease=lost),
        "step": lambda: store.steps.record(lost, "read", {}),
        "fruitless": lambda: store.leases.fruitless(lost),
    }
    with pytest.raises(LeaseLost):
        writes[write]()
    assert (store.get(KIND, "job"), store.get("candidate", "c")) == before
    assert store.get("candidate", "new") is None
    assert not store.leases.renew(lost, 60)


def test_the_holder_of_a_deleted_job_stops_and_writes_nothing(store: Store) -> None:
    lease = claimed(store)
    store.delete(KIND, "job")
    assert store.leases.stop_requested(lease)
    assert not store.leases.renew(lease, 60)
    with pytest.raises(LeaseLost):
        store.steps.record(lease, "read", {})


def test_an_orderly_release_does_not_count_as_a_death(store: Store) -> None:
    for _ in range(3):
        lease = claimed(store)
        assert store.leases.fruitless(lease) == 1
        store.leases.release(lease, orderly=True)
    lease = claimed(store)
    store.steps.record(lease, "read", {})
    store.leases.release(lease, orderly=True)
    assert store.leases.fruitless(claimed(store)) == 1


def test_the_death_of_a_server_does_not_count_against_its_jobs(store: Store) -> None:
    store.leases.release(claimed(store))
    for _ in range(8):
        assert store.leases.fruitless(claimed(store)) == 2
        store.leases.release_owned("test")


def test_a_server_that_dies_with_a_job_time_and_again_counts_in_the_end(store: Store) -> None:
    for _ in range(FORGIVEN):
        claimed(store)
        store.leases.release_owned("test")
    for expected in (1, 2, 3):
        assert store.leases.fruitless(claimed(store)) == expected
        store.leases.release_owned("test")


@pytest.mark.parametrize(
    ("write", "fruitless"),
    [
        (lambda store, lease: store.steps.record(lease, "read", {}), 0),
        (lambda store, lease: store.insert("candidate", "d", {}, parent=(KIND, "job"), lease=lease), 0),
        (lambda store, lease: store.update("candidate", "c", status="Completed", lease=lease), 0),
        (lambda store, lease: store.update("candidate", "c", state={"a": 1}, lease=lease), 0),
        (lambda store, lease: store.update("candidate", "c", state={"a": 1}, lease=lease, progress=False), 1),
        (lambda store, lease: store.update("candidate", "c", status="", state={}, lease=lease), 1),
        (lambda store, lease: store.update("candidate", "c", status="Completed"), 1),
        (lambda store, lease: store.update(KIND, "job", state={"Secondary": "Starting"}, lease=lease), 1),
    ],
    ids=[
        "step",
        "new child",
        "status of a child",
        "state of a child",
        "what comes again",
        "nothing new",
        "unguarded",
        "own row",
    ],
)
def test_only_what_is_new_about_the_job_is_progress(store: Store, write, fruitless: int) -> None:
    lease = claimed(store)
    write(store, lease)
    assert store.leases.fruitless(lease) == fruitless
