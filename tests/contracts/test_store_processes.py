"""What the store promises when many threads and processes use it at once, and when they are killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from pilothouse.store.store import Store

KIND = "automl-job"
PATIENCE = 120  # seconds; only a store that hangs takes them

PREPARED = """
import sys
from pilothouse.store.store import NewResource, Store
store = Store(sys.argv[1], region="us-east-1", account="000000000000")
"""


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    store = Store(database_url, region="us-east-1", account="000000000000")
    store.migrate()
    yield store
    store.close()


@contextmanager
def running(program: str, url: str, count: int = 1) -> Iterator[list[subprocess.Popen[str]]]:
    """So many processes, each with its own `store`, that run `program`; killed at the end if they still do."""
    command = [sys.executable, "-c", PREPARED + program, url]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate(timeout=PATIENCE)


def lines(worker: subprocess.Popen[str]) -> list[str]:
    return worker.communicate(timeout=PATIENCE)[0].split()


@pytest.mark.slow
def test_processes_that_start_at_once_migrate_once(database_url: str) -> None:
    with running("store.migrate(); print(store.count('automl-job'))", database_url, 4) as workers:
        assert [lines(worker) for worker in workers] == [["0"]] * 4


CLAIM_ALL = """
while lease := store.leases.claim(["automl-job"], owner="w", ttl=60):
    print(lease.name, flush=True)
"""


@pytest.mark.slow
def test_four_processes_never_share_a_job(store: Store, database_url: str) -> None:
    jobs = [f"job-{i}" for i in range(50)]
    for name in jobs:
        store.insert(KIND, name, {}, status="InProgress")
    with running(CLAIM_ALL, database_url, 4) as workers:
        claimed = Counter(name for worker in workers for name in lines(worker))
    assert claimed == Counter(jobs)


def test_threads_that_change_one_row_lose_no_change(store: Store) -> None:
    store.insert(KIND, "job", {}, status="InProgress")

    def write(member: int) -> None:
        for value in range(10):
            store.update(KIND, "job", state={f"m{member}": value})

    threads = [threading.Thread(target=write, args=(member,)) for member in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    row = store.get(KIND, "job")
    assert row is not None
    assert row.state == {f"m{member}": 9 for member in range(8)}


def test_of_threads_that_take_one_name_one_gets_it(store: Store) -> None:
    outcomes: list[str] = []

    def take() -> None:
        try:
            store.insert(KIND, "job", {}, also=[])
            outcomes.append("taken")
        except Exception as error:
            outcomes.append(type(error).__name__)

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert Counter(outcomes) == {"taken": 1, "ResourceInUse": 7}


def test_tags_are_checked_with_those_that_others_add_at_the_same_time(store: Store) -> None:
    arn, both = store.insert(KIND, "job", {}).arn, threading.Barrier(2)

    def at_most_three(tags: dict[str, str]) -> None:
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)  # if both can look before one has written, they do
        if len(tags) > 3:
            raise ValueError(tags)

    def add(number: int) -> None:
        with suppress(ValueError):
            store.add_tags(arn, {f"{number}-a": "", f"{number}-b": ""}, check=at_most_three)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(store.tags(arn)) == 2


WRITE_FOR_EVER = """
start = store.count("automl-job")
for number in range(start, 1_000_000):
    job = f"job-{number}"
    store.insert("automl-job", job, {}, status="InProgress", also=[NewResource("model", f"model-{number}")])
    print(number, flush=True)
    store.update("automl-job", job, status="Completed", state={"a": number, "b": number})
"""


@pytest.mark.slow
def test_what_was_acknowledged_before_a_kill_is_there_and_whole(store: Store, database_url: str) -> None:
    for _ in range(5):
        before = store.count(KIND)
        with running(WRITE_FOR_EVER, database_url) as (writer,):
            while int(writer.stdout.readline()) < before + 12:
                pass
            writer.kill()
            rest = lines(writer)
        acknowledged = int(rest[-1]) + 1 if rest else before + 13
        rows = store.find(KIND, limit=10_000)
        assert acknowledged <= len(rows) <= acknowledged + 1
        assert [row.name for row in rows] == [f"job-{number}" for number in range(len(rows))]
        assert store.count("model") == len(rows)
        for row in rows:
            assert (row.status == "Completed") == (row.state.get("a") == row.state.get("b") != None)  # noqa: E711


WRITE_TOGETHER_FOR_EVER = """
import itertools, threading

def write(thread):
    for number in itertools.count():
        name = f"{start}.{thread}.{number}."
        store.insert("automl-job", name, {}, also=[NewResource("model", name)])
        print(name + "\\n", end="", flush=True)

start = store.count("automl-job")
for thread in range(8):
    threading.Thread(target=write, args=(thread,)).start()
"""


@pytest.mark.slow
def test_what_threads_that_share_commits_acknowledged_is_there_after_a_kill(store: Store, database_url: str) -> None:
    for _ in range(3):
        with running(WRITE_TOGETHER_FOR_EVER, database_url) as (writer,):
            acknowledged = {writer.stdout.readline().strip() for _ in range(100)}
            writer.kill()
            acknowledged.update(line for line in lines(writer) if line.count(".") == 3)
        jobs, models = ({row.name for row in store.find(kind, limit=100_000)} for kind in (KIND, "model"))
        assert acknowledged <= jobs
        assert jobs == models


WORK_FOR_EVER = """
lease = store.leases.claim(["automl-job"], owner="victim", ttl=3600)
done = len(store.steps.recorded(lease))
for number in range(done, 1_000_000):
    store.steps.record(lease, f"step-{number}", {"n": number})
    store.insert("candidate", f"c-{number}", {}, parent=("automl-job", "job"), lease=lease)
    print(number, flush=True)
"""


@pytest.mark.slow
def test_the_steps_of_a_killed_worker_are_kept_and_its_lease_can_be_freed(store: Store, database_url: str) -> None:
    store.insert(KIND, "job", {}, status="InProgress")
    with running(WORK_FOR_EVER, database_url) as (worker,):
        while int(worker.stdout.readline()) < 10:
            pass
    assert store.leases.claim([KIND], owner="next", ttl=60) is None
    assert store.leases.release_owned("victim") == 1
    lease = store.leases.claim([KIND], owner="next", ttl=60)
    assert lease is not None
    assert (lease.attempt, store.leases.fruitless(lease)) == (2, 1)
    recorded = store.steps.recorded(lease)
    assert list(recorded.items()) == [(f"step-{n}", {"n": n}) for n in range(len(recorded))]
    assert len(recorded) - len(store.children("candidate", (KIND, "job"))) in (0, 1)
