"""The story of a transform job: list the input, ask the model object by object, and store what it answered.

Answers are kept on this machine until all of the input is done, so that a job that is stopped stores nothing.
"""

from __future__ import annotations

import io
import os
import shutil
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from pilothouse import clock
from pilothouse.catalog.transform_jobs import LOG_GROUP, TransformJob
from pilothouse.data.decompress import DataStream
from pilothouse.data.utf8 import Utf8Stream
from pilothouse.errors import DataError, JobFailed, S3Error, ServiceUnavailable, StoreAway, ValidationError
from pilothouse.hosting import media
from pilothouse.hosting.archives import Archives
from pilothouse.hosting.sockets import runtime_folder
from pilothouse.hosting.transform import capture
from pilothouse.hosting.transform.processing import Processing
from pilothouse.hosting.transform.records import batches
from pilothouse.hosting.transform.worker import Worker
from pilothouse.objects import manifest
from pilothouse.training.task import StopRequested

if TYPE_CHECKING:
    from pilothouse.work.job import Job

_LARGEST_OBJECT = 1 << 36
"""Most bytes of an input object, decompressed."""

_BUFFER = 1 << 18
_POLL = 0.2


def run(job: Job) -> None:
    """Runs a transform job to its end; `JobFailed` says why it has no or not all of its output."""
    media.allow_long_cells()
    try:
        Transform(job).run()
    except StopRequested:
        return
    except (DataError, S3Error) as error:
        raise JobFailed(f"ClientError: {error.message}") from error


