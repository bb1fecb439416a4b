"""Warm start: which parents are accepted, and what their trials are worth."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from pilothouse.catalog import warm_start_rules
from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.catalog.warm_start_rules import Parent
from pilothouse.errors import ValidationError
from pilothouse.tuning.knowledge import Finding
from pilothouse.tuning.search import Search
from pilothouse.tuning.trial import Trial
from pilothouse.tuning.warmstart import Inheritance, inherited, overall_best

IDENTICAL, TRANSFER = "IdenticalDataAndAlgorithm", "TransferLearning"


def request(name: str = "child", kind: str | None = IDENTICAL, **config: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "HyperParameterTuningJobName": name,
        "HyperParameterTuningJobConfig": {
            "Strategy": "Bayesian",
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 50, "MaxParallelTrainingJobs": 2},
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ParameterRanges": {
                "ContinuousParameterRanges": [
                    {"Name": "a", "MinValue": "0", "MaxValue": "1"},
                    {"Name": "b", "MinValue": "0", "MaxValue": "1"},
                ]
            },
            **config,
        },
        "TrainingJobDefinition": {
            "StaticHyperParameters": {f"s{i}": "1" for i in range(12)},
            "AlgorithmSpecification": {"TrainingInputMode": "File", "TrainingImage": "image"},
            "InputDataConfig": [{"ChannelName": "train", "DataSource": {"S3DataSource": {"S3Uri": "s3://b/in"}}}],
        },
    }
    if kind is not None:
        made["WarmStartConfig"] = {
            "WarmStartType": kind,
            "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "parent"}],
        }
    return made


def parent(status: str = "Completed", training_jobs: int = 20, name: str = "parent") -> Parent:
    return Parent(TuningJob.of(request(name, None)), status, training_jobs)


def refused(document: dict[str, Any], said: str, *parents: Parent) -> None:
    with pytest.raises(ValidationError, match=said):
        warm_start_rules.check(TuningJob.of(document), parents or [parent()])


def changed(document: dict[str, Any], change: Any) -> dict[str, Any]:
    document = copy.deepcopy(document)
    change(document["HyperParameterTuningJobConfig"], document["TrainingJobDefinition"])
    return document


def test_parents_that_have_ended_are_accepted() -> None:
    for status in ("Completed", "Stopped", "Failed"):
        warm_start_rules.check(TuningJob.of(request()), [parent(status)])


def test_a_parent_that_still_runs_is_refused() -> None:
    for status in ("InProgress", "Stopping"):
        refused(request(), f"'parent' has status {status}; it must have ended", parent(status))


def test_parents_are_one_to_five_different_jobs() -> None:
    with pytest.raises(ValidationError, match="at most 5 different"):
        warm_start_rules.check(TuningJob.of(request()), [])
    refused(request(), "different", parent(), parent())
    refused(request(), "at most 5", *(parent(name=f"p{i}") for i in range(6)))


def test_training_jobs_of_all_add_up_to_five_hundred_at_most() -> None:
    warm_start_rules.check(TuningJob.of(request()), [parent(training_jobs=450)])
    refused(request(), "add up to 501", parent(training_jobs=451))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda c, d: c["HyperParameterTuningJobObjective"].update(MetricName="f1"),
            "objective metric must be the same",
        ),
        (
            lambda c, d: c["HyperParameterTuningJobObjective"].update(Type="Maximize"),
            "objective metric must be the same",
        ),
        (lambda c, d: d["StaticHyperParameters"].update(more="1"), "number of static and tunable .* 14; it is 15"),
        (
            lambda c, d: c.update(
                ParameterRanges={
                    "IntegerParameterRanges": [{"Name": n, "MinValue": "0", "MaxValue": "1"} for n in ("a", "b")]
                }
            ),
            "is integer, but continuous",
        ),
        (lambda c, d: d["StaticHyperParameters"].update({f"s{i}": "2" for i in range(11)}), "11 hyperparameters have"),
        (lambda c, d: d["AlgorithmSpecification"].update(TrainingImage="other"), "training image must be the same"),
        (lambda c, d: d.update(InputDataConfig=[]), "input data must be the same"),
    ],
)
def test_a_job_that_differs_too_much_is_refused(change: Any, said: str) -> None:
    refused(changed(request(), change), said)


def test_transfer_learning_may_have_other_data_and_another_image() -> None:
    other = changed(request(kind=TRANSFER), lambda c, d: d.update(InputDataConfig=[]))
    warm_start_rules.check(TuningJob.of(other), [parent()])


def test_a_tunable_hyperparameter_may_turn_static() -> None:
    def turn(config: Any, definition: Any) -> None:
        config["ParameterRanges"]["ContinuousParameterRanges"].pop()
        definition["StaticHyperParameters"]["b"] = "0.5"

    warm_start_rules.check(TuningJob.of(changed(request(), turn)), [parent()])


def loss(a: float, b: float) -> float:
    return (a - 0.8) ** 2 + (b - 0.2) ** 2


def parents_trials(count: int = 20, scale: float = 1.0) -> list[Trial]:
    values = [((i * 7 % count) / count, (i * 3 % count) / count) for i in range(count)]
    return [
        Trial(i, 0, {"a": repr(a), "b": repr(b)}, "Completed", value=scale * loss(a, b), ended=i)
        for i, (a, b) in enumerate(values)
    ]


def family(kind: str, trials: list[Trial] | None = None, **config: Any) -> tuple[TuningJob, dict[int, Inheritance]]:
    job = TuningJob.of(request(kind=kind, **config))
    return job, dict(inherited(job, [(parent().job, parents_trials() if trials is None else trials)]))


def test_points_outside_of_the_new_ranges_and_without_a_number_are_left_behind() -> None:
    narrow = {"ContinuousParameterRanges": [{"Name": n, "MinValue": "0", "MaxValue": "0.5"} for n in ("a", "b")]}
    trials = [*parents_trials(), Trial(20, 0, {"a": "0.1", "b": "0.1"}, "Completed", value=math.nan)]
    trials.append(Trial(21, 0, {"a": "0.1", "b": "0.1"}, "Failed"))
    trials.append(Trial(22, 0, {"a": "0.1", "b": "0.1"}, "Failed", value=-1.0))
    _, kept = family(IDENTICAL, trials, ParameterRanges=narrow)
    [findings] = kept[0].parents
    inside = [trial for trial in parents_trials() if all(float(value) <= 0.5 for value in trial.values.values())]
    assert len(findings) == len(inside)


def test_a_value_that_was_static_counts_when_it_is_tuned_now() -> None:
    def turn(config: Any, definition: Any) -> None:
        config["ParameterRanges"]["ContinuousParameterRanges"].append({"Name": "s0", "MinValue": "0", "MaxValue": "2"})
        del definition["StaticHyperParameters"]["s0"]

    job = TuningJob.of(changed(request(), turn))
    [findings] = inherited(job, [(parent().job, parents_trials())])[0].parents
    assert {finding.point[2] for finding in findings} == {0.5}


def test_with_identical_data_the_first_point_is_a_model_s() -> None:
    job, kept = family(IDENTICAL)
    trial = Search(job, 1, kept).ask()
    assert trial is not None
    assert loss(float(trial.values["a"]), float(trial.values["b"])) < 0.05


def test_with_transfer_learning_the_parents_best_points_come_first() -> None:
    job, kept = family(TRANSFER)
    search = Search(job, 1, kept)
    best = sorted(parents_trials(), key=lambda trial: trial.value or 0)
    asked = [search.ask() for _ in range(3)]
    assert [trial.values for trial in asked if trial] == [trial.values for trial in best[:3]]


def test_transferred_losses_have_the_level_and_spread_of_the_job_s_own() -> None:
    _, kept = family(TRANSFER, parents_trials(scale=1000.0))
    own = [Finding((0.1 * i, 0.5), 7.0 + i) for i in range(5)]
    known = kept[0].with_own(own)
    moved = [finding.loss for finding in known if finding.elsewhere]
    assert known[-5:] == own
    assert len(moved) == 20
    assert 5 < min(moved) < sorted(moved)[10] < 10
    assert kept[0].with_own(own[:3]) == own[:3]


def test_a_parents_trial_that_failed_is_not_tried_again_first() -> None:
    failed = Trial(20, 0, {"a": "0.1", "b": "0.1"}, "Failed", value=-1.0, ended=20)
    job, kept = family(TRANSFER, [*parents_trials(), failed])
    first = Search(job, 1, kept).ask()
    assert first is not None
    assert first.values != failed.values


def test_enough_own_findings_replace_transferred_ones() -> None:
    _, kept = family(TRANSFER)
    own = [Finding((0.01 * i, 0.5), float(i)) for i in range(50)]
    assert kept[0].with_own(own) == own
    assert len(kept[0].with_own(own[:45])) <= 50


def test_a_warm_started_search_is_restored_like_any_other() -> None:
    for kind in (IDENTICAL, TRANSFER):
        job, kept = family(kind)
        search, trials = Search(job, 1, kept), []
        for number in range(10):
            trial = search.ask()
            assert trial is not None
            value = loss(float(trial.values["a"]), float(trial.values["b"]))
            search.tell(number, value)
            trials.append(Trial(number, 0, trial.values, "Completed", value=value, ended=number))
        assert Search.restored(job, 1, trials, kept).ask() == search.ask()


def test_the_overall_best_is_the_job_s_own_among_equals() -> None:
    job, old = TuningJob.of(request()), parent().job
    theirs = parents_trials()
    best = min(theirs, key=lambda trial: trial.value or 0)
    assert overall_best(job, [], []) is None
    assert overall_best(job, [], [(old, []), (old, theirs)]) == (1, best)
    assert overall_best(job, [best], [(old, theirs)]) == (None, best)


def test_a_search_without_parents_inherits_nothing() -> None:
    assert inherited(TuningJob.of(request(kind=None)), []) == {}
