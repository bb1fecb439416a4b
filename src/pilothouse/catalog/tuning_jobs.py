"""What the request of CreateHyperParameterTuningJob says, the service's defaults and Autotune's choices filled in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.catalog import autotune, tuning_ranges
from pilothouse.catalog.metrics import Direction
from pilothouse.catalog.tuning_ranges import Range

EPOCH_KEYS = ("epochs", "numepochs", "n-epochs", "n_epochs", "num_epochs")
"""The static hyperparameters that MaxResource is inferred from, in this order."""

OBJECTIVE_KEY = "_tuning_objective_metric"
"""The hyperparameter by which a training job learns the objective's name."""

Document = dict[str, Any]


@dataclass(frozen=True)
class Objective:
    """The metric that a tuning job optimises."""

    direction: Direction
    metric: str

    @classmethod
    def of(cls, document: Document) -> Objective:
        """From a HyperParameterTuningJobObjective."""
        return cls(document["Type"], document["MetricName"])

    def loss(self, value: float) -> float:
        """The value turned so that less is better; infinity for what never wins: NaN and the infinities."""
        if not math.isfinite(value):
            return math.inf
        return -value if self.direction == "Maximize" else value

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is strictly better than `b`."""
        return self.loss(a) < self.loss(b)

    def reaches(self, value: float, target: float) -> bool:
        """Whether `value` is as good as `target`."""
        return math.isfinite(value) and self.loss(value) <= self.loss(target)


@dataclass(frozen=True)
class Definition:
    """One way to train: its objective, what is tuned, what is not. `document` is the wire's training job definition,
    `hinted` says that there are AutoParameters, which are among the ranges, or static where no range is to be had.

    `name` and `objective` are None where the request leaves them out, which is for the rules to refuse.
    """

    name: str | None
    objective: Objective | None
    ranges: tuple[Range, ...]
    static: Mapping[str, str]
    document: Document
    hinted: bool = False

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of its MetricDefinitions."""
        return tuple(metric["Name"] for metric in self.document["AlgorithmSpecification"].get("MetricDefinitions", []))

    def hyperparameters(self, values: Mapping[str, str]) -> dict[str, str]:
        """All that a training job with these tuned values is given."""
        named = {OBJECTIVE_KEY: self.objective.metric} if self.objective else {}
        return {**self.static, **values, **named}


@dataclass(frozen=True)
class Limits:
    """ResourceLimits. None: no limit."""

    parallel: int
    jobs: int | None
    seconds: int | None


@dataclass(frozen=True)
class Criteria:
    """TuningJobCompletionCriteria. None, False: not asked for."""

    target: float | None = None
    not_improving: int | None = None
    on_convergence: bool = False


@dataclass(frozen=True)
class Resources:
    """What Hyperband may spend on one training job, counted in values of the objective that it emits.

    `most` is None where it is neither given nor to be inferred, which is for the rules to refuse. `suffices`: by the
    epochs among their static hyperparameters, training jobs end themselves with that many.
    """

    least: int
    most: int | None
    suffices: bool = False


@dataclass(frozen=True)
class WarmStart:
    """The names of the parents, and IdenticalDataAndAlgorithm or TransferLearning."""

    kind: str
    parents: tuple[str, ...]


@dataclass(frozen=True)
class TuningJob:
    """A tuning job as asked for. None stands for what the request leaves out."""

    name: str
    strategy: str
    definitions: tuple[Definition, ...]
    limits: Limits
    criteria: Criteria
    early_stopping: bool
    resources: Resources | None
    seed: int | None
    warm_start: WarmStart | None
    autotune: bool

    @classmethod
    def of(cls, request: Document) -> TuningJob:
        """Reads the request; `ValidationError` for a range that is not valid."""
        config, automatic = request["HyperParameterTuningJobConfig"], "Autotune" in request
        definitions = _definitions(request, automatic)
        return cls(
            name=request["HyperParameterTuningJobName"],
            strategy=config["Strategy"],
            definitions=definitions,
            limits=_limits(config, definitions, automatic),
            criteria=_criteria(config.get("TuningJobCompletionCriteria", {}), automatic),
            early_stopping=_early_stopping(config, automatic),
            resources=_resources(config, definitions) if config["Strategy"] == "Hyperband" else None,
            seed=config.get("RandomSeed"),
            warm_start=_warm_start(request.get("WarmStartConfig")),
            autotune=automatic,
        )

    def retries(self, definition: Definition) -> int:
        """How often a training job that failed for no fault of its own is tried again."""
        asked: int | None = definition.document.get("RetryStrategy", {}).get("MaximumRetryAttempts")
        return asked if asked is not None else autotune.MOST_RETRIES if self.autotune else 0

    @property
    def combinations(self) -> float:
        """How many points there are over all definitions."""
        return sum(tuning_ranges.combinations(definition.ranges) for definition in self.definitions)


