"""Servers that training programs run on; a user of boto3 who deploys models and asks them; candidates to deploy."""

from __future__ import annotations

import io
import shutil
import socket
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import psutil
import pyarrow as pa
import pytest
from botocore.config import Config

from pilothouse import engines
from pilothouse.catalog import images
from pilothouse.config import Settings
from pilothouse.contract.pack import pack
from pilothouse.engines.base import Task
from pilothouse.launch import unshared
from pilothouse.problems.tabular import stages
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline, PipelineSpec
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.verdict import Verdict
from pilothouse.volumes import Volumes

SLOTS = 2
MEMORY = Path("/dev/shm")
_VARIABLES = {"PILOTHOUSE_SLOTS": str(SLOTS), "PILOTHOUSE_STOP_GRACE": "3"}
_LITTLE_MEMORY = {"PILOTHOUSE_MEMORY_FRACTION": "0.15"}


@pytest.fixture(scope="session")
def archive() -> Callable[..., bytes]:
    """Packs files, texts or bytes by their names, as the source archive of a script."""

    def packed(files: dict[str, Any]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as tar:
            for name, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        return out.getvalue()

    return packed


@pytest.fixture(scope="session")
def isolating(server_with: Callable[..., Any]) -> Callable[[str], Any]:
    """Gives the server whose programs run at a level of isolation: "auto", whatever works here; "process", where they
    are no more than processes, and have little memory; "unshare", in namespaces without bubblewrap.
    """

    def server(level: str) -> Any:
        reason = unshared.works() if level == "unshare" else None
        if reason is not None:
            pytest.skip(f"unshare does not work here: {reason}")
        little = _LITTLE_MEMORY if level == "process" else {}
        return server_with(PILOTHOUSE_ISOLATION=level, **_VARIABLES, **little)

    return server


@pytest.fixture(scope="session")
def killable(server_with: Callable[..., Any]) -> Any:
    """A server that tests may kill, and parts of it, if they leave it running again."""
    return server_with(PILOTHOUSE_SLOTS="2", PILOTHOUSE_STOP_GRACE="4", PILOTHOUSE_VOLUMES=str(MEMORY))


def volumes_of(server: Any) -> Path:
    """Where the volumes with a key of the server that may be killed are, in memory."""
    return Volumes(Settings(home=server.home, volumes=MEMORY)).root


def reboot(server: Any) -> None:
    """What the crash of the machine of such a server comes to: nothing runs on, and what was in memory is gone."""
    running = psutil.Process(server.process.pid).children(recursive=True)
    server.kill()
    give_up = time.monotonic() + 60
    while not all(map(_has_ended, running)):
        assert time.monotonic() < give_up, running
        time.sleep(0.05)
    shutil.rmtree(volumes_of(server))
    server.start()


def _has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def children_named(name: str, *parents: psutil.Process) -> list[psutil.Process]:
    """The children of these processes that are called so; others may end meanwhile."""
    found = []
    for parent in parents:
        with suppress(psutil.NoSuchProcess):
            for child in parent.children():
                with suppress(psutil.NoSuchProcess):
                    found += [child] if child.name() == name else []
    return found


class Gate:
    """Where programs wait, all but the first few, until the test lets them go on, however long that takes.

    `line`: the statement of a Python program that waits here.
    """

    def __init__(self, first: int) -> None:
        self._first = iter(range(first))
        self._opened = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.line = f"__import__('socket').create_connection({self._listener.getsockname()!r}).recv(1)\n"
        threading.Thread(target=self._serve, daemon=True).start()

    def open(self) -> None:
        """Lets all go on, those too that come later."""
        self._opened.set()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                guest, _ = self._listener.accept()
                threading.Thread(target=self._receive, args=(guest, next(self._first, None)), daemon=True).start()

    def _receive(self, guest: socket.socket, number: int | None) -> None:
        if number is None:
            self._opened.wait()
        guest.close()

    def close(self) -> None:
        """Turns nobody away that waits, and is gone."""
        self.open()
        self._listener.shutdown(socket.SHUT_RDWR)  # else `accept` would wait on
        self._listener.close()


@pytest.fixture
def gate() -> Iterator[Callable[..., Gate]]:
    """Makes a gate that the first few programs, by default none, pass."""
    made: list[Gate] = []

    def gate(first: int = 0) -> Gate:
        made.append(Gate(first))
        return made[-1]

    yield gate
    for one in made:
        one.close()


BUCKET = "models"
OUTPUT = "predicted_label,probability,probabilities"
FEATURES = {
    "AUTOML_TRANSFORM_MODE": "feature-transform",
    "AUTOML_SPARSE_ENCODE_RECORDIO_PROTOBUF": "1",
    "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "application/x-recordio-protobuf",
}
ALGORITHM = {"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv", "SAGEMAKER_INFERENCE_OUTPUT": OUTPUT}
LABELS = {
    "AUTOML_TRANSFORM_MODE": "inverse-label-transform",
    "SAGEMAKER_INFERENCE_INPUT": OUTPUT,
    "SAGEMAKER_INFERENCE_OUTPUT": f"{OUTPUT},labels",
}


class User:
    """boto3 clients without retries, and the few calls that tests of endpoints make."""

    def __init__(self, server: Any) -> None:
        once = Config(retries={"total_max_attempts": 1}, read_timeout=120)
        self.sagemaker = server.client("sagemaker", config=once)
        self.runtime = server.client("sagemaker-runtime", config=once)
        self.logs = server.client("logs", config=once)
        self.s3 = server.client("s3", config=boto3.session.Config(s3={"addressing_style": "path"}))

    def upload(self, archive: Path, key: str = "model.tar.gz") -> str:
        if BUCKET not in [bucket["Name"] for bucket in self.s3.list_buckets()["Buckets"]]:
            self.s3.create_bucket(Bucket=BUCKET)
        self.s3.upload_file(str(archive), BUCKET, key)
        return f"s3://{BUCKET}/{key}"

    def deploy(self, name: str, archive: Path, instances: int = 1, **environment: str) -> str:
        """Starts to deploy; the name that model, configuration and endpoint have."""
        return self.serve(name, [self.container(images.TABULAR_INFERENCE, archive, **environment)], instances)

    def container(self, image: str, archive: Path, hostname: str | None = None, **environment: str) -> dict[str, Any]:
        """A container's definition; its archive is uploaded."""
        uri = self.upload(archive, f"{archive.parent.name}-{archive.name}")
        named = {"ContainerHostname": hostname} if hostname else {}
        return {"Image": image, "ModelDataUrl": uri, "Environment": environment, **named}

    def containers(self, folder: Path, *, named: bool = False) -> list[dict[str, Any]]:
        """The definitions of a candidate's containers, as ListCandidatesForAutoMLJob gives them."""
        described = [
            ("features", images.TABULAR_TRANSFORM, FEATURES),
            ("algorithm", images.TABULAR_ALGORITHM, ALGORITHM),
            ("labels", images.TABULAR_TRANSFORM, LABELS),
        ]
        if not (folder / "labels.tar.gz").exists():
            described = [described[0], (*described[1][:2], {"SAGEMAKER_INFERENCE_OUTPUT": "predicted_label"})]
        return [
            self.container(f"registry/{image}", folder / f"{part}.tar.gz", part if named else None, **environment)
            for part, image, environment in described
        ]

    def serve(
        self,
        name: str,
        containers: list[dict[str, Any]],
        instances: int = 1,
        configuration: dict[str, Any] | None = None,
        **members: Any,
    ) -> str:
        """Starts to serve containers; the name that model, configuration and endpoint have."""
        self.sagemaker.create_model(ModelName=name, Containers=containers, **members)
        variant = {
            "VariantName": "main",
            "ModelName": name,
            "InstanceType": "ml.m5.large",
            "InitialInstanceCount": instances,
        }
        more = configuration or {}
        self.sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant], **more)
        self.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        return name

    def wait(self, name: str, status: str = "InService") -> dict[str, Any]:
        give_up = time.monotonic() + 300
        while True:
            described = self.sagemaker.describe_endpoint(EndpointName=name)
            if described["EndpointStatus"] == status:
                return dict(described)
            assert described["EndpointStatus"] in ("Creating", "Updating"), described
            assert time.monotonic() < give_up, described
            time.sleep(0.1)

    def ask(self, name: str, body: str, **options: str) -> str:
        return self.invoke(name, body, **options).decode()

    def invoke(self, name: str, body: str | bytes, **options: str) -> bytes:
        options = {"ContentType": "text/csv", **options}
        answer: bytes = self.runtime.invoke_endpoint(EndpointName=name, Body=body, **options)["Body"].read()
        return answer

    def ask_until_answered(self, name: str, body: str) -> str:
        give_up = time.monotonic() + 300
        while True:
            try:
                return self.ask(name, body)
            except self.runtime.exceptions.ServiceUnavailable:
                if time.monotonic() > give_up:
                    raise


