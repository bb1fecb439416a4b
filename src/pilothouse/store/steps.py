"""Steps: the parts of a job that are done, each recorded once with its result."""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import IntegrityError

from pilothouse import clock
from pilothouse.errors import PilothouseError
from pilothouse.store import statements
from pilothouse.store.engine import OnDatabase
from pilothouse.store.leases import Lease, guard, progressed
from pilothouse.store.resource import decoded, encoded
from pilothouse.store.tables import steps


class StepRecorded(PilothouseError):
    """This step of the job has a result already. Read it with `recorded` in place of doing the step again."""


class Steps:
    """The recorded steps of jobs. They stay when a lease passes on, and go when the job is deleted."""

    def __init__(self, store: OnDatabase) -> None:
        self._database = store.database

    def recorded(self, lease: Lease) -> dict[str, Any]:
        """The results of all steps that this job has recorded, under any lease, by step, in the order of recording."""
        with self._database.read() as connection:
            rows = connection.execute(statements.steps_of(lease.kind, lease.name))
            return {row.step: decoded(row.result) for row in rows}

    def record(self, lease: Lease, step: str, result: dict[str, Any]) -> None:
        """Record that `step` is done. Durable at return.

        `LeaseLost` if another worker holds the job now, `StepRecorded` if the step is recorded already; then nothing
        is written.
        """
        with self._database.write() as connection:
            seq = guard(connection, lease)
            row = {
                "resource_seq": seq,
                "step": step,
                "position": connection.execute(statements.steps_recorded(seq)).scalar_one(),
                "result": encoded(result),
                "attempt": lease.attempt,
                "recorded_at": clock.now(),
            }
            try:
                connection.execute(steps.insert(), row)
            except IntegrityError as error:
                raise StepRecorded(f'Step "{step}" of {lease.kind} "{lease.name}" has a result already.') from error
            progressed(connection, seq)
