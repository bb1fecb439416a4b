"""A server without doors: the store, a launcher and the supervisor, with a toy kind of job."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

from toy_job import KINDS

from pilothouse import composition, logs
from pilothouse.config import Settings
from pilothouse.home import Home
from pilothouse.launch.local import LocalLauncher
from pilothouse.work.supervisor import Supervisor

PRELOAD = ["pilothouse.work.main", "pilothouse.objects.directory", "sqlalchemy.dialects.sqlite"]


def main(folder: str, jobs: str) -> None:
    os.environ["TOY_SERVER"] = str(os.getpid())
    settings = Settings(home=Path(folder), jobs=int(jobs), slots=1)
    logs.configure("INFO")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    home = Home(settings.home)
    home.create()
    with home.serving():
        back = composition.back(settings)
        back.store.migrate()
        launcher = LocalLauncher(settings, PRELOAD)
        supervisor = Supervisor(back.store, back.leases, launcher, settings, kinds=KINDS)
        supervisor.start()
        print("ready", flush=True)
        stopped.wait()
        supervisor.stop()
        launcher.close()
        back.store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
