"""The home: private, and one server's at a time."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pilothouse.errors import ConfigurationError
from pilothouse.home import Home

HOLD = """
import sys, time, pathlib
from pilothouse.home import Home
home = Home(pathlib.Path(sys.argv[1]))
with home.serving():
    home.announce("http://127.0.0.1:1", "us-east-1", "000000000000")
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "deep" / "home")
    home.create()
    return home


def test_a_new_home_is_closed_to_other_users(home: Home) -> None:
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_an_open_home_is_closed(home: Home) -> None:
    home.root.chmod(0o755)
    home.create()
    assert stat.S_IMODE(home.root.stat().st_mode) == 0o700


def test_a_home_that_is_a_file_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="--home"):
        Home(tmp_path / "file").create()


def test_a_second_server_is_refused_and_the_first_one_named(home: Home) -> None:
    with home.serving():
        home.announce("http://127.0.0.1:8642", "us-east-1", "000000000000")
        with (
            pytest.raises(ConfigurationError, match=f"process {os.getpid()} at http://127.0.0.1:8642"),
            Home(home.root).serving(),
        ):
            pass
        assert home.running() is not None


def test_a_home_can_be_served_again_after_a_stop(home: Home) -> None:
    with home.serving():
        home.announce("http://127.0.0.1:8642", "us-east-1", "000000000000")
    assert home.running() is None
    with home.serving():
        assert home.running() is None


def test_a_server_that_was_killed_holds_nothing(home: Home) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(home.root)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        running = home.running()
        assert running is not None
        assert (running.url, running.pid) == ("http://127.0.0.1:1", holder.pid)
        holder.send_signal(signal.SIGKILL)
        holder.wait(30)
    assert home.running() is None
    with home.serving():
        assert home.running() is None


def test_a_folder_that_no_server_ever_used_has_none_running(tmp_path: Path) -> None:
    assert Home(tmp_path).running() is None
