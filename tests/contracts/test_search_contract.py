"""What every strategy of a tuning job promises."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.catalog.tuning_jobs import TuningJob
from pilothouse.tuning.search import Search, seed_of
from pilothouse.tuning.trial import Trial

LETTERS = {"CategoricalParameterRanges": [{"Name": name, "Values": [*"abcd"]} for name in ("one", "two", "three")]}
MIXED = {
    "IntegerParameterRanges": [{"Name": "depth", "MinValue": "2", "MaxValue": "9"}],
    "ContinuousParameterRanges": [
        {"Name": "rate", "MinValue": "1e-4", "MaxValue": "0.5"},
        {"Name": "share", "MinValue": "0.9", "MaxValue": "0.999", "ScalingType": "ReverseLogarithmic"},
        {"Name": "fixed", "MinValue": "3", "MaxValue": "3"},
    ],
    "CategoricalParameterRanges": [
        {"Name": "loss", "Values": ["hinge", "log", "square"]},
        {"Name": "batch", "Values": ["64", "16", "32"]},
    ],
}
STRATEGIES = ("Random", "Bayesian", "Hyperband", "Grid")


def tuning_job(strategy: str, definitions: int = 1, jobs: int = 40, direction: str = "Minimize") -> TuningJob:
    objective = {"Type": direction, "MetricName": "m"}
    ranges = LETTERS if strategy == "Grid" else MIXED
    algorithm = {"AlgorithmSpecification": {"TrainingInputMode": "File"}}
    limits = {"MaxParallelTrainingJobs": 4, "MaxNumberOfTrainingJobs": jobs}
    config: dict[str, Any] = {"Strategy": strategy, "ResourceLimits": limits}
    if strategy == "Hyperband":
        config["StrategyConfig"] = {"HyperbandStrategyConfig": {"MaxResource": 9}}
    return TuningJob.of(
        {
            "HyperParameterTuningJobName": "tune",
            "HyperParameterTuningJobConfig": config,
            "TrainingJobDefinitions": [
                {"DefinitionName": f"d{i}", "TuningObjective": objective, "HyperParameterRanges": ranges, **algorithm}
                for i in range(definitions)
            ],
        }
    )


def value_of(trial: Trial) -> float | None:
    """A pretended objective: least at depth 5 and a rate of 0.01; some trials fail, some give no number."""
    if trial.number % 7 == 3:
        return None
    if trial.number % 11 == 5:
        return math.nan
    if "one" in trial.values:
        return float(sum("abcd".index(letter) for letter in trial.values.values()))
    return abs(int(trial.values["depth"]) - 5) / 10 + abs(math.log10(float(trial.values["rate"])) + 2)


class Run:
    """A job's part of a search: asks while there is room, ends the oldest running trial, keeps records."""

    def __init__(self, job: TuningJob, seed: int = 1, parallel: int = 3) -> None:
        self.job, self.seed, self.parallel = job, seed, parallel
        self.search, self.records = Search(job, seed), dict[int, Trial]()

    def step(self) -> bool:
        running = [trial for trial in self.records.values() if trial.status == "InProgress"]
        trial = self.search.ask() if len(running) < self.parallel else None
        if trial is not None:
            self.records[trial.number] = trial
        elif running:
            self._end(running[0])
        return trial is not None or bool(running)

    def _end(self, trial: Trial) -> None:
        value, reports = value_of(trial), list[float]()
        for step in range(1, 10):
            reports.append((value if value is not None else math.nan) + 1 / step)
            if self.search.report(trial.number, step, reports[-1]) == "stop":
                break
        self.search.tell(trial.number, value)
        status = "Failed" if value is None else "Completed"
        ended = sum(record.status != "InProgress" for record in self.records.values())
        self.records[trial.number] = Trial(
            trial.number, trial.definition, trial.values, status, tuple(reports), value, ended=ended
        )

    def go(self, trials: int) -> list[Trial]:
        while len(self.records) < trials and self.step():
            pass
        return list(self.records.values())

    def crash(self) -> None:
        self.search = Search.restored(self.job, self.seed, self.records.values())


