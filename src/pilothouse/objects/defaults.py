"""How a bucket of a directory store has objects encrypted whose writers don't say: a file in the bucket's folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from pilothouse.objects.base import Encryption
from pilothouse.objects.stored import sync_folder
from pilothouse.private_file import write_private

_FILE = "encryption.json"


def read(folder: str) -> Encryption | None:
    """That of the bucket in `folder`, if it has one."""
    path = f"{folder}/{_FILE}"
    if not os.access(path, os.F_OK):  # asked at each put, and mostly there is none
        return None
    try:
        return Encryption(**json.loads(Path(path).read_bytes()))
    except FileNotFoundError:
        return None


def write(folder: Path, encryption: Encryption | None) -> None:
    """Give the bucket in `folder` another, or none."""
    if encryption is not None:
        write_private(folder / _FILE, json.dumps(asdict(encryption)))
        return
    (folder / _FILE).unlink(missing_ok=True)
    sync_folder(folder)
