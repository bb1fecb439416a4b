"""The feature pipeline: typed columns in, `Features` out; learnt on training rows only, and never from the target."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pilothouse.data import deltas, render, written
from pilothouse.data import text as free_text
from pilothouse.data.categories import CategoryEncoder
from pilothouse.data.dates import DateEncoder
from pilothouse.data.deltas import Delta
from pilothouse.data.features import Features
from pilothouse.data.ngrams import NgramEncoder
from pilothouse.data.numbers import NumberEncoder
from pilothouse.data.profile import Column
from pilothouse.data.sequences import SequenceEncoder
from pilothouse.data.text import TextEncoder
from pilothouse.data.written import WrittenNumberEncoder
from pilothouse.errors import ConfigurationError

FORMAT, VERSION, VERSION_WITH_DELTAS, VERSION_WITH_SEQUENCES = "pilothouse-features", 1, 2, 3
"""Releases that know version 1 only can read what has neither deltas nor sequences."""

SLICE_ROWS = 1 << 16
FEW_ROWS = 50
"""Up to so many rows are read value by value, more column by column."""

Sampled = TypeVar("Sampled", pa.Table, pa.ChunkedArray)
Reader = Callable[[str, list[float], list[int]], None]
"""Appends the numbers and the code that a text has in one column."""

_DESCRIPTION, _ARRAYS = "pipeline.json", "arrays.safetensors"


class Encoder(Protocol):
    """One column's way into features."""

    @property
    def names(self) -> list[str]:
        """The numeric features that it makes."""

    @property
    def cardinality(self) -> int | None:
        """The codes of its categorical feature, if it makes one."""

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32] | None]:
        """Numbers [n, len(names)] and, if there is a cardinality, codes [n]. Raises for no text whatever."""

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """JSON and arrays from which the class's `restore` makes the encoder again."""


_ENCODERS: dict[str, Any] = {
    "numeric": NumberEncoder,
    "categorical": CategoryEncoder,
    "datetime": DateEncoder,
    "sequence": SequenceEncoder,
    "text": TextEncoder,
}


