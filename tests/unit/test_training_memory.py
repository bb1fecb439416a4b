"""The built-in algorithms train on channels of any size in little memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pilothouse.contract.opt_ml import OptMl
from pilothouse.data import selection
from pilothouse.training.algorithms import files, labelled, linear_learner, linear_rows, xgboost

pytestmark = pytest.mark.slow

COLUMNS, ROWS = 200, 500
SOME, MANY = 40, 100
"""So many times the same rows are the two channels."""

MORE_BYTES = 8 * COLUMNS * ROWS * (MANY - SOME)
"""What the larger one's values would take more in memory, once, as float64 or as XGBoost's entries: 48 MB."""

CASES = {
    "linear_learner": {
        "predictor_type": "binary_classifier", "epochs": "2", "mini_batch_size": "500", "learning_rate": "0.01",
    },
    "xgboost": {"objective": "binary:logistic", "num_round": "2", "max_depth": "3"},
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
    train = {"linear_learner": linear_learner, "xgboost": xgboost}[algorithm].main
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
        ("linear_learner", "text/csv"),
        ("linear_learner", "application/x-recordio-protobuf"),
        ("xgboost", "text/csv"),
        ("xgboost", "text/libsvm"),
    ],
)
def test_memory_does_not_grow_with_the_data(tmp_path: Path, algorithm: str, content_type: str) -> None:
    text = text_of(content_type)
    jobs = [
        prepared(tmp_path / name, CASES[algorithm], content_type, text, times)
        for name, times in (("some", SOME), ("many", MANY))
    ]
    child = [sys.executable, __file__, algorithm, *jobs]
    done = subprocess.run(child, stdout=subprocess.PIPE, text=True, timeout=240, check=True)
    grown = int(done.stdout.splitlines()[-1])
    assert grown < MORE_BYTES, f"{grown >> 20} MiB"
    assert list((tmp_path / "many" / "model").iterdir())


if __name__ == "__main__":
    print(growth(*sys.argv[1:]))
