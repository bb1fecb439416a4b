"""The end of a job that nobody goes on with: what it had under way ends first, then the job itself."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import structlog

from pilothouse import clock
from pilothouse.store.leases import Lease
from pilothouse.store.store import Store
from pilothouse.work.kinds import ACTIVE, KINDS, PARTS, JobKind, ending

journal = structlog.get_logger()


def fail(store: Store, kind: JobKind, lease: Lease, reason: str, kinds: Mapping[str, JobKind] = KINDS) -> None:
    """Gives the job of `lease` the status Failed for `reason` if it has none yet; `LeaseLost` if it is another's.

    The job comes last: whoever is killed before leaves one that will be claimed again.
    """
    _end_children(store, kind, lease, kinds)
    state = {**_aftermath(store, kind, lease), **ending(kind, "Failed", clock.now(), reason)}
    store.update(kind.kind, lease.name, status="Failed", state=state, lease=lease, expect_status=ACTIVE)


def _end_children(store: Store, kind: JobKind, lease: Lease, kinds: Mapping[str, JobKind]) -> None:
    reason = f"InternalServerError: The {kind.kind} {lease.name} failed before this one had ended."
    known = PARTS | dict(kinds)
    for each in (known[name] for name in kind.children):
        for child in store.children(each.kind, (kind.kind, lease.name)):
            if child.status in ACTIVE:
                state = ending(each, "Failed", clock.now(), reason)
                store.update(each.kind, child.name, status="Failed", state=state, lease=lease, expect_status=ACTIVE)


def _aftermath(store: Store, kind: JobKind, lease: Lease) -> dict[str, Any]:
    """What the kind's own code has to say; if that fails too, the job ends without it."""
    row = store.get(kind.kind, lease.name)
    if row is None or kind.aftermath is None:
        return {}
    module, _, name = kind.aftermath.partition(":")
    try:
        state: dict[str, Any] = getattr(importlib.import_module(module), name)(store, row)
    except Exception:
        journal.exception("the last state of a failed job could not be told", kind=row.kind, name=row.name)
        return {}
    return state
