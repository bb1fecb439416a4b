"""How long a prediction takes, in process and through InvokeEndpoint: `python benchmarks/latency.py SETS`.

For each set: every engine with its default parameters, and an equal vote of all of them as the worst ensemble there can
be. In process: p50 of one row (from texts to label), split into features and models, and the best of three for 10,000
rows. Over HTTP: p50 and p99 of one row through boto3 to a started server, beside what boto3 takes for the same request
to a server that does nothing, and p50 of the bare HTTP exchange. Models are kept in --keep and used again.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import io
import json
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from quick import Split, server

ENSEMBLE = "ensemble"
ONE_ROW_CALLS, HTTP_CALLS, MANY = 300, 400, 10_000
IMAGE = "pilothouse/automl-tabular-inference:1-cpu-py3"
ROLE = "arn:aws:iam::000000000000:role/PilothouseRole"


def models(split: Split, folder: Path) -> dict[str, Path]:
    """The folder of a model of each engine and of their equal vote; those that are in `folder` already are not
    trained again."""
    from pilothouse import engines
    from pilothouse.problems.tabular.archive import Member, write_manifest
    from pilothouse.problems.tabular.predictor import TabularPredictor

    data = _dataset(split, folder / "dataset")
    for name in engines.ENGINES:
        if not (folder / name / "model").exists():
            _train(name, data.metric, folder)
    ensemble = folder / ENSEMBLE / "model"
    if not ensemble.exists():
        ensemble.mkdir(parents=True)
        data.pipeline().save(ensemble / "pipeline")
        members = []
        for i, name in enumerate(engines.ENGINES):
            (ensemble / "members").mkdir(exist_ok=True)
            (ensemble / "members" / str(i)).symlink_to(folder / name / "model" / "members" / "0")
            members.append(Member(f"members/{i}", name, 1 / len(engines.ENGINES)))
        cut = TabularPredictor.load(folder / "lightgbm" / "model").threshold
        write_manifest(ensemble, data.facts, members, threshold=cut, objective=data.metric, metrics={})
    return {name: folder / name / "model" for name in [*engines.ENGINES, ENSEMBLE]}


def _dataset(split: Split, folder: Path) -> Any:
    import pyarrow as pa

    from pilothouse.problems.tabular.dataset import Dataset
    from pilothouse.problems.tabular.read import Reading, prepare

    if folder.exists():
        return Dataset.load(folder)
    columns = [pa.array(list(values), pa.string()) for values in zip(*split.train, strict=True)]
    return prepare(pa.table(dict(zip(split.header, columns, strict=True))), None, Reading(split.target), folder)


def _train(name: str, metric: str, folder: Path) -> None:
    from pilothouse.problems.tabular.train import train

    where = folder / name
    where.mkdir(exist_ok=True)
    trial = {"name": name, "algorithm": name, "params": {}, "folds": 3, "seed": 0, "metric": metric, "threads": 2}
    (where / "trial.json").write_text(json.dumps(trial))
    train(str(where), str(folder / "dataset"))


def in_process(split: Split, folder: Path) -> str:
    """One line of figures for the model in `folder`."""
    from pilothouse.problems.tabular.predictor import TabularPredictor

    predictor = TabularPredictor.load(folder)
    rows = list(islice(cycle(split.inputs(predictor.columns)), MANY))
    turn = cycle(rows)
    features = predictor.pipeline.transform_rows(rows[:1])
    one = p50(lambda: predictor.predict([next(turn)]))
    read = p50(lambda: predictor.pipeline.transform_rows([next(turn)]))
    vote = p50(lambda: predictor.vote(features))
    many = min(_seconds(lambda: predictor.predict(rows)) for _ in range(3))
    ms = 1e3
    return f"one row {one * ms:7.3f} ms (features {read * ms:.3f}, models {vote * ms:.3f})  {MANY} rows {many:7.3f} s"


def p50(call: Callable[[], object], calls: int = ONE_ROW_CALLS) -> float:
    """The median of the seconds that one call takes."""
    return statistics.median(_timed(call, calls))


def _timed(call: Callable[[], object], calls: int) -> list[float]:
    for _ in range(5):
        call()
    return [_seconds(call) for _ in range(calls)]


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


# Over HTTP.


def over_http(split: Split, archives: dict[str, Path], folder: Path) -> Iterator[tuple[str, list[float]]]:
    """Seconds of each call: to a server that does nothing, then to an endpoint for each model."""
    with nothing() as url:
        yield "boto3 to no-op", _calls(_client(url), "none", split, ["x"])
        yield "bare HTTP to no-op", _timed(lambda: _exchange(url), HTTP_CALLS)
    with server(folder / "home") as client:
        s3, sagemaker = client("s3"), client("sagemaker")
        s3.create_bucket(Bucket="latency")
        for name, model in archives.items():
            _deploy(s3, sagemaker, name, model, folder)
            columns = json.loads((model / "manifest.json").read_text())["columns"]
            yield name, _calls(client("sagemaker-runtime"), name, split, columns)


def _deploy(s3: Any, sagemaker: Any, name: str, model: Path, folder: Path) -> None:
    from pilothouse.contract.pack import pack

    pack(_without_links(model, folder / f"{name}-packed"), folder / f"{name}.tar.gz")
    s3.upload_file(str(folder / f"{name}.tar.gz"), "latency", f"{name}.tar.gz")
    container = {"Image": IMAGE, "ModelDataUrl": f"s3://latency/{name}.tar.gz"}
    sagemaker.create_model(ModelName=name, PrimaryContainer=container, ExecutionRoleArn=ROLE)
    variant = {"VariantName": "v", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    while (status := sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"]) == "Creating":
        time.sleep(0.2)
    if status != "InService":
        raise SystemExit(f"The endpoint {name} is {status}.")


def _without_links(model: Path, target: Path) -> Path:
    import shutil

    return Path(shutil.copytree(model, target))


def _client(url: str) -> Any:
    import boto3

    keys = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}
    return boto3.client("sagemaker-runtime", endpoint_url=url, region_name="us-east-1", **keys)


def _calls(runtime: Any, endpoint: str, split: Split, columns: list[str]) -> list[float]:
    known = [column for column in columns if column in split.header] or split.header[:1]
    bodies = cycle([_csv(row) for row in split.inputs(known)[:500]])

    def call() -> None:
        answer = runtime.invoke_endpoint(EndpointName=endpoint, Body=next(bodies), ContentType="text/csv")
        answer["Body"].read()

    for _ in range(20):
        call()
    return _timed(call, HTTP_CALLS)


def _csv(row: list[str]) -> str:
    stream = io.StringIO(newline="")
    csv.writer(stream).writerow(row)
    return stream.getvalue()


_CONNECTIONS: dict[str, Any] = {}


def _exchange(url: str) -> None:
    import http.client

    host = url.removeprefix("http://")
    connection = _CONNECTIONS.setdefault(host, http.client.HTTPConnection(host))
    connection.request("POST", "/endpoints/none/invocations", b"1,2,3\n", {"content-type": "text/csv"})
    connection.getresponse().read()


@contextmanager
def nothing() -> Iterator[str]:
    """The URL of a server, on uvicorn like ours, that reads a request and answers at once."""
    # By a socket of unnamed protocol asyncio does not set TCP_NODELAY, and every answer would wait for 40 ms.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        process = multiprocessing.get_context("fork").Process(target=_serve_nothing, args=(listener,), daemon=True)
        process.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        process.terminate()
        process.join()


def _serve_nothing(listener: socket.socket) -> None:
    import uvicorn

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"0\n"})

    config = uvicorn.Config(app, access_log=False, log_level="warning", lifespan="off")
    asyncio.run(uvicorn.Server(config).serve([listener]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=("telco_churn",), help="folders of the data directory")
    parser.add_argument("--data", type=Path, default=Path(__file__).resolve().parents[2] / "shared" / "data")
    parser.add_argument("--keep", type=Path, help="keep the models in this folder, or use those that are there")
    parser.add_argument("--only", choices=("process", "http"), help="leave out the other half")
    options = parser.parse_args()
    for name in options.sets:
        split = Split.load(options.data / name)
        with tempfile.TemporaryDirectory() as scratch:
            folder = (options.keep or Path(scratch) / "models") / name
            folder.mkdir(parents=True, exist_ok=True)
            found = models(split, folder.resolve())
            print(name, flush=True)
            if options.only != "http":
                for title, model in found.items():
                    print(f"  {title:18} {in_process(split, model)}", flush=True)
            if options.only != "process":
                for title, seconds in over_http(split, found, Path(scratch)):
                    cuts = statistics.quantiles(seconds, n=100)
                    print(f"  HTTP {title:18} p50 {cuts[49] * 1e3:6.2f} ms  p99 {cuts[98] * 1e3:6.2f} ms", flush=True)


if __name__ == "__main__":
    main()
