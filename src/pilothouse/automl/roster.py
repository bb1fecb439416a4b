"""The candidates of a job by name, how much each counts, and further ones around those that count most."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pilothouse.problems.tabular import plan as planning
from pilothouse.problems.tabular.costs import MOST_FEEDERS
from pilothouse.problems.tabular.plan import CandidatePlan

if TYPE_CHECKING:
    from pilothouse.problems.tabular.progress import Progress
    from pilothouse.work.job import Job

_PATIENCE, _LEAST_GAIN = 8, 0.0005
"""No further candidates once the last 8 together lowered the blend's loss by less than this share."""


_LEAST_BLENDED = 3
_BENEFIT_OF_DOUBT = 0.02
"""What every algorithm's share in the blend counts more."""


class Roster:
    """Thread-safe. `dataset` is the job's prepared data, of so many `columns`, on some of whose rows the finished are
    blended.
    """

    def __init__(self, job: Job, dataset: Path, columns: int) -> None:
        from pilothouse.problems.tabular.progress import Progress  # a job that waits for its data needs no numpy

        self._job = job
        self._columns = columns
        self._lock = threading.Lock()
        self._progress: Progress = Progress(dataset)
        self._plans: dict[str, CandidatePlan] = {}

    def enlist(self, plans: Sequence[CandidatePlan]) -> None:
        """Takes note of planned candidates."""
        self._plans |= {plan.suffix: plan for plan in plans}

    def first_layer(self) -> list[CandidatePlan]:
        """Those of the first layer, in the order in which they came."""
        return [plan for plan in self._plans.values() if plan.layer == 1]

    def take_in(self, plan: CandidatePlan, folder: Path) -> None:
        """Lets a completed candidate count, if this machine still has its predictions whole in `folder`."""
        try:
            with self._lock:
                self._progress.add(plan.suffix, folder)
        except (OSError, ValueError, EOFError):
            self._job.log(f"Candidate {plan.suffix} is not combined: its predictions are not on this machine any more.")

    @property
    def finished(self) -> int:
        """How many count."""
        return len(self._progress)

    def ranked(self) -> list[CandidatePlan]:
        """The finished candidates, those with the most weight in the blend first."""
        with self._lock:
            weights = self._progress.weights()
        return [self._plans[name] for name in sorted(weights, key=lambda name: weights[name], reverse=True)]

    def promise(self) -> dict[str, float]:
        """How much one more candidate of an algorithm promises: the share that its candidates have in the blend, and a
        little, for the blend knows only what it has seen, divided by their number. Nothing while few are finished.
        """
        with self._lock:
            weights = self._progress.weights()
        if len(weights) < _LEAST_BLENDED:
            return {}
        shares: dict[str, list[float]] = {}
        for name, weight in weights.items():
            shares.setdefault(self._plans[name].algorithm, []).append(weight)
        return {algorithm: (_BENEFIT_OF_DOUBT + sum(own)) / len(own) for algorithm, own in shares.items()}

    def feeders(self) -> list[CandidatePlan]:
        """The finished first-layer candidates that a second layer learns from: those that the blend needs."""
        return [plan for plan in self.ranked() if plan.layer == 1][:MOST_FEEDERS]

    def drawn_before(self) -> list[CandidatePlan]:
        """The further candidates that an earlier run of this job drew."""
        found: list[CandidatePlan] = []
        while self._job.recorded(step := f"further-{len(found) + 1}"):
            found.append(CandidatePlan(**self._job.once(step, dict)))
        return found

    def further(self, most: int, algorithm: str | None = None) -> CandidatePlan | None:
        """One more candidate around a good one (of `algorithm`), recorded; None if there are `most`, or they gain
        nothing any more.
        """
        with self._lock:
            if len(self._plans) >= most or self._progress.gain(_PATIENCE) < _LEAST_GAIN:
                return None
            drawn = self._drawn(algorithm)
            if drawn is None:
                return None
            step = f"further-{len(self.drawn_before()) + 1}"
            plan = CandidatePlan(**self._job.once(step, lambda: dict(vars(drawn))))
            self._plans[plan.suffix] = plan
            return plan

    def _drawn(self, algorithm: str | None) -> CandidatePlan | None:
        """A variant of a candidate; those with the most weight in the blend have the most variants."""
        weights = self._progress.weights()
        if algorithm is not None:
            weights = {name: weight for name, weight in weights.items() if self._plans[name].algorithm == algorithm}
        varied = Counter(plan.algorithm for plan in self._plans.values())
        ranked = sorted(weights, key=lambda name: weights[name] / varied[self._plans[name].algorithm], reverse=True)
        for name in ranked:
            model = self._plans[name]
            others = [plan for plan in self._plans.values() if plan.algorithm == model.algorithm]
            seed = 10_000 + 100 * len(self._plans)
            drawn = planning.further(model, varied[model.algorithm] + 1, seed, others, self._columns)
            if model.layer == 1 and drawn is not None:
                return drawn
        return None
