"""The `pilothouse` command. A subcommand is imported when it is called, so that none waits for another's imports."""

from __future__ import annotations

import errno
from importlib import import_module
from typing import Any

import click

import pilothouse
from pilothouse.errors import PilothouseError

COMMANDS = ("serve", "env", "keys", "doctor", "fit", "tune", "predict", "export", "demo")


class _Commands(click.Group):
    """Finds the subcommand `name` in `pilothouse.cli.<name>` and says errors as one sentence, with exit code 1."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"pilothouse.cli.{cmd_name}"), cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PilothouseError as error:
            raise click.ClickException(error.message) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # whoever read the output has gone, of which click says nothing
                raise
            where = f" ({error.filename})" if error.filename else ""
            raise click.ClickException(
                f"The system refused something: {error.strerror or error}{where}. `pilothouse doctor` may show why."
            ) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(pilothouse.__version__, prog_name="pilothouse")
def main() -> None:
    """SageMaker Autopilot on your own hardware."""
