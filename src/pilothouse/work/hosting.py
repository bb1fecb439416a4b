"""The hosting reconciler: makes the model servers that run be those that the endpoint rows ask for.

One server of an installation hosts its endpoints, because requests reach replicas through Unix sockets on its machine.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog

from pilothouse import names
from pilothouse.catalog import endpoint_updates, hosting, traffic_shifts
from pilothouse.clock import now
from pilothouse.config import Settings
from pilothouse.errors import ResourceNotFound
from pilothouse.hosting.archives import Archives
from pilothouse.hosting.fleet import Fleet
from pilothouse.hosting.keeper import Keeper, Shop
from pilothouse.hosting.sockets import emptied, runtime_folder
from pilothouse.launch.base import Launcher
from pilothouse.launch.slots import memory_share
from pilothouse.objects.base import Objects
from pilothouse.store.changes import Changes
from pilothouse.store.store import Resource, Store

_WANTED = (hosting.CREATING, *hosting.INVOCABLE)
_REASON_LIMIT = 1024
_GOES_ON = " The endpoint goes on as it was before the update."
_PAGE = 100
_POLL = 0.05


class HostingReconciler:
    """Call `tick` a few times a second from one thread, and `stop` from the same one at the end.

    What runs is forgotten with the process: the launcher ends all replicas when its owner dies, and the next start
    finds the rows and starts them again.
    """

    def __init__(self, store: Store, objects: Objects, launcher: Launcher, settings: Settings) -> None:
        self._store = store
        self._changes = Changes(store)
        self._seen: dict[int, Resource] | None = None
        self._archives = Archives(objects, settings.work_root / "models")
        self._starter = ThreadPoolExecutor(max_workers=2, thread_name_prefix="replica-start")
        logs = emptied(settings.work_root / "endpoints")
        sockets = runtime_folder(settings.home)
        limit = memory_share(settings)
        self._shop = Shop(store, self._archives, launcher, self._starter, sockets, logs, limit)
        self._host = names.token()
        self._fleets: dict[int, Fleet] = {}
        self._log = structlog.get_logger()

    def tick(self) -> None:
        """One look at all endpoints; each makes its next move."""
        rows = self._rows()
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
            self._write(fleet.row.name, hosting.INVOCABLE, {"_replicas": None})
            fleet.stop()
        self._wait_until_down(deadline)
        for fleet in self._fleets.values():
            fleet.kill()
        self._starter.shutdown(wait=False, cancel_futures=True)
        self._changes.close()
        shutil.rmtree(self._shop.sockets, ignore_errors=True)

    def _wait_until_down(self, deadline: float) -> None:
        while time.monotonic() < deadline and not all(fleet.down for fleet in self._fleets.values()):
            time.sleep(_POLL)
            for fleet in self._fleets.values():
                fleet.step()

    def _rows(self) -> dict[int, Resource]:
        """All endpoints, by number; read again when something has been written."""
        if self._changes.any() or self._seen is None:
            self._seen = None
            self._seen = {row.seq: row for row in self._read()}
        return self._seen

    def _read(self) -> Iterator[Resource]:
        after = None
        while True:
            page = self._store.find(hosting.ENDPOINT, sort="created", after=after, limit=_PAGE)
            yield from page
            if len(page) < _PAGE:
                return
            after = page[-1].cursor("created")

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
            self._change(row, fleet)
        elif fleet.addresses != fleet.published:
            self._publish(fleet)

    def _adopt(self, row: Resource) -> None:
        """Takes up a new row, or one that an earlier server left: what it says of replicas is no longer true."""
        shift = row.state.get(endpoint_updates.SHIFT)
        unsaid = {endpoint_updates.SHIFT: {**shift, "replicas": []}} if shift else {}
        adopted = self._write(row.name, _WANTED, {"_host": self._host, "_replicas": None, **unsaid})
        if adopted is None:
            return
        fleet = Fleet(adopted, self._shop)
        self._fleets[adopted.seq] = fleet
        fleet.step()

    def _create(self, fleet: Fleet) -> None:
        hopeless = fleet.hopeless
        if hopeless is not None:
            self._fail(fleet, hopeless)
        elif fleet.complete:
            variants = hosting.described_variants(fleet.row.state["_variants"], now())
            self._publish(fleet, status=hosting.IN_SERVICE, state={"ProductionVariants": variants})
            self._log.info("endpoint in service", endpoint=fleet.row.name, replicas=fleet.size)

    def _change(self, row: Resource, fleet: Fleet) -> None:
        """The next move of an update: the old replicas serve until all of the new ones answer, or one can't."""
        if not fleet.changing:
            variants = endpoint_updates.outcome(row.state)["_variants"]
            fleet.prepare(variants, anew=endpoint_updates.is_replacement(row.state))
        hopeless = fleet.hopeless
        if hopeless is not None:
            self._roll_back(fleet, _reason(fleet, hopeless, _GOES_ON))
        elif traffic_shifts.is_late(row.state, now()):
            self._roll_back(fleet, "The update took longer than MaximumExecutionTimeoutInSeconds allows." + _GOES_ON)
        elif fleet.ready and self._has_baked(row):
            self._shift(row, fleet)
        elif self._is_shown(row, fleet):
            if fleet.addresses != fleet.published:
                self._publish(fleet)
        else:
            shift = {**row.state[endpoint_updates.SHIFT], "replicas": fleet.coming_addresses}
            self._write(row.name, (hosting.UPDATING,), {endpoint_updates.SHIFT: shift})

    def _has_baked(self, row: Resource) -> bool:
        """Whether the next step of an update may begin."""
        shift = row.state.get(endpoint_updates.SHIFT)
        return not shift or now() >= shift["until"]

    def _is_shown(self, row: Resource, fleet: Fleet) -> bool:
        """Whether the row names the new replicas that get a share of the traffic, if some do."""
        shift = row.state.get(endpoint_updates.SHIFT)
        return not shift or shift["replicas"] == fleet.coming_addresses

    def _shift(self, row: Resource, fleet: Fleet) -> None:
        """Moves traffic to the new replicas, or a further share of it."""
        if traffic_shifts.is_last(row.state):
            self._take_over(row, fleet)
            return
        shift = traffic_shifts.begun(row.state, fleet.coming_addresses, now())
        self._write(row.name, (hosting.UPDATING,), {endpoint_updates.SHIFT: shift})
        self._log.info("traffic shifted", endpoint=row.name, share=shift["share"])

    def _take_over(self, row: Resource, fleet: Fleet) -> None:
        replicas = fleet.coming_addresses
        state = {**endpoint_updates.finished(row.state, now()), "_replicas": replicas, endpoint_updates.SHIFT: None}
        if self._write(row.name, (hosting.UPDATING,), state, hosting.IN_SERVICE) is None:
            return
        is_new = endpoint_updates.is_replacement(row.state)
        fleet.take_over(traffic_shifts.policy(row.state).get("TerminationWaitInSeconds", 0) if is_new else 0)
        fleet.published = replicas
        self._log.info("endpoint updated", endpoint=row.name, replicas=fleet.size)

    def _roll_back(self, fleet: Fleet, reason: str) -> None:
        """Ends an update that can't succeed; the endpoint serves what it served before."""
        state = {"FailureReason": reason, endpoint_updates.NOTE: None, endpoint_updates.SHIFT: None}
        self._write(fleet.row.name, (hosting.UPDATING,), state, hosting.IN_SERVICE)
        self._log.warning("endpoint not updated", endpoint=fleet.row.name, reason=reason)
        fleet.give_up()

    def _publish(self, fleet: Fleet, status: str | None = None, state: dict[str, Any] | None = None) -> None:
        addresses = fleet.addresses
        self._write(fleet.row.name, _WANTED, {**(state or {}), "_replicas": addresses}, status)
        fleet.published = addresses

    def _fail(self, fleet: Fleet, keeper: Keeper) -> None:
        reason = _reason(fleet, keeper)
        state = {"FailureReason": reason, "_replicas": None}
        self._write(fleet.row.name, (hosting.CREATING,), state, hosting.FAILED)
        self._log.warning("endpoint failed", endpoint=fleet.row.name, reason=reason)
        fleet.stop()

    def _write(
        self, name: str, statuses: tuple[str, ...], state: dict[str, Any], status: str | None = None
    ) -> Resource | None:
        """Writes to a row unless it is in another status, or gone, by now."""
        try:
            return self._store.update(hosting.ENDPOINT, name, status=status, state=state, expect_status=statuses)
        except ResourceNotFound:
            return None

    def _disband(self, fleet: Fleet) -> bool:
        """Stops a fleet, and drops it once it is down; whether it is."""
        fleet.stop()
        if fleet.down:
            self._fleets.pop(fleet.row.seq, None)
        return fleet.down

    def _delete(self, row: Resource) -> None:
        self._store.delete(hosting.ENDPOINT, row.name)
        self._tidy()

    def _tidy(self) -> None:
        """Removes the unpacked archives that no replica needs."""
        fleets = self._fleets.values()
        self._archives.keep_only(
            address
            for fleet in fleets
            for keeper in fleet
            for container in keeper.place.containers
            if (address := hosting.archive_uri(container))
        )


def _reason(fleet: Fleet, keeper: Keeper, more: str = "") -> str:
    """The FailureReason of an endpoint whose replica does not come to life."""
    end = f"{more} See the log group {hosting.log_group(fleet.row.name)}."
    return f"Variant {keeper.place.variant}: {keeper.reason}"[: _REASON_LIMIT - len(end)] + end
