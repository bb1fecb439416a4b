"""What every database under the store must do, and does."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
import sqlalchemy

from pilothouse.errors import LeaseLost, ResourceInUse, ResourceNotFound
from pilothouse.store.logs import Streams
from pilothouse.store.resource import Cursor
from pilothouse.store.steps import StepRecorded
from pilothouse.store.store import Change, NewResource, Store

KIND = "automl-job"


def opened(url: str) -> Store:
    return Store(url, region="us-east-1", account="000000000000")


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = opened(database_url)
    store.migrate()
    yield store
    store.close()


def names(resources: list) -> list[str]:
    return [resource.name for resource in resources]


class TestResources:
    def test_what_is_inserted_is_read_back_as_it_was(self, store: Store) -> None:
        request = {"Name": "Ä \x00 \U0001f600", "Value": 0.1 + 0.2, "List": [1, {"a": None}]}
        row = store.insert(KIND, "Job", request, status="InProgress", state={"Secondary": "Starting"})
        assert row == store.get(KIND, "jOB")
        assert row.request == request
        assert (row.status, row.state, row.stop_requested) == ("InProgress", {"Secondary": "Starting"}, False)
        assert row.arn == "arn:aws:sagemaker:us-east-1:000000000000:automl-job/job"
        assert store.get("model", "Job") is None

    def test_a_name_is_unique_within_its_kind_whatever_its_case(self, store: Store) -> None:
        store.insert(KIND, "Job", {})
        store.insert("model", "Job", {})
        with pytest.raises(ResourceInUse):
            store.insert(KIND, "jOb", {})

    def test_rows_inserted_together_are_all_there_or_none(self, store: Store) -> None:
        store.insert("model", "taken", {})
        with pytest.raises(ResourceInUse):
            store.insert(KIND, "job", {}, also=[NewResource("model", "free"), NewResource("model", "TAKEN")])
        assert store.get(KIND, "job") is None
        assert store.get("model", "free") is None

    def test_children_come_in_order_and_go_with_their_parent(self, store: Store) -> None:
        store.insert(KIND, "Job", {})
        for name in ("b", "a", "c"):
            store.insert("candidate", name, {}, parent=(KIND, "job"))
        assert names(store.children("candidate", (KIND, "JOB"))) == ["b", "a", "c"]
        assert store.delete(KIND, "job")
        assert store.get("candidate", "a") is None
        assert not store.delete(KIND, "job")

    def test_children_that_are_kept_have_no_parent_any_more(self, store: Store) -> None:
        store.insert(KIND, "Job", {})
        for name in ("b", "a"):
            store.insert("candidate", name, {}, parent=(KIND, "job"))
        assert store.delete(KIND, "JOB", keep_children=True)
        kept = store.find("candidate")
        assert [(row.name, row.parent) for row in kept] == [("b", None), ("a", None)]

    def test_a_parent_stays_while_it_has_children_of_a_kind(self, store: Store) -> None:
        store.insert("endpoint", "e", {})
        store.insert("async-invocation", "1", {}, parent=("endpoint", "e"))
        assert not store.delete("endpoint", "e", unless_has="async-invocation")
        assert store.delete("endpoint", "e", unless_has="other-kind")
        assert store.get("async-invocation", "1") is None
        assert not store.delete("endpoint", "e", unless_has="async-invocation")

    def test_a_child_needs_its_parent(self, store: Store) -> None:
        with pytest.raises(ResourceNotFound):
            store.insert("candidate", "a", {}, parent=(KIND, "ghost"))

    def test_an_update_merges_the_state_and_none_takes_away(self, store: Store) -> None:
        before = store.insert(KIND, "job", {"Kept": 1}, status="InProgress", state={"a": 1, "b": 2})
        after = store.update(KIND, "JOB", status="Completed", state={"b": None, "c": {"d": 3}})
        assert after is not None
        assert (after.status, after.state, after.request) == ("Completed", {"a": 1, "c": {"d": 3}}, {"Kept": 1})
        assert after.modified_at >= before.modified_at
        assert after.created_at == before.created_at

    def test_what_is_meant_for_one_resource_does_not_reach_another_of_its_name(self, store: Store) -> None:
        first = store.insert(KIND, "job", {}, status="InProgress")
        assert store.delete(KIND, "job", seq=first.seq)
        second = store.insert(KIND, "job", {}, status="InProgress")
        assert store.update(KIND, "job", state={"a": 1}, expect_status=["InProgress"], seq=first.seq) is None
        assert not store.delete(KIND, "job", seq=first.seq)
        assert not store.delete(KIND, "job", seq=first.seq, unless_has="model")
        assert store.get(KIND, "job") == second
        changed = store.update(KIND, "job", state={"a": 1}, expect_status=["InProgress"], seq=second.seq)
        assert changed == store.get(KIND, "job")
        assert changed is not None
        assert changed.state == {"a": 1}

    def test_an_update_may_depend_on_the_status(self, store: Store) -> None:
        store.insert(KIND, "job", {}, status="Completed")
        assert store.update(KIND, "job", status="Failed", expect_status=("InProgress",)) is None
        assert store.get(KIND, "job").status == "Completed"
        with pytest.raises(ResourceNotFound):
            store.update(KIND, "ghost", status="Failed")

    def test_an_update_may_change_others_too_or_nothing(self, store: Store) -> None:
        for name in ("a", "b"):
            store.insert(KIND, name, {}, status="InProgress", state={"kept": 1})
        other = Change(KIND, "B", "Failed", {"why": "x"})
        store.update(KIND, "a", status="Completed", also=[other])
        assert (store.get(KIND, "b").status, store.get(KIND, "b").state) == ("Failed", {"kept": 1, "why": "x"})
        with pytest.raises(ResourceNotFound):
            store.update(KIND, "a", status="Stopped", also=[Change(KIND, "ghost", "Failed", {})])
        assert store.get(KIND, "a").status == "Completed"

    def test_a_stop_is_asked_of_what_runs_only(self, store: Store) -> None:
        store.insert(KIND, "job", {}, status="InProgress")
        row = store.request_stop(KIND, "job", state={"Secondary": "Stopping"})
        assert (row.status, row.stop_requested, row.state) == ("Stopping", True, {"Secondary": "Stopping"})
        assert store.request_stop(KIND, "job") is None
        assert store.request_stop(KIND, "ghost") is None

    def test_rows_are_filtered(self, store: Store) -> None:
        for name, status in (("churn-1", "Completed"), ("Churn_2", "Failed"), ("other", "Completed")):
            store.insert(KIND, name, {}, status=status)
        middle = store.get(KIND, "churn_2").created_at
        assert names(store.find(KIND, name_contains="CHURN")) == ["churn-1", "Churn_2"]
        assert names(store.find(KIND, name_contains="n_")) == ["Churn_2"]
        assert names(store.find(KIND, status="Completed")) == ["churn-1", "other"]
        assert "Churn_2" in names(store.find(KIND, created_after=middle, created_before=middle))
        assert store.find(KIND, modified_before=middle - 3600) == []
        assert (store.count(KIND), store.count(KIND, status="Failed")) == (3, 1)

    @pytest.mark.parametrize("sort", ["created", "name", "status", "modified"])
    @pytest.mark.parametrize("descending", [False, True])
    def test_pages_hold_still_while_rows_come_in(self, store: Store, sort, descending: bool) -> None:
        expected = [f"job-{i:02}" for i in range(10)]
        for name in expected:
            store.insert(KIND, name, {}, status="Completed")
        seen, after = [], None
        while page := store.find(KIND, sort=sort, descending=descending, after=after, limit=3):
            seen += names(page)
            after = page[-1].cursor(sort)
            store.insert(KIND, f"new-{len(seen)}", {}, status="Completed")
            if len(seen) > 40:
                break
        assert [name for name in seen if name in expected] == (expected[::-1] if descending else expected)


class TestTags:
    def test_tags_are_set_replaced_and_removed_by_arn(self, store: Store) -> None:
        row = store.insert(KIND, "job", {}, tags=[{"Key": "team", "Value": "a"}])
        assert store.add_tags(row.arn.upper(), {"team": "b", "stage": "x"}) == {"stage": "x", "team": "b"}
        store.remove_tags(row.arn, ["team", "ghost"])
        assert store.tags(row.arn) == {"stage": "x"}
        assert store.by_arn(row.arn) == row
        with pytest.raises(ResourceNotFound):
            store.add_tags(row.arn + "x", {"a": "b"})

    def test_a_new_resource_does_not_inherit_the_tags_of_a_deleted_one(self, store: Store) -> None:
        row = store.insert(KIND, "job", {}, tags={"team": "a"})
        store.delete(KIND, "job")
        store.insert(KIND, "job", {})
        assert store.tags(row.arn) == {}


class TestLogs:
    def test_a_search_sorts_the_group_once_and_reads_messages_some_at_a_time(self, store: Store) -> None:
        store.logs.append("g", "s", [(float(number % 50), str(number)) for number in range(2500)])
        statements: list[str] = []
        sqlalchemy.event.listen(
            store.database.engine, "before_cursor_execute", lambda _, __, text, *___: statements.append(text)
        )
        found = [int(event.message) for _, event in store.logs.search(Streams("g"), limit=2200)]
        assert found == sorted(range(2500), key=lambda number: (number % 50, number))[:2200]
        reads = [("ORDER BY" in text, "message" in text) for text in statements if "log_events" in text]
        assert reads == [(True, False), (False, True), (False, True), (False, True)]

    def test_lines_are_read_back_in_order_from_either_end(self, store: Store) -> None:
        store.logs.append("g", "s/one", ["a", (5.0, "b"), "c"])
        store.logs.append("g", "s/two", ["z"])
        events = store.logs.events("g", "s/one")
        assert [event.message for event in events] == ["a", "b", "c"]
        assert events[1].timestamp == 5.0
        assert [e.message for e in store.logs.events("g", "s/one", limit=2)] == ["b", "c"]
        assert [e.message for e in store.logs.events("g", "s/one", limit=2, from_head=True)] == ["a", "b"]
        assert [e.message for e in store.logs.events("g", "s/one", after_seq=events[0].seq)] == ["b", "c"]
        assert [e.message for e in store.logs.events("g", "s/one", before_seq=events[2].seq)] == ["a", "b"]
        assert [e.message for e in store.logs.events("g", "s/one", start=4.0, end=6.0)] == ["b"]
        found = list(store.logs.search(Streams("g"), limit=2))
        assert (found[0][0], found[0][1].message) == ("s/one", "b")
        after = Cursor(found[0][1].timestamp, found[0][1].seq)
        assert len(list(store.logs.search(Streams("g"), after=after))) == 3
        assert list(store.logs.search(Streams("g"), after=after, descending=True)) == []
        assert [stream for stream, _ in store.logs.search(Streams("g", ("s/two",)))] == ["s/two"]
        assert [stream for stream, _ in store.logs.search(Streams("g", prefix="s/t"))] == ["s/two"]
        assert [event.message for _, event in store.logs.search(Streams("g"), start=5.0, end=6.0)] == ["b"]
        assert [group for group, _ in store.logs.groups()] == ["g"]
        assert names(store.logs.streams("g")) == ["s/one", "s/two"]
        assert names(store.logs.streams("g", prefix="s/t")) == ["s/two"]
        assert store.logs.events("g", "ghost") == []


class TestLeases:
    def test_the_oldest_waiting_job_is_claimed_and_held(self, store: Store) -> None:
        store.insert(KIND, "done", {}, status="Completed")
        store.insert(KIND, "first", {}, status="InProgress")
        store.insert(KIND, "second", {}, status="Stopping")
        one = store.leases.claim([KIND], owner="a", ttl=60)
        two = store.leases.claim([KIND], owner="b", ttl=60)
        assert (one.name, one.attempt, two.name) == ("first", 1, "second")
        assert store.leases.claim([KIND], owner="a", ttl=60) is None
        assert store.leases.claim(["model"], owner="a", ttl=60) is None

    def test_a_released_or_expired_lease_can_be_taken_and_the_old_one_writes_no_more(self, store: Store) -> None:
        store.insert(KIND, "job", {}, status="InProgress")
        old = store.leases.claim([KIND], owner="a", ttl=60)
        store.leases.release(old)
        short = store.leases.claim([KIND], owner="b", ttl=0.05)
        time.sleep(0.1)
        new = store.leases.claim([KIND], owner="c", ttl=60)
        assert (short.attempt, new.attempt) == (2, 3)
        assert not store.leases.renew(old, 60)
        assert store.leases.renew(new, 60)
        for lost in (old, short):
            with pytest.raises(LeaseLost):
                store.update(KIND, "job", status="Completed", lease=lost)
            with pytest.raises(LeaseLost):
                store.steps.record(lost, "step", {})
        store.leases.release(old)
        assert store.update(KIND, "job", status="Completed", lease=new).status == "Completed"

    def test_what_a_dead_worker_held_is_free_at_its_next_start(self, store: Store) -> None:
        for name in ("one", "two"):
            store.insert(KIND, name, {}, status="InProgress")
        store.leases.claim([KIND], owner="here", ttl=60)
        store.leases.claim([KIND], owner="elsewhere", ttl=60)
        store.leases.release_owned("here")
        assert store.leases.claim([KIND], owner="here", ttl=60).name == "one"
        assert store.leases.claim([KIND], owner="here", ttl=60) is None

    def test_a_lease_sees_the_wish_to_stop(self, store: Store) -> None:
        store.insert(KIND, "job", {}, status="InProgress")
        lease = store.leases.claim([KIND], owner="a", ttl=60)
        assert not store.leases.stop_requested(lease)
        store.request_stop(KIND, "JOB")
        assert store.leases.stop_requested(lease)

    def test_claims_without_progress_are_counted(self, store: Store) -> None:
        store.insert(KIND, "job", {}, status="InProgress")
        store.insert("candidate", "c", {}, parent=(KIND, "job"))

        def claim():
            return store.leases.claim([KIND], owner="a", ttl=60)

        for expected in (1, 2, 3):
            lease = claim()
            assert store.leases.fruitless(lease) == expected
            store.leases.release(lease)
        lease = claim()
        store.steps.record(lease, "step", {})
        assert store.leases.fruitless(lease) == 0
        store.leases.release(lease)
        lease = claim()
        assert store.leases.fruitless(lease) == 1
        store.update("candidate", "c", state={"x": 1}, lease=lease)
        assert store.leases.fruitless(lease) == 0

    def test_workers_side_by_side_never_share_a_job(self, store: Store) -> None:
        for i in range(50):
            store.insert(KIND, f"job-{i}", {}, status="InProgress")
        claimed: list[str] = []

        def work(owner: str) -> None:
            while lease := store.leases.claim([KIND], owner=owner, ttl=60):
                claimed.append(lease.name)

        workers = [threading.Thread(target=work, args=(str(i),)) for i in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert Counter(claimed) == Counter(f"job-{i}" for i in range(50))


class TestSteps:
    def test_a_step_is_recorded_once_and_outlives_its_lease(self, store: Store) -> None:
        store.insert(KIND, "job", {}, status="InProgress")
        lease = store.leases.claim([KIND], owner="a", ttl=60)
        store.steps.record(lease, "read", {"rows": 5})
        store.steps.record(lease, "plan", {})
        with pytest.raises(StepRecorded):
            store.steps.record(lease, "read", {"rows": 6})
        store.leases.release(lease)
        again = store.leases.claim([KIND], owner="b", ttl=60)
        assert list(store.steps.recorded(again).items()) == [("read", {"rows": 5}), ("plan", {})]
