"""The plan of a tabular job: which candidates, in the order that pays first, with how many folds and how much time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pilothouse import engines
from pilothouse.data.selection import LARGE_CELLS, is_large
from pilothouse.problems.tabular import portfolio
from pilothouse.problems.tabular.costs import LEAST_FOLDS, MOST_FOLDS, CandidatePlan, Costs, Facts

__all__ = ["ENSEMBLE", "Allowance", "CandidatePlan", "Costs", "Facts", "allow", "further", "plan", "trial_threads"]

ENSEMBLE = "ensemble"
"""The `algorithm` of the last plan of a job that combines the others."""

_FEWER_FOLDS_ABOVE = ((50_000, 4), (200_000, 3), (1_000_000, 2))
_WANTED = 8
"""So many candidates should fit the budget before they have as many folds as they like: they gain more than folds."""

_SLACK = 2.5
"""Expected costs may be off by this factor before a candidate loses folds or rounds."""
_LEAST_SHARE = 0.35
_MOST_HURRY = 3.0
"""How much faster than they like boosters learn at most, to be done in time."""

_CHEAP_SHARE = 0.1
"""What a candidate may take of the time of all slots to count as cheap."""

_DRAWS = 8

_STACKS_FROM = 8
_STACKS_ROWS = 1_000
_CANDIDATES_PER_STACK = 6
_FOREST_ROWS, _OTHER_ROWS = 60_000, 200_000
_THREADS_PAY_FROM = 1_000_000


def plan(
    facts: Facts,
    *,
    algorithms: Sequence[str],
    max_candidates: int,
    budget_seconds: float | None,
    slots: int,
    metric: str,
    seed: int = 0,
    costs: Costs | None = None,
) -> list[CandidatePlan]:
    """At most `max_candidates` candidates: every algorithm's first configuration before anyone's second.

    From three candidates on the last is the ensemble of the others; from eight on some before it are a second layer.
    Folds are as many as the budget lets the first configurations have.
    """
    ensembles = 1 if max_candidates >= 3 else 0
    stackers = _stackers(facts, algorithms, max_candidates, seed)
    wanted = max_candidates - ensembles - len(stackers)
    chosen = portfolio.rounds(facts.rows, facts.columns, facts.n_classes, algorithms, facts.numeric)[:wanted]
    plans = [
        CandidatePlan(f"{algorithm}-{number}", algorithm, _sized(facts, algorithm, params), seed=seed + 100 * i)
        for i, (algorithm, number, params) in enumerate(chosen)
    ]
    known = costs or Costs(facts)
    k = _folds(facts, plans, known, budget_seconds, slots)
    seconds = math.inf if budget_seconds is None else budget_seconds * slots
    plans = [_on_all_rows(candidate, known, k, seconds) for candidate in plans]
    if budget_seconds is not None:
        plans = _cheap_first(plans, known, k, seconds, len(algorithms))
    if ensembles and len(plans) >= 2:
        plans += stackers
        plans.append(CandidatePlan(ENSEMBLE, ENSEMBLE, {"metric": metric}, seed=seed))
    return [replace(candidate, folds=k) for candidate in plans]


def _stackers(facts: Facts, algorithms: Sequence[str], max_candidates: int, seed: int) -> list[CandidatePlan]:
    if max_candidates < _STACKS_FROM or facts.rows < _STACKS_ROWS or is_large(facts.rows, facts.columns):
        return []
    count = max(1, max_candidates // _CANDIDATES_PER_STACK)
    return [
        CandidatePlan(
            f"{algorithm}-stacked-1", algorithm, _sized(facts, algorithm, params), seed=seed + 50 + i, layer=2
        )
        for i, (algorithm, params) in enumerate(portfolio.stackers(algorithms)[:count])
    ]


def _sized(facts: Facts, algorithm: str, params: dict[str, Any]) -> dict[str, Any]:
    """`params`, with a cap on the rows of what gains little from more and costs much (forests, and linear models unless
    they are cheap), and of what would copy data that are better not had in memory whole.
    """
    most = {"extra-trees": _FOREST_ROWS, "randomforest": _FOREST_ROWS, "linear-learner": _OTHER_ROWS}.get(algorithm)
    if is_large(facts.rows, facts.columns) and not engines.streams(algorithm):
        most = min(most or facts.rows, LARGE_CELLS // facts.columns)
    return {**params, "max_rows": most} if most is not None and facts.rows > most else params


def _on_all_rows(candidate: CandidatePlan, costs: Costs, k: int, seconds: float) -> CandidatePlan:
    """A linear model without the cap on its rows, where it stays cheap: most of them it only walks over."""
    params = {name: value for name, value in candidate.params.items() if name != "max_rows"}
    whole = replace(candidate, params=params)
    if candidate.algorithm != "linear-learner" or costs.seconds(replace(whole, folds=k)) > _CHEAP_SHARE * seconds:
        return candidate
    return whole


def _folds(facts: Facts, plans: Sequence[CandidatePlan], costs: Costs, budget_seconds: float | None, slots: int) -> int:
    """As many folds as let `_WANTED` candidates, or all, fit the budget."""
    k = MOST_FOLDS
    for rows, fewer in _FEWER_FOLDS_ABOVE:
        k = fewer if facts.rows > rows else k
    while budget_seconds is not None and k > LEAST_FOLDS:
        wanted = sum(costs.seconds(replace(candidate, folds=k)) for candidate in plans[:_WANTED])
        if wanted <= budget_seconds * slots:
            break
        k -= 1
    return k


def _cheap_first(
    plans: list[CandidatePlan], costs: Costs, k: int, seconds: float, algorithms: int
) -> list[CandidatePlan]:
    """Of the first and second configurations those that take a small share of the time come before the others.

    One that takes much and helps little must not keep away many that take little.
    """
    early, late = plans[: 2 * algorithms], plans[2 * algorithms :]
    cheap = {p.suffix for p in early if costs.seconds(replace(p, folds=k)) <= _CHEAP_SHARE * seconds}
    return [p for p in early if p.suffix in cheap] + [p for p in early if p.suffix not in cheap] + late


def further(
    model: CandidatePlan, number: int, seed: int, others: Sequence[CandidatePlan] = (), columns: int = 0
) -> CandidatePlan | None:
    """Another candidate like `model`, a little moved by `seed`; None if its algorithm has nothing to move.

    None too if all that was drawn is alike, on so many columns, to one of the `others` of its algorithm.
    """
    if not portfolio.can_vary(model.algorithm):
        return None
    for draw in range(_DRAWS):
        params = portfolio.vary(model.algorithm, model.params, seed + draw)
        if not any(portfolio.alike(params, other.params, columns) for other in others):
            return replace(model, suffix=f"{model.algorithm}-{number}", params=params, seed=seed)
    return None


@dataclass(frozen=True)
class Allowance:
    """A candidate, perhaps with fewer folds than planned, and the seconds that it may take (None: no limit)."""

    candidate: CandidatePlan
    seconds: float | None


def allow(
    candidate: CandidatePlan,
    waiting: Sequence[CandidatePlan],
    costs: Costs,
    *,
    seconds_left: float | None,
    slots: int,
    most: float = math.inf,
) -> Allowance | None:
    """What `candidate` may take so that those `waiting` behind it get their share; None if it isn't worth starting.

    Shares go by expected cost, among those that the time left has room for; none is more than `most` seconds. A
    candidate that is expected to need more than its share gets fewer folds, and a booster that still does learns
    faster; all engines fit themselves into what they are given. It isn't worth starting when some trial of this job is
    finished and it can't be done in what is left.
    """
    share = most
    if seconds_left is not None:
        own = costs.seconds(candidate)
        together = own + _affordable(waiting, costs, seconds_left * slots - own)
        wanted = max(_SLACK * seconds_left * slots * own / together, seconds_left * _LEAST_SHARE)
        share = min(seconds_left, most, wanted)
    if math.isinf(share):
        return Allowance(candidate, None)
    while candidate.folds > LEAST_FOLDS and costs.seconds(candidate) > share:
        candidate = replace(candidate, folds=candidate.folds - 1)
    hurry = costs.seconds(candidate) / max(share, 1e-3)
    if hurry > 1:
        candidate = hurried(candidate, min(hurry, _MOST_HURRY))
    if seconds_left is not None and costs.learned and costs.seconds(candidate) > seconds_left:
        return None
    return Allowance(candidate, share)


def _affordable(waiting: Sequence[CandidatePlan], costs: Costs, seconds: float) -> float:
    """The cost of those first in line that fit into `seconds` together."""
    total = 0.0
    for other in waiting:
        cost = costs.seconds(other)
        if total + cost > seconds:
            break
        total += cost
    return total


_RATES = {"lightgbm": 0.05, "xgboost": 0.08}


def hurried(candidate: CandidatePlan, factor: float) -> CandidatePlan:
    """The same booster at a learning rate `factor` times higher, so that fewer rounds do; others as they are.

    CatBoost's engine, whose own rate depends on the target, is told the factor.
    """
    if candidate.algorithm == "catboost":
        hurry = round(candidate.params.get("hurry", 1.0) * factor, 4)
        return replace(candidate, params={**candidate.params, "hurry": hurry})
    usual = _RATES.get(candidate.algorithm)
    if usual is None:
        return candidate
    rate = min(0.3, candidate.params.get("learning_rate", usual) * factor)
    return replace(candidate, params={**candidate.params, "learning_rate": round(rate, 4)})


def trial_threads(facts: Facts, *, others: int, slots: int) -> int:
    """Threads for a trial while `others` of the job run or wait.

    One, unless slots would stay idle and the data are so large that threads pay: on small data they wait for each
    other longer than they work.
    """
    idle = slots - others
    return max(1, idle) if facts.cells >= _THREADS_PAY_FROM else 1
