"""Composition: which implementation stands behind each interface, decided here and nowhere else.

Implementations are imported where they are built, so that the front loads nothing of the back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pilothouse.config import Settings

if TYPE_CHECKING:
    from pilothouse.objects.base import Objects
    from pilothouse.operations.context import Context
    from pilothouse.store.leases import Leases
    from pilothouse.store.store import Store
    from pilothouse.work.supervisor import Supervisor


@dataclass(frozen=True)
class Back:
    """What the processes that do the work share."""

    settings: Settings
    store: Store
    leases: Leases
    objects: Objects


def front(settings: Settings, store: Store, wake: Callable[[], None]) -> Context:
    """What API operations work on. `wake` is called when there is new work."""
    from pilothouse.operations.context import Context

    return Context(settings, store, objects(settings), wake)


def back(settings: Settings) -> Back:
    """What a job process works on."""
    from pilothouse.store.leases import Leases

    opened = store(settings)
    return Back(settings, opened, Leases(opened), objects(settings))


@contextmanager
def worker(settings: Settings, opened: Store, *, drain: float) -> Iterator[Supervisor]:
    """A started supervisor of jobs and endpoints with its nursery; both end with the block, within `drain` seconds.

    It shares the server's store: threads that write to one `Database` queue, where SQLite lets two sleep and try again.
    """
    from pilothouse.launch.local import LocalLauncher
    from pilothouse.objects.directory import DirectoryObjects
    from pilothouse.store.leases import Leases
    from pilothouse.work.async_invocations import AsyncInvocations
    from pilothouse.work.hosting import HostingReconciler
    from pilothouse.work.supervisor import Supervisor

    if settings.launcher == "docker":
        from pilothouse.launch.engine import engine

        engine()  # or its reason why there is none
    stored = objects(settings)
    if isinstance(stored, DirectoryObjects):
        stored.sweep()
    launcher = LocalLauncher(settings)
    hosting = HostingReconciler(opened, stored, launcher, settings)
    invocations = AsyncInvocations(opened, stored, settings)
    supervisor = Supervisor(opened, Leases(opened), launcher, settings, reconcilers=[hosting, invocations])
    try:
        supervisor.start()
        yield supervisor
    finally:
        supervisor.stop(drain)
        launcher.close()


def store(settings: Settings) -> Store:
    """The metadata store; `Store.migrate` brings its tables up to date."""
    from pilothouse.store.store import Store

    return Store(settings.database, region=settings.region, account=settings.account_id)


def objects(settings: Settings) -> Objects:
    """The object store: a real S3 where one is set, else a folder in the home."""
    if settings.s3_endpoint:
        from pilothouse.objects.s3 import RemoteObjects

        return RemoteObjects(settings.s3_endpoint, settings.region)
    from pilothouse.objects.directory import DirectoryObjects

    return DirectoryObjects(settings.objects_root, settings.master_keys_file)
