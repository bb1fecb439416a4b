"""Trials are planned into the memory that there is."""

from __future__ import annotations

import threading
from dataclasses import replace
from itertools import product
from pathlib import Path

import psutil
import pytest

from pilothouse import engines
from pilothouse.automl.line import Line, Ticket
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.config import Settings
from pilothouse.launch import slots
from pilothouse.problems.tabular import memory
from pilothouse.problems.tabular.plan import CandidatePlan, Costs, Facts

BIG = Facts(rows=500_000, columns=100, problem_type=BINARY, n_classes=2)
BOOSTER = CandidatePlan("lightgbm-1", "lightgbm")
OTHER = CandidatePlan("xgboost-1", "xgboost")


def line(
    room: int, waiting: list[CandidatePlan], left_out: list[tuple[str, str]] | None = None, seconds: float | None = None
) -> Line:
    heard = left_out if left_out is not None else []
    return Line(
        waiting,
        facts=BIG,
        costs=Costs(BIG),
        slots=2,
        room=room,
        seconds_left=lambda: seconds,
        leave_out=lambda plan, reason: heard.append((plan.suffix, reason)),
    )


def test_more_rows_and_columns_need_more_memory() -> None:
    small = memory.peak(BOOSTER, Facts(1_000, 10, BINARY, 2))
    assert small < memory.peak(BOOSTER, Facts(1_000_000, 10, BINARY, 2)) < memory.peak(BOOSTER, BIG)


def test_many_validation_rows_which_the_refit_learns_from_need_memory_as_training_rows_do() -> None:
    few = Facts(100_000, 50, BINARY, 2)
    usual, many, more = replace(few, all_rows=125_000), replace(few, all_rows=500_000), replace(few, rows=400_000)
    for plan in (BOOSTER, OTHER, CandidatePlan("linear-learner-1", "linear-learner")):
        assert memory.peak(plan, usual) == memory.peak(plan, few)
        assert memory.peak(plan, many) == memory.peak(plan, more)
        assert memory.fitted(plan, many, 600 << 20) == memory.fitted(plan, more, 600 << 20)
    assert memory.combining(many, 10) == memory.combining(more, 10)


def test_one_hot_columns_and_n_grams_need_memory_in_linear_models_alone() -> None:
    linear, plain = CandidatePlan("linear-learner-1", "linear-learner"), Facts(100_000, 10, BINARY, 2)
    for wider in (replace(plain, one_hot=800), replace(plain, sparse_values=50_000_000)):
        assert memory.peak(linear, wider) > memory.peak(linear, plain) + (1 << 30)
        assert memory.peak(BOOSTER, wider) == memory.peak(BOOSTER, plain)
    wide = replace(plain, one_hot=800)
    smaller = memory.fitted(linear, wide, 1 << 30)
    assert smaller is not None
    assert memory.peak(smaller, wide) <= 1 << 30


def test_what_the_first_layer_predicts_needs_memory_in_the_second() -> None:
    facts = {classes: Facts(100_000, 10, MULTICLASS, classes) for classes in (3, 100)}
    for plan in (BOOSTER, OTHER, CandidatePlan("linear-learner-1", "linear-learner")):
        stacked = replace(plan, layer=2)
        for classes, own in facts.items():
            assert memory.peak(stacked, own) - memory.peak(plan, own) > 100_000 * 8 * classes * 4
        room = memory.peak(stacked, facts[3]) - (8 << 20)
        fewer = memory.fitted(stacked, facts[3], room)
        assert fewer is not None
        assert memory.peak(fewer, facts[3]) <= room


def test_more_candidates_need_little_more_memory_in_an_ensemble() -> None:
    many = Facts(500_000, 10, MULTICLASS, 100)
    assert memory.combining(many, 2) > 500_000 * 100 * 70
    assert memory.combining(many, 2) < memory.combining(many, 24) < 3 * memory.combining(many, 2)


def test_a_linear_model_has_no_more_than_some_rows_in_memory_at_once() -> None:
    linear = CandidatePlan("linear-learner-1", "linear-learner")
    some, more = (Facts(rows, 20, BINARY, 2) for rows in (250_000, 2_500_000))
    kept = memory.peak(CandidatePlan("xgboost-1", "xgboost"), more) - memory.peak(OTHER, some)
    assert memory.peak(linear, more) - memory.peak(linear, some) < kept
    room = memory.peak(linear, more) - (64 << 20)
    fewer = memory.fitted(linear, more, room)
    assert fewer is not None
    assert memory.peak(fewer, more) <= room


def test_forests_of_many_classes_need_memory_for_their_values() -> None:
    forest = CandidatePlan("randomforest-1", "randomforest")
    few, many = (Facts(60_000, 10, MULTICLASS, classes) for classes in (3, 100))
    more = memory.peak(forest, many) - memory.peak(forest, few)
    assert more > memory.peak(OTHER, many) - memory.peak(OTHER, few) + (200 << 20)


def test_a_trial_that_fits_is_left_as_it_is() -> None:
    assert memory.fitted(BOOSTER, BIG, 16 << 30) == BOOSTER


