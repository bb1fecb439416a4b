"""The hosting reconciler: makes the model servers that run be those that the endpoint rows ask for.

One server of an installation hosts its endpoints, because requests reach replicas through Unix sockets on its machine.
"""

from __future__ import annotations

import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from pilothouse import names
from pilothouse.catalog import endpoint_updates, hosting
from pilothouse.clock import now
from pilothouse.config import Settings
from pilothouse.errors import ConfigurationError, StoreAway
from pilothouse.hosting.archives import Archives
from pilothouse.hosting.fleet import Fleet
from pilothouse.hosting.keeper import Keeper, Shop
from pilothouse.hosting.sockets import emptied, runtime_folder
from pilothouse.launch.base import Launcher
from pilothouse.launch.slots import memory_share
from pilothouse.objects.base import Objects
from pilothouse.store.store import Resource, Store
from pilothouse.volumes import Volumes
from pilothouse.work.endpoint_rows import WANTED, EndpointRows
from pilothouse.work.rollout import Rollout, failure_reason

_POLL = 0.05


class HostingReconciler:
    """Call `tick` a few times a second from one thread, and `stop` from the same one at the end.

    What runs is forgotten with the process: the launcher ends all replicas when its owner dies, and the next start
    finds the rows and starts them again.
    """

    def __init__(self, store: Store, objects: Objects, launcher: Launcher, settings: Settings) -> None:
        self._rows = EndpointRows(store)
        self._rollout = Rollout(self._rows)
        self._objects, self._volumes = objects, Volumes(settings)
        self._archives = Archives(objects, settings.work_root / "models")
        self._keyed: Archives | None = None
        self._keyed_lock = threading.Lock()
        self._starter = ThreadPoolExecutor(max_workers=2, thread_name_prefix="replica-start")
        logs = emptied(settings.work_root / "endpoints")
        sockets = runtime_folder(settings.home)
        limit = memory_share(settings)
        self._shop = Shop(store, self._archives, self._with_key, launcher, self._starter, sockets, logs, limit)
        self._host = names.token()
        self._fleets: dict[int, Fleet] = {}
        self._tidied: set[int] = set()
        self._log = structlog.get_logger()

    def tick(self) -> None:
        """One look at all endpoints; each makes its next move."""
        rows = self._rows.all()
        for seq, fleet in list(self._fleets.items()):
            fleet.step()
            if seq not in rows:
                self._disband(fleet)
        for row in rows.values():
            self._reconcile(row, self._fleets.get(row.seq))

    def stop(self, timeout: float) -> None:
        """Ends all replicas: those at work may finish within `timeout` seconds. The rows stay as they are."""
        deadline = time.monotonic() + timeout
        for fleet in self._fleets.values():
            fleet.published = []
            with suppress(StoreAway):  # the next server says so when it takes the row up
                self._rows.write(fleet.row, hosting.INVOCABLE, {"_replicas": None})
            fleet.stop()
        self._wait_until_down(deadline)
        for fleet in self._fleets.values():
            fleet.kill()
        self._starter.shutdown(wait=False, cancel_futures=True)
        self._rows.close()
        shutil.rmtree(self._shop.sockets, ignore_errors=True)

    def _wait_until_down(self, deadline: float) -> None:
        while time.monotonic() < deadline and not all(fleet.down for fleet in self._fleets.values()):
            time.sleep(_POLL)
            for fleet in self._fleets.values():
                fleet.step()

    def _reconcile(self, row: Resource, fleet: Fleet | None) -> None:
        if row.status == hosting.DELETING:
            if fleet is None or self._disband(fleet):
                self._delete(row)
        elif row.status == hosting.FAILED:
            if fleet is not None:
                self._disband(fleet)
        elif fleet is None:
            self._adopt(row)
        elif row.status == hosting.CREATING:
            self._create(fleet)
        elif row.status == hosting.UPDATING:
            self._rollout.advance(row, fleet)
        elif row.status == hosting.ROLLING_BACK:
            self._rollout.retreat(row, fleet)
        else:
            self._rollout.show(row, fleet)

    def _adopt(self, row: Resource) -> None:
        """Takes up a new row, or one that an earlier server left: what it says of replicas is no longer true."""
        shift = row.state.get(endpoint_updates.SHIFT)
        unsaid = {endpoint_updates.SHIFT: {**shift, "replicas": []}} if shift else {}
        adopted = self._rows.write(row, WANTED, {"_host": self._host, "_replicas": None, **unsaid})
        if adopted is None:
            return
        fleet = self._rollout.fleet(adopted, self._shop)
        self._fleets[adopted.seq] = fleet
        fleet.step()

    def _create(self, fleet: Fleet) -> None:
        hopeless = fleet.hopeless
        if hopeless is not None:
            self._fail(fleet, hopeless)
        elif fleet.complete:
            variants = hosting.described_variants(fleet.row.state["_variants"], now())
            self._rows.publish(fleet, hosting.IN_SERVICE, variants)
            self._log.info("endpoint in service", endpoint=fleet.row.name, replicas=fleet.size)

    def _fail(self, fleet: Fleet, keeper: Keeper) -> None:
        reason = failure_reason(fleet, keeper)
        state = {"FailureReason": reason, "_replicas": None}
        self._rows.write(fleet.row, (hosting.CREATING,), state, hosting.FAILED)
        self._log.warning("endpoint failed", endpoint=fleet.row.name, reason=reason)
        fleet.stop()

    def _disband(self, fleet: Fleet) -> bool:
        """Stops a fleet, and drops it once it is down; whether it is."""
        fleet.stop()
        if fleet.down:
            self._fleets.pop(fleet.row.seq, None)
        return fleet.down

    def _delete(self, row: Resource) -> None:
        if row.seq not in self._tidied:  # before the row goes, so that whoever is killed in between tidies again
            self._tidy()
            self._tidied.add(row.seq)
        if self._rows.delete(row):
            self._tidied.discard(row.seq)

    def _tidy(self) -> None:
        """Removes the unpacked archives that no endpoint needs: the rows say which, since at a start not all of them
        have been taken up yet.
        """
        with suppress(ConfigurationError, OSError):
            if self._volumes.root.exists():
                self._with_key()
        rows = [row for row in self._rows.all().values() if row.status in WANTED]
        variants = [variant for row in rows for variant in endpoint_updates.variants(row.state)]
        for archives, keyed in ((self._archives, False), (self._keyed, True)):
            containers = [one for each in variants if hosting.keyed(each) == keyed for one in each["Containers"]]
            if archives is not None:
                archives.keep_only(address for one in containers if (address := hosting.archive_uri(one)))

    def _with_key(self) -> Archives:
        """The archives of endpoints with a key; in any thread. `ConfigurationError` if it can't be honoured here."""
        root = self._volumes.opened()
        with self._keyed_lock:
            self._keyed = self._keyed or Archives(self._objects, root / "keyed-models")
            return self._keyed
