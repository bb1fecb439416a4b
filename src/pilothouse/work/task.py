"""The entry of a task's process; `training.task` is the other side."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pilothouse import composition
from pilothouse.config import Settings
from pilothouse.errors import JobFailed, TrialTimeout
from pilothouse.training.task import ERROR, RESULT


def main(target: str, directory: str, settings: str, arguments: dict[str, Any], kms_key: str | None = None) -> None:
    """Calls `target(objects, directory, **arguments)` and leaves its result, or the reason why there is none.

    `kms_key`: the key for what it leaves among the objects.

    A reason is left for the errors that a job may end with; anything else is a traceback in the log and an exit code.
    """
    module, _, name = target.partition(":")
    folder = Path(directory)
    tempfile.tempdir = directory  # so that what a library writes is where the job's volume is, and is cleared with it
    try:
        result = getattr(importlib.import_module(module), name)(_objects(settings, kms_key), folder, **arguments)
    except (JobFailed, TrialTimeout) as error:
        _leave(folder / ERROR, {"reason": error.message, "late": isinstance(error, TrialTimeout)})
    except MemoryError:
        _leave(folder / ERROR, {"reason": "The process ran out of memory.", "late": False})
    else:
        _leave(folder / RESULT, result)


def _objects(settings: str, kms_key: str | None) -> Any:
    return composition.objects(Settings.model_validate_json(settings)).keyed(kms_key)


def _leave(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.rename(path)
