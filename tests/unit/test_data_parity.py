"""A cell of a request is read as a cell of the training file, in whatever form people write it."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pilothouse.data import tables
from pilothouse.hosting import rows as hosted
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.read import Reading, prepare

DATES = ["2020-03-04", "03/04/2020", "4.3.2020", "4 Mar 2020", "Mar 4, 2020", "2020-03-04T01:00:00+01:00"]
CELLS = {
    "number": [*("1.5", " 2 ", "1e3", "-.5", "NA", "inf", "1e39", "007"), *map(str, range(12))],
    "money": ["$1,234.50", "12%", "1 234", "-€5", "?", "7", "3.5", "", "8", "5 EUR"] * 2,
    "comma": ["1,5", "1.234,5", "1,234", "2", "3.25", "None", "-7,5", "€ 2,50", "n/a", ""] * 2,
    "day": [*DATES, "2021-07-14 05:06", "", "NaT", "13/2/2020"] * 2,
    "unix": ["1583280000", "1626220800", "", "1583280000.0", "1700000000"] * 4,
    "flag": ["true", "TRUE", "False", "", "NA"] * 4,
    "code": ["1", "1.0", "2", "red", "None"] * 4,
    "words": ['a, "b"', "Köln", "two\nlines", " x ", "x"] * 4,
}
ROWS = list(zip(*CELLS.values(), strict=True))
TYPES = dict.fromkeys(("number", "money", "comma"), "numeric") | dict.fromkeys(("day", "unix"), "datetime")


def text(rows: Sequence[Sequence[str]], delimiter: str = ",", end: str = "\n") -> str:
    """The rows as CSV."""
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, lineterminator=end).writerows(rows)
    return stream.getvalue()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The data set of a job whose training file has the rows of `CELLS`."""
    folder: Path = tmp_path_factory.mktemp("parity")
    objects = DirectoryObjects(folder / "objects")
    objects.create_bucket("bucket")
    content = text([[*CELLS, "y"], *([*row, "no" if i % 2 else "yes"] for i, row in enumerate(ROWS))])
    table = tables.read(objects, [objects.put("bucket", "a.csv", content.encode())])
    data = prepare(table, None, Reading("y", min_rows=10), folder / "dataset")
    found = {column["name"]: column["type"] for column in data.facts["profile"]}
    assert found == dict.fromkeys(CELLS, "categorical") | TYPES
    return data


@pytest.mark.parametrize("at_once", [1, 20, 60])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_a_row_to_predict_is_read_as_a_row_of_the_training_file(
    trained: Dataset, encoding: str, delimiter: str, at_once: int
) -> None:
    for start in range(0, len(ROWS), at_once):
        rows = (ROWS * 3)[start : start + at_once]
        plain = text(rows, delimiter)
        named = text([[*reversed(CELLS)], *(row[::-1] for row in rows)], delimiter, end="\r\n")
        for body, content_type in ((plain, "text/csv"), (named, "text/csv; header=present")):
            _assert_as_trained(trained, hosted.decode(body.encode(encoding), content_type, [*CELLS]), start)


def test_json_values_are_read_as_the_texts_of_the_training_file(trained: Dataset) -> None:
    values = [[_json(name, cell) for name, cell in zip(CELLS, row, strict=True)] for row in ROWS]
    body = json.dumps({"instances": values}).encode()
    _assert_as_trained(trained, hosted.decode(body, "application/json", [*CELLS]), 0)


def _json(name: str, cell: str) -> object:
    """What JSON has for a cell of a CSV file."""
    if name in ("number", "unix") and re.fullmatch(r"[\d.]+", cell):
        return float(cell)
    return {"true": True, "TRUE": True, "False": False, "NA": None, "": None, "None": None, "1": 1, "1.0": 1.0}.get(
        cell, cell
    )


def _assert_as_trained(data: Dataset, rows: list[list[str]], start: int) -> None:
    features = data.pipeline().transform_rows(rows)
    same = [(start + i) % len(ROWS) for i in range(len(rows))]
    assert same
    np.testing.assert_array_equal(features.numeric, data.features.numeric[same])
    np.testing.assert_array_equal(features.categorical, data.features.categorical[same])
