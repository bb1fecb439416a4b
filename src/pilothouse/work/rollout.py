"""Rollout: carries out the updates of endpoints, one move at a time.

What the next move is follows from the row and the clock, so that another server goes on where one was killed.
"""

from __future__ import annotations

from typing import Any

import structlog

from pilothouse.catalog import endpoint_updates, hosting, traffic_shifts
from pilothouse.catalog.endpoint_updates import NOTE, SHIFT
from pilothouse.clock import now
from pilothouse.hosting.fleet import Fleet
from pilothouse.hosting.keeper import Keeper, Shop
from pilothouse.store.store import Resource
from pilothouse.work.endpoint_rows import EndpointRows

_REASON_LIMIT = 1024
_GOES_ON = " The endpoint goes on as it was before the update."
_MIXED = (
    " The update was not taken back: replicas of both configurations serve. Update the endpoint again, or delete it."
)


class Rollout:
    """Call a move a few times a second: `advance` for each endpoint that is Updating, `retreat` for one RollingBack.

    `show` for any other that answers.
    """

    def __init__(self, rows: EndpointRows) -> None:
        self._rows = rows
        self._log = structlog.get_logger()

    def fleet(self, row: Resource, shop: Shop) -> Fleet:
        """The replicas that an endpoint is served by before its next move: not all, if they are replaced in batches."""
        if endpoint_updates.is_mixed(row.state):
            share = traffic_shifts.share(row.state)
            return Fleet(row, shop, 1 - share, (row.state[SHIFT]["variants"], share))
        if not traffic_shifts.is_rolling(row.state):
            return Fleet(row, shop)
        is_back = row.status == hosting.ROLLING_BACK
        old, _ = traffic_shifts.retreat(row.state) if is_back else traffic_shifts.fleets(row.state)
        return Fleet(row, shop, old)

    def advance(self, row: Resource, fleet: Fleet) -> None:
        """The next move of an update: the old replicas serve until all of the new ones answer, or one can't."""
        at = now()
        if traffic_shifts.is_rolling(row.state):
            old, new = traffic_shifts.fleets(row.state)
            fleet.keep(row.state["_variants"], old)
            self._prepare(row, fleet, new if fleet.settled else traffic_shifts.share(row.state))
        else:
            self._prepare(row, fleet)
        hopeless = fleet.hopeless
        if hopeless is not None:
            self._turn_back(row, fleet, failure_reason(fleet, hopeless, _GOES_ON))
        elif traffic_shifts.is_late(row.state, at):
            why = "The update took longer than MaximumExecutionTimeoutInSeconds allows."
            self._turn_back(row, fleet, why + _GOES_ON)
        elif fleet.ready and fleet.settled and traffic_shifts.is_over(row.state, at):
            self._shift(row, fleet, at)
        else:
            self.show(row, fleet)

    def retreat(self, row: Resource, fleet: Fleet) -> None:
        """The next move of a rolling update that is taken back: the new replicas serve until the old ones are back.

        An old one that can't come to life ends that, and what serves then goes on.
        """
        old, new = traffic_shifts.retreat(row.state)
        fleet.keep(row.state["_variants"], old)
        self._prepare(row, fleet, new)
        stuck = fleet.stuck
        if stuck is not None:
            self._stay(row, fleet, failure_reason(fleet, stuck, _MIXED))
        elif not fleet.complete:
            self.show(row, fleet)
        elif old < 1:
            shift = {**row.state[SHIFT], "share": 1 - old}
            self._move(fleet, shift)
        else:
            self._end_as_before(row, fleet, row.state.get("FailureReason"))

    def _prepare(self, row: Resource, fleet: Fleet, share: float = 1.0) -> None:
        """Makes the new replicas run, or a share of them."""
        variants = endpoint_updates.outcome(row.state)["_variants"]
        fleet.prepare(variants, anew=endpoint_updates.is_replacement(row.state), share=share)

    def show(self, row: Resource, fleet: Fleet) -> None:
        """Says in the row which replicas answer by now, on both sides if both have a share of the traffic."""
        shift = row.state.get(SHIFT)
        if shift and shift["replicas"] != fleet.beside_addresses:
            self._move(fleet, shift)
        elif fleet.addresses != fleet.published:
            self._rows.publish(fleet)

    def _shift(self, row: Resource, fleet: Fleet, at: float) -> None:
        """Moves traffic to the new replicas, or a further share of it, once nothing has to make room for them."""
        baked = traffic_shifts.baked(row.state)
        if baked is not None:
            self._move(fleet, baked)
            return
        if traffic_shifts.is_last(row.state):
            self._take_over(row, fleet)
            return
        shift = traffic_shifts.begun(row.state, fleet.coming_addresses, at)
        self._move(fleet, shift)
        self._log.info("traffic shifted", endpoint=row.name, share=shift["share"])

    def _move(self, fleet: Fleet, shift: dict[str, Any]) -> None:
        state = {SHIFT: {**shift, "replicas": fleet.beside_addresses}}
        self._rows.publish(fleet, state=state)

    def _take_over(self, row: Resource, fleet: Fleet) -> None:
        replicas = fleet.coming_addresses
        state = {**endpoint_updates.finished(row.state, now()), "_replicas": replicas, SHIFT: None}
        if self._rows.write(row, (hosting.UPDATING,), state, hosting.IN_SERVICE) is None:
            return
        fleet.take_over(traffic_shifts.termination_wait(row.state))
        fleet.published = replicas
        self._log.info("endpoint updated", endpoint=row.name, replicas=fleet.size)

    def _turn_back(self, row: Resource, fleet: Fleet, reason: str) -> None:
        """Ends an update that can't succeed, at once unless old replicas may have ended already."""
        self._log.warning("endpoint not updated", endpoint=row.name, reason=reason)
        if traffic_shifts.is_rolling(row.state) and row.state.get(SHIFT):
            self._rows.write(row, (hosting.UPDATING,), {"FailureReason": reason}, hosting.ROLLING_BACK)
        else:
            self._end_as_before(row, fleet, reason)

    def _stay(self, row: Resource, fleet: Fleet, reason: str) -> None:
        """Ends a rollback that can't succeed: both sides serve on by their shares, until another update."""
        self._log.warning("endpoint not rolled back", endpoint=row.name, reason=reason)
        state = {"FailureReason": reason, NOTE: None, SHIFT: endpoint_updates.mixed(row.state)}
        if self._rows.write(row, (hosting.ROLLING_BACK,), state, hosting.ROLLBACK_FAILED) is None:
            return
        fleet.hold()
        fleet.keep(row.state["_variants"], 1 - traffic_shifts.share(row.state))

    def _end_as_before(self, row: Resource, fleet: Fleet, reason: str | None) -> None:
        """The endpoint serves what it served before the update."""
        is_mixed, addresses = endpoint_updates.is_mixed(row.state), fleet.addresses
        status = hosting.ROLLBACK_FAILED if is_mixed else hosting.IN_SERVICE
        shift = row.state[SHIFT] if is_mixed else None
        state = {"FailureReason": reason, NOTE: None, SHIFT: shift, "_replicas": addresses}
        if self._rows.write(row, hosting.CHANGING, state, status) is None:
            return
        fleet.published = addresses
        fleet.give_up()


def failure_reason(fleet: Fleet, keeper: Keeper, more: str = "") -> str:
    """The FailureReason of an endpoint whose replica does not come to life."""
    end = f"{more} See the log group {hosting.log_group(fleet.row.name)}."
    return f"Variant {keeper.place.variant}: {keeper.reason}"[: _REASON_LIMIT - len(end)] + end
