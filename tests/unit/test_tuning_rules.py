"""What a tuning job's request says, and which requests are refused."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.catalog import autotune, tuning_rules
from pilothouse.catalog.tuning_jobs import Criteria, Limits, Objective, Resources, TuningJob, WarmStart
from pilothouse.catalog.tuning_ranges import CategoricalRange, ContinuousRange, IntegerRange, combinations
from pilothouse.errors import ValidationError

OBJECTIVE = {"Type": "Maximize", "MetricName": "acc"}
RATE = {"Name": "rate", "MinValue": "1e-4", "MaxValue": "0.1", "ScalingType": "Logarithmic"}
DEPTH = {"Name": "depth", "MinValue": "2", "MaxValue": "9"}
LOSS = {"Name": "loss", "Values": ["hinge", "log"]}


def definition(**members: Any) -> dict[str, Any]:
    return {
        "AlgorithmSpecification": {
            "TrainingInputMode": "File",
            "TrainingImage": "image",
            "MetricDefinitions": [{"Name": "acc", "Regex": "acc=([0-9.]+)"}],
        },
        "StaticHyperParameters": {"epochs": "27"},
        "RoleArn": "arn:aws:iam::000000000000:role/R",
        "OutputDataConfig": {"S3OutputPath": "s3://b/out"},
        "StoppingCondition": {"MaxRuntimeInSeconds": 60},
        **members,
    }


def request(strategy: str = "Bayesian", **config: Any) -> dict[str, Any]:
    return {
        "HyperParameterTuningJobName": "tune",
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": OBJECTIVE,
            "ResourceLimits": {"MaxNumberOfTrainingJobs": 20, "MaxParallelTrainingJobs": 2},
            "ParameterRanges": {"ContinuousParameterRanges": [RATE], "IntegerParameterRanges": [DEPTH]},
            **config,
        },
        "TrainingJobDefinition": definition(),
    }


def several(**members: Any) -> dict[str, Any]:
    made = request()
    del made["TrainingJobDefinition"]
    for member in ("HyperParameterTuningJobObjective", "ParameterRanges"):
        del made["HyperParameterTuningJobConfig"][member]
    made["TrainingJobDefinitions"] = [
        definition(
            DefinitionName=name,
            TuningObjective=dict(OBJECTIVE),
            HyperParameterRanges={"IntegerParameterRanges": [DEPTH]},
            **members,
        )
        for name in ("one", "two")
    ]
    return made


def refused(document: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        tuning_rules.check(document)


def test_a_request_is_read_with_its_defaults() -> None:
    job = tuning_rules.check(request(RandomSeed=3))
    [only] = job.definitions
    assert only.ranges == (IntegerRange("depth", 2, 9), ContinuousRange("rate", 1e-4, 0.1, "Logarithmic"))
    assert (job.limits, job.criteria, job.seed) == (Limits(2, 20, None), Criteria(), 3)
    assert (job.early_stopping, job.resources, job.warm_start, job.autotune) == (False, None, None, False)


def test_a_training_job_is_given_static_and_tuned_values_and_the_objectives_name() -> None:
    [only] = TuningJob.of(request()).definitions
    assert only.hyperparameters({"depth": "3"}) == {"epochs": "27", "depth": "3", "_tuning_objective_metric": "acc"}


def test_training_jobs_are_tried_again_as_often_as_asked() -> None:
    document = request()
    assert [TuningJob.of(document).retries(each) for each in TuningJob.of(document).definitions] == [0]
    document["TrainingJobDefinition"]["RetryStrategy"] = {"MaximumRetryAttempts": 5}
    assert [TuningJob.of(document).retries(each) for each in TuningJob.of(document).definitions] == [5]


def test_several_definitions_have_ranges_and_objectives_of_their_own() -> None:
    job = tuning_rules.check(several())
    assert [(each.name, each.objective, each.ranges) for each in job.definitions] == [
        (name, Objective("Maximize", "acc"), (IntegerRange("depth", 2, 9),)) for name in ("one", "two")
    ]


def test_completion_criteria_and_warm_start_are_read() -> None:
    document = request(
        TuningJobCompletionCriteria={
            "TargetObjectiveMetricValue": 0.9,
            "BestObjectiveNotImproving": {"MaxNumberOfTrainingJobsNotImproving": 5},
            "ConvergenceDetected": {"CompleteOnConvergence": "Enabled"},
        },
        TrainingJobEarlyStoppingType="Auto",
    )
    document["WarmStartConfig"] = {
        "WarmStartType": "TransferLearning",
        "ParentHyperParameterTuningJobs": [{"HyperParameterTuningJobName": "before"}],
    }
    job = tuning_rules.check(document)
    assert job.criteria == Criteria(0.9, 5, True)
    assert job.early_stopping
    assert job.warm_start == WarmStart("TransferLearning", ("before",))


def test_hyperband_infers_its_resource_from_the_epochs() -> None:
    assert tuning_rules.check(request("Hyperband")).resources == Resources(1, 27, suffices=True)
    given_both = request("Hyperband", StrategyConfig={"HyperbandStrategyConfig": {"MinResource": 2, "MaxResource": 9}})
    assert tuning_rules.check(given_both).resources == Resources(2, 9)
    longer = request("Hyperband", StrategyConfig={"HyperbandStrategyConfig": {"MaxResource": 30}})
    assert tuning_rules.check(longer).resources == Resources(1, 30, suffices=True)
    del longer["TrainingJobDefinition"]["StaticHyperParameters"]["epochs"]
    assert tuning_rules.check(longer).resources == Resources(1, 30)


def test_a_grid_has_as_many_jobs_as_combinations() -> None:
    document = request("Grid", ParameterRanges={"CategoricalParameterRanges": [LOSS, {**LOSS, "Name": "other"}]})
    refused(document, r"MaxNumberOfTrainingJobs \(20\) must equal the number of combinations of the grid \(4\)")
    del document["HyperParameterTuningJobConfig"]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    assert tuning_rules.check(document).limits.jobs == 4
    refused(request("Grid"), "only categorical hyperparameters; depth, rate are not categorical")


def _changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(document)
    *parents, last = path.split("/")
    place: Any = changed
    for parent in parents:
        place = place[int(parent)] if isinstance(place, list) else place[parent]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return changed


CONFIG = "HyperParameterTuningJobConfig"


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("TrainingJobDefinition", None, "Exactly one of TrainingJobDefinition and"),
        ("TrainingJobDefinitions", [definition()], "Exactly one of TrainingJobDefinition and"),
        (f"{CONFIG}/HyperParameterTuningJobObjective", None, "No objective metric"),
        (
            f"{CONFIG}/HyperParameterTuningJobObjective/MetricName",
            "f1",
            "'f1' is not one of its MetricDefinitions: acc",
        ),
        (f"{CONFIG}/ParameterRanges", {}, "at least one parameter range"),
        (f"{CONFIG}/ResourceLimits/MaxNumberOfTrainingJobs", None, "MaxNumberOfTrainingJobs must be specified"),
        (f"{CONFIG}/ResourceLimits/MaxNumberOfTrainingJobs", 10_001, "at most 10,000"),
        (f"{CONFIG}/ResourceLimits/MaxParallelTrainingJobs", 101, "at most 100"),
        (f"{CONFIG}/StrategyConfig", {}, "StrategyConfig cannot be specified when Strategy is Bayesian"),
        (f"{CONFIG}/TuningJobCompletionCriteria", {"TargetObjectiveMetricValue": math.nan}, "finite"),
        (f"{CONFIG}/ParameterRanges/AutoParameters", [{"Name": "a", "ValueHint": "1"}], "only with Autotune"),
        ("TrainingJobDefinition/StaticHyperParameters", {"depth": "3"}, "'depth' is specified more than once"),
        ("TrainingJobDefinition/StaticHyperParameters", {"_tuning_objective_metric": "x"}, "reserved"),
        ("TrainingJobDefinition/StaticHyperParameters", {f"s{i}": "" for i in range(98)}, "101 hyperparameters"),
        ("TrainingJobDefinition/TuningObjective", OBJECTIVE, "cannot both be specified"),
        ("TrainingJobDefinition/HyperParameterRanges", {}, "cannot both be specified"),
        (
            f"{CONFIG}/ParameterRanges/CategoricalParameterRanges",
            [{**LOSS, "Name": f"c{i}"} for i in range(29)],
            "31 hyperparameters are to be tuned; at most 30",
        ),
    ],
)
def test_a_request_that_breaks_a_rule_is_refused(path: str, value: Any, said: str) -> None:
    refused(_changed(request(), path, value), said)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (f"{CONFIG}/TrainingJobEarlyStoppingType", "Auto", "must be Off when Strategy is Hyperband"),
        ("TrainingJobDefinition/StaticHyperParameters", {"epochs": "many"}, "MaxResource cannot be inferred"),
        ("TrainingJobDefinition/StaticHyperParameters", {"n_epochs": "20001"}, "at most 20,000; it is 20,001"),
        (f"{CONFIG}/StrategyConfig", {"HyperbandStrategyConfig": {"MinResource": 28}}, "must not be greater than"),
    ],
)
def test_a_hyperband_request_that_breaks_a_rule_is_refused(path: str, value: Any, said: str) -> None:
    refused(_changed(request("Hyperband"), path, value), said)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("TrainingJobDefinitions/1/DefinitionName", "one", "DefinitionName"),
        ("TrainingJobDefinitions/1/TuningObjective/Type", "Minimize", "must have the same Type"),
        ("TrainingJobDefinitions/0/TuningObjective", None, "in training job definition 'one'"),
        (f"{CONFIG}/ParameterRanges", {}, "cannot be combined with TrainingJobDefinitions"),
        (f"{CONFIG}/HyperParameterTuningJobObjective", OBJECTIVE, "cannot be combined with TrainingJobDefinitions"),
    ],
)
def test_several_definitions_that_break_a_rule_are_refused(path: str, value: Any, said: str) -> None:
    refused(_changed(several(), path, value), said)


def test_what_is_not_finite_never_wins() -> None:
    for objective in (Objective("Maximize", "acc"), Objective("Minimize", "loss")):
        for value in (math.nan, math.inf, -math.inf):
            assert not objective.better(value, 1e300)
            assert objective.better(-1e300, value)
            assert not objective.reaches(value, 0.5)
    assert Objective("Maximize", "acc").reaches(0.9, 0.9)
    assert not Objective("Minimize", "loss").reaches(0.91, 0.9)


def _automatic(hints: dict[str, str], **config: Any) -> TuningJob:
    document = request(**config)
    document["Autotune"] = {"Mode": "Enabled"}
    document[CONFIG]["ParameterRanges"] = {
        "AutoParameters": [{"Name": name, "ValueHint": hint} for name, hint in hints.items()]
    }
    del document[CONFIG]["ResourceLimits"]["MaxNumberOfTrainingJobs"]
    return tuning_rules.check(document)


def test_autotune_fills_ranges_limits_and_criteria() -> None:
    job = _automatic({"learning_rate": "0.05", "batch": "32", "subsample": "0.8", "gpu": "true", "optimizer": "adam"})
    [only] = job.definitions
    assert {each.name: each for each in only.ranges} == {
        "learning_rate": ContinuousRange("learning_rate", 1e-4, 0.5, "Logarithmic"),
        "batch": IntegerRange("batch", 3, 320, "Logarithmic"),
        "subsample": ContinuousRange("subsample", 0.3, 1.0),
        "gpu": CategoricalRange("gpu", ("true", "false")),
    }
    assert only.static["optimizer"] == "adam"
    assert job.retries(only) == 3
    assert (job.limits.jobs, job.early_stopping, job.criteria.on_convergence) == (60, True, True)


def test_autotune_leaves_what_was_asked_for() -> None:
    asked = {
        "TrainingJobEarlyStoppingType": "Off",
        "TuningJobCompletionCriteria": {"ConvergenceDetected": {"CompleteOnConvergence": "Disabled"}},
    }
    job = _automatic({"lr": "0.1"}, **asked)
    assert not job.early_stopping
    assert not job.criteria.on_convergence
    assert not _automatic({"lr": "0.1"}, Strategy="Hyperband").early_stopping


@given(
    st.sampled_from(["lr", "dropout", "momentum", "alpha", "subsample", "n", "iterations", "beta_2"]),
    st.one_of(st.integers().map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr)),
)
def test_a_range_from_a_hint_is_valid_and_holds_it(name: str, hint: str) -> None:
    found = autotune.range_for(name, hint)
    if found is None:
        return
    assert found.holds(found.value(hint))
    assert combinations([found]) > 1
    if isinstance(found, ContinuousRange | IntegerRange) and found.scaling == "Logarithmic":
        assert found.low > 0
