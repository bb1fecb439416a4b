"""One-click deployment: the best candidate's containers as a model, an endpoint configuration and an endpoint."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pilothouse import names
from pilothouse.catalog import hosting, kms
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.errors import JobFailed, ResourceInUse
from pilothouse.store.store import Resource
from pilothouse.training.task import StopRequested

if TYPE_CHECKING:
    from pilothouse.work.job import Job

SECONDS = 3.0
"""What a job with a time limit keeps back, so that it can begin to deploy before its time is over."""

_NAME_LIMIT = 63
_IN_SERVICE_SECONDS = 240.0
_POLL_SECONDS = 0.1


def run(job: Job, spec: TabularJob, best: Resource) -> dict[str, Any]:
    """Deploys `best` and waits until its endpoint answers. JobFailed with the reason when it does not."""
    model = names.shortened(best.name, _NAME_LIMIT)
    endpoint = endpoint_name(job, spec)
    model_request = hosting.model_request(model, best.state["InferenceContainers"], spec.role_arn)
    config_request = hosting.endpoint_config_request(endpoint, model)
    if key := kms.of_volume(job.request):
        config_request["KmsKeyId"] = key
    _insert(job, hosting.MODEL, model, model_request)
    _insert(job, hosting.ENDPOINT_CONFIG, endpoint, config_request)
    _insert(
        job,
        hosting.ENDPOINT,
        endpoint,
        hosting.endpoint_request(endpoint, endpoint),
        status=hosting.CREATING,
        state=hosting.endpoint_state(config_request, {model: model_request}),
    )
    _wait(job, endpoint)
    result = {"EndpointName": endpoint}
    job.update(state={"ModelDeployResult": result})
    return result


def has_begun(job: Job, spec: TabularJob) -> bool:
    """Whether an earlier run of the job has inserted its endpoint, which must not be left without the job saying so."""
    row = job.store.get(hosting.ENDPOINT, endpoint_name(job, spec))
    return row is not None and row.parent == (job.resource.kind, job.resource.name)


def withdraw(job: Job, spec: TabularJob) -> None:
    """Deletes the endpoint that a job which was stopped has begun, unless the job says that it has it."""
    if spec.deploy is None or "ModelDeployResult" in job.resource.state or not has_begun(job, spec):
        return
    name, statuses = endpoint_name(job, spec), (hosting.CREATING, hosting.IN_SERVICE, hosting.FAILED)
    row = job.store.request_stop(hosting.ENDPOINT, name, status=hosting.DELETING, from_statuses=statuses)
    if row is not None and "_host" not in row.state:  # no server took it up, so there is nothing to stop
        job.store.delete(hosting.ENDPOINT, name, seq=row.seq)


def endpoint_name(job: Job, spec: TabularJob) -> str:
    """The name that the request gives, or one of the job's own that comes out the same after a crash."""
    given = (spec.deploy or {}).get("EndpointName")
    return given or f"{job.name}-{names.digest(f'{job.resource.arn} {job.resource.created_at}')}"


def _insert(job: Job, kind: str, name: str, request: dict[str, Any], **columns: Any) -> None:
    """Inserts a row that belongs to the job; one that an earlier run of the job inserted is left as it is."""
    owner = (job.resource.kind, job.resource.name)
    try:
        job.store.insert(kind, name, request, parent=owner, lease=job.lease, **columns)
    except ResourceInUse as error:
        row = job.store.get(kind, name)
        if row is None or row.parent != owner:
            raise JobFailed(f"The model could not be deployed: {kind} {name} already exists.") from error


def _wait(job: Job, endpoint: str) -> None:
    give_up = time.monotonic() + _IN_SERVICE_SECONDS
    while (row := job.store.get(hosting.ENDPOINT, endpoint)) is not None and row.status == hosting.CREATING:
        if job.stop_requested:
            raise StopRequested
        if time.monotonic() > give_up:
            raise JobFailed(
                f"Endpoint {endpoint} was not in service after {_IN_SERVICE_SECONDS:.0f} seconds; it is still starting."
            )
        time.sleep(_POLL_SECONDS)
    if row is None:
        raise JobFailed(f"Endpoint {endpoint} was deleted before it was in service.")
    if row.status == hosting.FAILED:
        raise JobFailed(f"Endpoint {endpoint} failed: {row.state.get('FailureReason', 'no reason was recorded')}")
