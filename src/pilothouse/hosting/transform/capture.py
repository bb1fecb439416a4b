"""The captured data of a transform job: manifests of what went in and of what came out.

As in AWS, which avoids copies so, they lie below `input/` and `output/` of the destination, in a folder for the hour in
which the job started.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from pilothouse.catalog.transform_jobs import TransformJob
from pilothouse.objects import uri
from pilothouse.objects.base import Objects


def manifests(job: TransformJob, found: Sequence[dict[str, str]]) -> dict[str, bytes]:
    """The manifests for `input` and `output` of the objects that a job has transformed; none for no objects."""
    if not found:
        return {}
    names = [one["output"].removeprefix(f"{job.output_path}/").removesuffix(".out") for one in found]
    folder = found[0]["key"].removesuffix(names[0])
    documents = {
        "input": [{"prefix": f"s3://{found[0]['bucket']}/{folder}"}, *names],
        "output": [{"prefix": f"{job.output_path}/"}, *(f"{name}.out" for name in names)],
    }
    return {side: json.dumps(document, ensure_ascii=False).encode() + b"\n" for side, document in documents.items()}


def store(objects: Objects, job: TransformJob, name: str, started: float, found: Sequence[dict[str, str]]) -> None:
    """Stores the manifests of the job called `name` that started at `started`, epoch seconds, if it is to have some."""
    if job.capture is None:
        return
    hour = f"{datetime.fromtimestamp(started, UTC):%Y/%m/%d/%H}"
    for side, body in manifests(job, found).items():
        place = uri.parse(job.capture.destination).join(side, hour, f"{name}.jsonl")
        objects.keyed(job.capture.kms_key).put(place.bucket, place.key, body, content_type="application/jsonlines")
