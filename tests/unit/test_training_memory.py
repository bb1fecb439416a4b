"""The built-in algorithms train on channels, and engines on features, of any size in little memory."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilothouse.contract.opt_ml import OptMl
from pilothouse.data import features, selection
from pilothouse.data.features import Features
from pilothouse.data.selection import Selection
from pilothouse.engines import Task, engine, linear
from pilothouse.engines.nets import streamed
from pilothouse.problems.tabular import bag
from pilothouse.training.algorithms import files, labelled, linear_learner, linear_rows, xgboost

pytestmark = pytest.mark.slow

COLUMNS, ROWS = 200, 500
SOME, MANY = 40, 100
"""So many times the same rows are the two channels."""

MORE_BYTES = 8 * COLUMNS * ROWS * (MANY - SOME)
"""What the larger one's values would take more in memory, once, as float64 or as XGBoost's entries: 48 MB."""

CASES = {
    "built-in linear learner": {
        "predictor_type": "binary_classifier", "epochs": "2", "mini_batch_size": "500", "learning_rate": "0.01",
    },
    "built-in xgboost": {"objective": "binary:logistic", "num_round": "2", "max_depth": "3"},
}  # fmt: skip


def prepared(base: Path, given: dict[str, str], content_type: str, text: bytes, times: int) -> str:
    """A job's folder with the channel train: so many copies of the text, as two files."""
    folders = OptMl(base)
    for folder in (folders.config, folders.model, folders.output_data, folders.channel("train")):
        folder.mkdir(parents=True)
    (folders.config / "hyperparameters.json").write_text(json.dumps(given))
    (folders.config / "inputdataconfig.json").write_text(json.dumps({"train": {"ContentType": content_type}}))
    for name, count in (("a", times // 2), ("b", times - times // 2)):
        with (folders.channel("train") / name).open("wb") as file:
            for _ in range(count):
                file.write(text)
    return str(base)


def peak() -> int:
    """Bytes that this process has had in memory at once, maps of files included."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM:"))


def growth(algorithm: str, some: str, many: str) -> int:
    """By how much the peak of a process that has trained on some rows grows when it trains on many."""
    selection.LARGE_CELLS = labelled.BLOCK_CELLS = files.BLOCK_CELLS = 1 << 16
    files._BLOCK = linear_rows.CELLS = 1 << 18
    train = {"built-in linear learner": linear_learner, "built-in xgboost": xgboost}[algorithm].main
    train(some, 1)
    before = peak()
    train(many, 1)
    return peak() - before


def text_of(content_type: str) -> bytes:
    random = np.random.default_rng(0)
    x = random.normal(size=(ROWS, COLUMNS)).round(2)
    y = (x[:, 0] > 0).astype(int)
    if content_type == "text/csv":
        return b"".join(b"%d,%s\n" % (y[i], ",".join(map(str, x[i])).encode()) for i in range(ROWS))
    from pilothouse.contract import recordio

    if content_type == recordio.MEDIA_TYPE:
        return recordio.write(recordio.Table(x.astype(np.float32), y.astype(np.float32)))
    return b"".join(b"%d %s\n" % (y[i], " ".join(f"{j}:{v}" for j, v in enumerate(x[i])).encode()) for i in range(ROWS))


@pytest.mark.parametrize(
    ("algorithm", "content_type"),
    [
        ("built-in linear learner", "text/csv"),
        ("built-in linear learner", "application/x-recordio-protobuf"),
        ("built-in xgboost", "text/libsvm"),
    ],
)
def test_memory_does_not_grow_with_the_data(tmp_path: Path, algorithm: str, content_type: str) -> None:
    text = text_of(content_type)
    jobs = [
        prepared(tmp_path / name, CASES[algorithm], content_type, text, times)
        for name, times in (("some", SOME), ("many", MANY))
    ]
    assert grown(algorithm, *jobs) < MORE_BYTES
    assert list((tmp_path / "many" / "model").iterdir())


PARAMS: dict[str, dict[str, Any]] = {
    "mlp": {"max_rounds": 1, "layers": [8]},
    "linear-learner": {"knots": 0, "l1": 1.0},
    "xgboost": {"paged": True, "max_rounds": 2, "max_depth": 3},
}


def engine_growth(name: str, some: str, many: str) -> int:
    """The same of an engine that is fitted to features in these folders, watched on a tenth of them."""
    selection.LARGE_CELLS = selection.BLOCK_CELLS = streamed._CELLS = linear._STREAMED_CELLS = 1 << 16
    linear._ROWS_IN_MEMORY = linear._LEAST_IN_MEMORY = streamed._LEAST_LEARNT_ROWS = 1_000
    bag._CELLS_AT_ONCE = 1 << 18
    streamed._PIECE = 128
    peaks = []
    for folder in (some, many):
        x = Features.load(Path(folder))
        y = np.asarray(x.numeric[:, 0] > 0, np.int64)
        watched = np.arange(len(x)) % 10 == 0
        parts = [(Selection(x, np.flatnonzero(rows), Path(folder)), y[rows], None) for rows in (~watched, watched)]
        model = engine(name).fit(*parts[0], Task("BinaryClassification", 2, "F1"), PARAMS[name], valid=parts[1])
        assert np.isfinite(bag.predicted(model.predict, x, np.arange(len(x)))).all()
        peaks.append(peak())
    return peaks[1] - peaks[0]


@pytest.mark.parametrize("name", PARAMS)
def test_memory_of_engines_does_not_grow_with_the_features(tmp_path: Path, name: str) -> None:
    random = np.random.default_rng(0)
    none = np.empty((ROWS, 0), np.int32)
    names = [str(place) for place in range(COLUMNS)]
    block = Features(random.normal(size=(ROWS, COLUMNS)).astype(np.float32), none, names, [], [])
    for folder, times in (("some", SOME), ("many", MANY)):
        features.write(tmp_path / folder, itertools.repeat(block, times))
    assert grown(name, tmp_path / "some", tmp_path / "many") < MORE_BYTES


def grown(what: str, some: Path | str, many: Path | str) -> int:
    """Bytes, of a process that does nothing else."""
    child = [sys.executable, __file__, what, str(some), str(many)]
    done = subprocess.run(child, stdout=subprocess.PIPE, text=True, timeout=240, check=True)
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print((growth if sys.argv[1] in CASES else engine_growth)(*sys.argv[1:]))
