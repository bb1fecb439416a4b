"""Slots bound what runs at once, and come back from whoever held them."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from pilothouse.config import Settings
from pilothouse.launch.slots import Slots, memory_share

HOLDER = """
import sys, time
from pathlib import Path
from pilothouse.launch.slots import Slots
slot = Slots(Path(sys.argv[1]), 1).try_acquire()
print(slot is not None, flush=True)
time.sleep(600)
"""


def test_no_more_slots_are_given_than_there_are(tmp_path: Path) -> None:
    held = [Slots(tmp_path, 2).try_acquire() for _ in range(3)]
    assert [slot and slot.index for slot in held] == [0, 1, None]


def test_a_released_slot_is_given_again(tmp_path: Path) -> None:
    slots = Slots(tmp_path, 1)
    slot = slots.try_acquire()
    assert slot is not None
    slot.release()
    slot.release()
    assert slots.try_acquire() is not None


def test_a_slot_comes_back_from_a_process_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        assert Slots(tmp_path, 1).try_acquire() is None
        holder.kill()
    assert Slots(tmp_path, 1).try_acquire() is not None


def test_hold_waits_until_a_slot_is_free(tmp_path: Path) -> None:
    taken = Slots(tmp_path, 1).try_acquire()
    assert taken is not None
    timer = threading.Timer(0.2, taken.release)
    timer.start()
    with Slots(tmp_path, 1).hold() as slot:
        assert slot is not None
    timer.join()


def test_hold_gives_up_when_told(tmp_path: Path) -> None:
    taken = Slots(tmp_path, 1).try_acquire()
    with Slots(tmp_path, 1).hold(lambda: True) as slot:
        assert slot is None
    assert taken is not None


def test_a_slot_is_free_again_after_an_error_in_its_block(tmp_path: Path) -> None:
    slots = Slots(tmp_path, 1)
    try:
        with slots.hold():
            raise ValueError
    except ValueError:
        pass
    assert slots.try_acquire() is not None


def test_trials_share_the_memory_that_they_may_have() -> None:
    one, four = (memory_share(Settings(slots=slots, memory_fraction=0.8)) for slots in (1, 4))
    assert abs(one - 4 * four) < 8