class FeaturePipeline:
    """Turns the input columns of a data set, in their order, into features.

    Whether rows come as a table or as lists of texts, their features are the same to the last bit. A value that is
    unknown, or not of its column's type, counts as missing. With `sparse` off, n-grams are left out: they take longer
    than all else, and only linear models read them.
    """

    def __init__(
        self, columns: list[Column], encoders: list[tuple[int, Encoder]], deltas: Sequence[Delta] = ()
    ) -> None:
        self.columns = columns
        self.deltas = list(deltas)
        self._encoders = encoders
        self._numeric_names = [name for _, encoder in encoders for name in encoder.names]
        self._numeric_names += [delta.name for delta in deltas]
        coded = [(position, encoder.cardinality) for position, encoder in encoders if encoder.cardinality is not None]
        self._categorical_names = [columns[position].name for position, _ in coded]
        self._cardinalities = [cardinality for _, cardinality in coded]
        self._ngrams = [(p, e.ngrams) for p, e in encoders if isinstance(e, TextEncoder) and e.ngrams is not None]
        self.sparse = bool(self._ngrams)
        self._readers = [(position, _reader(encoder)) for position, encoder in encoders]

    @classmethod
    def fit(cls, table: pa.Table, columns: list[Column], seed: int = 0, rows: int | None = None) -> FeaturePipeline:
        """Learn from the training rows in `table`, which has every column of `columns`.

        `rows` is how many training rows there are where those are but a sample of them.
        """
        used = [(i, column) for i, column in enumerate(columns) if column.type != "ignored"]
        encoders = [(i, _fitted(column, table[column.name], seed, rows or table.num_rows)) for i, column in used]
        return cls(columns, encoders, _varying(_deltas(columns, encoders), table, columns, seed))

    @property
    def encoders(self) -> list[tuple[int, Encoder]]:
        """The encoder of each column that is used, with the column's position in `columns`."""
        return list(self._encoders)

    def transform(self, table: pa.Table) -> Features:
        """The features of a table's rows. Columns are found by name; others than the pipeline's are not looked at."""
        features = self._empty(table.num_rows)
        for start in range(0, table.num_rows, SLICE_ROWS):
            part = table.slice(start, SLICE_ROWS)
            encoded = [_encode_array(e, render.chunk(part[self.columns[p].name])) for p, e in self._encoders]
            if self.deltas:
                encoded.append((_days(self.deltas, part, self.columns), None))
            self._fill(features, slice(start, start + part.num_rows), encoded)
        return self._with_ngrams(features, lambda p, ngrams: _encode_ngrams(ngrams, table[self.columns[p].name]))

    def transform_rows(self, rows: Sequence[Sequence[Any]]) -> Features:
        """The features of rows that hold one text for each of `columns`, in that order.

        A value that is not a text is read as the text it would be in a CSV file.
        """
        features = self._read(rows) if len(rows) <= FEW_ROWS else self._read_columns(rows)
        return self._with_ngrams(features, lambda p, ngrams: ngrams.encode([_cell(row[p]) for row in rows]))

    def _read_columns(self, rows: Sequence[Sequence[Any]]) -> Features:
        features = self._empty(len(rows))
        encoded = [
            _encode_texts(encoder, [_cell(row[position]) for row in rows]) for position, encoder in self._encoders
        ]
        if self.deltas:
            encoded.append((deltas.days(self.deltas, lambda position: [_cell(row[position]) for row in rows]), None))
        self._fill(features, slice(None), encoded)
        return features

    def _read(self, rows: Sequence[Sequence[Any]]) -> Features:
        """The features of a few rows, which aren't worth an array for each column."""
        numbers: list[float] = []
        codes: list[int] = []
        for row in rows:
            for position, read in self._readers:
                value = row[position]
                read(value if type(value) is str else render.as_text(value), numbers, codes)
            for delta in self.deltas:
                numbers.append(delta.days(_cell(row[delta.first]), _cell(row[delta.second])))
        return self._with(
            np.array(numbers, np.float32).reshape(len(rows), len(self._numeric_names)),
            np.array(codes, np.int32).reshape(len(rows), len(self._categorical_names)),
        )

    def save(self, directory: Path) -> None:
        """Write pipeline.json and arrays.safetensors into `directory`, which is made if need be."""
        from safetensors.numpy import save_file

        directory.mkdir(parents=True, exist_ok=True)
        states = [(position, *encoder.state()) for position, encoder in self._encoders]
        description = {
            "format": FORMAT,
            "version": self._version(),
            "columns": [asdict(column) for column in self.columns],
            "encoders": {str(position): state for position, state, _ in states},
            **({"deltas": [[delta.first, delta.second] for delta in self.deltas]} if self.deltas else {}),
        }
        arrays = {f"{position}.{name}": array for position, _, named in states for name, array in named.items()}
        (directory / _DESCRIPTION).write_text(json.dumps(description, ensure_ascii=False), encoding="utf-8")
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, directory / _ARRAYS)

    @classmethod
    def load(cls, directory: Path) -> FeaturePipeline:
        """What `save` wrote. `ConfigurationError` if another program or a later release wrote it."""
        from safetensors.numpy import load_file

        described = json.loads((directory / _DESCRIPTION).read_text(encoding="utf-8"))
        known = (VERSION, VERSION_WITH_DELTAS, VERSION_WITH_SEQUENCES)
        if described.get("format") != FORMAT or described.get("version") not in known:
            raise ConfigurationError(
                f"The feature pipeline in {directory} has format {described.get('format')!r} version "
                f"{described.get('version')!r}; this release reads {FORMAT!r} up to version {max(known)}. "
                "Use the release of Pilothouse that made the model."
            )
        columns = [Column(**column) for column in described["columns"]]
        arrays = load_file(directory / _ARRAYS)
        states = described["encoders"].items()
        encoders = [(int(p), _restored(columns[int(p)], state, arrays, p)) for p, state in states]
        kept = {tuple(pair) for pair in described.get("deltas", [])}
        return cls(columns, encoders, [d for d in _deltas(columns, encoders) if (d.first, d.second) in kept])

    def _version(self) -> int:
        """The first one whose releases can read this pipeline."""
        if any(isinstance(encoder, SequenceEncoder) for _, encoder in self._encoders):
            return VERSION_WITH_SEQUENCES
        return VERSION_WITH_DELTAS if self.deltas else VERSION

    def _empty(self, rows: int) -> Features:
        return self._with(
            np.empty((rows, len(self._numeric_names)), np.float32),
            np.empty((rows, len(self._categorical_names)), np.int32),
        )

    def _with(self, numeric: npt.NDArray[np.float32], categorical: npt.NDArray[np.int32]) -> Features:
        return Features(
            numeric,
            categorical,
            list(self._numeric_names),
            list(self._categorical_names),
            list(self._cardinalities),
        )

    def _with_ngrams(self, features: Features, encode: Callable[[int, NgramEncoder], Any]) -> Features:
        if not self.sparse:
            return features
        from scipy.sparse import hstack

        blocks = [encode(position, ngrams) for position, ngrams in self._ngrams]
        return replace(features, sparse=blocks[0] if len(blocks) == 1 else hstack(blocks, format="csr"))

    @staticmethod
    def _fill(features: Features, rows: slice, encoded: list[tuple[npt.NDArray[Any], npt.NDArray[Any] | None]]) -> None:
        at = code_at = 0
        for numbers, codes in encoded:
            features.numeric[rows, at : at + numbers.shape[1]] = numbers
            at += numbers.shape[1]
            if codes is not None:
                features.categorical[rows, code_at] = codes
                code_at += 1


