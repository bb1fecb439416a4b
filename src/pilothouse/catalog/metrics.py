"""The metrics of AutoML jobs: which exist, which way they improve, and where they apply."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Direction = Literal["Maximize", "Minimize"]

REGRESSION = "Regression"
BINARY = "BinaryClassification"
MULTICLASS = "MulticlassClassification"
PROBLEM_TYPES = (BINARY, MULTICLASS, REGRESSION)


@dataclass(frozen=True)
class Metric:
    """A measured value. `problem_types`: where it is computed. `objective`: whether a job may optimise it."""

    name: str
    direction: Direction
    problem_types: tuple[str, ...]
    objective: bool = True

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`. NaN is better than nothing."""
        if a != a:
            return False
        return b != b or (a > b if self.direction == "Maximize" else a < b)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("MSE", "Minimize", (REGRESSION,)),
        Metric("MAE", "Minimize", (REGRESSION,)),
        Metric("RMSE", "Minimize", (REGRESSION,)),
        Metric("R2", "Maximize", (REGRESSION,)),
        Metric("F1", "Maximize", (BINARY,)),
        Metric("Accuracy", "Maximize", (BINARY, MULTICLASS)),
        Metric("AUC", "Maximize", (BINARY,)),
        Metric("BalancedAccuracy", "Maximize", (BINARY, MULTICLASS)),
        Metric("Precision", "Maximize", (BINARY,)),
        Metric("Recall", "Maximize", (BINARY,)),
        Metric("F1macro", "Maximize", (MULTICLASS,)),
        Metric("PrecisionMacro", "Maximize", (MULTICLASS,)),
        Metric("RecallMacro", "Maximize", (MULTICLASS,)),
        Metric("LogLoss", "Minimize", (BINARY, MULTICLASS), objective=False),
        Metric("InferenceLatency", "Minimize", PROBLEM_TYPES, objective=False),
    )
}

DEFAULT_OBJECTIVE = {REGRESSION: "MSE", BINARY: "F1", MULTICLASS: "Accuracy"}


def objectives(problem_type: str) -> list[str]:
    """The names that a job of this problem type may optimise."""
    return [m.name for m in METRICS.values() if m.objective and problem_type in m.problem_types]


def reported(problem_type: str) -> list[str]:
    """The names that every candidate of this problem type reports."""
    return [m.name for m in METRICS.values() if problem_type in m.problem_types]