@pytest.fixture(scope="session")
def user_of() -> Callable[[Any], User]:
    """Makes the user of a server."""
    return User


@pytest.fixture(scope="module")
def user(shared_server: Any) -> User:
    """The user of the server that the tests of a module share."""
    return User(shared_server)


@pytest.fixture(scope="session")
def candidates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with the stages of a classifier of three classes and of a regressor, and their archives beside them."""
    folder = tmp_path_factory.mktemp("candidates")
    rng = np.random.default_rng(0)
    a, colour = rng.normal(size=600), rng.choice(["red", "green", "blue"], 600)
    score = a + (colour == "red") + 0.1 * rng.normal(size=600)
    columns = {"a": [f"{value:.5f}" for value in a], "colour": colour.tolist()}
    label = np.select([score < -0.3, score < 0.8], ["low", "middle"], "high").tolist()
    value = [f"{number:.6f}" for number in score]
    return {
        "classes": candidate(folder / "classes", pa.table({**columns, "y": label}), 2),
        "values": candidate(folder / "values", pa.table({**columns, "y": value}), 10),
    }


def candidate(folder: Path, table: pa.Table, one_hot: int) -> Path:
    data = prepare(table, None, Reading("y"), folder / "dataset")
    pipeline = DataPipeline.fit(PipelineSpec("dpp0", "xgboost", "raw", one_hot=one_hot), data.features)
    matrix = stages.as_features(pipeline.transform(data.features), pipeline.names)
    data = Dataset(**{**vars(data), "features": matrix})
    task = Task(data.problem_type, len(data.classes or []), "Accuracy" if data.classes else "MSE")
    model = engines.engine("xgboost").fit(matrix, data.y, None, task, {}, rounds=10)
    verdict = Verdict(None, None, {}, 0.0, 0.0, 0.0, 0.0)
    parts = folder / "stages"
    stages.save_features(parts / "features", data, pipeline)
    stages.save_algorithm(parts / "algorithm", [model], "xgboost", data, verdict, task.metric)
    if data.classes:
        stages.save_labels(parts / "labels", data.classes)
    for part in list(parts.iterdir()):
        pack(part, folder / f"{part.name}.tar.gz")
    return folder