@pytest.mark.parametrize("strategy", STRATEGIES)
class TestEveryStrategy:
    def test_trials_are_numbered_and_lie_within_the_ranges(self, strategy: str) -> None:
        job = tuning_job(strategy)
        trials = Run(job).go(30)
        assert [trial.number for trial in trials] == list(range(30))
        for trial in trials:
            [definition] = job.definitions
            assert list(trial.values) == [each.name for each in definition.ranges]
            assert all(each.holds(each.value(trial.values[each.name])) for each in definition.ranges)

    def test_the_same_seed_makes_the_same_search(self, strategy: str) -> None:
        first, second = (Run(tuning_job(strategy)).go(25) for _ in range(2))
        assert repr(first) == repr(second)  # NaN is not equal to itself

    def test_another_seed_makes_another_search(self, strategy: str) -> None:
        if strategy == "Grid":
            return
        first, second = (Run(tuning_job(strategy), seed).go(8) for seed in (1, 2))
        assert [trial.values for trial in first] != [trial.values for trial in second]

    def test_a_restored_search_goes_on_as_it_would_have(self, strategy: str) -> None:
        whole, broken = Run(tuning_job(strategy, 2)), Run(tuning_job(strategy, 2))
        for _ in range(3):
            broken.go(len(broken.records) + 7)
            broken.crash()
        assert repr(broken.go(30)) == repr(whole.go(30))

    def test_asking_in_parallel_gives_different_points(self, strategy: str) -> None:
        run = Run(tuning_job(strategy), parallel=1)
        run.go(12)
        asked = [run.search.ask() for _ in range(20)]
        points = {tuple(trial.values.values()) for trial in asked if trial is not None}
        assert len(points) == 20

    def test_failures_are_taken(self, strategy: str) -> None:
        search = Search(tuning_job(strategy), 1)
        for _ in range(15):
            trial = search.ask()
            assert trial is not None
            search.tell(trial.number, None)
        assert search.ask() is not None

    def test_what_is_not_finite_changes_nothing_for_the_next(self, strategy: str) -> None:
        runs = []
        for bad in (None, math.nan, math.inf, -math.inf):
            search = Search(tuning_job(strategy), 1)
            for number in range(12):
                trial = search.ask()
                assert trial is not None
                search.tell(number, bad if number % 3 == 1 else float(number))
            runs.append(search.ask())
        assert runs.count(runs[0]) == len(runs)

    def test_a_trial_ends_once(self, strategy: str) -> None:
        search = Search(tuning_job(strategy), 1)
        search.ask()
        search.tell(0, 1.0)
        with pytest.raises(KeyError):
            search.tell(0, 2.0)
        with pytest.raises(KeyError):
            search.tell(1, 2.0)

    def test_every_definition_is_tried(self, strategy: str) -> None:
        trials = Run(tuning_job(strategy, 3)).go(130 if strategy == "Grid" else 24)
        assert {trial.definition for trial in trials} == {0, 1, 2}

    def test_a_hundred_run_at_the_same_time(self, strategy: str) -> None:
        run = Run(tuning_job(strategy, 2), parallel=100)
        assert len(run.go(110)) == 110


def test_a_grid_is_tried_from_one_end_to_the_other_and_then_is_over() -> None:
    run = Run(tuning_job("Grid", 2))
    trials = run.go(1000)
    assert len(trials) == 2 * 4**3
    assert [trial.definition for trial in trials] == [0] * 64 + [1] * 64
    assert len({(trial.definition, *trial.values.values()) for trial in trials}) == 128
    assert [*trials[1].values.values()] == ["a", "a", "b"]
    assert run.search.ask() is None


def test_a_small_space_is_exhausted_before_a_point_comes_again() -> None:
    ranges = {"IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "6"}]}
    for strategy in ("Random", "Bayesian"):
        job = _with_ranges(strategy, ranges)
        search, found = Search(job, 3), []
        for number in range(9):
            trial = search.ask()
            assert trial is not None
            found.append(trial.values["n"])
            search.tell(number, float(trial.values["n"]))
        assert sorted(found[:6]) == ["1", "2", "3", "4", "5", "6"]


def _with_ranges(strategy: str, ranges: dict[str, Any]) -> TuningJob:
    job = tuning_job(strategy)
    request = {
        "HyperParameterTuningJobName": "tune",
        "HyperParameterTuningJobConfig": {
            "Strategy": strategy,
            "ResourceLimits": {"MaxParallelTrainingJobs": 1},
            "ParameterRanges": ranges,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "m"},
        },
        "TrainingJobDefinition": {k: v for k, v in job.definitions[0].document.items() if "Range" not in k},
    }
    return TuningJob.of(request)


