"""Whose turn it is among the candidates that wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from pilothouse.automl.line import Line
from pilothouse.catalog.metrics import BINARY
from pilothouse.problems.tabular.plan import CandidatePlan, Costs, Facts

FACTS = Facts(rows=1_000, columns=20, problem_type=BINARY, n_classes=2)
More = Callable[[str | None], CandidatePlan | None]


def candidate(suffix: str) -> CandidatePlan:
    return CandidatePlan(suffix, suffix.rpartition("-")[0])


def none(_algorithm: str | None) -> None:
    return None


def line(
    suffixes: list[str],
    promise: Mapping[str, float],
    more: More = none,
    seconds: Callable[[], float | None] = lambda: 60.0,
    *,
    slots: int = 2,
    begun: Sequence[CandidatePlan] = (),
) -> Line:
    return Line(
        [candidate(suffix) for suffix in suffixes],
        facts=FACTS,
        costs=Costs(FACTS),
        slots=slots,
        room=16 << 30,
        seconds_left=seconds,
        more=more,
        promise=lambda: promise,
        begun=begun,
    )


def taken(waiting: Line, count: int, seconds: float | None = None) -> list[str]:
    """What comes next, each once the one before it has ended, after `seconds` if it was finished."""
    suffixes = []
    for _ in range(count):
        ticket = waiting.take()
        if ticket is None:
            break
        suffixes.append(ticket.plan.suffix)
        waiting.give_back(ticket, seconds)
    return suffixes


def test_as_long_as_nothing_is_known_the_order_is_the_plans() -> None:
    planned = ["lightgbm-1", "xgboost-1", "lightgbm-2", "xgboost-2"]
    assert taken(line(planned, {}), 4) == planned


def test_without_a_limit_of_time_all_have_their_turn_as_planned() -> None:
    planned = ["lightgbm-1", "xgboost-1", "lightgbm-2", "xgboost-2", "lightgbm-3"]
    asked = line(planned, {"xgboost": 1.0}, seconds=lambda: None, slots=1)
    assert taken(asked, 3) == planned[:3]


def test_a_trial_that_may_not_take_long_has_fewer_folds_also_in_a_job_without_a_limit() -> None:
    costs = Costs(FACTS)
    limit = costs.seconds(candidate("lightgbm-1")) / 2
    waiting = Line(
        [candidate("lightgbm-1")],
        facts=FACTS,
        costs=costs,
        slots=1,
        room=16 << 30,
        seconds_left=lambda: None,
        trial_seconds=limit,
    )
    ticket = waiting.take()
    assert ticket is not None
    assert ticket.plan.folds < 5
    assert ticket.allowance.seconds == limit


def test_a_second_turn_goes_to_what_promises_most_and_first_turns_stay_where_they_are() -> None:
    planned = ["lightgbm-1", "lightgbm-2", "xgboost-1", "xgboost-2", "xgboost-3"]
    waiting = line(planned, {"lightgbm": 0.1, "xgboost": 0.9})
    assert taken(waiting, 5) == ["lightgbm-1", "xgboost-2", "xgboost-1", "xgboost-3", "lightgbm-2"]


def test_what_takes_long_must_promise_more() -> None:
    planned = ["lightgbm-2", "nn-torch-2"]
    assert taken(line(planned, {"lightgbm": 0.4, "nn-torch": 0.5}), 1) == ["lightgbm-2"]
    assert taken(line(planned, {"lightgbm": 0.02, "nn-torch": 0.5}), 1) == ["nn-torch-2"]


def test_the_two_that_train_side_by_side_are_rather_of_two_algorithms() -> None:
    waiting = line(["lightgbm-2", "lightgbm-3", "xgboost-2"], {"lightgbm": 0.5, "xgboost": 0.4})
    first, second = waiting.take(), waiting.take()
    assert first is not None
    assert second is not None
    assert (first.plan.suffix, second.plan.suffix) == ("lightgbm-2", "xgboost-2")


def test_what_promises_most_is_drawn_once_nothing_of_it_waits() -> None:
    asked: list[str | None] = []

    def more(algorithm: str | None) -> CandidatePlan | None:
        asked.append(algorithm)
        return candidate(f"{algorithm}-{8 + len(asked)}")

    waiting = line(["xgboost-1", "lightgbm-1", "lightgbm-2", "lightgbm-3"], {"xgboost": 0.9, "lightgbm": 0.1}, more)
    assert taken(waiting, 4) == ["xgboost-1", "lightgbm-1", "xgboost-9", "xgboost-10"]
    assert asked == ["xgboost", "xgboost"]


def test_an_algorithm_without_further_candidates_is_asked_for_one_again_when_another_has_ended() -> None:
    asked: list[str | None] = []

    def more(algorithm: str | None) -> CandidatePlan | None:
        asked.append(algorithm)
        return None if algorithm == "fastai" else candidate(f"{algorithm}-{8 + len(asked)}")

    waiting = line(["fastai-1", "lightgbm-1"], {"fastai": 0.9, "lightgbm": 0.1}, more)
    assert taken(waiting, 4, 5.0) == ["fastai-1", "lightgbm-1", "lightgbm-10", "lightgbm-12"]
    assert asked == ["fastai", "lightgbm"] * 2


def test_there_is_an_end_where_nothing_can_be_drawn() -> None:
    waiting = line(["lightgbm-1", "xgboost-1"], {"lightgbm": 0.9, "xgboost": 0.1})
    assert taken(waiting, 9) == ["lightgbm-1", "xgboost-1"]


def test_an_algorithm_that_time_is_too_short_for_is_not_drawn_again() -> None:
    asked: list[str | None] = []
    seconds = 60.0

    def more(algorithm: str | None) -> CandidatePlan | None:
        asked.append(algorithm)
        return candidate(f"{algorithm}-{8 + len(asked)}") if len(asked) < 9 else None

    promise = {"nn-torch": 0.9, "linear-learner": 0.1}
    waiting = line(["nn-torch-1", "linear-learner-1"], promise, more, lambda: seconds)
    for _ in range(2):
        ticket = waiting.take()
        assert ticket is not None
        waiting.give_back(ticket, 1.0 if ticket.plan.algorithm == "linear-learner" else 30.0)
    seconds = 2.0
    assert all(suffix.startswith("linear-learner") for suffix in taken(waiting, 5))
    assert asked.count("nn-torch") == 1
    seconds = 0.01
    assert waiting.take() is None


def test_after_a_restart_what_an_earlier_run_began_is_known() -> None:
    promise = {"nn-torch": 0.9, "lightgbm": 0.02}
    begun = [candidate("nn-torch-1"), candidate("lightgbm-1")]
    waiting = line(["lightgbm-6"], promise, lambda algorithm: candidate(f"{algorithm}-9"), begun=begun)
    assert taken(waiting, 1) == ["nn-torch-9"]
