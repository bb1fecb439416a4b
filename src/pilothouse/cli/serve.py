"""`pilothouse serve`: the server of one home."""

from __future__ import annotations

import os
import shlex
import signal
import threading
from pathlib import Path

import click

from pilothouse import logs
from pilothouse.cli.settings import home_option, load
from pilothouse.config import Settings


@click.command()
@click.option("--host", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=click.IntRange(0, 65535), help="The port; 0 picks a free one.  [default: 8642]")
@home_option
@click.option("--worker/--no-worker", default=True, help="Run jobs and endpoints too, or only answer requests.")
@click.option("--attached", is_flag=True, hidden=True, help="Stop when stdin closes, as it does when its opener dies.")
def serve(host: str | None, port: int | None, home: Path | None, worker: bool, attached: bool) -> None:
    """Run the server until SIGTERM or Ctrl-C.

    Prints one line once it answers requests. Jobs that a stop interrupts go on at the next start.
    """
    from pilothouse.server import Server

    settings = load(host=host, port=port, home=home)
    logs.configure(settings.log_level)
    if attached:
        threading.Thread(target=_stop_when_stdin_closes, daemon=True).start()
    Server(settings, worker=worker).run(ready=lambda url: click.echo(_ready_line(settings, url)))


def _stop_when_stdin_closes() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _ready_line(settings: Settings, url: str) -> str:
    default = load().home
    option = "" if settings.home == default else f" --home {shlex.quote(str(settings.home))}"
    return f'Pilothouse is ready at {url} (for your shell: eval "$(pilothouse env{option})")'
