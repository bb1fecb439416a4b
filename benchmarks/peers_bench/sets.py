"""Data sets, and the one split of each that every tool gets."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BINARY, MULTICLASS, REGRESSION = "binary", "multiclass", "regression"
PROBLEMS = (BINARY, MULTICLASS, REGRESSION)
MANY_ROWS = 10_000
"""How many rows the larger of the two timed predictions has; test rows are repeated where there are fewer."""

_TEST_SHARE = 5
_NOT_FOR_SCORES = "neg_"

Row = list[str]


@dataclass(frozen=True)
class Split:
    """Rows as texts under `header`. `classes` in order, numbers by value; the later of two is the positive one."""

    name: str
    problem: str
    target: str
    header: list[str]
    train: list[Row]
    test: list[Row]
    classes: list[str] | None

    def truth(self) -> list[str]:
        """The targets of the test rows."""
        place = self.header.index(self.target)
        return [row[place] for row in self.test]

    def write(self, folder: Path) -> None:
        """train.csv with the target; test.csv and many.csv (`MANY_ROWS` rows) without it."""
        place = self.header.index(self.target)
        without = [row[:place] + row[place + 1 :] for row in self.test]
        header = self.header[:place] + self.header[place + 1 :]
        many = [without[i % len(without)] for i in range(MANY_ROWS)]
        _write(folder / "train.csv", [self.header, *self.train])
        _write(folder / "test.csv", [header, *without])
        _write(folder / "many.csv", [header, *many])


def available(data: Path) -> list[str]:
    """The folders under `data` with a meta.json of a tabular problem, but for those that test refusals."""
    found = [path.parent for path in sorted(data.glob("*/meta.json"))]
    return [path.name for path in found if _meta(path)["problem"] in PROBLEMS and not _is_negative(path)]


def load(folder: Path, seed: int = 0) -> Split:
    """The split of the set in `folder`: meta.json names `problem`, `target` and the CSV first in `files`.

    A fifth of the rows is for the test, and of each class, rounded down: a class with fewer than five rows is in the
    training rows only. `ValueError` if the problem is not tabular.
    """
    meta = _meta(folder)
    problem, target = meta["problem"], meta["target"]
    if problem not in PROBLEMS:
        raise ValueError(
            f"{folder.name} is a {problem} set. Choose sets whose problem is one of {', '.join(PROBLEMS)}."
        )
    header, *rows = _read(folder / meta["files"][0])
    place = header.index(target)
    rows = [row for row in rows if row[place].strip()]
    targets = [row[place] for row in rows]
    testing = _test_rows(targets if problem != REGRESSION else [""] * len(rows), seed)
    train = [row for i, row in enumerate(rows) if i not in testing]
    random.Random(seed).shuffle(train)
    test = [rows[i] for i in sorted(testing)]
    random.Random(seed + 1).shuffle(test)
    return Split(
        folder.name, problem, target, header, train, test, None if problem == REGRESSION else _ordered(targets)
    )


def _test_rows(strata: Sequence[str], seed: int) -> set[int]:
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for i, stratum in enumerate(strata):
        groups[stratum].append(i)
    chosen: set[int] = set()
    for stratum in sorted(groups):
        members = groups[stratum]
        chosen.update(random.Random(seed).sample(members, len(members) // _TEST_SHARE))
    return chosen


def _ordered(texts: Sequence[str]) -> list[str]:
    distinct = set(texts)
    try:
        return sorted(distinct, key=float)
    except ValueError:
        return sorted(distinct)


def _meta(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return document


def _is_negative(folder: Path) -> bool:
    return folder.name.startswith(_NOT_FOR_SCORES)


def _read(path: Path) -> list[Row]:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def _write(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