def test_a_trial_that_does_not_fit_gets_fewer_rows_and_then_fits() -> None:
    room = memory.peak(BOOSTER, BIG) - (100 << 20)
    smaller = memory.fitted(BOOSTER, BIG, room)
    assert smaller is not None
    assert smaller.params["max_rows"] < BIG.rows
    assert memory.peak(smaller, BIG) <= room


@pytest.mark.parametrize("algorithm", engines.ENGINES)
@pytest.mark.parametrize("layer", [1, 2])
def test_what_gets_fewer_rows_fits(algorithm: str, layer: int) -> None:
    plan, found = CandidatePlan("a-1", algorithm, layer=layer), 0
    for rows, columns, classes in product((14_000, 20_000, 200_000, 3_000_000), (5, 30, 600), (0, 2, 30, 500)):
        facts = Facts(rows, columns, MULTICLASS if classes else REGRESSION, classes, numeric=columns)
        for room in (memory.peak(plan, facts) * share // 100 for share in (20, 50, 75, 90, 99)):
            smaller = memory.fitted(plan, facts, room)
            assert smaller is None or memory.peak(smaller, facts) <= room
            found += smaller is not None
    assert found > 20


def test_a_trial_that_fits_with_no_rows_is_refused() -> None:
    assert memory.fitted(BOOSTER, BIG, 100 << 20) is None


HUGE = Facts(rows=10_000_000, columns=30, problem_type=BINARY, n_classes=2)


def test_rows_that_are_read_block_by_block_need_less_memory() -> None:
    for algorithm in ("xgboost", "linear-learner", "nn-torch"):
        assert memory.peak(CandidatePlan("a-1", algorithm), HUGE) < 6 << 30
    assert memory.peak(BOOSTER, HUGE) > 6 << 30


def test_bins_that_do_not_fit_go_to_disk_before_rows_are_left_out() -> None:
    room = memory.peak(OTHER, HUGE) - (64 << 20)
    paged = memory.fitted(OTHER, HUGE, room)
    assert paged is not None
    assert paged.params == {"paged": True}
    assert memory.peak(paged, HUGE) <= room
    fewer = memory.fitted(OTHER, HUGE, 1200 << 20)
    assert fewer is not None
    assert fewer.params["max_rows"] <= 200_000
    assert memory.peak(fewer, HUGE) <= 1200 << 20
    assert memory.fitted(OTHER, HUGE, 900 << 20) is None


def test_two_trials_run_at_once_if_memory_allows() -> None:
    both = line(16 << 30, [BOOSTER, OTHER])
    assert both.take() is not None
    assert both.take() is not None


def test_the_second_of_two_large_trials_waits_for_the_first() -> None:
    one = line(memory.peak(OTHER, BIG) + (64 << 20), [BOOSTER, OTHER])
    first = one.take()
    assert first is not None
    second: list[Ticket | None] = []
    waiter = threading.Thread(target=lambda: second.append(one.take()))
    waiter.start()
    assert not second
    one.give_back(first, 1.0)
    waiter.join(10)
    assert [ticket and ticket.plan for ticket in second] == [OTHER if first.plan == BOOSTER else BOOSTER]


def test_what_never_fits_is_left_out_with_its_reason() -> None:
    heard: list[tuple[str, str]] = []
    assert line(100 << 20, [BOOSTER], heard).take() is None
    [(suffix, reason)] = heard
    assert suffix == "lightgbm-1"
    assert "GiB" in reason


def test_no_trial_starts_when_time_is_over() -> None:
    assert line(16 << 30, [BOOSTER], seconds=0.0).take() is None


def test_the_line_asks_for_more_once_it_is_empty() -> None:
    drawn = [OTHER]
    more = Line(
        [BOOSTER],
        facts=BIG,
        costs=Costs(BIG),
        slots=2,
        room=16 << 30,
        seconds_left=lambda: None,
        more=lambda _: drawn.pop() if drawn else None,
    )
    tickets = [more.take(), more.take(), more.take()]
    assert [ticket and ticket.plan for ticket in tickets] == [BOOSTER, OTHER, None]


def test_no_more_are_drawn_once_there_is_no_time_for_one() -> None:
    asked: list[CandidatePlan] = []

    def more(_algorithm: str | None) -> CandidatePlan:
        asked.append(OTHER)
        return OTHER

    costs = Costs(BIG)
    costs.observe(BOOSTER, costs.seconds(BOOSTER))
    short = Line([], facts=BIG, costs=costs, slots=2, room=16 << 30, seconds_left=lambda: 0.5, more=more)
    assert short.take() is None
    assert len(asked) == 1


def test_the_limit_of_the_control_group_bounds_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "max").write_text(str(1 << 30))
    (tmp_path / "current").write_text(str(512 << 20))
    monkeypatch.setattr(slots, "_CGROUP_LIMIT", tmp_path / "max")
    monkeypatch.setattr(slots, "_CGROUP_USED", tmp_path / "current")
    assert slots.memory_room(Settings(home=tmp_path)) <= 512 << 20


def test_without_a_control_group_the_free_memory_is_the_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_CGROUP_LIMIT", tmp_path / "absent")
    assert 0 < slots.memory_room(Settings(home=tmp_path)) <= psutil.virtual_memory().total
