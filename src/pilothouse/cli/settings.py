"""Settings as a command line gives them: its options over the environment's variables over the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pilothouse.config import Settings


def load(**options: Any) -> Settings:
    """Settings, with absolute paths. An option that is None is left out. A wrong one is a `ConfigurationError`."""
    settings = Settings.given(**{name: value for name, value in options.items() if value is not None})
    given = {"home": settings.home, "master_keys": settings.master_keys, "volumes": settings.volumes}
    return settings.model_copy(update={name: path and path.expanduser().resolve() for name, path in given.items()})


home_option = click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that holds all state.  [default: $PILOTHOUSE_HOME, or ~/.local/share/pilothouse]",
)
