"""Warm start: what parent jobs found, as findings of a new one.

With IdenticalDataAndAlgorithm a parent's trials are as good as own ones. With TransferLearning only their order is
taken over, for the level of an objective differs between data sets: the parents' best points are tried first, and the
model is given their losses, moved to the middle and the spread of the job's own, until there are enough of those.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pilothouse.catalog.tuning_jobs import Definition, TuningJob
from pilothouse.tuning.completion import best
from pilothouse.tuning.knowledge import Finding
from pilothouse.tuning.ranges import Point, Space
from pilothouse.tuning.trial import Trial

_MOST_IDENTICAL = 500
_SUGGESTED, _LEAST_OWN, _ENOUGH = 3, 4, 50


@dataclass(frozen=True)
class Suggested:
    """Points of one definition's space to try before any model is asked; nothing has been found there yet."""

    suggestions: list[Point]

    def with_own(self, own: Sequence[Finding]) -> list[Finding]:
        """What is known: the job's own findings."""
        return list(own)


@dataclass(frozen=True)
class Inheritance:
    """The findings of each parent in the space of one definition, each in the order of its trials."""

    parents: tuple[tuple[Finding, ...], ...]
    is_identical: bool

    @classmethod
    def of(
        cls, job: TuningJob, definition: Definition, parents: Sequence[tuple[TuningJob, Sequence[Trial]]]
    ) -> Inheritance:
        """From the parents' requests and trials. Those that failed, that lie outside of the new ranges, or that have no
        finite objective are left out; a hyperparameter that was static is taken with its static value.
        """
        found = tuple(tuple(_findings(definition, parent, trials)) for parent, trials in parents)
        return cls(found, job.warm_start is not None and job.warm_start.kind == "IdenticalDataAndAlgorithm")

    @property
    def suggestions(self) -> list[Point]:
        """The points to try before any model is asked, the parents' best ones in turn."""
        if self.is_identical:
            return []
        ranked = [sorted(parent, key=lambda finding: finding.loss) for parent in self.parents]
        places = range(max((len(parent) for parent in ranked), default=0))
        points = [parent[place].point for place in places for parent in ranked if place < len(parent)]
        return list(dict.fromkeys(points))[:_SUGGESTED]

    def with_own(self, own: Sequence[Finding]) -> list[Finding]:
        """What is known, the job's own findings last."""
        if self.is_identical:
            inherited = [finding for parent in self.parents for finding in parent]
            return [*sorted(inherited, key=lambda finding: finding.loss)[:_MOST_IDENTICAL], *own]
        losses = [finding.loss for finding in own if math.isfinite(finding.loss)]
        if not _LEAST_OWN <= len(losses) < _ENOUGH:
            return list(own)
        room = (_ENOUGH - len(losses)) // max(1, len(self.parents))
        return [*(moved for parent in self.parents for moved in _moved(parent, losses, room)), *own]


def inherited(job: TuningJob, parents: Sequence[tuple[TuningJob, Sequence[Trial]]]) -> Mapping[int, Inheritance]:
    """What each definition of the job inherits, by its place in the request."""
    return (
        {i: Inheritance.of(job, definition, parents) for i, definition in enumerate(job.definitions)} if parents else {}
    )


def overall_best(
    job: TuningJob, trials: Sequence[Trial], parents: Sequence[tuple[TuningJob, Sequence[Trial]]]
) -> tuple[int | None, Trial] | None:
    """The best trial of the job and its parents, the job's own among equals, with the place of the parent that has it,
    or None for the job. None if nobody has a finite objective.
    """
    ranked = []
    for place, (owner, theirs) in [(None, (job, trials)), *enumerate(parents)]:
        found = best(owner, theirs)
        objective = owner.definitions[found.definition].objective if found else None
        if found is not None and objective is not None and found.value is not None:
            ranked.append((objective.loss(found.value), place, found))
    return min(ranked, key=lambda each: each[0])[1:] if ranked else None


def _findings(definition: Definition, parent: TuningJob, trials: Sequence[Trial]) -> list[Finding]:
    space, found = Space(definition.ranges), []
    for trial in sorted(trials, key=lambda trial: trial.number):
        source = parent.definitions[trial.definition]
        if source.name != definition.name or source.objective is None or trial.value is None:
            continue
        if trial.status == "Failed":  # what it said before counts for nothing, as it did in its own job
            continue
        point = space.point({**source.static, **trial.values})
        loss = source.objective.loss(trial.value)
        if point is not None and math.isfinite(loss):
            found.append(Finding(point, loss))
    return found


def _moved(parent: Sequence[Finding], own: Sequence[float], room: int) -> list[Finding]:
    """The parent's findings, thinned out evenly from best to worst, on the scale of the job's own losses."""
    if not parent or room < 1:
        return []
    ranked = sorted(parent, key=lambda finding: finding.loss)
    kept = ranked[:: math.ceil(len(ranked) / room)]
    middle, spread = _scale([finding.loss for finding in parent])
    own_middle, own_spread = _scale(own)
    return [
        replace(finding, loss=own_middle + (finding.loss - middle) / spread * own_spread, elsewhere=True)
        for finding in kept
    ]


def _scale(losses: Sequence[float]) -> tuple[float, float]:
    """Median, and mean distance from it, which is 1 where all are equal."""
    middle = statistics.median(losses)
    return middle, statistics.fmean(abs(loss - middle) for loss in losses) or 1.0