def _definitions(request: Document, automatic: bool) -> tuple[Definition, ...]:
    config = request["HyperParameterTuningJobConfig"]
    if "TrainingJobDefinition" in request:
        one = request["TrainingJobDefinition"]
        ranges = config.get("ParameterRanges", one.get("HyperParameterRanges", {}))
        objective = config.get("HyperParameterTuningJobObjective", one.get("TuningObjective"))
        return (_definition(one, ranges, objective, automatic),)
    return tuple(
        _definition(one, one.get("HyperParameterRanges", {}), one.get("TuningObjective"), automatic)
        for one in request.get("TrainingJobDefinitions", [])
    )


def _definition(document: Document, ranges: Document, objective: Document | None, automatic: bool) -> Definition:
    hints = {hint["Name"]: hint["ValueHint"] for hint in ranges.get("AutoParameters", [])}
    fixed = {name: hint for name, hint in hints.items() if not (automatic and autotune.range_for(name, hint))}
    found = [autotune.range_for(name, hint) for name, hint in hints.items() if name not in fixed]
    return Definition(
        name=document.get("DefinitionName"),
        objective=Objective.of(objective) if objective else None,
        ranges=(*tuning_ranges.ranges(ranges), *(each for each in found if each is not None)),
        static={**document.get("StaticHyperParameters", {}), **fixed},
        document=document,
        hinted=bool(hints),
    )


def _limits(config: Document, definitions: tuple[Definition, ...], automatic: bool) -> Limits:
    limits = config["ResourceLimits"]
    jobs = limits.get("MaxNumberOfTrainingJobs")
    if jobs is None and config["Strategy"] == "Grid":
        combinations = sum(tuning_ranges.combinations(definition.ranges) for definition in definitions)
        jobs = int(combinations) if math.isfinite(combinations) else None
    elif jobs is None and automatic:
        jobs = autotune.jobs(max((len(definition.ranges) for definition in definitions), default=1))
    return Limits(limits["MaxParallelTrainingJobs"], jobs, limits.get("MaxRuntimeInSeconds"))


def _criteria(criteria: Document, automatic: bool) -> Criteria:
    converging = criteria.get("ConvergenceDetected", {}).get("CompleteOnConvergence")
    return Criteria(
        target=criteria.get("TargetObjectiveMetricValue"),
        not_improving=criteria.get("BestObjectiveNotImproving", {}).get("MaxNumberOfTrainingJobsNotImproving"),
        on_convergence=converging == "Enabled" or (converging is None and automatic),
    )


def _early_stopping(config: Document, automatic: bool) -> bool:
    asked = config.get("TrainingJobEarlyStoppingType")
    return asked == "Auto" or (asked is None and automatic and config["Strategy"] != "Hyperband")


def _resources(config: Document, definitions: tuple[Definition, ...]) -> Resources:
    hyperband = config.get("StrategyConfig", {}).get("HyperbandStrategyConfig", {})
    epochs = [_epochs(definition.static) for definition in definitions]
    known = [each for each in epochs if each is not None]
    longest = max(known) if known and len(known) == len(epochs) else None
    most = hyperband.get("MaxResource", longest)
    return Resources(
        hyperband.get("MinResource", 1), most, suffices=longest is not None and most is not None and longest <= most
    )


def _epochs(static: Mapping[str, str]) -> int | None:
    texts = [static[key] for key in EPOCH_KEYS if key in static]
    try:
        return tuning_ranges.integer(texts[0].strip('"')) if texts else None
    except ValueError:
        return None


def _warm_start(config: Document | None) -> WarmStart | None:
    if config is None:
        return None
    parents = [parent.get("HyperParameterTuningJobName", "") for parent in config["ParentHyperParameterTuningJobs"]]
    return WarmStart(config["WarmStartType"], tuple(parents))
