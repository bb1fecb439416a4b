"""What configurations of algorithms are worth: `python benchmarks/configurations.py car_evaluation linear-learner`.

Each configuration, ALGORITHM or ALGORITHM:{"name": value, …}, is trained as a trial of a job is, on the training rows
of the split that peers.py gives every tool; its test rows are not touched. Printed is the log loss or RMSE of the rows
that a job judges by, out-of-fold and validation rows, and the trial's seconds on one core. One candidate alone is not
what a job answers with: in a blend the different may help more than the good.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from peers_bench import sets
from threadpoolctl import threadpool_limits

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.problems.evaluate import measure
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION
from pilothouse.problems.tabular.read import Dataset, Reading, prepare
from pilothouse.problems.tabular.train import run
from pilothouse.problems.tabular.trial import Trial

_PROBLEM_TYPES = {
    sets.BINARY: "BinaryClassification",
    sets.MULTICLASS: "MulticlassClassification",
    sets.REGRESSION: "Regression",
}
_FOLDS = 5


@dataclass(frozen=True)
class Configuration:
    """An algorithm and its engine's parameters."""

    algorithm: str
    params: dict[str, object]

    @classmethod
    def of(cls, text: str) -> Configuration:
        """What the command line says."""
        algorithm, _, params = text.partition(":")
        try:
            read = json.loads(params or "{}")
        except json.JSONDecodeError as error:
            raise argparse.ArgumentTypeError(f"{text}: what follows the colon is not JSON ({error})") from None
        return cls(algorithm, read)

    def __str__(self) -> str:
        return f"{self.algorithm} {json.dumps(self.params)}" if self.params else self.algorithm


def prepared(folder: Path, rows: int | None, seed: int, into: Path) -> Dataset:
    """The training rows of a set's split, `rows` of them at most, as a job prepares them."""
    split = sets.load(folder, seed)
    columns = zip(split.header, zip(*split.train[:rows], strict=True), strict=True)
    table = pa.table({name: pa.array(values) for name, values in columns})
    return prepare(table, None, Reading(split.target, problem_type=_PROBLEM_TYPES[split.problem]), into)


def loss(data: Dataset, configuration: Configuration, seed: int, folder: Path) -> tuple[float, float]:
    """The loss of a configuration on the rows that it wasn't trained on, and its seconds."""
    trial = Trial("trial", configuration.algorithm, configuration.params, _FOLDS, seed, data.metric)
    engines.warm(configuration.algorithm)
    begun = time.perf_counter()
    with threadpool_limits(1):
        run(trial, data, folder)
    seconds = time.perf_counter() - begun
    predicted = np.concatenate([np.load(folder / f"{part}.npy") for part in ("oof", "validation")])
    y = np.concatenate([data.y[data.rows(part)] for part in (TRAIN, VALIDATION)])
    metric = "RMSE" if data.problem_type == REGRESSION else "LogLoss"
    return measure(metric, data.problem_type, y, predicted, weights=None), seconds


def rows(options: argparse.Namespace) -> Iterator[str]:
    """The table's lines."""
    yield "| data set | configuration | loss | seconds |"
    yield "|---|---|---|---|"
    for name in options.sets.split(","):
        with tempfile.TemporaryDirectory(prefix="configurations-") as folder:
            data = prepared(options.data / name, options.rows, options.seed, Path(folder) / "dataset")
            for number, configuration in enumerate(options.configurations):
                here = Path(folder) / f"trial-{number}"
                here.mkdir()
                found, seconds = loss(data, configuration, options.seed, here)
                yield f"| {name} | {configuration} | {found:.5g} | {seconds:.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", metavar="SET,SET", help="folders of the data directory")
    parser.add_argument("configurations", type=Configuration.of, nargs="+", metavar="CONFIGURATION")
    parser.add_argument("--data", type=Path, default=Path("data"), help="a folder for each set, with meta.json")
    parser.add_argument("--rows", type=int, help="train on so many rows at most")
    parser.add_argument("--seed", type=int, default=0)
    for line in rows(parser.parse_args()):
        print(line)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