@given(st.integers(0, 2**63), st.sampled_from(["Random", "Hyperband"]), st.integers(0, 40))
@settings(max_examples=25, deadline=None)
def test_a_trials_values_do_not_depend_on_results(seed: int, strategy: str, count: int) -> None:
    job = tuning_job(strategy)
    told, untold = Search(job, seed), Search(job, seed)
    for number in range(count):
        assert told.ask() == untold.ask()
        told.tell(number, float(number % 5))


NUMBERS = st.integers(1, 10**6)
BOUNDS = st.tuples(NUMBERS, NUMBERS).map(sorted)
SCALINGS = st.sampled_from(["Auto", "Linear", "Logarithmic"])
RANGES = st.fixed_dictionaries(
    {
        "IntegerParameterRanges": st.lists(st.tuples(BOUNDS, SCALINGS), max_size=3),
        "ContinuousParameterRanges": st.lists(st.tuples(BOUNDS, SCALINGS), max_size=3),
        "CategoricalParameterRanges": st.lists(st.lists(st.text(max_size=3), min_size=1, max_size=5, unique=True)),
    }
).filter(lambda ranges: any(ranges.values()))


def _documents(drawn: dict[str, Any]) -> dict[str, Any]:
    def named(kind: str, i: int, each: Any) -> dict[str, Any]:
        name = {"Name": f"{kind[0]}{kind[1]}{i}"}
        if kind.startswith("Categorical"):
            return {**name, "Values": each}
        (low, high), scaling = each
        return {**name, "MinValue": str(low), "MaxValue": str(high), "ScalingType": scaling}

    return {kind: [named(kind, i, each) for i, each in enumerate(ranges[:3])] for kind, ranges in drawn.items()}


@given(RANGES, st.sampled_from(["Bayesian", "Random"]), st.lists(st.floats() | st.none(), min_size=12, max_size=12))
@settings(max_examples=30, deadline=None)
def test_any_ranges_and_any_results_are_taken(
    drawn: dict[str, Any], strategy: str, results: list[float | None]
) -> None:
    job = _with_ranges(strategy, _documents(drawn))
    [definition] = job.definitions
    search = Search(job, 1)
    for number, result in enumerate(results):
        trial = search.ask()
        assert trial is not None
        assert all(each.holds(each.value(trial.values[each.name])) for each in definition.ranges)
        search.tell(number, result)


def test_the_seed_is_the_requests_or_comes_from_the_salt() -> None:
    job = tuning_job("Random")
    assert seed_of(job, "a") == seed_of(job, "a") != seed_of(job, "b")


def test_the_better_definition_gets_more_trials_of_a_bayesian_search() -> None:
    search, counts = Search(tuning_job("Bayesian", 2), 5), [0, 0]
    for number in range(40):
        trial = search.ask()
        assert trial is not None
        counts[trial.definition] += 1
        search.tell(number, float(trial.definition) + (value_of(trial) or 0) / 10 if number % 5 else None)
    assert counts[0] > counts[1] >= 6


def _told(strategy: str, count: int) -> Iterator[Search]:
    search = Search(tuning_job(strategy, jobs=count), 1)
    job = tuning_job("Random", jobs=count)
    points = Search(job, 2)
    trials = []
    for number in range(count):
        trial = points.ask()
        assert trial is not None
        points.tell(number, None)
        trials.append(Trial(number, 0, trial.values, "Completed", value=value_of(trial) or 9.0, ended=number))
    search = Search.restored(tuning_job(strategy, jobs=count), 1, trials)
    yield search


@pytest.mark.parametrize("strategy", ["Random", "Bayesian", "Hyperband"])
def test_asking_stays_quick_after_thousands_of_trials(strategy: str) -> None:
    [search] = _told(strategy, 3000)
    seconds = []
    for _ in range(7):
        begun = time.process_time()
        assert search.ask() is not None
        seconds.append(time.process_time() - begun)
    assert sorted(seconds)[1] < 0.5  # a generous bound; docs/internals/tuning.md has what was measured
