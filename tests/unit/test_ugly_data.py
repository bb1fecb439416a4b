"""What files hold that people really have, and what a job makes of it: in memory and in spools alike."""

from __future__ import annotations

import csv
import datetime
import decimal
import gzip
import importlib
import io
import os
import re
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pilothouse.automl import tasks
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.config import Settings
from pilothouse.data import tables
from pilothouse.data.categories import CategoryEncoder
from pilothouse.errors import DataError
from pilothouse.launch.base import Exit, Program
from pilothouse.objects.directory import DirectoryObjects
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.store.store import Store
from pilothouse.work.job import Job
from pilothouse.work.kinds import KINDS
from pilothouse.work.main import conclude

PAGE = Path(__file__).parents[2] / "docs/operations/data.md"
ROWS = 60
CSV, PARQUET = "text/csv;header=present", tables.PARQUET
EPOCH = datetime.datetime(1970, 1, 1)


def columns(rows: int = ROWS, **more: Sequence[Any]) -> dict[str, list[Any]]:
    """A number x and a target y of two classes, and more."""
    base: dict[str, list[Any]] = {
        "x": [f"{i / 7:.3f}" for i in range(rows)],
        "y": [["no", "yes"][i % 4 == 0] for i in range(rows)],
    }
    return base | {name: [values[i % len(values)] for i in range(rows)] for name, values in more.items()}


def text(given: dict[str, list[Any]], delimiter: str = ",", end: str = "\n", header: bool = True) -> str:
    """The columns as CSV."""
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    writer.writerows([list(given)] * header)
    writer.writerows(zip(*given.values(), strict=True))
    return stream.getvalue()


def parquet(**given: Any) -> bytes:
    """The columns as a Parquet file."""
    stream = io.BytesIO()
    pq.write_table(pa.table(given), stream)
    return stream.getvalue()


def twice(*targets: Sequence[Any]) -> bytes:
    """A Parquet file with a number x, and the target y as often as there are lists of values."""
    arrays = [pa.array([i / 7 for i in range(ROWS)]), *map(pa.array, targets)]
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_arrays(arrays, ["x", *["y"] * len(targets)]), stream)
    return stream.getvalue()


def part(given: dict[str, list[Any]], start: int, stop: int) -> dict[str, list[Any]]:
    """Some of the rows."""
    return {name: values[start:stop] for name, values in given.items()}


@dataclass(frozen=True)
class Case:
    """Files, and what is to be found in them; what is left at its default is not looked at.

    `types` are those of all input columns, `values` the first numbers of a feature, `levels` the levels of a category.
    """

    files: Sequence[bytes]
    types: dict[str, str] = field(default_factory=dict)
    values: dict[str, list[float]] = field(default_factory=dict)
    levels: dict[str, set[str]] = field(default_factory=dict)
    missing: dict[str, float] = field(default_factory=dict)
    classes: list[str] | None = field(default_factory=lambda: ["no", "yes"])
    problem: str = BINARY
    rows: int = ROWS
    dropped: tuple[int, int] = (0, 0)
    how: dict[str, Any] = field(default_factory=dict)
    content_type: str = CSV


def ugly(*values: Any, **expected: Any) -> Case:
    """A CSV file with the column c, which has these values again and again."""
    kind = expected.pop("kind", None)
    types = {"types": {"x": "numeric", "c": kind}} if kind else {}
    return Case([text(columns(c=values)).encode()], **types, **expected)


def target(*values: Any, **expected: Any) -> Case:
    """A CSV file whose target has these values again and again."""
    return Case([text(columns() | columns(y=values)).encode()], **expected)


PLAIN = {"x": "numeric"}
TOWNS = {"Köln", "Zürich", "Orléans"}
TOWN = {"types": {"x": "numeric", "town": "categorical"}, "levels": {"town": TOWNS}}
DATES = [f"{y}-{m:02}-{d:02}" for y, m, d in ((2020, 3, 4), (2020, 12, 31), (2021, 7, 14))]
DATE_FORMS = ["2020-03-04", "03/04/2020", "4.3.2020", "4 Mar 2020", "Mar 4, 2020", "2020-03-04T01:00:00+01:00"]
MARCH_4 = (datetime.datetime(2020, 3, 4) - EPOCH).total_seconds()
JULY_14 = (datetime.datetime(2021, 7, 14) - EPOCH).total_seconds()


