"""The portfolio of candidates, their costs, and how a job's time is shared out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pilothouse.catalog.algorithms import ENSEMBLING
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines import catboost
from pilothouse.engines.base import Task
from pilothouse.problems.tabular import memory
from pilothouse.problems.tabular.plan import (
    ENSEMBLE,
    CandidatePlan,
    Costs,
    Facts,
    allow,
    further,
    hurried,
    plan,
    trial_threads,
)

SMALL = Facts(rows=5_000, columns=20, problem_type=BINARY, n_classes=2)
LARGE = Facts(rows=400_000, columns=50, problem_type=REGRESSION, n_classes=0)


def planned(
    facts: Facts = SMALL,
    algorithms: tuple[str, ...] = ENSEMBLING,
    max_candidates: int = 10,
    budget: float | None = None,
    slots: int = 2,
) -> list[CandidatePlan]:
    return plan(
        facts, algorithms=algorithms, max_candidates=max_candidates, budget_seconds=budget, slots=slots, metric="F1"
    )


def test_ten_candidates_end_with_the_ensemble() -> None:
    plans = planned()
    assert len(plans) == 10
    assert [p.algorithm for p in plans].index(ENSEMBLE) == 9


def test_every_algorithm_comes_before_anyones_second_configuration() -> None:
    firsts = [p.algorithm for p in planned(max_candidates=60)[: len(ENSEMBLING)]]
    assert sorted(firsts) == sorted(ENSEMBLING)
    assert firsts[:3] == ["lightgbm", "catboost", "nn-torch"]


@pytest.mark.parametrize("count", [1, 2])
def test_few_candidates_have_no_ensemble(count: int) -> None:
    assert [p.algorithm for p in planned(max_candidates=count)] == ["lightgbm", "catboost"][:count]


def test_three_candidates_are_two_and_their_ensemble() -> None:
    assert [p.algorithm for p in planned(max_candidates=3)] == ["lightgbm", "catboost", ENSEMBLE]


@pytest.mark.parametrize("algorithm", ENSEMBLING)
def test_one_algorithm_alone_has_several_configurations(algorithm: str) -> None:
    plans = planned(algorithms=(algorithm,))
    assert {p.algorithm for p in plans if p.layer == 1} == {algorithm, ENSEMBLE}
    assert len(plans) >= 3


def test_suffixes_and_seeds_are_unique() -> None:
    plans = planned(max_candidates=100)
    assert len({p.suffix for p in plans}) == len(plans)
    base = [p for p in plans if p.algorithm != ENSEMBLE]
    assert len({p.seed for p in base}) == len(base)


def test_many_candidates_end_with_a_second_layer_and_the_ensemble() -> None:
    layers = [p.layer for p in planned(max_candidates=100)]
    assert layers[-4:] == [2, 2, 2, 1]
    assert set(layers[:-4]) == {1}


@pytest.mark.parametrize(("facts", "count"), [(SMALL, 7), (Facts(600, 6, BINARY, 2), 10)])
def test_few_candidates_or_rows_have_no_second_layer(facts: Facts, count: int) -> None:
    assert {p.layer for p in planned(facts, max_candidates=count)} == {1}


def test_every_candidate_of_a_job_has_the_same_folds() -> None:
    assert len({p.folds for p in planned(LARGE, budget=100, max_candidates=100)}) == 1


def test_forests_see_only_some_of_many_rows_and_linear_models_all_if_there_is_time() -> None:
    def capped(budget: float | None) -> set[str]:
        return {p.algorithm for p in planned(LARGE, max_candidates=60, budget=budget) if "max_rows" in p.params}

    forests = {"extra-trees", "randomforest"}
    assert capped(None) == capped(8 * 3600) == forests
    assert capped(300) == forests | {"linear-learner"}
    assert not any("max_rows" in p.params for p in planned())


def test_on_data_too_large_to_copy_what_would_copy_them_has_fewer_rows_and_there_is_no_second_layer() -> None:
    huge = replace(LARGE, rows=10_000_000)
    plans = planned(huge, max_candidates=60)
    uncapped = {p.algorithm for p in plans if "max_rows" not in p.params}
    assert uncapped - {"ensemble"} == {"xgboost", "nn-torch", "linear-learner"}
    assert all(p.layer == 1 for p in plans)
    assert all(p.params["max_rows"] * huge.columns <= 64 << 20 for p in plans if "max_rows" in p.params)


@pytest.mark.parametrize("facts", [SMALL, LARGE, Facts(5_000, 20, MULTICLASS, 26), Facts(40_000, 20, MULTICLASS, 3)])
def test_no_algorithm_has_a_configuration_twice(facts: Facts) -> None:
    seen = [(p.algorithm, p.layer, sorted(p.params.items(), key=str)) for p in planned(facts, max_candidates=100)]
    assert all(seen.count(one) == 1 for one in seen)


def test_a_further_candidate_is_near_its_model_and_the_same_under_its_seed() -> None:
    model = CandidatePlan("lightgbm-1", "lightgbm", {"num_leaves": 31, "extra_trees": True}, folds=4)
    one, again, other = further(model, 9, 1), further(model, 9, 1), further(model, 9, 2)
    assert one is not None
    assert (one.suffix, one.folds, one.params["extra_trees"]) == ("lightgbm-9", 4, True)
    assert 6 <= one.params["num_leaves"] <= 255
    assert one == again != other


def test_a_further_forest_looks_at_another_number_of_columns_than_those_there_are() -> None:
    model = CandidatePlan("extra-trees-1", "extra-trees", {"max_features": 0.5})
    others = [model]
    while (drawn := further(model, len(others) + 1, 100 * len(others), others, columns=6)) is not None:
        others.append(drawn)
    counts = [int(plan.params["max_features"] * 6) for plan in others]
    assert 3 <= len(counts) == len(set(counts)) <= 6


def test_what_has_nothing_to_vary_has_no_further_candidates() -> None:
    assert further(CandidatePlan("x", "fastai"), 2, 0) is None


def test_a_hurried_booster_learns_faster_within_bounds() -> None:
    assert hurried(CandidatePlan("x", "lightgbm"), 2.0).params["learning_rate"] == pytest.approx(0.1)
    assert hurried(CandidatePlan("x", "xgboost"), 100.0).params["learning_rate"] <= 0.3
    assert hurried(CandidatePlan("x", "extra-trees"), 2.0) == CandidatePlan("x", "extra-trees")


def test_catboost_is_told_to_hurry_and_knows_its_own_rate() -> None:
    twice = hurried(hurried(CandidatePlan("x", "catboost"), 2.0), 1.5)
    assert twice.params == {"hurry": 3.0}
    assert Costs(SMALL).seconds(twice) < Costs(SMALL).seconds(CandidatePlan("x", "catboost"))


def test_many_classes_have_one_rate_and_cost_what_they_cost() -> None:
    costs, calm = Costs(Facts(5_000, 20, MULTICLASS, 8)), CandidatePlan("x", "catboost")
    assert costs.seconds(hurried(calm, 3.0)) == costs.seconds(calm)


@pytest.mark.parametrize(
    ("kind", "classes", "params", "rate"),
    [
        (BINARY, 2, {}, 0.06),
        (BINARY, 2, {"hurry": 2.0}, 0.12),
        (REGRESSION, 0, {"hurry": 2.0}, 0.2),
        (REGRESSION, 0, {"hurry": 30.0}, 0.3),
        (MULTICLASS, 6, {"hurry": 1.2}, 0.3),
        (MULTICLASS, 6, {"learning_rate": 0.08}, 0.3),
        (MULTICLASS, 3, {"learning_rate": 0.08, "hurry": 2.0}, 0.16),
        (MULTICLASS, 3, {"learning_rate": 0.4, "hurry": 2.0}, 0.4),
    ],
)
def test_hurrying_never_lowers_catboosts_rate(kind: str, classes: int, params: dict[str, float], rate: float) -> None:
    x = Features(np.zeros((4, 5), np.float32), np.zeros((4, 0), np.int32), list("abcde"), [], [])
    settings = catboost._settings(Task(kind, classes, "F1"), params, 0, 1, x)
    assert settings["learning_rate"] == pytest.approx(rate)
    assert "hurry" not in settings


def test_idle_slots_become_threads_only_on_large_data() -> None:
    assert trial_threads(LARGE, others=0, slots=2) == 2
    assert trial_threads(LARGE, others=1, slots=2) == 1
    assert trial_threads(LARGE, others=5, slots=2) == 1
    assert trial_threads(SMALL, others=0, slots=2) == 1


def test_small_data_gets_five_folds_and_large_data_fewer() -> None:
    assert {p.folds for p in planned()} == {5}
    assert all(p.folds < 5 for p in planned(LARGE))


def test_a_tight_budget_gets_fewer_folds() -> None:
    assert planned(LARGE, budget=30)[0].folds == 2


def test_a_plan_survives_json() -> None:
    first = planned()[0]
    assert CandidatePlan(**vars(first)) == first


def test_a_trial_document_names_what_the_trial_needs() -> None:
    document = planned()[0].trial("job-lightgbm-1", "F1")
    assert set(document) == {"name", "algorithm", "params", "folds", "seed", "metric", "threads"}


def test_what_takes_little_of_the_time_comes_before_what_takes_much() -> None:
    facts = Facts(13_000, 9, REGRESSION, 0, numeric=8)
    suffixes = [c.suffix for c in planned(facts, max_candidates=60, budget=60.0)]
    assert suffixes.index("xgboost-2") < suffixes.index("catboost-1") < suffixes.index("nn-torch-1")
    assert suffixes.index("lightgbm-2") < suffixes.index("lightgbm-3")
    unhurried = [c.suffix for c in planned(facts, max_candidates=60, budget=3600.0)]
    assert unhurried == [c.suffix for c in planned(facts, max_candidates=60)]


def test_numbers_are_crossed_where_there_are_two() -> None:
    crossing = {c.suffix for c in planned(replace(SMALL, numeric=2), max_candidates=60) if "crosses" in c.params}
    assert crossing == {"lightgbm-2", "catboost-2", "xgboost-2"}
    assert not [c for c in planned(replace(SMALL, numeric=1), max_candidates=60) if "crosses" in c.params]


def test_on_many_rows_trees_of_many_leaves_come_first() -> None:
    first, *others = planned(replace(LARGE, rows=100_000, columns=10), max_candidates=60)
    assert first.params["num_leaves"] > 255
    assert others[0].params["max_depth"] > 12
    assert "num_leaves" not in planned(replace(LARGE, rows=99_999, columns=10))[0].params


def test_crosses_cost_time_and_memory() -> None:
    costs, plain = Costs(SMALL), CandidatePlan("catboost-1", "catboost")
    crossed = replace(plain, params={"crosses": 6})
    assert 1.2 < costs.seconds(crossed) / costs.seconds(plain) < 3
    assert memory.peak(crossed, LARGE) > memory.peak(plain, LARGE)


def test_facts_come_from_the_prepared_data() -> None:
    document = {
        "problem_type": MULTICLASS,
        "classes": ["a", "b", "c"],
        "train_rows": 80,
        "features": {"numeric": 3, "categorical": 2},
    }
    assert Facts.of(document) == Facts(80, 5, MULTICLASS, 3, numeric=3)
    document["features"] = {"numeric": 3, "categorical": 2, "one_hot": 70, "sparse_values": 900}
    assert Facts.of(document) == Facts(80, 5, MULTICLASS, 3, one_hot=70, sparse_values=900, numeric=3)


class TestCosts:
    def test_more_rows_folds_and_classes_cost_more(self) -> None:
        candidate = CandidatePlan("x", "lightgbm")
        multiclass = Facts(5_000, 20, MULTICLASS, 10)
        assert Costs(LARGE).seconds(candidate) > Costs(SMALL).seconds(candidate)
        assert Costs(multiclass).seconds(candidate) > Costs(SMALL).seconds(candidate)
        assert Costs(SMALL).seconds(candidate) > Costs(SMALL).seconds(CandidatePlan("x", "lightgbm", folds=3))

    @pytest.mark.parametrize(("problem_type", "classes"), [(BINARY, 2), (REGRESSION, 0), (MULTICLASS, 3)])
    def test_rows_that_a_linear_model_only_walks_over_cost_a_fraction(self, problem_type: str, classes: int) -> None:
        candidate = CandidatePlan("x", "linear-learner", folds=2)
        solved, walked, more = (
            Costs(Facts(rows, 20, problem_type, classes)).seconds(candidate) for rows in (200_000, 800_000, 1_600_000)
        )
        assert solved < walked < more < 2 * walked

    def test_learn_from_what_was_seen(self) -> None:
        costs, seen, other = Costs(SMALL), CandidatePlan("a", "lightgbm"), CandidatePlan("b", "catboost")
        before = costs.seconds(other)
        costs.observe(seen, 3 * costs.seconds(seen))
        assert costs.seconds(other) == pytest.approx(3 * before)
        costs.observe(other, before)
        assert costs.seconds(other) == pytest.approx(before)

    def test_what_earlier_jobs_saw_counts_until_this_job_sees_its_own(self) -> None:
        candidate = CandidatePlan("a", "lightgbm")
        usual = Costs(SMALL).seconds(candidate)
        costs = Costs(SMALL, {"lightgbm": 2.0})
        assert costs.seconds(candidate) == pytest.approx(2 * usual)
        costs.observe(candidate, usual)
        assert costs.seconds(candidate) == pytest.approx(usual)

    @pytest.mark.parametrize("nonsense", [float("nan"), float("inf"), 0.0, -1.0])
    def test_nonsense_from_earlier_jobs_is_ignored(self, nonsense: float) -> None:
        candidate = CandidatePlan("a", "lightgbm")
        assert Costs(SMALL, {"lightgbm": nonsense}).seconds(candidate) == Costs(SMALL).seconds(candidate)

    def test_a_trial_that_was_cut_off_makes_nothing_look_cheaper(self) -> None:
        costs, candidate = Costs(SMALL), CandidatePlan("a", "lightgbm")
        before = costs.seconds(candidate)
        costs.observe(candidate, before / 10, cut_off=True)
        assert costs.seconds(candidate) >= before

    def test_a_cap_on_rows_a_high_rate_and_few_leaves_are_cheaper(self) -> None:
        costs = Costs(LARGE)
        usual = costs.seconds(CandidatePlan("x", "lightgbm"))
        for params in ({"max_rows": 1000}, {"learning_rate": 0.2}, {"num_leaves": 15}):
            assert costs.seconds(CandidatePlan("x", "lightgbm", params)) < usual


class TestAllow:
    def test_no_limit_is_no_limit(self) -> None:
        candidate = CandidatePlan("a", "lightgbm")
        allowed = allow(candidate, [], Costs(SMALL), seconds_left=None, slots=2)
        assert allowed is not None
        assert (allowed.candidate, allowed.seconds) == (candidate, None)

    def test_the_last_candidate_may_take_all_that_is_left(self) -> None:
        allowed = allow(CandidatePlan("a", "lightgbm"), [], Costs(SMALL), seconds_left=50.0, slots=1)
        assert allowed is not None
        assert allowed.seconds == 50.0

    def test_those_that_wait_keep_their_share(self) -> None:
        waiting = [CandidatePlan(str(i), "lightgbm") for i in range(9)]
        allowed = allow(CandidatePlan("a", "lightgbm"), waiting, Costs(SMALL), seconds_left=100.0, slots=1)
        assert allowed is not None
        assert allowed.seconds is not None
        assert allowed.seconds <= 50.0

    def test_a_candidate_that_costs_more_than_its_share_gets_fewer_folds(self) -> None:
        costs, candidate = Costs(LARGE), CandidatePlan("a", "catboost")
        allowed = allow(candidate, [], costs, seconds_left=costs.seconds(candidate) / 2, slots=1)
        assert allowed is not None
        assert allowed.candidate.folds < 5

    def test_those_that_there_is_no_time_for_take_no_share(self) -> None:
        waiting = [CandidatePlan(str(i), "lightgbm") for i in range(200)]
        costs = Costs(SMALL)
        own = costs.seconds(CandidatePlan("a", "lightgbm"))
        allowed = allow(CandidatePlan("a", "lightgbm"), waiting, costs, seconds_left=4 * own, slots=1)
        assert allowed is not None
        assert allowed.seconds is not None
        assert allowed.seconds >= own

    def test_a_booster_that_two_folds_are_too_many_for_learns_faster(self) -> None:
        costs, candidate = Costs(LARGE), CandidatePlan("a", "lightgbm")
        allowed = allow(candidate, [], costs, seconds_left=costs.seconds(candidate) / 8, slots=1)
        assert allowed is not None
        assert allowed.candidate.params["learning_rate"] > 0.05

    @pytest.mark.parametrize("seconds_left", [None, 1e6])
    def test_what_any_trial_may_take_costs_folds_and_then_rounds_too(self, seconds_left: float | None) -> None:
        costs, candidate = Costs(LARGE), CandidatePlan("a", "lightgbm")
        own = costs.seconds(candidate)
        for share, folds, faster in ((1.0, 5, False), (0.7, 3, False), (0.1, 2, True)):
            allowed = allow(candidate, [], costs, seconds_left=seconds_left, slots=1, most=share * own)
            assert allowed is not None
            assert allowed.seconds == share * own
            assert allowed.candidate.folds == folds
            assert ("learning_rate" in allowed.candidate.params) == faster

    def test_a_hopeless_candidate_is_left_out_once_something_is_finished(self) -> None:
        costs, candidate = Costs(LARGE), CandidatePlan("a", "catboost")
        assert allow(candidate, [], costs, seconds_left=1.0, slots=1) is not None
        costs.observe(candidate, costs.seconds(candidate))
        assert allow(candidate, [], costs, seconds_left=1.0, slots=1) is None
