"""Linear models: ridge and logistic regression on one-hot and clipped, standardised columns, and on n-grams of text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.data.selection import Selection
from pilothouse.engines.base import Array, Labelled, Model, Task, capped, is_heard, probabilities
from pilothouse.engines.design import MOST_KNOTS, Design
from pilothouse.engines.losses import SQUARED, Errors, LogLoss, Loss, softmax
from pilothouse.engines.penalised import FLAT, FLAT_WITH_TERMS, Penalties, mean_loss, minimised
from pilothouse.engines.solvers import Columns, ridge
from pilothouse.engines.walks import over_all, walk
from pilothouse.errors import ConfigurationError

if TYPE_CHECKING:
    from pilothouse.data.features import Features

_ROWS_IN_MEMORY, _CELLS_IN_MEMORY, _LEAST_IN_MEMORY = 200_000, 16 << 20, 20_000

_WATCHED_ROWS = 20_000

_STREAMED_CELLS = 4 << 20
"""Cells of a design matrix that is made for some of the rows: 32 MB."""


@dataclass(frozen=True)
class _Split:
    """Coefficients by kind of column. `levels` has a row for each level of each category and a zero one after them,
    for codes beyond; `starts` is where each category's rows start.
    """

    numeric: Array
    missing: Array
    levels: Array
    starts: Array
    bends: Array
    products: Array

    @classmethod
    def of(cls, design: Design, coefficients: Array) -> _Split:
        numbers = len(design.mean)
        first = numbers + len(design.indicated)
        bent = design.width + len(design.bent)
        *parts, _ = np.split(coefficients[first : design.width], np.cumsum(design.levels))
        zero = np.zeros((1, coefficients.shape[1]))
        table = np.concatenate([row for part in parts for row in (part, zero)] or [zero])
        starts = np.concatenate([[0], np.cumsum(design.levels + 1)[:-1]]) if parts else np.zeros(0)
        curves = coefficients[design.width : bent], coefficients[bent:]
        return cls(coefficients[:numbers], coefficients[numbers:first], table, starts.astype(np.int64), *curves)

    def scores(self, design: Design, x: Features) -> Array:
        """[n, outputs]: the design matrix times the coefficients, without most of the matrix."""
        standard, missing = design.numbers(x)
        total = standard @ self.numeric
        if len(self.missing):
            total += missing[:, design.indicated] @ self.missing
        if len(self.bends):
            total += design.hinges(standard) @ self.bends
        if len(self.products):
            total += design.products(design.plain(x, standard, missing)) @ self.products
        if len(x) == 1:
            total += self.levels[np.minimum(x.categorical[0], design.levels) + self.starts].sum(axis=0)
            return np.asarray(total)
        for j, start in enumerate(self.starts):
            total += self.levels[np.minimum(x.categorical[:, j], design.levels[j]) + start]
        return np.asarray(total)


class LinearModel:
    """Coefficients [columns, outputs] and intercept [outputs] on a design's columns; `terms` are those of the n-grams.

    A binary model has one output, the log odds of class 1; a multiclass one has a score for each class.
    """

    rounds: int | None = None

    def __init__(
        self, design: Design, coefficients: Array, intercept: Array, n_classes: int, terms: Array | None = None
    ) -> None:
        self._design = design
        self._coefficients = coefficients
        self._intercept = intercept
        self._n_classes = n_classes
        self._split = _Split.of(design, coefficients)
        self._terms = terms

    @property
    def reads_sparse(self) -> bool:
        """Whether predictions need the features' sparse part."""
        return self._terms is not None

    def predict(self, x: Features, rounds: int | None = None) -> Array:
        rows = max(1, _STREAMED_CELLS // max(self._design.columns, 1))
        if len(self._design.left) and len(x) > rows:
            parts = [self.predict(x.take(slice(start, start + rows))) for start in range(0, len(x), rows)]
            return np.concatenate(parts)
        scores = self._split.scores(self._design, x) + self._intercept
        if self._terms is not None:
            scores += x.sparse @ self._terms
        if not self._n_classes:
            return np.asarray(scores[:, 0])
        return probabilities(softmax(scores, self._n_classes), self._n_classes)

    def save(self, directory: Path) -> None:
        from safetensors.numpy import save_file

        arrays = {**vars(self._design), "coefficients": self._coefficients, "intercept": self._intercept}
        if self._terms is not None:
            arrays["terms"] = self._terms
        save_file({name: np.ascontiguousarray(a) for name, a in arrays.items()}, directory / "linear.safetensors")
        (directory / "model.json").write_text(json.dumps({"n_classes": self._n_classes}))


class LinearLearner:
    """The engine. Params: `l2`, the strength of the penalty in rows (as if so many rows spoke for zero); `l1`, that of
    an absolute penalty; `loss` of regressions: squared, huber or absolute; `knots`, the most hinges a number gets;
    `products`, the most products of two columns (none); `max_rows`.
    """

    name = "linear-learner"

    def fit(
        self,
        x: Features,
        y: Array,
        w: Array | None,
        task: Task,
        params: dict[str, Any],
        *,
        valid: Labelled | None = None,
        rounds: int | None = None,
        seed: int = 0,
        threads: int = 1,
        deadline: float | None = None,
    ) -> Model:
        x, y, w = capped(x, y, w, params, seed)
        few, few_y, few_w = capped(x, y, w, {"max_rows": rows_in_memory(x.columns)}, seed)
        few = few.whole()
        counts, few_counts = _counts(y, w), _counts(few_y, few_w)
        design = Design.fit(few, int(params.get("knots", MOST_KNOTS)))
        if products := int(params.get("products", 0)):
            design = design.multiplied(few, _outputs(few_y, task), few_counts, products, seed)
        a = Columns.of(design.matrix(few), few.sparse)
        l2, kind = float(params.get("l2", 1.0)), str(params.get("loss", SQUARED))
        penalties = Penalties(float(params.get("l1", 0.0)) / len(y), l2 / len(y))
        flat = FLAT if a.sparse is None else FLAT_WITH_TERMS
        if task.regression and kind == SQUARED and not penalties.l1 and len(few) == len(x):
            theta, intercept = ridge(a, y, counts, l2, deadline)
        else:
            loss = _loss(y, counts, task, kind)
            here = mean_loss(loss, a, few_y, few_counts)
            start = np.zeros((a.count, len(loss.start))), loss.start
            watch = _watch(loss, design, valid) if valid is not None and is_heard() else None
            point = minimised(here, start, penalties, flat=flat, deadline=deadline, watch=watch)
            if len(few) < len(x):
                everywhere = walk(loss, _pieces(design, x), y, counts, deadline)
                point = over_all(here, everywhere, point, penalties, rows=len(few), flat=flat, deadline=deadline)
            theta, intercept = loss.scaled(*point)
        coefficients, terms = a.parted(theta)
        return LinearModel(design, coefficients, intercept, task.n_classes, terms)

    def load(self, directory: Path) -> Model:
        from safetensors.numpy import load_file

        arrays = load_file(directory / "linear.safetensors")
        facts = json.loads((directory / "model.json").read_text())
        terms = arrays.pop("terms", None)
        try:
            n_classes = int(facts["n_classes"])
            coefficients, intercept = arrays.pop("coefficients"), arrays.pop("intercept")
            design = Design(**arrays)
        except (KeyError, TypeError, ValueError) as error:
            raise _damaged() from error
        outputs = n_classes if n_classes > 2 else 1
        if not design.is_consistent() or intercept.shape != (outputs,):
            raise _damaged()
        if coefficients.shape != (design.columns, outputs) or (terms is not None and terms.shape[1:] != (outputs,)):
            raise _damaged()
        return LinearModel(design, coefficients, intercept, n_classes, terms)


def rows_in_memory(columns: int) -> int:
    """So many rows are in memory at once, several times over; of more than those the others come block by block."""
    return min(_ROWS_IN_MEMORY, max(_LEAST_IN_MEMORY, _CELLS_IN_MEMORY // max(columns, 1)))


def _damaged() -> ConfigurationError:
    return ConfigurationError(
        "The linear model's coefficients are not those of its columns: the archive is damaged or was not made by "
        "Pilothouse. Fetch it again."
    )


def _counts(y: Array, w: Array | None) -> Array:
    """How much each row counts: 1 on average."""
    return np.ones(len(y)) if w is None else np.asarray(w, dtype=np.float64) * (len(y) / max(w.sum(), 1e-300))


def _outputs(y: Array, task: Task) -> Array:
    """The targets as [n, outputs]: the value, or an indicator of each class."""
    return y[:, None] if task.regression else np.equal.outer(y, np.arange(task.n_classes)).astype(np.float64)


def _loss(y: Array, counts: Array, task: Task, kind: str) -> Loss:
    if task.regression:
        return Errors.on(y, counts, kind, by_distance=task.absolute)
    return LogLoss.on(y, counts, task.n_classes)


def _watch(loss: Loss, design: Design, valid: Labelled) -> Callable[[Array, Array], float]:
    """What is told of a point: by at most so many of the watched rows, evenly spread."""
    x, y, _ = valid
    rows = slice(0, None, max(1, -(-len(x) // _WATCHED_ROWS)))
    few = x.take(rows).whole()
    a, values = Columns.of(design.matrix(few), few.sparse), y[rows]
    return lambda theta, intercept: loss.told(a.times(theta) + intercept, values)


def _pieces(design: Design, x: Features) -> Callable[[], Iterator[Columns]]:
    """The design's columns of all rows, so many at a time as make `_STREAMED_CELLS`, each time anew."""
    selected = x if isinstance(x, Selection) else Selection(x)

    def of(block: Features) -> Columns:
        return Columns.of(design.matrix(block), block.sparse)

    rows = max(1, _STREAMED_CELLS // max(int(of(x.take(slice(0, 1)).whole()).dense.shape[1]), 1))
    return lambda: map(of, selected.blocks(rows))