def town_file(encoding: str, mark: bytes = b"") -> bytes:
    """A file with letters that are not ASCII, the first of them far behind its begin."""
    given = columns(5000) | {"town": ["Bonn"] * 4400 + sorted(TOWNS) * 200}
    return mark + text(given).encode(encoding)


FILES: list[tuple[str, Case]] = [
    ("byte order mark", Case([b"\xef\xbb\xbf" + text(columns()).encode()], PLAIN)),
    *(("line ends of any system", Case([text(columns(), end=end).encode()], PLAIN)) for end in ("\r\n", "\n", "\r")),
    ("line ends of any system", Case([text(columns(), end="\r\n\r\n").encode()], PLAIN)),
    (
        "quotes, delimiters and line ends in values",
        ugly('a, "b"', "two\nlines", "", kind="categorical", levels={"c": {'a, "b"', "two\nlines", ""}}),
    ),
    *(
        (
            "semicolons, tabs, bars",
            Case([text(columns(c=("a,b", "c", "d")), delimiter).encode()], PLAIN | {"c": "categorical"}),
        )
        for delimiter in ";\t|"
    ),
    *(("Latin-1", Case([town_file(name)], rows=5000, **TOWN)) for name in ("latin-1", "cp1252")),
    (
        "Latin-1",
        Case([text(columns(c=("5 €", "„ja“", "x"))).encode("cp1252")], levels={"c": {"5 €", "„ja“", "x"}}),
    ),
    *(
        ("UTF-16", Case([town_file(name, mark)], rows=5000, **TOWN))
        for name, mark in (
            ("utf-16-le", b"\xff\xfe"),
            ("utf-16-be", b"\xfe\xff"),
            ("utf-16-le", b""),
            ("utf-16-be", b""),
        )
    ),
    (
        "duplicate names",
        Case([text(columns(a=["1.5", "2.5"])).replace("x,y,a", "x,y,x").encode()], {"x": "numeric", "x.1": "numeric"}),
    ),
    (
        "blank names",
        Case(
            [text({"": list(map(str, range(ROWS))), **columns()}).encode()],
            {"Unnamed: 0": "ignored", "x": "numeric"},
        ),
    ),
    (
        "header in each file",
        Case(
            [
                text(part(columns(), 0, 30)).encode(),
                text(part({name: columns()[name] for name in ("y", "x")}, 30, 60)).encode(),
            ],
            PLAIN,
            {"x": [i / 7 for i in range(ROWS)]},
        ),
    ),
    *(
        (
            "header in the midst of a file",
            Case([b"".join(pack(text(part(columns(), at, at + 20)).encode()) for at in (0, 20, 40))], PLAIN),
        )
        for pack in (bytes, gzip.compress)
    ),
    *(
        (
            "header in other letters",
            Case(
                [
                    text(part(columns(), 0, 30)).encode(),
                    text(part(columns(), 30, 60)).replace("x,y", header).encode(),
                ],
                PLAIN,
                {"x": [i / 7 for i in range(ROWS)]},
            ),
        )
        for header in ("X,Y", "x, y", '" X" ,y ')
    ),
    *(
        (
            "header in the first file only",
            Case(
                [
                    text(part(columns(), 0, 30), delimiter).encode(),
                    text(part(columns(), 30, 60), delimiter, header=False).encode(),
                ],
                PLAIN,
                {"x": [i / 7 for i in range(ROWS)]},
            ),
        )
        for delimiter in ",;"
    ),
    (
        "part files without content",
        Case(
            [
                gzip.compress(b""),
                b"",
                b"\n",
                text(part(columns(), 0, 30)).encode(),
                b"",
                gzip.compress(b""),
                text(part(columns(), 30, 60)).encode(),
                text(columns(0)).encode(),
            ],
            PLAIN,
        ),
    ),
    (
        "a thousand part files",
        Case(
            [text(part(columns(2000), i, i + 2), header=i % 4 == 0).encode() for i in range(0, 2000, 2)],
            PLAIN,
            {"x": [i / 7 for i in range(2000)]},
            rows=2000,
        ),
    ),
    ("gzip", Case([gzip.compress(text(columns()).encode())], PLAIN)),
    ("gzip", Case([gzip.compress(b"x,") + gzip.compress(text(columns()).encode()[2:])], PLAIN)),
    ("gzip", Case([gzip.compress(text(columns()).encode())], PLAIN, how={"CompressionType": "Gzip"})),
    (
        "Parquet types",
        Case(
            [
                parquet(
                    y=pa.array(columns()["y"]).dictionary_encode(),
                    number=pa.array([i / 7 for i in range(ROWS)]),
                    money=pa.array([decimal.Decimal(i) / 4 for i in range(ROWS)], pa.decimal128(9, 2)),
                    town=pa.array(columns(town=sorted(TOWNS))["town"]).dictionary_encode(),
                    day=[datetime.date(2020, 3, 4), datetime.date(2021, 7, 14)] * 30,
                    moment=pa.array([datetime.datetime(2020, 3, 4), None] * 30, pa.timestamp("ns", "UTC")),
                    flag=[True, False, None] * 20,
                    list=[[1], [2, 3]] * 30,
                    struct=[{"a": 1}] * 60,
                    map=pa.array([[("k", 1)]] * 60, pa.map_(pa.string(), pa.int64())),
                    nothing=pa.nulls(ROWS),
                )
            ],
            {
                "number": "numeric",
                "money": "numeric",
                "town": "categorical",
                "day": "datetime",
                "moment": "datetime",
                "flag": "categorical",
                "list": "ignored",
                "struct": "ignored",
                "map": "ignored",
                "nothing": "ignored",
            },
            {"money": [0, 0.25, 0.5], "day:epoch": [MARCH_4, JULY_14], "moment:epoch": [MARCH_4, np.nan]},
            {"town": TOWNS, "flag": {"True", "False", ""}},
            {"flag": 1 / 3, "nothing": 1},
            content_type=PARQUET,
        ),
    ),
]

