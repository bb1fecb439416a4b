"""Read: from tables as given to the prepared data set that every trial of a job shares.

A table in memory is gone through in one piece. A spool is gone through block by block: whole in memory are eight bytes
or so a row at a time, of the target, of the weights, and of what tells copies of rows; column types and features are
learnt on a sample of the rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data import duplicates, render, sample, split, spool, twins, written
from pilothouse.data.features import Features
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.markers import is_missing
from pilothouse.data.profile import Column, profile
from pilothouse.data.spool import Spool
from pilothouse.engines.design import MOST_ONE_HOT
from pilothouse.errors import DataError
from pilothouse.problems.tabular import dataset
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.resolve import Resolved, count, labels, resolve_counts
from pilothouse.problems.tabular.specification import FeatureSpecification

__all__ = ["Dataset", "Reading", "prepare"]

Table: TypeAlias = pa.Table | Spool

LARGEST_TARGET = 1e36
"""Regression targets above this are refused: engines keep values in single precision, and metrics square them."""


@dataclass(frozen=True)
class Reading:
    """How the tables are to be read. What is None is inferred, or absent.

    `validation_fraction` holds out that share of the training rows where there is no validation table. `folds` is the
    number of folds over the remaining training rows. Fewer than `min_rows` usable training rows are refused.
    """

    target: str
    problem_type: str | None = None
    metric: str | None = None
    weight: str | None = None
    specification: FeatureSpecification = field(default_factory=FeatureSpecification)
    validation_fraction: float = 0.2
    folds: int = 5
    seed: int = 0
    min_rows: int = 500


@dataclass(frozen=True)
class _Usable:
    """The rows of one channel that can be used, and how many could not be, by reason."""

    table: Table
    y: npt.NDArray[np.float64]
    w: npt.NDArray[np.float64] | None
    dropped: dict[str, int]

    def counted(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """The targets of those among `rows` that have a weight above 0."""
        y: npt.NDArray[np.float64] = self.y[rows]
        return y if self.w is None else y[self.w[rows] > 0]


def prepare(train: Table, validation: Table | None, reading: Reading, directory: Path) -> Dataset:
    """Make the data set of a job at `directory`, whole or not at all, and load it.

    Rows without a usable target or weight are left out and counted. Columns are typed, and features learnt, on the
    training rows alone. `DataError` says what to change in data that can't be used.
    """
    inputs = _input_columns(train, reading)
    comma = _has_commas(train, reading.weight)
    weighed = _with_weights(train, reading.weight, comma, "training")
    targets = (block[reading.target] for block in spool.blocks(weighed.table.select([reading.target])))
    resolved = resolve_counts(count(targets), reading.problem_type, reading.metric)
    learn = _with_targets(weighed, reading.target, resolved)
    _check_rows(learn, reading.min_rows)
    judge = None if validation is None else _validation(validation, train.column_names, reading, resolved, comma)
    train_rows = _training_rows(learn, judge, reading, resolved, None)
    if judge is None:
        _check_left(learn, train_rows, reading)
    chosen, columns = _typed(learn, train_rows, inputs, reading, train.num_rows)
    # What is no feature, an id say, tells no copies apart: they are looked for among what is one, and then split anew.
    groups = duplicates.groups(learn.table.select(_used(columns)), learn.y)
    if groups is not None and judge is None:
        del chosen
        train_rows = _training_rows(learn, judge, reading, resolved, groups)
        chosen, columns = _typed(learn, train_rows, inputs, reading, train.num_rows)
    _check_objective(learn, judge, train_rows, resolved)
    _check_features(columns)
    pipeline = FeaturePipeline.fit(chosen, columns, reading.seed, len(train_rows))
    del chosen
    channels = [learn] if judge is None else [learn, judge]
    with dataset.Draft(directory) as draft:
        features = draft.write_features(block for channel in channels for block in _features(pipeline, channel.table))
        arrays = _arrays(channels, train_rows, reading, resolved, groups)
        return draft.finish(_facts(reading, resolved, columns, channels, features, arrays), pipeline, arrays)


def _input_columns(train: Table, reading: Reading) -> list[str]:
    for name, role in ((reading.target, "Target"), (reading.weight, "Sample weight")):
        found = 1 if name is None else twins.count(train.schema, name)
        if not found:
            raise DataError(f"{role} attribute name {name} does not exist in header.")
        if found > 1:
            raise DataError(
                f"{role} attribute name {name} exists {found} times in header. Give each column its own name."
            )
    if reading.weight == reading.target:
        raise DataError("The sample weight column is the target column. Choose another SampleWeightAttributeName.")
    inputs = [name for name in train.column_names if name not in (reading.target, reading.weight)]
    reading.specification.check(inputs, reading.target, reading.weight)
    if pa.types.is_nested(train.schema.field(reading.target).type):
        raise DataError("The target column holds nested values. Give it one number or label a row.")
    return inputs


def _has_commas(table: Table, weight: str | None) -> bool:
    """Whether decimals of the weights come behind a comma."""
    return weight is not None and written.has_commas(b[weight] for b in spool.blocks(table.select([weight])))


def _with_weights(table: Table, weight: str | None, comma: bool, channel: str) -> _Usable:
    if weight is None:
        return _Usable(table, np.empty(0), None, {})
    if pa.types.is_nested(table.schema.field(weight).type):
        raise DataError("The sample weight column holds nested values. Give it one number a row.")
    column = spool.blocks(table.select([weight]))
    values = np.concatenate([written.as_float64(render.chunk(block[weight]), comma) for block in column])
    valid = np.isfinite(values) & (values >= 0)
    if not (values[valid] > 0).any():
        raise DataError(f"The sample weight column {weight!r} of the {channel} data has no positive number in it.")
    dropped = {"invalid_weight": int((~valid).sum())}
    return _Usable(table if valid.all() else table.filter(pa.array(valid)), np.empty(0), values[valid], dropped)


def _with_targets(weighed: _Usable, target: str, resolved: Resolved) -> _Usable:
    parts, unusable = list[npt.NDArray[np.float64]](), Counter[str]()
    for block in spool.blocks(weighed.table.select([target])):
        parts.append(resolved.targets(block[target]))
        unusable.update(_unusable(block[target], np.isfinite(parts[-1])))
    y = np.concatenate(parts)
    usable = np.isfinite(y)
    dropped = weighed.dropped | dict(unusable)
    if usable.all():
        return _Usable(weighed.table, y, weighed.w, dropped)
    weights = None if weighed.w is None else weighed.w[usable]
    return _Usable(weighed.table.filter(pa.array(usable)), y[usable], weights, dropped)


def _unusable(column: pa.ChunkedArray, usable: npt.NDArray[np.bool_]) -> dict[str, int]:
    texts = labels(column).filter(pa.array(~usable)).to_pylist()
    missing = sum(map(is_missing, texts))
    return {"missing_target": missing, "invalid_target": len(texts) - missing}


def _check_rows(learn: _Usable, min_rows: int) -> None:
    if len(learn.y) < min_rows:
        left_out = sum(learn.dropped.values())
        detail = f" ({left_out} more had no usable target or weight)" if left_out else ""
        raise DataError(
            f"The training data has {len(learn.y)} usable rows{detail}; at least {min_rows} are needed. Add more rows."
        )
    if len(np.unique(learn.counted(np.arange(len(learn.y))))) < 2:
        weighed = "" if learn.w is None else " with a weight above 0"
        raise DataError(
            f"All usable training rows{weighed} have the same target. Training needs at least two different ones."
        )


def _validation(table: Table, expected: list[str], reading: Reading, resolved: Resolved, comma: bool) -> _Usable:
    missing = [name for name in expected if name not in table.column_names]
    extra = [name for name in table.column_names if name not in expected]
    if missing or extra:
        found = f"lack {missing[0]!r}" if missing else f"have {extra[0]!r} as well"
        raise DataError(f"The columns of the validation data must equal those of the training data, but they {found}.")
    weighed = _with_weights(table.select(expected), reading.weight, comma, "validation")
    judge = _with_targets(weighed, reading.target, resolved)
    if not len(judge.y):
        raise DataError(
            "No row of the validation data has a target that the training data knows. Mend it or leave it out."
        )
    return judge


def _training_rows(
    learn: _Usable, judge: _Usable | None, reading: Reading, resolved: Resolved, groups: npt.NDArray[Any] | None
) -> npt.NDArray[Any]:
    if judge is not None:
        return np.arange(len(learn.y))
    fraction, stratify = reading.validation_fraction, resolved.problem_type != REGRESSION
    return split.holdout(learn.y, fraction, stratify=stratify, seed=reading.seed, groups=groups)[0]


def _check_left(learn: _Usable, train_rows: npt.NDArray[Any], reading: Reading) -> None:
    """`DataError` if validation leaves fewer than two rows a fold to learn from."""
    rows, least = len(train_rows), 2 * reading.folds
    if rows < least:
        raise DataError(
            f"A ValidationFraction of {reading.validation_fraction:g} leaves {rows} of {len(learn.y)} usable rows to "
            f"train on; at least {least} are needed. Choose a smaller one."
        )


def _typed(
    learn: _Usable, train_rows: npt.NDArray[Any], inputs: list[str], reading: Reading, total: int
) -> tuple[pa.Table, list[Column]]:
    """Those of the training rows that features are learnt from, and what their columns are."""
    chosen = learn.table.select(inputs).take(sample.learnt_from(learn.table, learn.y, train_rows, reading.seed))
    specified = reading.specification
    return chosen, profile(chosen, types=specified.types, only=specified.names, total=total)


def _used(columns: list[Column]) -> list[str]:
    return [column.name for column in columns if column.type != "ignored"]


def _check_objective(learn: _Usable, judge: _Usable | None, train_rows: npt.NDArray[Any], resolved: Resolved) -> None:
    """`DataError` if the objective would have no value on the training or on the validation rows."""
    if resolved.classes is None:
        for channel in (learn, judge or learn):
            _check_size(channel.y)
    elif resolved.metric == "AUC":
        held_out = np.setdiff1d(np.arange(len(learn.y)), train_rows, assume_unique=True)
        judged = learn.counted(held_out) if judge is None else judge.counted(np.arange(len(judge.y)))
        _check_both_classes(learn.counted(train_rows), "training", resolved.classes)
        _check_both_classes(judged, "validation", resolved.classes)


def _check_size(y: npt.NDArray[np.float64]) -> None:
    largest = float(np.abs(y).max())
    if largest > LARGEST_TARGET:
        raise DataError(
            f"The target column has numbers as large as {largest:.3g}. Above {LARGEST_TARGET:.0e} errors can't be "
            "measured. Divide the target by a constant, or correct its values."
        )


def _check_both_classes(y: npt.NDArray[np.float64], part: str, classes: list[str]) -> None:
    missing = sorted({0, 1} - set(y.astype(int)))
    if missing:
        raise DataError(
            f"AUC compares two classes, but no {part} row of positive weight has the class {classes[missing[0]]!r}. "
            "Add such rows, or choose another objective metric."
        )


def _check_features(columns: list[Column]) -> None:
    if all(column.type == "ignored" for column in columns):
        reasons = "; ".join(f"{column.name}: {column.reason}" for column in columns[:5])
        raise DataError(
            f"No column can be used as a feature{f' ({reasons})' if reasons else ''}. Add columns that vary."
        )


def _features(pipeline: FeaturePipeline, table: Table) -> Iterator[Features]:
    for column in pipeline.columns:
        if column.type != "ignored" and pa.types.is_nested(table.schema.field(column.name).type):
            raise DataError(
                f"Column {column.name!r} holds nested values in the validation data. Use the training schema."
            )
    yield from map(pipeline.transform, spool.blocks(table))


def _arrays(
    channels: list[_Usable],
    train_rows: npt.NDArray[Any],
    reading: Reading,
    resolved: Resolved,
    groups: npt.NDArray[Any] | None,
) -> dict[str, npt.NDArray[Any]]:
    stratify = resolved.problem_type != REGRESSION
    y = np.concatenate([channel.y for channel in channels]).astype(np.int64 if stratify else np.float64)
    part = np.full(len(y), dataset.VALIDATION, np.int8)
    part[train_rows] = dataset.TRAIN
    folds = np.full(len(y), -1, np.int8)
    own = None if groups is None else groups[train_rows]
    folds[train_rows] = split.folds(y[train_rows], reading.folds, stratify=stratify, seed=reading.seed, groups=own)
    weights = [channel.w for channel in channels if channel.w is not None]
    arrays: dict[str, npt.NDArray[Any]] = {"y": y, "part": part, "folds": folds}
    if weights:
        arrays["w"] = np.concatenate(weights)
    if groups is not None:
        arrays["groups"] = np.concatenate([groups, np.full(len(y) - len(groups), -1)])
    return arrays


def _facts(
    reading: Reading,
    resolved: Resolved,
    columns: list[Column],
    channels: list[_Usable],
    features: Features,
    arrays: dict[str, npt.NDArray[Any]],
) -> dict[str, Any]:
    dropped = [channel.dropped for channel in channels]
    held_out = int((arrays["part"] == dataset.VALIDATION).sum())
    return {
        "problem_type": resolved.problem_type,
        "metric": resolved.metric,
        "classes": resolved.classes,
        "target": reading.target,
        "weight": reading.weight,
        "columns": [column.name for column in columns],
        "feature_columns": _used(columns),
        "profile": [asdict(column) for column in columns],
        "features": _sizes(features),
        "rows": len(features),
        "train_rows": len(features) - held_out,
        "validation_rows": held_out,
        "dropped_rows": sum(sum(counts.values()) for counts in dropped),
        "copies": 0 if "groups" not in arrays else _copies(arrays["groups"]),
        "dropped": dict(zip(("training", "validation"), dropped, strict=False)),
        "folds": int(arrays["folds"].max()) + 1,
        "seed": reading.seed,
        "input_bytes": sum(int(channel.table.nbytes) for channel in channels),
        "example": _example(next(spool.blocks(channels[0].table)), columns),
    }


def _sizes(features: Features) -> dict[str, int]:
    """Columns by kind, and what decides a linear model's memory: one-hot columns and n-gram weights."""
    return {
        "numeric": features.numeric.shape[1],
        "categorical": features.categorical.shape[1],
        "one_hot": sum(min(levels, MOST_ONE_HOT) for levels in features.cardinalities),
        "sparse_values": 0 if features.sparse is None else int(features.sparse.nnz),
    }


def _example(table: pa.Table, columns: list[Column]) -> list[str]:
    """The texts of the first row; of an ignored column, which may hold anything, none."""
    first = table.slice(0, 1)
    return ["" if c.type == "ignored" else render.texts(render.chunk(first[c.name]))[0].as_py() for c in columns]


def _copies(groups: npt.NDArray[Any]) -> int:
    """Rows that repeat an earlier one."""
    known = groups[groups >= 0]
    return len(known) - len(np.unique(known))
