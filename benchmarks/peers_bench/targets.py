"""What Pilothouse aims at beside its peers, and whether the results meet it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from peers_bench.results import AUTOGLUON, OURS, SINGLE, Line, Results, main_value

LEAST_AHEAD = 0.6
MOST_BEHIND = 0.01
MOST_OVERSHOOT = 5.0
MOST_HTTP_SECONDS = 0.010


@dataclass(frozen=True)
class Verdict:
    """`met` is None where the results cannot tell: tools that it compares are missing."""

    target: str
    found: str
    met: bool | None


def verdicts(results: Results) -> list[Verdict]:
    """Every target, judged on the sets that the compared tools have finished.

    None is met where Pilothouse itself failed on a set.
    """
    found = [judge(results) for judge in _JUDGES]
    failed = [line["set"] for line in results.failures() if line["tool"] == OURS]
    if not failed:
        return found
    return [replace(one, found=f"{one.found}; failed on {', '.join(failed)}", met=False) for one in found]


def _first_rank(results: Results) -> Verdict:
    target = "first on average rank"
    ranks = {tool: rank for tool, rank in results.average_ranks().items() if tool in results.everywhere()}
    if OURS not in ranks or len(ranks) < 2:
        return _unknown(target)
    first = min(ranks, key=lambda tool: ranks[tool])
    return Verdict(
        target, f"{ranks[OURS]:.2f}; the first is {first} with {ranks[first]:.2f}", ranks[OURS] == ranks[first]
    )


def _ahead_of_autogluon(results: Results) -> Verdict:
    target = f"ahead of AutoGluon's best preset for the set on at least {LEAST_AHEAD:.0%} of the sets"
    pairs = _pairs(results, AUTOGLUON)
    if not pairs:
        return _unknown(target)
    ahead = sum(main_value(own) < main_value(other) for own, other in pairs)
    return Verdict(target, f"{ahead} of {len(pairs)}, {ahead / len(pairs):.0%}", ahead >= LEAST_AHEAD * len(pairs))


def _behind_single_models(results: Results) -> Verdict:
    target = f"never more than {MOST_BEHIND:.0%} behind the better of CatBoost and LightGBM"
    gaps = [(main_value(own) / main_value(other) - 1, own["set"]) for own, other in _pairs(results, SINGLE)]
    if not gaps:
        return _unknown(target)
    worst, name = max(gaps)
    return Verdict(target, f"worst {worst:+.1%} ({name})", worst <= MOST_BEHIND)


def _in_time(results: Results) -> Verdict:
    target = f"Completed at most {MOST_OVERSHOOT:.0f} s past MaxAutoMLJobRuntimeInSeconds"
    return _largest(results, target, "overshoot", MOST_OVERSHOOT, lambda seconds: f"{seconds:+.1f} s")


def _one_row(results: Results) -> Verdict:
    target = f"one row through InvokeEndpoint over HTTP at most {MOST_HTTP_SECONDS * 1e3:.0f} ms at p50"
    return _largest(results, target, "http_row_seconds", MOST_HTTP_SECONDS, lambda seconds: f"{seconds * 1e3:.1f} ms")


def _largest(results: Results, target: str, member: str, limit: float, shown: Callable[[float], str]) -> Verdict:
    found = [(line[member], line["set"]) for line in results.finished(OURS) if member in line]
    if not found:
        return _unknown(target)
    worst, name = max(found)
    return Verdict(target, f"worst {shown(worst)} ({name})", worst <= limit)


def _memory(results: Results) -> Verdict:
    return _below(results, "peak memory below that of AutoGluon's best preset for the set", "peak_memory_bytes")


def _least_memory(results: Results) -> Verdict:
    return _below(results, "peak memory below that of AutoGluon's leanest preset", "peak_memory_bytes", least=True)


def _many_rows(results: Results) -> Verdict:
    return _below(results, "10,000 rows faster than AutoGluon's best preset for the set", "many_seconds")


def _fastest_many_rows(results: Results) -> Verdict:
    return _below(results, "10,000 rows faster than AutoGluon's fastest preset", "many_seconds", least=True)


def _below(results: Results, target: str, member: str, *, least: bool = False) -> Verdict:
    """Ours against AutoGluon's on each set: its best preset by the main metric, or the one with the `least`."""
    ratios = [
        (own[member] / _theirs(results, other, member, least), own["set"]) for own, other in _pairs(results, AUTOGLUON)
    ]
    if not ratios:
        return _unknown(target)
    worst, name = max(ratios)
    below = sum(ratio < 1 for ratio, _ in ratios)
    return Verdict(target, f"{below} of {len(ratios)} sets; worst {worst:.2f} times ({name})", below == len(ratios))


def _theirs(results: Results, best: Line, member: str, least: bool) -> float:
    if not least:
        return float(best[member])
    lines = [line for tool in AUTOGLUON if (line := results.line(best["set"], tool)) is not None]
    return min(float(line[member]) for line in lines)


def _pairs(results: Results, tools: Sequence[str]) -> list[tuple[Line, Line]]:
    """Our line, and the best of `tools`, on each set that both have."""
    found = [(results.line(name, OURS), results.best(name, tools)) for name in results.sets]
    return [(own, other) for own, other in found if own is not None and other is not None]


def _unknown(target: str) -> Verdict:
    return Verdict(target, "no results to compare", None)


_JUDGES = (
    _first_rank,
    _ahead_of_autogluon,
    _behind_single_models,
    _in_time,
    _memory,
    _least_memory,
    _one_row,
    _many_rows,
    _fastest_many_rows,
)