LEVELS = [f"k{i * 7 % 10_007}" for i in range(10_000)]

COLUMNS: list[tuple[str, Case]] = [
    (
        "thousands, percent, currency",
        ugly(
            *("1,234", "1 234.5", "1'234", "12%", "$5", "5 EUR", "-€1,234,567.5"),
            kind="numeric",
            values={"c": [1234, 1234.5, 1234, 12, 5, 5, -1234567.5]},
        ),
    ),
    (
        "decimals behind a comma",
        Case(
            [text(columns() | {"x": [f"{i // 7},{i % 7}" for i in range(ROWS)]}, ";").encode()],
            PLAIN,
            {"x": [0, 0.1, 0.2]},
        ),
    ),
    (
        "decimals behind a comma",
        ugly("1,5", "1.234,5", "1,234", "12", "€ 2,50", kind="numeric", values={"c": [1.5, 1234.5, 1.234, 12, 2.5]}),
    ),
    ("mixed types", ugly("1", "2", "3", "red", kind="categorical")),
    ("mixed types", ugly(*(str(i) for i in range(20)), *["tbd"] * 10, kind="categorical")),
    ("mixed types", ugly(*(str(i) for i in range(24)), *["tbd"] * 6, kind="numeric")),
    (
        "mixed types",
        ugly(
            *("tbd" if i % 3 == 0 else f"{i / 7:.3f}" for i in range(ROWS)),
            kind="numeric",
            values={"c": [np.nan, 0.143, 0.286]},
        ),
    ),
    (
        "missing markers",
        ugly(
            *("1.5", "NA", "?", "None", "2.5", "null", "", "3.5", "-", "n/a"),
            kind="numeric",
            values={"c": [1.5, np.nan, np.nan, np.nan, 2.5]},
            missing={"c": 0.7},
        ),
    ),
    ("missing markers", ugly("red", "NA", "blue", "?", kind="categorical", levels={"c": {"red", "blue", ""}})),
    (
        "infinite and huge numbers",
        ugly(
            *("1", "inf", "-Infinity", "1e39", "1e400", "1e30"), kind="numeric", values={"c": [1, *[np.nan] * 4, 1e30]}
        ),
    ),
    (
        "infinite and huge numbers",
        Case(
            [parquet(y=columns()["y"], c=[1.0, float("inf"), 1e39, -float("inf")] * 15, d=[10**18, 1, -(2**62)] * 20)],
            {"c": "numeric", "d": "numeric"},
            {"c": [1, np.nan, np.nan, np.nan], "d": [1e18, 1, -(2.0**62)]},
            content_type=PARQUET,
        ),
    ),
    ("booleans", ugly("true", "FALSE", "True", "f", kind="categorical", levels={"c": {"True", "False", "f"}})),
    ("dates", ugly(*DATE_FORMS, "2021-07-14", kind="datetime", values={"c:epoch": [MARCH_4] * 6 + [JULY_14]})),
    (
        "dates",
        ugly("04/03/2020", "14/07/2021", "", kind="datetime", values={"c:epoch": [MARCH_4, JULY_14, np.nan]}),
    ),
    (
        "unix times",
        ugly(
            *(f"{MARCH_4:.0f}", f"{JULY_14:.0f}", f"{MARCH_4:.1f}", ""),
            kind="datetime",
            values={"c:epoch": [MARCH_4, JULY_14, MARCH_4, np.nan], "c:month": [3, 7, 3, np.nan]},
        ),
    ),
    ("unix times", ugly(f"{MARCH_4:.0f}000", f"{JULY_14:.0f}000", kind="datetime", values={"c:month": [3, 7]})),
    (
        "unix times",
        ugly(f"{MARCH_4:.0f}.25", f"{JULY_14:.0f}.5", kind="numeric", values={"c": [MARCH_4 + 0.25, JULY_14 + 0.5]}),
    ),
    ("unix times", ugly("20200304", "20210714", kind="datetime", values={"c:epoch": [MARCH_4, JULY_14]})),
    (
        "unix times",
        Case(
            [parquet(y=columns()["y"], c=[int(MARCH_4), None] * 30)],
            {"c": "datetime"},
            {"c:epoch": [MARCH_4, np.nan]},
            content_type=PARQUET,
        ),
    ),
    ("nothing, or one value", ugly("", kind="ignored", missing={"c": 1})),
    ("nothing, or one value", ugly("NA", "?", kind="ignored", missing={"c": 1})),
    ("nothing, or one value", ugly("same", kind="ignored", missing={"c": 0})),
    *(
        ("ids", ugly(*values, kind="ignored"))
        for values in (
            list(map(str, range(1, ROWS + 1))),
            [f"user-{i}" for i in range(ROWS)],
            [str(uuid.uuid5(uuid.NAMESPACE_URL, str(i))) for i in range(ROWS)],
        )
    ),
    (
        "ten thousand levels",
        Case(
            [text(columns(30_000, c=LEVELS)).encode()],
            {"x": "numeric", "c": "categorical"},
            rows=30_000,
        ),
    ),
    (
        "5,000 columns",
        Case(
            [
                text(
                    columns() | {f"c{j}": [f"{i * j % 17 + 0.5}" for i in range(ROWS)] for j in range(1, 5000)}
                ).encode()
            ],
            {"x": "numeric"} | {f"c{j}": "ignored" if j % 17 == 0 else "numeric" for j in range(1, 5000)},
        ),
    ),
]

