"""What every runner has: its task, the clock, the data as frames, and the files with which it answers.

A runner is started as `python X_run.py FOLDER`. The folder holds task.json, train.csv with the target, and test.csv and
many.csv without it. The runner writes predictions.npz (see `Run.classified` and `Run.valued`) and, last, answer.json.
It runs in its tool's environment, so this module needs NumPy only, and pandas for `Run.train` and `Run.tests`.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

_MOST_ROWS, _LONGEST_SECONDS, _WARM_UP = 200, 10.0, 3
_MANY_TIMES, _MANY_SECONDS = 3, 30.0


class Run:
    """One run of one tool. Times are of `time.monotonic()`, which all processes of the machine share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.task: dict[str, Any] = json.loads((folder / "task.json").read_text())
        self.target: str = self.task["target"]
        self.classes: list[str] = self.task["classes"] or []
        self.budget: int = self.task["budget"]
        self.seed: int = self.task["seed"]
        self.answer: dict[str, Any] = {}

    @classmethod
    def from_arguments(cls) -> Run:
        """The run of the folder that the command line names."""
        return cls(Path(sys.argv[1]))

    @property
    def problem(self) -> str:
        """binary, multiclass or regression."""
        return str(self.task["problem"])

    @property
    def regression(self) -> bool:
        return self.problem == "regression"

    def objective(self, names: dict[str, str], default: str) -> str:
        """The tool's name for the metric that was asked for, or for `default`; both by `names`.

        `SystemExit` if the tool does not have it.
        """
        wanted = self.task["objective"] or default
        if wanted not in names:
            raise SystemExit(f"This tool cannot optimise {wanted}; it can {', '.join(names)}.")
        self.answer["objective"] = wanted
        return names[wanted]

    def start(self) -> None:
        """The budget begins: imports are done, the data are not read yet."""
        self.answer["started"] = time.monotonic()

    def usable(self) -> None:
        """There is a model that can predict."""
        self.answer["usable"] = time.monotonic()

    def train(self) -> Any:
        """train.csv as pandas reads it.

        Labels of classes are texts as they stand in the file; pandas would take some, such as None, for missing. They
        are read apart, but as quickly, since this is time of the budget.
        """
        import pandas as pd

        path = self.folder / "train.csv"
        train = pd.read_csv(path, skip_blank_lines=False, low_memory=False)
        if not self.regression:
            labels = pd.read_csv(path, skip_blank_lines=False, usecols=[self.target], dtype=str, na_filter=False)
            train[self.target] = labels[self.target].astype(object)
        return train

    def tests(self, train: Any) -> tuple[Any, Any]:
        """test.csv and many.csv as pandas reads them; columns that hold texts in `train` hold texts here too."""
        import pandas as pd

        inputs = train.drop(columns=[self.target])
        texts = dict.fromkeys(inputs.select_dtypes(exclude=["number", "bool"]).columns, str)
        test, many = (pd.read_csv(self.folder / f"{name}.csv", dtype=texts) for name in ("test", "many"))
        return test, many

    def classified(self, probabilities: Any, classes: Iterable[Any], labels: Iterable[Any] | None = None) -> None:
        """Writes the predictions for test.csv: [n, classes], class names, and the labels that the tool would give."""
        held: dict[str, Any] = {
            "probabilities": np.asarray(probabilities, np.float64),
            "classes": np.array([str(c) for c in classes]),
        }
        if labels is not None:
            held["labels"] = np.array([str(label) for label in labels])
        np.savez(self.folder / "predictions.npz", **held)

    def valued(self, values: Any) -> None:
        """Writes the predictions for test.csv of a regression."""
        np.savez(self.folder / "predictions.npz", values=np.asarray(values, np.float64).reshape(-1))

    def time_rows(self, predict: Callable[[Any], object], rows: Iterable[Any], many: Any) -> None:
        """Times `predict` on single rows, the median of many calls, and on `many`, the median of at most three.

        Calls on `many` end once they have taken half a minute.
        """
        self.answer["row_seconds"] = median_seconds(predict, rows)
        times: list[float] = []
        while len(times) < _MANY_TIMES and sum(times) < _MANY_SECONDS:
            times.append(_timed(predict, many))
        self.answer["many_seconds"] = statistics.median(times)

    def finish(self, *, version: str, model_bytes: int, remark: str = "") -> None:
        """Writes answer.json."""
        self.answer |= {"version": version, "model_bytes": model_bytes, "remark": remark}
        (self.folder / "answer.json").write_text(json.dumps(self.answer))


def median_seconds(call: Callable[[Any], object], rows: Iterable[Any]) -> float:
    """The median time of `call` on each of at most 200 `rows` in turn; it ends early after ten seconds."""
    given = list(rows)[: _MOST_ROWS + _WARM_UP]
    for row in given[:_WARM_UP]:
        call(row)
    times: list[float] = []
    for row in given[_WARM_UP:]:
        times.append(_timed(call, row))
        if sum(times) > _LONGEST_SECONDS:
            break
    return statistics.median(times)


def single_rows(frame: Any) -> list[Any]:
    """Frames of one row each, made before anything is timed."""
    return [frame.iloc[[i]] for i in range(min(len(frame), _MOST_ROWS + _WARM_UP))]


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _timed(call: Callable[[Any], object], value: Any) -> float:
    begun = time.perf_counter()
    call(value)
    return time.perf_counter() - begun
