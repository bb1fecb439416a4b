"""The line of candidates that wait to be trained: whoever is free takes the next that time and memory allow.

Every algorithm has its first turn where the plan puts it, if there is time. Where time is limited the other turns go to
what promises most for its cost: the share that its algorithm has in the blend of what is finished, divided among its
candidates, by the square root of its seconds. (By the seconds themselves, what is quick and of no use would always come
first.) What promises most may be a variant that is not planned yet.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pilothouse.problems.tabular import memory
from pilothouse.problems.tabular.plan import Allowance, CandidatePlan, Costs, Facts, allow, trial_threads

_LOOK_AGAIN = 1.0
_LEAST_SECONDS = 1.0
"""What a candidate costs at least in an order by worth: its process, archive and row."""

_NO_MEMORY = (
    "Training this candidate is expected to need {need:.1f} GiB of memory, and this host has {room:.1f} GiB for it. "
    "Use fewer rows or columns, or a host with more memory."
)


@dataclass(frozen=True)
class Ticket:
    """What a trainer may start: the candidate with its seconds, its threads, and the bytes it is expected to need."""

    allowance: Allowance
    threads: int
    memory: int

    @property
    def plan(self) -> CandidatePlan:
        return self.allowance.candidate


class Line:
    """Thread-safe. `seconds_left` says how long training may go on (None: no limit), `trial_seconds` how long any trial
    may. `more` gives a further candidate, of a certain algorithm or (asked for None) of any, or None. `leave_out` hears
    of a candidate that does not fit into `room` bytes, and why. `promise` tells how much one more candidate of an
    algorithm promises, or nothing as long as too few are finished. `begun` had their turns before, in an earlier run of
    the job.
    """

    def __init__(
        self,
        waiting: list[CandidatePlan],
        *,
        facts: Facts,
        costs: Costs,
        slots: int,
        room: int,
        seconds_left: Callable[[], float | None],
        more: Callable[[str | None], CandidatePlan | None] = lambda _algorithm: None,
        leave_out: Callable[[CandidatePlan, str], None] = lambda _plan, _reason: None,
        promise: Callable[[], Mapping[str, float]] = dict,
        begun: Sequence[CandidatePlan] = (),
        trial_seconds: float | None = None,
    ) -> None:
        self._waiting = list(waiting)
        self._running: list[Ticket] = []
        self._facts, self._costs, self._slots, self._room = facts, costs, slots, room
        self._seconds_left, self._more, self._leave_out = seconds_left, more, leave_out
        self._promise = promise
        self._most = math.inf if trial_seconds is None else trial_seconds
        self._last = {plan.algorithm: plan for plan in begun}  # of each algorithm what was begun last
        self._barren: set[str] = set()  # algorithms without a further candidate, until another one ends
        self._over: set[str] = set()  # algorithms for which time or memory is short
        self._drawn = self._exhausted = False
        self._changed = threading.Condition()

    def take(self) -> Ticket | None:
        """The next candidate to train; None when there is none, or no time. Waits while memory is short."""
        with self._changed:
            while True:
                seconds = self._seconds_left()
                promise = {} if seconds is None else self._promise()
                if (seconds is not None and seconds <= 0) or not self._refilled(promise):
                    return None
                ticket = self._first(seconds, promise)
                if ticket is not None:
                    self._running.append(ticket)
                    return ticket
                if self._waiting:
                    self._changed.wait(_LOOK_AGAIN)
                elif self._drawn:
                    self._exhausted = True

    def give_back(self, ticket: Ticket, seconds: float | None = None) -> None:
        """The trial is over. `seconds`: what it took, if it was finished."""
        with self._changed:
            self._running.remove(ticket)
            if seconds is not None:
                limit = ticket.allowance.seconds
                cut_off = limit is not None and seconds > 0.85 * limit
                self._costs.observe(ticket.plan, seconds, cut_off=cut_off)
                self._barren.clear()
            self._changed.notify_all()

    def _refilled(self, promise: Mapping[str, float]) -> bool:
        """Whether any candidate waits. One that is wanted is drawn. Where nothing is promised any is, once nothing
        waits, and no more once there is no time for one.
        """
        self._drawn = False
        while (wanted := self._wanted(promise)) is not None:
            further = self._more(wanted)
            if further is not None:
                self._waiting.append(further)
                return True
            self._barren.add(wanted)
        if not self._waiting and not promise and not self._exhausted:
            further = self._more(None)
            self._drawn = further is not None
            self._waiting += [further] if further is not None else []
        return bool(self._waiting)

    def _wanted(self, promise: Mapping[str, float]) -> str | None:
        """The algorithm that promises most if nothing of it waits, once every algorithm has had its turn."""
        if not promise or any(_is_first(plan) for plan in self._waiting):
            return None
        known = [plan for name, plan in self._last.items() if name not in self._barren | self._over]
        most = max(known, key=lambda plan: self._worth(plan, promise), default=None)
        if most is None or any(plan.algorithm == most.algorithm for plan in self._waiting):
            return None
        return most.algorithm

    def _worth(self, candidate: CandidatePlan, promise: Mapping[str, float]) -> float:
        beside = sum(ticket.plan.algorithm == candidate.algorithm for ticket in self._running)
        seconds = max(self._costs.seconds(candidate), _LEAST_SECONDS)
        return promise.get(candidate.algorithm, 0.0) / (1 + beside) / math.sqrt(seconds)

    def _first(self, seconds: float | None, promise: Mapping[str, float]) -> Ticket | None:
        """A ticket for the first that may start now. Drops those that never may."""
        if promise:
            self._waiting = self._by_worth(promise)
        for candidate in self._in_order(seconds):
            sized = self._sized(candidate)
            if sized is None and self._running:
                continue
            self._waiting.remove(candidate)
            if sized is None:
                self._over.add(candidate.algorithm)
                self._leave_out(candidate, self._reason(candidate))
                continue
            allowance = allow(
                sized, self._waiting, self._costs, seconds_left=seconds, slots=self._slots, most=self._most
            )
            if allowance is None:
                self._over.add(candidate.algorithm)
            else:
                self._last[candidate.algorithm] = candidate
                others = len(self._running) + len(self._waiting)
                threads = trial_threads(self._facts, others=others, slots=self._slots)
                return Ticket(allowance, threads, memory.peak(sized, self._facts))
        return None

    def _by_worth(self, promise: Mapping[str, float]) -> list[CandidatePlan]:
        """Those that wait: first turns where they are, the others in the order of their worth."""
        others = [plan for plan in self._waiting if not _is_first(plan)]
        turns = iter(sorted(others, key=lambda plan: self._worth(plan, promise), reverse=True))
        return [plan if _is_first(plan) else next(turns) for plan in self._waiting]

    def _in_order(self, seconds: float | None) -> list[CandidatePlan]:
        """As they wait; but the longest first at the end of a job without limit, so that all trainers end together."""
        if seconds is None and len(self._waiting) <= 2 * self._slots:
            return sorted(self._waiting, key=self._costs.seconds, reverse=True)
        return list(self._waiting)

    def _sized(self, candidate: CandidatePlan) -> CandidatePlan | None:
        """The candidate if there is memory for it beside those that run; alone it may get fewer rows."""
        if self._running:
            used = sum(ticket.memory for ticket in self._running)
            return candidate if used + memory.peak(candidate, self._facts) <= self._room else None
        return memory.fitted(candidate, self._facts, self._room)

    def _reason(self, candidate: CandidatePlan) -> str:
        need = memory.peak(candidate, self._facts)
        return _NO_MEMORY.format(need=need / 2**30, room=self._room / 2**30)


def _is_first(plan: CandidatePlan) -> bool:
    return plan.suffix == f"{plan.algorithm}-1"