TARGETS: list[tuple[str, Case]] = [
    ("missing values", target("no", "yes", "", " ", "NaN", "yes", rows=30, dropped=(30, 0))),
    (
        "missing values",
        Case(
            [parquet(x=[i / 7 for i in range(ROWS)], y=["no", "yes", None] * 20)],
            rows=40,
            dropped=(20, 0),
            content_type=PARQUET,
        ),
    ),
    ("markers that are classes", target("None", "NA", "?", classes=["?", "NA", "None"], problem=MULTICLASS)),
    ("markers that are classes", target("0", "1", "NA", classes=["0", "1"], rows=40, dropped=(20, 0))),
    ("markers that are classes", target("True", "False", "None", classes=["False", "True"], rows=40, dropped=(20, 0))),
    ("markers that are classes", target("a", "b", "?", classes=["?", "a", "b"], problem=MULTICLASS)),
    (
        "markers that are classes",
        target("a", "b", "?", classes=["a", "b"], rows=40, dropped=(20, 0), how={"ProblemType": BINARY}),
    ),
    (
        "markers that are classes",
        target(
            *(f"{i / 7:.3f}" for i in range(57)),
            *("NA", "?", "about 7"),
            classes=None,
            problem=REGRESSION,
            rows=57,
            dropped=(2, 1),
        ),
    ),
    (
        "classes with one row",
        target(*["a", "b"] * 29, "alone", "lonely", classes=["a", "alone", "b", "lonely"], problem=MULTICLASS),
    ),
    ("numeric classes as floats", target("1.0", "1.0", "1", "0", "2", classes=["0", "1.0", "2"], problem=MULTICLASS)),
    (
        "numeric classes as floats",
        target("1", "1.0", "1", "2", "unknown", classes=["1", "2", "unknown"], problem=MULTICLASS),
    ),
    (
        "numeric classes as floats",
        Case(
            [parquet(x=[i / 7 for i in range(ROWS)], y=[1.0, 2.0, None] * 20)],
            classes=["1", "2"],
            rows=40,
            dropped=(20, 0),
            content_type=PARQUET,
        ),
    ),
    ("booleans as target", target("true", "FALSE", "True", "true", classes=["FALSE", "true"])),
    (
        "booleans as target",
        Case(
            [parquet(x=[i / 7 for i in range(ROWS)], y=[True, False] * 30)],
            classes=["False", "True"],
            content_type=PARQUET,
        ),
    ),
    ("two numbers", target("10", "9", classes=["9", "10"])),
    ("two numbers", target("0.5", "-1.5", classes=["-1.5", "0.5"])),
    ("two numbers", target("$5", "$10", classes=["$5", "$10"])),
    ("two words", target("yes", "no", classes=["no", "yes"])),
    ("two words", target(">50K", "<=50K", classes=["<=50K", ">50K"])),
    *(
        ("numbers as people write them", target(*values, classes=None, problem=REGRESSION))
        for values in (
            [f"${1000 + 7.5 * i:,.2f}" for i in range(ROWS)],
            [f"{i / 4}%" for i in range(ROWS)],
            [f"{i},{i}" for i in range(ROWS)],
        )
    ),
    (
        "infinite values",
        target(
            *(str(i * 1.5) for i in range(58)),
            "inf",
            "1e999",
            classes=None,
            problem=REGRESSION,
            rows=58,
            dropped=(0, 2),
        ),
    ),
]