def _deltas(columns: list[Column], encoders: list[tuple[int, Encoder]]) -> list[Delta]:
    """Those of all date columns."""
    dated = [(p, columns[p].name, encoder) for p, encoder in encoders if isinstance(encoder, DateEncoder)]
    return deltas.between(dated)


def _varying(found: list[Delta], table: pa.Table, columns: list[Column], seed: int) -> list[Delta]:
    if not found:
        return []
    names = sorted({columns[p].name for delta in found for p in (delta.first, delta.second)})
    days = _days(found, _sample(table.select(names), SLICE_ROWS, seed), columns)
    return [delta for delta, own in zip(found, days.T, strict=True) if deltas.varies(own)]


def _days(found: Sequence[Delta], table: pa.Table, columns: list[Column]) -> npt.NDArray[np.float32]:
    return deltas.days(found, lambda p: render.texts(render.chunk(table[columns[p].name])).to_pylist())


def _cell(value: Any) -> str:
    return value if type(value) is str else render.as_text(value)


def _reader(encoder: Encoder) -> Reader:
    own: Reader | None = getattr(encoder, "read", None)
    if own is not None:
        return own

    def read(text: str, numbers: list[float], codes: list[int]) -> None:
        made, code = encoder.encode([text])
        numbers.extend(made[0].tolist())
        if code is not None:
            codes.append(int(code[0]))

    return read


def _encode_texts(encoder: Encoder, texts: list[str]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32] | None]:
    try:
        column = pa.array(texts, pa.string())
    except UnicodeEncodeError:  # half a surrogate pair, which only Python's own strings can hold
        return encoder.encode(texts)
    return _encode_array(encoder, column)


def _encode_array(encoder: Encoder, column: pa.Array) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32] | None]:
    if isinstance(encoder, NumberEncoder):
        return encoder.encode_array(column), None
    distinct = render.texts(column).dictionary_encode()
    numbers, codes = encoder.encode(distinct.dictionary.to_pylist())
    rows = distinct.indices.to_numpy(zero_copy_only=False)
    return numbers[rows], None if codes is None else codes[rows]


def _encode_ngrams(ngrams: NgramEncoder, column: pa.ChunkedArray) -> Any:
    distinct = render.texts(render.chunk(column)).dictionary_encode()
    return ngrams.encode(distinct.dictionary.to_pylist())[distinct.indices.to_numpy(zero_copy_only=False)]


def _fitted(column: Column, values: pa.ChunkedArray, seed: int, rows: int) -> Encoder:
    if column.type == "numeric":
        return written.encoder(column.name, values) or NumberEncoder([column.name])
    texts = pa.chunked_array([render.texts(part) for part in values.chunks], pa.string())
    if column.type == "text":
        return TextEncoder.fit(column.name, _sample(texts, free_text.FIT_ROWS, seed).to_pylist(), seed, rows)
    if column.type == "sequence":
        return SequenceEncoder.fit(column.name, pc.unique(_sample(texts, free_text.FIT_ROWS, seed)).to_pylist())
    if column.type == "datetime":
        return DateEncoder.fit(column.name, pc.unique(texts).to_pylist())
    counted = pc.value_counts(texts)
    pairs = zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True)
    return CategoryEncoder.fit(column.name, pairs)


def _sample(values: Sampled, rows: int, seed: int) -> Sampled:
    if len(values) <= rows:
        return values
    return values.take(np.sort(np.random.default_rng(seed).choice(len(values), rows, replace=False)))


def _restored(column: Column, state: dict[str, Any], arrays: dict[str, Any], position: str) -> Encoder:
    prefix = f"{position}."
    own = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    if state.get("written"):
        return WrittenNumberEncoder(column.name, state.get("comma", False))
    return cast(Encoder, _ENCODERS[column.type].restore(column.name, state, own))
