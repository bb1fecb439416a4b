"""A search: which point to try next, which trial to stop. The job that owns it tells it what became of its trials.

    search = Search(job, seed_of(job, arn))         or Search.restored(job, seed, trials), after a crash
    trial = search.ask()                            None when nothing is left to try
    search.report(trial.number, step, value)        "go" or "stop", for each value of the objective it emits
    search.tell(trial.number, value)                the last value; None if it failed or emitted none

In memory and not thread-safe. Whatever it answers follows from the request, the seed, and what it has been told: after
a restart the recorded trials make the same search again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from pilothouse.catalog.tuning_jobs import Definition, TuningJob
from pilothouse.tuning.draws import RandomPoints, generator
from pilothouse.tuning.grid import Grid
from pilothouse.tuning.hyperband import Hyperband
from pilothouse.tuning.knowledge import Finding, Knowledge, Proposer
from pilothouse.tuning.ranges import Point, Space
from pilothouse.tuning.stopping import Advice, MedianRule, NeverStopping, Stopper
from pilothouse.tuning.trial import Trial
from pilothouse.tuning.warmstart import Inheritance, Suggested

Before = Inheritance | Suggested
"""What is known of a definition before its first trial."""

_TURNS = 6
"""Trials that each definition gets before the better ones get more."""


class Search:
    """See the module. `inherited` holds what parents found, or what is to be tried first, by the place of the
    definition in the request.
    """

    def __init__(self, job: TuningJob, seed: int, inherited: Mapping[int, Before] | None = None) -> None:
        self._job, self._seed = job, seed
        inherited = inherited or {}
        self._parts = [
            _Part(definition, Space(definition.ranges), job.strategy, (seed, i), inherited.get(i))
            for i, definition in enumerate(job.definitions)
        ]
        self._part_of: dict[int, int] = {}
        self._stopper = _stopper(job)

    @classmethod
    def restored(
        cls,
        job: TuningJob,
        seed: int,
        trials: Iterable[Trial],
        inherited: Mapping[int, Before] | None = None,
    ) -> Search:
        """The search as it was when these trials had been recorded. Those in progress are still to be told."""
        search = cls(job, seed, inherited)
        for trial in sorted(trials, key=lambda trial: trial.number):
            search._remember(trial)
        return search

    def ask(self) -> Trial | None:
        """The next trial, which counts as running from now on; None if there is none left to try."""
        number = max(self._part_of, default=-1) + 1
        for i in self._order(number):
            point = self._parts[i].proposed()
            if point is not None:
                trial = Trial(number, i, self._parts[i].space.values(point))
                self._begin(trial)
                return trial
        return None

    def tell(self, number: int, value: float | None) -> None:
        """The trial has ended with this last value of the objective, or without one. `KeyError` unless it was running.

        A value that is not finite counts as none.
        """
        self._part(number).end(number, value)
        self._stopper.end(number)

    def report(self, number: int, step: int, value: float) -> Advice:
        """Whether a trial that has emitted this value of the objective, its `step`-th counted from 1, should go on."""
        return self._stopper.report(number, step, self._part(number).loss(value))

    def _part(self, number: int) -> _Part:
        return self._parts[self._part_of[number]]

    def _begin(self, trial: Trial) -> None:
        """The point is that of the texts, so that it is the same float when it comes from a record."""
        part = self._parts[trial.definition]
        point = part.space.point(trial.values)
        if point is None:
            raise ValueError(f"Trial {trial.number} has values outside of the ranges: {dict(trial.values)}")
        part.begin(trial.number, point)
        self._part_of[trial.number] = trial.definition

    def _remember(self, trial: Trial) -> None:
        self._begin(trial)
        for step, value in enumerate(trial.reports, 1):
            self.report(trial.number, step, value)
        if trial.status != "InProgress":
            self.tell(trial.number, None if trial.status == "Failed" else trial.value)

    def _order(self, number: int) -> list[int]:
        """The definitions, the one whose turn it is first.

        A grid exhausts one after another. Bayesian search gives each a few trials, then more to those with better
        results: twice as many to the best as to the second. The others take turns.
        """
        places = list(range(len(self._parts)))
        if self._job.strategy == "Grid" or len(places) == 1:
            return places
        fewest = sorted(places, key=lambda i: self._parts[i].place)
        if self._job.strategy != "Bayesian" or self._parts[fewest[0]].place < _TURNS:
            return fewest
        ranked = sorted(places, key=lambda i: self._parts[i].best)
        chances = [1 / (rank + 1) for rank in range(len(ranked))]
        source = generator((self._seed, len(places)), number)
        drawn = source.choice(len(ranked), p=[chance / sum(chances) for chance in chances])
        return [ranked[int(drawn)], *(i for i in fewest if i != ranked[int(drawn)])]


def seed_of(job: TuningJob, salt: str) -> int:
    """The request's RandomSeed, or a seed from `salt`, which must be the same after a restart: the ARN and the time."""
    if job.seed is not None:
        return job.seed
    return int.from_bytes(hashlib.sha256(salt.encode()).digest()[:6])


class _Part:
    """The search in one definition's space."""

    def __init__(
        self,
        definition: Definition,
        space: Space,
        strategy: str,
        seed: tuple[int, ...],
        inherited: Before | None,
    ) -> None:
        self.definition, self.space, self.inherited = definition, space, inherited
        self.proposer = _PROPOSERS[strategy](space, seed)
        self.suggestions = inherited.suggestions if inherited and strategy == "Bayesian" else []
        self.found: dict[int, Finding] = {}
        self.running: dict[int, Point] = {}

    @property
    def place(self) -> int:
        """How many trials it has had."""
        return len(self.found) + len(self.running)

    @property
    def best(self) -> float:
        """The least loss; infinity if there is none."""
        return min((finding.loss for finding in self.found.values()), default=float("inf"))

    def loss(self, value: float | None) -> float:
        objective = self.definition.objective
        return float("inf") if value is None or objective is None else objective.loss(value)

    def proposed(self) -> Point | None:
        if self.place < len(self.suggestions):
            return self.suggestions[self.place]
        return self.proposer.propose(self.place, self._known())

    def begin(self, number: int, point: Point) -> None:
        self.running[number] = point

    def end(self, number: int, value: float | None) -> None:
        self.found[number] = Finding(self.running.pop(number), self.loss(value))

    def _known(self) -> Knowledge:
        own: Sequence[Finding] = [self.found[number] for number in sorted(self.found)]
        pending = [self.running[number] for number in sorted(self.running)]
        return Knowledge(self.inherited.with_own(own) if self.inherited else own, pending)


def _bayesian(space: Space, seed: tuple[int, ...]) -> Proposer:
    from pilothouse.tuning.bayesian import Bayesian

    return Bayesian(space, seed)


_PROPOSERS: dict[str, Callable[[Space, tuple[int, ...]], Proposer]] = {
    "Bayesian": _bayesian,
    "Random": RandomPoints,
    "Hyperband": RandomPoints,
    "Grid": lambda space, _: Grid(space),
}


def _stopper(job: TuningJob) -> Stopper:
    if job.resources is not None:
        return Hyperband(job.resources)
    return MedianRule() if job.early_stopping else NeverStopping()