CASES = [*FILES, *COLUMNS, *TARGETS]


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    made = DirectoryObjects(tmp_path / "objects")
    made.create_bucket("bucket")
    return made


@pytest.fixture(params=["memory", "spool"])
def both_ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables of a job are in memory, then in spools."""
    if request.param == "spool":
        monkeypatch.setattr(tables, "SPOOLED_FROM", -1)
        monkeypatch.setattr("pilothouse.data.delimited.BLOCK", 1 << 12)


def put(objects: DirectoryObjects, files: Sequence[bytes], folder: str = "in") -> dict[str, Any]:
    for i, content in enumerate(files):
        objects.put("bucket", f"{folder}/{i:04}", content)
    return {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": f"s3://bucket/{folder}/"}}


def prepared(objects: DirectoryObjects, folder: Path, case: Case, **channels: Sequence[bytes]) -> Dataset:
    """The data set of a job whose training files are the case's."""
    request = requested(objects, case, **channels)
    tasks.prepare(objects, folder, request=request, min_rows=10, dataset=str(folder / "dataset"))
    return Dataset.load(folder / "dataset")


def requested(objects: DirectoryObjects, case: Case, **channels: Sequence[bytes]) -> dict[str, Any]:
    """The request for a job whose training files are the case's, which are put into the store."""
    how = dict(case.how)
    problem = {"ProblemType": how.pop("ProblemType")} if "ProblemType" in how else {}
    named = {"training": case.files, **channels}
    return {
        "AutoMLJobName": "ugly",
        "InputDataConfig": [
            {
                "DataSource": put(objects, files, name),
                "ChannelType": name,
                "ContentType": case.content_type,
                "TargetAttributeName": "y",
                **how,
            }
            for name, files in named.items()
        ],
        "OutputDataConfig": {"S3OutputPath": "s3://bucket/out"},
        "RoleArn": "arn:aws:iam::000000000000:role/R",
        **problem,
    }


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[f"{i} {item}" for i, (item, _) in enumerate(CASES)])
def test_ugly_files_have_the_expected_schema(
    objects: DirectoryObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    if len(case.types) > 1000:
        monkeypatch.setattr("pilothouse.data.delimited.BLOCK", 1 << 20)
    data = prepared(objects, tmp_path, case)
    profile = {column["name"]: column for column in data.facts["profile"]}
    assert (data.problem_type, data.classes) == (case.problem, case.classes)
    assert not case.types or {name: column["type"] for name, column in profile.items()} == case.types
    assert (data.facts["rows"], data.facts["dropped"]["training"]) == (
        case.rows,
        dict(zip(("missing_target", "invalid_target"), case.dropped, strict=True)),
    )
    for name, share in case.missing.items():
        assert profile[name]["missing"] == pytest.approx(share, abs=0.1)
    for name, values in case.values.items():
        found = data.features.numeric[: len(values), data.features.numeric_names.index(name)]
        np.testing.assert_allclose(found, np.array(values, np.float32), atol=1e-3)
    encoders = {data.columns[position]: encoder for position, encoder in data.pipeline().encoders}
    for name, levels in case.levels.items():
        encoder = encoders[name]
        assert isinstance(encoder, CategoryEncoder)
        assert set(encoder.levels) - {"Bonn"} == levels


def test_every_line_of_the_page_has_a_file() -> None:
    lines = re.findall(r"^\| (.+?) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    assert {line for line in lines if not line.startswith("what a ")} == {item for item, _ in CASES}


@pytest.mark.usefixtures("both_ways")
def test_many_levels_have_codes_and_counts(objects: DirectoryObjects, tmp_path: Path) -> None:
    data = prepared(objects, tmp_path, dict(COLUMNS)["ten thousand levels"])
    assert len(set(LEVELS)) == 10_000
    assert next(column["distinct"] for column in data.facts["profile"] if column["name"] == "c") > 9_800
    assert data.features.cardinalities == [1001]
    codes = data.features.categorical[:, 0]
    counts = data.features.numeric[:, data.features.numeric_names.index("c:count")]
    assert set(counts[codes > 0]) == {3}
    assert set(counts[codes == 0]) == {1}


REFUSED: dict[str, tuple[Case, dict[str, Sequence[bytes]], str]] = {
    "a target nobody can learn": (
        target(*(f"key-{i}" for i in range(ROWS))),
        {},
        "60 classes in 60 rows, too many to learn",
    ),
    "one value": (target("same"), {}, "at least two different ones"),
    "more classes than rows allow": (
        target(*(f"key-{i}" for i in range(59)), "key-1", how={"ProblemType": MULTICLASS}),
        {},
        "59 classes in 60 rows, too many to learn",
    ),
    "validation columns that differ": (
        target("no", "yes"),
        {"validation": [text({"z": ["1"], "y": ["no"]}).encode()]},
        "they lack 'x'",
    ),
    "two files of other columns": (
        Case([text(columns(a=["1"], b=["2"])).encode(), text(columns(a=["1"], c=["2"])).encode()]),
        {},
        "header of .* differs",
    ),
    "two files of other columns in other letters": (
        Case([text(columns(a=["1"])).encode(), text(columns(c=["2"])).replace("x,y", "X,Y").encode()]),
        {},
        "header of .* differs",
    ),
    "other letters in another order": (
        Case([text(columns()).encode(), text({"Y": columns()["y"], "X": columns()["x"]}).encode()]),
        {},
        "header of .* differs",
    ),
    "UTF-16 that nothing tells": (
        Case([text({"ж": ["1", "2"], "y": ["a", "b"]}).encode("utf-16-le")]),
        {},
        "not a CSV",
    ),
    "the target twice": (
        Case([text(columns(a=["1", "2"])).replace("x,y,a", "x,y,y").encode()]),
        {},
        "^Target attribute name y exists 2 times in header",
    ),
    "the target twice, behind a file without content": (
        Case([gzip.compress(b""), text(columns(a=["1"], b=["2"])).replace("x,y,a,b", "y.1,y,a,y").encode()]),
        {},
        "^Target attribute name y exists 2 times in header",
    ),
    "the target twice in Parquet": (
        Case([twice(["no", "yes"] * 30, ["a", "b"] * 30)], content_type=PARQUET),
        {},
        "^Target attribute name y exists 2 times in header",
    ),
    "the weight twice": (
        Case(
            [text(columns(a=["1"], b=["2"])).replace("x,y,a,b", "x,y,w,w").encode()],
            how={"SampleWeightAttributeName": "w"},
        ),
        {},
        "^Sample weight attribute name w exists 2 times in header",
    ),
    "no content at all": (Case([b"\n", gzip.compress(b"")]), {}, "is empty"),
    "a header without names": (Case([b",,\n1,2,3\n"]), {}, "names no column"),
    "bytes of no encoding": (Case([text(columns(c=["é"])).encode() + b"\xff,no,x\n"]), {}, "not UTF-8"),
    "binary": (Case([text(columns()).encode() + b"\xff\0,no\n"]), {}, "zero bytes"),
}


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_learnt_is_refused_with_the_reason(objects: DirectoryObjects, tmp_path: Path, case: str) -> None:
    given, channels, complaint = REFUSED[case]
    with pytest.raises(DataError, match=complaint):
        prepared(objects, tmp_path, given, **channels)
    assert [path.name for path in tmp_path.iterdir()] == ["objects"]


@pytest.fixture
def enormous(monkeypatch: pytest.MonkeyPatch) -> Case:
    """Two files that the store says are of 51 GB each, and that nobody may open."""
    walk = DirectoryObjects.walk
    monkeypatch.setattr(
        DirectoryObjects, "walk", lambda *given: (replace(one, size=51 * 10**9) for one in walk(*given))
    )
    monkeypatch.setattr(DirectoryObjects, "open", lambda *_, **__: pytest.fail("an object was opened"))
    return Case([text(columns()).encode()] * 2)


def test_more_than_100_gb_are_refused_before_anything_is_read(
    objects: DirectoryObjects, tmp_path: Path, enormous: Case
) -> None:
    with pytest.raises(DataError, match=r"have 102\.0 GB, and at most 100 GB are read"):
        prepared(objects, tmp_path, enormous)


class HereLauncher:
    """Runs programs in the test's own process, one after the other."""

    def launch(self, program: Program) -> SimpleNamespace:
        module, _, name = program.target.partition(":")
        getattr(importlib.import_module(module), name)(**program.arguments)
        return SimpleNamespace(pid=os.getpid(), poll=lambda: Exit(code=0), wait=lambda timeout=None: Exit(code=0))


def test_a_job_on_more_than_100_gb_fails_for_that_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, enormous: Case
) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    settings = Settings(home=tmp_path, slots=1)
    objects = DirectoryObjects(settings.objects_root)
    objects.create_bucket("bucket")
    request = requested(objects, enormous) | {"AutoMLJobConfig": {"Mode": "ENSEMBLING"}}
    with closing(Store(settings.database, region=settings.region, account=settings.account_id)) as store:
        store.migrate()
        store.insert("automl-job", "ugly", request, status="InProgress")
        lease = store.leases.claim(["automl-job"], owner="test", ttl=600)
        assert lease is not None
        launcher: Any = HereLauncher()
        job = Job(KINDS["automl-job"], lease, store=store, objects=objects, launcher=launcher, settings=settings)
        conclude(job)
        row = job.refresh()
    assert row.status == row.state["AutoMLJobSecondaryStatus"] == "Failed"
    assert row.state["FailureReason"] == (
        "The data is too large: the objects of the channels have 102.0 GB, and at most 100 GB are read. "
        "Use fewer rows or columns."
    )
