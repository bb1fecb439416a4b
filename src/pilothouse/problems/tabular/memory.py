"""What a trial's memory will peak at, planned before it is trained."""

from __future__ import annotations

from dataclasses import replace

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data.selection import counted_rows, is_large
from pilothouse.engines.design import MOST_KNOTS, most_products
from pilothouse.engines.forest import value_bytes
from pilothouse.engines.linear import rows_in_memory
from pilothouse.engines.nets.streamed import learnt_rows
from pilothouse.engines.solvers import ROWS_AT_ONCE, WIDEST_SOLVED
from pilothouse.engines.xgboost_blocks import PAGED
from pilothouse.problems.tabular.costs import MOST_FEEDERS, CandidatePlan, Facts, crossed
from pilothouse.problems.tabular.stack import width

_PROCESS = 200 << 20
_COPIES = 10
"""Bytes a cell: the features as the trial maps and takes them for a fold, float32 twice and some."""

_BYTES_PER_CELL = {
    "lightgbm": 12,
    "xgboost": 14,
    "catboost": 26,
    "extra-trees": 12,
    "randomforest": 12,
    "linear-learner": 90,
    "nn-torch": 24,
    "fastai": 40,
    "mlp": 40,
}
"""What an engine needs for each row and column that it trains on: measured with 120,000 rows and rounded up for the
boosters and linear-learner, estimated for forests and networks."""

_BYTES_PER_OUTPUT = 40
"""For each row and class: predictions, gradients and hessians."""

_BYTES_PER_ONE_HOT_CELL = 16
"""Linear-learner's, for each row and level: float64, and squared where there are n-grams too."""

_BYTES_PER_PRODUCT = 8

_BYTES_PER_SPARSE_VALUE = 40
"""Linear-learner's: value and index of 8 bytes, mapped, taken for a fold and for fewer rows, scaled and squared."""

_BYTES_PER_STACKED_CELL = 5
"""The features of the second layer are no map of a file: float32, of all rows, and those of validation beside them."""

_STREAMED = {"xgboost": 8, "linear-learner": 0, "nn-torch": 0, "mlp": 0}
"""What stays in memory for each row and column of rows that are read block by block: XGBoost's bins."""
_PAGED = 1
"""The same where these are in files, of which some are read ahead."""
_BLOCKS = 300 << 20
_FEWER_ROWS = 200_000
"""As many are trained on in memory where all of them don't fit even block by block."""

_BYTES_PER_MIXED_OUTPUT, _BYTES_PER_COMBINED_OUTPUT = 100, 6
"""An ensemble's, for each row and class: mixtures and their verdict, and for each candidate what is calibrated of the
validation rows and, in data with copies, of all. Measured without copies: 70 and 1.
"""

_FOREST = 300 << 20
_LEAST_ROWS = 5_000


def peak(candidate: CandidatePlan, facts: Facts) -> int:
    """The bytes that the candidate's trial is expected to need at most."""
    met = _met(candidate, _counted(facts))
    return _peak(candidate, met) + (met.cells * _BYTES_PER_STACKED_CELL if candidate.layer > 1 else 0)


def _counted(facts: Facts) -> Facts:
    """The facts with as many training rows as memory goes by."""
    return replace(facts, rows=counted_rows(facts.rows, facts.all_rows), all_rows=0)


def _met(candidate: CandidatePlan, facts: Facts) -> Facts:
    """The facts of what the candidate sees: in the second layer also what the first predicts."""
    if candidate.layer == 1:
        return facts
    return replace(facts, columns=facts.columns + MOST_FEEDERS * width(facts.n_classes))


def _peak(candidate: CandidatePlan, facts: Facts) -> int:
    rows = _trained(candidate, facts)
    forest = candidate.algorithm in ("extra-trees", "randomforest")
    trees = _FOREST + value_bytes(rows, max(facts.n_classes, 1)) if forest else 0
    outputs = facts.rows * max(facts.n_classes, 1) * _BYTES_PER_OUTPUT
    sparse = facts.sparse_values * _BYTES_PER_SPARSE_VALUE if candidate.algorithm == "linear-learner" else 0
    if _is_streamed(candidate, facts, rows):
        learnt = min(rows, _learnt(candidate, facts))
        kept = learnt * _bytes_per_row(candidate, facts) + _products(candidate, learnt)
        return _PROCESS + _BLOCKS + kept + rows * _streamed_bytes_per_row(candidate, facts) + sparse + outputs
    copied = rows if is_large(facts.rows, facts.columns) else facts.rows
    learnt = min(rows, _learnt(candidate, facts)) if candidate.algorithm == "linear-learner" else rows
    blocks = _BLOCKS if learnt < rows else _solved(candidate, facts, rows)
    cells = copied * (max(facts.columns, 1) + crossed(candidate)) * _COPIES + learnt * _bytes_per_row(candidate, facts)
    return _PROCESS + trees + blocks + cells + _products(candidate, learnt) + sparse + outputs


