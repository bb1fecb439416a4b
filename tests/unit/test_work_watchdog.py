"""The watchdog ends a process that must not go on, whatever its main thread is busy with."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.work.watchdog import LEASE_LOST, STORE_AWAY, TERMINATED

PROGRAM = """
import sys, time
from pathlib import Path
from pilothouse.store.leases import Lease
from pilothouse.work.watchdog import Watchdog

class PretendedLeases:
    def __init__(self, folder, mood):
        self.folder, self.mood, self.renewals = folder, mood, 0
    def renew(self, lease, ttl):
        self.renewals += 1
        if self.renewals > 3:
            if self.mood == "away":
                raise OSError("the database is away")
            return self.mood == "fine"
        return True
    def release(self, lease, orderly):
        assert orderly
        (self.folder / "released").touch()
        if self.mood == "stuck":
            time.sleep(600)

folder, mood = Path(sys.argv[1]), sys.argv[2]
leases = PretendedLeases(folder, "fine" if mood == "stop" else mood)
watchdog = Watchdog(leases, Lease("toy-job", "toy", "token", 1), ttl=0.3)
watchdog.start()
print("ready", flush=True)
if mood == "stop":
    while leases.renewals < 5:
        time.sleep(0.01)
    watchdog.stop()
    sys.exit(0)
time.sleep(600)
"""


def start(tmp_path: Path, mood: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), mood]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.stdout.close()
    return process


def code(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(30)
    finally:
        process.kill()


def test_a_lost_lease_ends_the_process(tmp_path: Path) -> None:
    assert code(start(tmp_path, "lost")) == LEASE_LOST


def test_a_database_that_stays_away_for_longer_than_the_lease_ends_the_process(tmp_path: Path) -> None:
    assert code(start(tmp_path, "away")) == STORE_AWAY


@pytest.mark.parametrize("mood", ["fine", "stuck"])
def test_sigterm_releases_the_lease_and_ends_the_process(tmp_path: Path, mood: str) -> None:
    process = start(tmp_path, mood)
    process.send_signal(signal.SIGTERM)
    assert code(process) == TERMINATED
    assert (tmp_path / "released").exists()


def test_a_stopped_watchdog_lets_the_process_go_on_and_keeps_the_lease(tmp_path: Path) -> None:
    assert code(start(tmp_path, "stop")) == 0
    assert not (tmp_path / "released").exists()
