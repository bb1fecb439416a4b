"""What a trial's memory will peak at, planned before it is trained."""

from __future__ import annotations

from dataclasses import replace

from pilothouse.problems.tabular.costs import CandidatePlan, Facts, crossed

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

_BYTES_PER_ONE_HOT_CELL = 24
"""Linear-learner's, for each row and level: float64 as a part, in the whole, and squared or weighted."""

_BYTES_PER_SPARSE_VALUE = 40
"""Linear-learner's: value and index of 8 bytes, mapped, taken for a fold and for fewer rows, scaled and squared."""

_FOREST = 300 << 20
_LEAST_ROWS = 5_000


def peak(candidate: CandidatePlan, facts: Facts) -> int:
    """The bytes that the candidate's trial is expected to need at most."""
    rows = min(facts.rows, int(candidate.params.get("max_rows", facts.rows)))
    trees = _FOREST if candidate.algorithm in ("extra-trees", "randomforest") else 0
    outputs = facts.rows * max(facts.n_classes, 1) * _BYTES_PER_OUTPUT
    sparse = facts.sparse_values * _BYTES_PER_SPARSE_VALUE if candidate.algorithm == "linear-learner" else 0
    cells = (facts.cells + facts.rows * crossed(candidate)) * _COPIES + rows * _bytes_per_row(candidate, facts)
    return _PROCESS + trees + cells + sparse + outputs


def _bytes_per_row(candidate: CandidatePlan, facts: Facts) -> int:
    """What each row that is trained on needs in the engine."""
    dense = (max(facts.columns, 1) + crossed(candidate)) * _BYTES_PER_CELL[candidate.algorithm]
    return dense + (facts.one_hot * _BYTES_PER_ONE_HOT_CELL if candidate.algorithm == "linear-learner" else 0)


def fitted(candidate: CandidatePlan, facts: Facts, room: int) -> CandidatePlan | None:
    """The candidate on so few rows that it fits into `room` bytes; None if that would be next to none."""
    if peak(candidate, facts) <= room:
        return candidate
    over = peak(candidate, facts) - room
    rows = min(facts.rows, int(candidate.params.get("max_rows", facts.rows)))
    fewer = rows - over // _bytes_per_row(candidate, facts) - 1
    if fewer < _LEAST_ROWS:
        return None
    return replace(candidate, params={**candidate.params, "max_rows": fewer})
