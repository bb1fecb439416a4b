"""A channel's files as a matrix with labels: libsvm, or CSV without a header and Parquet with the label first."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pilothouse.errors import DataError

LIBSVM = ("text/libsvm", "text/x-libsvm")
CSV = "text/csv"
PARQUET = "application/x-parquet"


@dataclass(frozen=True)
class Labelled:
    """Rows: `values` (a float32 array, NaN where a value is missing, or a sparse matrix), `labels`, maybe `weights`."""

    values: Any
    labels: np.ndarray[Any, Any]
    weights: np.ndarray[Any, Any] | None = None

    @property
    def width(self) -> int:
        """How many features."""
        return int(self.values.shape[1])

    def widened(self, width: int) -> Labelled:
        """The same with so many features: libsvm files leave out what they have no value of."""
        if self.width == width:
            return self
        if isinstance(self.values, np.ndarray):
            raise DataError(f"The channels differ in their columns: {self.width} and {width} features.")
        values = self.values.copy()
        values.resize((values.shape[0], width))
        return replace(self, values=values)


def read(folder: Path, content_type: str | None, weighted: bool = False) -> Labelled:
    """All files below `folder`; without a content type they are libsvm, as AWS takes them.

    `weighted`: the second column of a CSV file is the weight of its row. `DataError` if the files can't be read so.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    if not files:
        raise DataError(f"The channel {folder.name} holds no data.")
    kind = (content_type or LIBSVM[0]).partition(";")[0].strip().lower()
    if kind in LIBSVM:
        return _libsvm(files)
    if kind == CSV:
        return _parts([_csv(path) for path in files], weighted)
    if kind == PARQUET:
        return _parts([_parquet(path) for path in files], weighted)
    raise DataError(f"The channel {folder.name} has ContentType {content_type}. Use {CSV}, {LIBSVM[0]} or {PARQUET}.")


def _parts(tables: list[np.ndarray[Any, Any]], weighted: bool) -> Labelled:
    if len({table.shape[1] for table in tables}) > 1:
        raise DataError("The files of a channel differ in the number of their columns.")
    table = np.concatenate(tables)
    first = 2 if weighted else 1
    if table.shape[1] <= first:
        raise DataError(
            "There is no feature: the first column is the label" + (", the second the weight." if weighted else ".")
        )
    labels = table[:, 0]
    if np.isnan(labels).any():
        raise DataError(
            "The first column, which is the label, has values that are no numbers. The files need no header."
        )
    return Labelled(table[:, first:], labels, table[:, 1] if weighted else None)


def _csv(path: Path) -> np.ndarray[Any, Any]:
    import pyarrow as pa
    from pyarrow import csv

    reading = csv.ReadOptions(autogenerate_column_names=True)
    try:
        table = csv.read_csv(path, read_options=reading)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path.name} cannot be read as CSV: {str(error).splitlines()[0]}") from error
    return _numbers(table, path)


def _parquet(path: Path) -> np.ndarray[Any, Any]:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path.name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
    return _numbers(table, path)


def _numbers(table: Any, path: Path) -> np.ndarray[Any, Any]:
    import pyarrow as pa

    numbers = np.empty((table.num_rows, table.num_columns), dtype=np.float32)
    for place, column in enumerate(table.columns):
        kind = column.type
        if not (
            pa.types.is_integer(kind)
            or pa.types.is_floating(kind)
            or pa.types.is_boolean(kind)
            or pa.types.is_null(kind)
        ):
            raise DataError(
                f"Column {place + 1} of {path.name} holds text. All columns must be numbers, without a header; encode "
                "categories before."
            )
        numbers[:, place] = column.cast(pa.float32(), safe=False).to_numpy()
    return numbers


def _libsvm(files: list[Path]) -> Labelled:
    from scipy import sparse
    from sklearn.datasets import load_svmlight_file

    parts = []
    for path in files:
        try:
            parts.append(load_svmlight_file(str(path), dtype=np.float32, zero_based=True))
        except (ValueError, UnicodeDecodeError) as error:
            raise DataError(
                f"{path.name} cannot be read as libsvm: {error}. Set ContentType if it is text/csv."
            ) from error
    width = max(values.shape[1] for values, _ in parts)
    widened = [Labelled(values, labels).widened(width) for values, labels in parts]
    return Labelled(
        sparse.vstack([part.values for part in widened], format="csr"),
        np.concatenate([part.labels for part in widened]),
    )
