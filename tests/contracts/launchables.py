"""Targets that the launcher tests start; found through the PYTHONPATH of their programs."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path


def say(text: str) -> None:
    print(text)
    print(text.upper(), file=sys.stderr)


def leave(code: int) -> None:
    sys.exit(code)


def fail() -> None:
    raise ValueError("a sentence to find in the log")


def die(number: int) -> None:
    os.kill(os.getpid(), number)


def sleep(path: str = "") -> None:
    if path:
        Path(path).write_text(str(os.getpid()))
    time.sleep(600)


def on_term(path: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
    Path(path).touch()
    time.sleep(600)


def fill(size: int, path: str = "") -> None:
    block = bytearray(os.urandom(1)) * size
    if path:
        Path(path).touch()
    time.sleep(600)
    print(len(block))


def share(size: int) -> None:
    """Has three children that share a block with it, and returns a while later."""
    block = bytearray(os.urandom(1)) * size
    for _ in range(3):
        if os.fork() == 0:
            time.sleep(600)
    time.sleep(1)
    print(len(block))


def map_file(path: str, size: int) -> None:
    """Reads a file of `size` bytes through a mapping, so that all its pages are resident, and returns a while later."""
    with Path(path).open("r+b") as stream, mmap.mmap(stream.fileno(), size) as mapped:
        total = sum(mapped[offset] for offset in range(0, size, 4096))
        time.sleep(1)
        print(total)


def spawn(path: str, own_session: bool, stay: bool) -> None:
    """Starts a grandchild, writes its pid, and stays or goes."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=own_session)
    _write(path, str(child.pid))
    if stay:
        time.sleep(600)


def daemonise(path: str) -> None:
    """Starts a process as a daemon does: in a session of its own, with its parent gone. Stays."""
    inner = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    outer = (
        "import subprocess, sys; "
        "subprocess.Popen([sys.executable, '-c', sys.argv[1], sys.argv[2]], start_new_session=True)"
    )
    subprocess.run([sys.executable, "-c", outer, inner, path + ".tmp"], check=True)
    while not (Path(path + ".tmp").exists() and Path(path + ".tmp").read_text()):
        time.sleep(0.02)
    Path(path + ".tmp").rename(path)
    time.sleep(600)


def surroundings(path: str) -> None:
    import json
    import random

    facts = {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "group": os.getpgid(0),
        "nice": os.nice(0),
        "variable": os.environ.get("LAUNCHER_TEST"),
        "descriptors": _descriptors(),
        "random": random.random(),
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "stdin": str(Path("/proc/self/fd/0").readlink()),
    }
    if "numpy" in sys.modules:
        facts["numpy"] = float(sys.modules["numpy"].random.random())
    _write(path, json.dumps(facts))


def _descriptors() -> list[str]:
    """What is open beyond the standard streams (and the folder that is being listed)."""
    links = [link for link in Path("/proc/self/fd").iterdir() if int(link.name) > 2 and link.exists()]
    return [str(link.readlink()) for link in links]


def fit(path: str) -> None:
    """Trains with OpenMP threads, which hangs if the nursery had run an OpenMP region before the fork."""
    import lightgbm
    import numpy as np

    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 5))
    model = lightgbm.train({"num_threads": 2, "verbose": -1}, lightgbm.Dataset(x, x[:, 0]), num_boost_round=5)
    _write(path, str(float(np.abs(x @ x.T).sum() > 0 and model.num_trees())))


def launch_another(path: str) -> None:
    """Launches a program through the nursery that started this process, as a job does with its trials. Stays."""
    from pilothouse.launch.base import Program
    from pilothouse.launch.local import NurseryLauncher

    here = str(Path(__file__).parent)
    process = NurseryLauncher.here().launch(Program("launchables:sleep", environment={"PYTHONPATH": here}))
    _write(path, str(process.pid))
    time.sleep(600)


def _write(path: str, text: str) -> None:
    temporary = Path(path + ".tmp")
    temporary.write_text(text)
    temporary.rename(path)