class Transform:
    """One transform job, with its scratch space in the job's directory."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._spec = TransformJob.of(job.request, job.resource.state["_containers"])
        self._started: float = job.resource.state.get("TransformStartTime") or clock.now()
        self._processing = Processing(self._spec, self._started)
        self._staged = job.directory / "output"

    def run(self) -> None:
        """Tells the story. What was done of the input before it failed is stored all the same; a job that is stopped
        stores nothing, and one that has begun to store all ends as if nobody had asked.
        """
        if "TransformStartTime" not in self._job.resource.state:
            self._job.update(state={"TransformStartTime": self._started})
        found = self._job.once("list", self._list)["objects"]
        if not self._job.recorded("store"):
            self._answer(found)
        self._job.once("store", lambda: self._store(found))
        self._job.update(status="Completed", state={"TransformEndTime": clock.now()})

    def _answer(self, found: list[dict[str, str]]) -> None:
        try:
            self._transform(found)
        except JobFailed:
            self._store(found)
            raise
        self._go_on()
        self._job.once("answered", dict)  # who asks for a stop from here on is too late: all is stored, whoever dies

    def _list(self) -> dict[str, list[dict[str, str]]]:
        """The input objects, and the keys of their output."""
        spec, objects = self._spec, self._job.objects
        try:
            infos = manifest.expand(objects, spec.data_type, spec.uri, region=self._job.settings.region)
            root = manifest.root(objects, spec.data_type, spec.uri, infos)
        except ValidationError as error:
            raise DataError(error.message) from error
        return {
            "objects": [
                {
                    "bucket": info.bucket,
                    "key": info.key,
                    "etag": info.etag,
                    "output": f"{spec.output_path}/{info.key.removeprefix(root)}.out",
                }
                for info in infos
            ]
        }

    def _transform(self, found: list[dict[str, str]]) -> None:
        """Makes the output of each object, but of those that an earlier run has made on this machine."""
        missing = [number for number in range(len(found)) if not self._made(number).exists()]
        if not missing:
            return
        self._staged.mkdir(parents=True, exist_ok=True)
        with self._job.slot(lambda: self._is_stopped) as held:
            if not held:
                raise StopRequested
            with self._serving() as worker:
                for number in missing:
                    self._go_on()
                    self._make(number, found[number], worker)

    def _make(self, number: int, source: dict[str, str], worker: Worker) -> None:
        """Makes an object's output as a step; without, if it is recorded but not there: another machine made it."""
        step = f"object-{number}"
        if self._job.recorded(step):
            self._object(number, source, worker)
        else:
            self._job.once(step, lambda: self._object(number, source, worker))

    @contextmanager
    def _serving(self) -> Iterator[Worker]:
        """The model, ready to answer."""
        job, spec = self._job, self._spec
        archives = Archives(job.objects, job.directory / "models")
        containers = [
            {**one, "environment": {**one["environment"], **spec.environment}}
            for one in archives.fetched(job.resource.state["_containers"])
        ]
        sockets = runtime_folder(job.directory)
        try:
            with Worker(
                job.name,
                containers,
                spec,
                (sockets, job.directory),
                start=job.start,
                ship=lambda token, lines: job.store.logs.append(LOG_GROUP, f"{job.name}/{token}", lines),
                go_on=self._go_on,
            ) as worker:
                yield worker
        finally:
            shutil.rmtree(sockets, ignore_errors=True)

    def _object(self, number: int, source: dict[str, str], worker: Worker) -> dict[str, str]:
        """Makes the output of one object, whole or not at all."""
        made = self._made(number)
        partial = made.with_suffix(".partial")
        try:
            with self._opened(source) as stream, partial.open("wb") as target:
                for answer in self._answers(stream, worker):
                    target.write(answer)
                    if self._spec.lines and not answer.endswith(b"\n"):
                        target.write(b"\n")
                target.flush()
                os.fsync(target.fileno())
        except S3Error as error:
            raise DataError(f"{_address(source)}: {error.message}") from error
        except StoreAway:
            raise
        except ServiceUnavailable as error:
            raise JobFailed(f"InternalServerError: {_address(source)}: {error.message}") from error
        except JobFailed as error:
            raise type(error)(f"{_address(source)}: {error.message}") from error
        partial.rename(made)
        return {}

    def _opened(self, source: dict[str, str]) -> BinaryIO:
        stream = self._job.objects.open(source["bucket"], source["key"], etag=source["etag"])
        plain = DataStream(stream, _address(source), declared=self._spec.gzip, limit=_LARGEST_OBJECT)
        spec = self._spec
        cut = spec.split == "Line" and spec.rows_in is not None and spec.charset is None
        return io.BufferedReader(Utf8Stream(plain, _address(source)) if cut else plain, _BUFFER)

    def _answers(self, stream: BinaryIO, worker: Worker) -> Iterator[bytes]:
        """The answers to the object's batches in their order, MaxConcurrentTransforms of them under way at once."""
        spec = self._spec
        pool = ThreadPoolExecutor(spec.concurrency, thread_name_prefix="transform")
        under_way: deque[Future[bytes]] = deque()
        try:
            for batch in batches(stream, spec.split, single=spec.single, limit=spec.payload):
                if len(under_way) == spec.concurrency:
                    yield self._awaited(under_way.popleft(), worker)
                under_way.append(pool.submit(self._asked, worker, batch))
            while under_way:
                yield self._awaited(under_way.popleft(), worker)
        except BaseException:
            worker.close()
            raise
        finally:
            pool.shutdown(cancel_futures=True)

    def _asked(self, worker: Worker, batch: list[bytes]) -> bytes:
        return self._processing.answer(batch, worker.ask(self._processing.request(batch)))

    def _awaited(self, future: Future[bytes], worker: Worker) -> bytes:
        self._go_on()
        while not wait([future], _POLL).done:
            worker.follow()
            self._go_on()
        return future.result()

    def _store(self, found: list[dict[str, str]]) -> dict[str, int]:
        """Brings to S3 what has been made."""
        made = [number for number in range(len(found)) if self._made(number).exists()]
        for number in made:
            self._job.objects.upload(self._made(number), found[number]["output"])
        done = [found[number] for number in made]
        capture.store(self._job.objects, self._spec, self._job.name, self._started, done)
        return {"objects": len(made)}

    def _made(self, number: int) -> Path:
        return self._staged / str(number)

    @property
    def _is_stopped(self) -> bool:
        return self._job.stop_requested and not self._job.recorded("answered")

    def _go_on(self) -> None:
        if self._is_stopped:
            raise StopRequested


def _address(source: dict[str, str]) -> str:
    return f"s3://{source['bucket']}/{source['key']}"
