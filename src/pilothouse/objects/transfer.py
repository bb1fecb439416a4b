"""Whole files to and from an object store, in bounded memory."""

from __future__ import annotations

import shutil
from pathlib import Path

from pilothouse.names import token
from pilothouse.objects import uri as uris
from pilothouse.objects.base import CHUNK, Objects


def download(objects: Objects, uri: str, path: Path) -> None:
    """Copy an object to `path`, making its folder; the file appears whole or not at all."""
    bucket, key = uris.parse(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{token(16)}")
    try:
        with objects.open(bucket, key) as source, draft.open("xb") as target:
            shutil.copyfileobj(source, target, CHUNK)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def upload(objects: Objects, path: Path, uri: str) -> None:
    """Copy the file at `path` to an object."""
    bucket, key = uris.parse(uri)
    with path.open("rb") as source:
        objects.put(bucket, key, source)
