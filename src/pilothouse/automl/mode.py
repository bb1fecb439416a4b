"""Which mode a job trains in."""

from __future__ import annotations

from typing import Any

from pilothouse.catalog import algorithms
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.errors import DataError, ValidationError
from pilothouse.objects import manifest
from pilothouse.objects.base import Objects

LARGE = 100_000_000
"""Bytes of data, as stored, from which on AUTO tunes: AWS's 100 MB."""


def chosen(objects: Objects, spec: TabularJob) -> dict[str, Any]:
    """`mode`: the one that was asked for; ENSEMBLING if none was. `bytes`: the size of the data, None where the mode
    does not go by it.

    AUTO tunes large data, unless rows are weighed, which only ensembling does.
    """
    mode, size = spec.mode or algorithms.ENSEMBLING_MODE, None
    if mode != algorithms.ENSEMBLING_MODE:
        size = stored_bytes(objects, spec)
    if mode == algorithms.AUTO:
        small = spec.weight is not None or (size or 0) < LARGE
        mode = algorithms.ENSEMBLING_MODE if small else algorithms.TUNING_MODE
    return {"mode": mode, "bytes": size}


def stored_bytes(objects: Objects, spec: TabularJob) -> int:
    """The bytes of all objects of all channels, as they are stored. `DataError` if there are none."""
    try:
        found = [manifest.expand(objects, channel.data_type, channel.uri) for channel in spec.channels]
    except ValidationError as error:
        raise DataError(error.message) from error
    return sum(info.size for infos in found for info in infos)