def _is_streamed(candidate: CandidatePlan, facts: Facts, rows: int) -> bool:
    """Whether so many of the rows would be read block by block."""
    large = is_large(facts.rows, facts.columns) and is_large(rows, facts.columns)
    return large and engines.streams(candidate.algorithm)


def _streamed_bytes_per_row(candidate: CandidatePlan, facts: Facts) -> int:
    kept = _PAGED if candidate.params.get(PAGED) else _STREAMED[candidate.algorithm]
    return (max(facts.columns, 1) + crossed(candidate)) * kept


def _bytes_per_row(candidate: CandidatePlan, facts: Facts) -> int:
    """What each row that is trained on needs in the engine."""
    dense = (max(facts.columns, 1) + crossed(candidate)) * _BYTES_PER_CELL[candidate.algorithm]
    return dense + (facts.one_hot * _BYTES_PER_ONE_HOT_CELL if candidate.algorithm == "linear-learner" else 0)


def _products(candidate: CandidatePlan, rows: int) -> int:
    """What the products of a linear model's columns need, of so many rows in memory."""
    return most_products(int(candidate.params.get("products", 0)), rows) * rows * _BYTES_PER_PRODUCT


def _solved(candidate: CandidatePlan, facts: Facts, rows: int) -> int:
    """What least squares over so many rows need: the columns' products with one another and a copy of them, and rows
    twice.
    """
    if candidate.algorithm != "linear-learner" or facts.problem_type != REGRESSION:
        return 0
    params = candidate.params
    columns = facts.numeric * (2 + int(params.get("knots", MOST_KNOTS))) + facts.one_hot
    columns = min(columns + int(params.get("products", 0)), WIDEST_SOLVED)
    return (2 * columns**2 + 2 * min(rows, ROWS_AT_ONCE) * columns) * 8


def fitted(candidate: CandidatePlan, facts: Facts, room: int) -> CandidatePlan | None:
    """The candidate with its bins on disk, or on so few rows, that it fits into `room` bytes.

    None if those would be next to none.
    """
    facts = _counted(facts)
    if peak(candidate, facts) <= room:
        return candidate
    met = _met(candidate, facts)
    if _is_streamed(candidate, met, facts.rows):
        paged = replace(candidate, params={**candidate.params, PAGED: True})
        if candidate.algorithm == "xgboost" and peak(paged, facts) <= room:
            return paged
        candidate = _on(candidate, min(_trained(candidate, facts), _FEWER_ROWS))
    if candidate.algorithm == "linear-learner":
        candidate = _on(candidate, min(_trained(candidate, facts), _learnt(candidate, met)))
    over = max(0, peak(candidate, facts) - room)
    fewer = _trained(candidate, facts) - -(-over // _bytes_per_row(candidate, met))
    while fewer >= _LEAST_ROWS:
        candidate = _on(candidate, fewer)
        if peak(candidate, facts) <= room:
            return candidate
        fewer = fewer * 9 // 10  # not all of the memory goes by rows
    return None


def _learnt(candidate: CandidatePlan, facts: Facts) -> int:
    """How many of more rows an engine has in memory nevertheless. Linear-learner does so whatever there is."""
    if candidate.algorithm == "linear-learner":
        return rows_in_memory(facts.columns)
    return 0 if candidate.algorithm == "xgboost" else learnt_rows(facts.columns)


def _trained(candidate: CandidatePlan, facts: Facts) -> int:
    """How many rows it trains on."""
    return min(facts.rows, int(candidate.params.get("max_rows", facts.rows)))


def _on(candidate: CandidatePlan, rows: int) -> CandidatePlan:
    return replace(candidate, params={**candidate.params, "max_rows": rows})


def combining(facts: Facts, candidates: int) -> int:
    """The bytes that the ensemble of so many candidates is expected to need at most."""
    outputs = _counted(facts).rows * max(facts.n_classes, 1)
    return _PROCESS + outputs * (_BYTES_PER_MIXED_OUTPUT + candidates * _BYTES_PER_COMBINED_OUTPUT)
