"""The entry of a job process: from the claimed lease to the job's terminal status."""

from __future__ import annotations

import importlib
import json
import os
import tempfile
import time
import traceback
from typing import Any

import structlog

from pilothouse import clock, composition, logs
from pilothouse.catalog import kms
from pilothouse.composition import Back
from pilothouse.config import Settings
from pilothouse.errors import ConfigurationError, JobFailed, LeaseLost, StoreAway, reason_of
from pilothouse.launch.local import NurseryLauncher
from pilothouse.store.leases import Lease
from pilothouse.volumes import Volumes
from pilothouse.work.failure import fail
from pilothouse.work.job import Job
from pilothouse.work.kinds import ACTIVE, JobKind, ending
from pilothouse.work.scratch import clear
from pilothouse.work.watchdog import LEASE_LOST, STORE_AWAY, Watchdog

_LONGEST_PAUSE = 30

journal = structlog.get_logger()


def main(kind: dict[str, Any], name: str, token: str, attempt: int, settings: str) -> None:
    """Does the job that `token` leases. `kind` holds a `JobKind`'s fields, `settings` is the JSON of `Settings`.

    When it returns, the job's row has a terminal status and the lease is given back. Any other end of the process
    leaves the row as it is, for the next attempt.
    """
    configured = Settings(**json.loads(settings))
    logs.configure(configured.log_level)
    back = composition.back(configured)
    job_kind = JobKind(**kind)
    lease = Lease(job_kind.kind, name, token, attempt)
    watchdog = Watchdog(back.leases, lease)
    watchdog.start()
    try:
        _do(job_kind, lease, back)
    except LeaseLost:
        os._exit(LEASE_LOST)
    except StoreAway as error:
        journal.warning("the job goes on later", kind=lease.kind, name=name, error=error.message)
        time.sleep(min(attempt, _LONGEST_PAUSE))  # the supervisor, whose connections may last, would begin anew at once
        os._exit(STORE_AWAY)
    watchdog.stop()
    back.leases.release(lease)
    back.store.close()


def _do(kind: JobKind, lease: Lease, back: Back) -> None:
    launcher = NurseryLauncher.here()
    job = Job(kind, lease, store=back.store, objects=back.objects, launcher=launcher, settings=back.settings)
    journal.info("job begins", kind=kind.kind, name=job.name, attempt=lease.attempt)
    conclude(job)
    journal.info("job ended", kind=kind.kind, name=job.name, status=job.refresh().status)
    launcher.close()
    clear(back.settings, kind.kind, job.name)


def conclude(job: Job) -> None:
    """Runs the job's own code and gives the row a terminal status where that code has not."""
    try:
        _settle_in(job)
        _target(job.kind.target)(job)
    except (LeaseLost, StoreAway):  # the next attempt goes on
        raise
    except (JobFailed, ConfigurationError) as failure:
        job.log(f"Failed: {failure.message}")
        fail(job.store, job.kind, job.lease, failure.message)
    except Exception as error:
        job.log(traceback.format_exc())
        fail(job.store, job.kind, job.lease, reason_of(error))
    else:
        _end(job, "Stopped" if job.refresh().stop_requested else "Completed")


def _settle_in(job: Job) -> None:
    """Makes the scratch folder. If that is a volume with a key, temporary files of this process are there too."""
    folder = str(job.directory)
    if kms.of_volume(job.request):
        journal.info(f"keys of volumes {Volumes(job.settings).meaning()}", name=job.name, folder=folder)
        tempfile.tempdir = folder


def _target(target: str) -> Any:
    module, _, function = target.partition(":")
    return getattr(importlib.import_module(module), function)


def _end(job: Job, status: str) -> None:
    state = ending(job.kind, status, clock.now())
    job.store.update(job.kind.kind, job.name, status=status, state=state, lease=job.lease, expect_status=ACTIVE)
