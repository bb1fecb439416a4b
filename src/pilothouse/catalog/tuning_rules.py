"""What a tuning job's request must satisfy beyond its shape, and beside what the ranges themselves check."""

from __future__ import annotations

from collections.abc import Iterable

from pilothouse.catalog.tuning_jobs import EPOCH_KEYS, OBJECTIVE_KEY, Definition, Document, TuningJob
from pilothouse.catalog.tuning_ranges import CategoricalRange
from pilothouse.errors import ValidationError

MOST_TUNABLE = 30
MOST_HYPERPARAMETERS = 100
MOST_PARALLEL = 100
MOST_JOBS = 10_000
MOST_RESOURCE = 20_000


def check(request: Document) -> TuningJob:
    """The request, read; `ValidationError` for the first rule that it breaks.

    Whether an objective without a MetricDefinition is one of the algorithm's own metrics is for whoever knows the
    algorithm.
    """
    _one_kind_of_definition(request)
    job = TuningJob.of(request)
    _members(request, job)
    for definition in job.definitions:
        _objective(definition)
        _hints(definition, job)
        _hyperparameters(definition, job)
    _together(job)
    _limits(job)
    _strategy(request, job)
    _criteria(job)
    return job


def _one_kind_of_definition(request: Document) -> None:
    if ("TrainingJobDefinition" in request) == bool(request.get("TrainingJobDefinitions")):
        raise ValidationError(
            "Exactly one of TrainingJobDefinition and TrainingJobDefinitions must be specified in the request."
        )


def _members(request: Document, job: TuningJob) -> None:
    config = request["HyperParameterTuningJobConfig"]
    if "TrainingJobDefinition" in request:
        one = request["TrainingJobDefinition"]
        _not_twice(config, one, "ParameterRanges", "HyperParameterRanges")
        _not_twice(config, one, "HyperParameterTuningJobObjective", "TuningObjective")
        return
    for member, instead in (
        ("ParameterRanges", "HyperParameterRanges"),
        ("HyperParameterTuningJobObjective", "TuningObjective"),
    ):
        if member in config:
            raise ValidationError(
                f"{member} of HyperParameterTuningJobConfig cannot be combined with TrainingJobDefinitions. "
                f"Give each of them a {instead}."
            )
    names = [definition.name for definition in job.definitions]
    if None in names or len(set(names)) < len(names):
        raise ValidationError("Each of TrainingJobDefinitions must have a DefinitionName, and no two the same one.")


def _not_twice(config: Document, definition: Document, member: str, other: str) -> None:
    if member in config and other in definition:
        raise ValidationError(
            f"{member} of HyperParameterTuningJobConfig and {other} of TrainingJobDefinition cannot both be "
            "specified. Remove one of them."
        )


def _objective(definition: Definition) -> None:
    if definition.objective is None:
        raise ValidationError(
            f"No objective metric is specified{_of(definition)}. Set HyperParameterTuningJobObjective of "
            "HyperParameterTuningJobConfig, or with TrainingJobDefinitions the TuningObjective of each."
        )
    names = definition.metrics
    if len(set(names)) < len(names):
        raise ValidationError(f"The names of the MetricDefinitions{_of(definition)} must be unique.")
    if names and definition.objective.metric not in names:
        raise ValidationError(
            f"The objective metric '{definition.objective.metric}'{_of(definition)} is not one of its "
            f"MetricDefinitions: {', '.join(names)}. Name one of them, or define it."
        )


def _hyperparameters(definition: Definition, job: TuningJob) -> None:
    tuned = [each.name for each in definition.ranges]
    if not tuned:
        raise ValidationError(
            f"No hyperparameter is to be tuned{_of(definition)}. Specify at least one parameter range"
            + (", or an AutoParameter whose ValueHint is a number." if job.autotune else ".")
        )
    if len(tuned) > MOST_TUNABLE:
        raise ValidationError(
            f"{len(tuned)} hyperparameters are to be tuned{_of(definition)}; at most {MOST_TUNABLE} can be. "
            "Move some to StaticHyperParameters."
        )
    if twice := _repeated([*tuned, *definition.static]):
        raise ValidationError(
            f"Hyperparameter '{twice}' is specified more than once{_of(definition)}. "
            "Give it one range, or one static value."
        )
    if OBJECTIVE_KEY in (*tuned, *definition.static):
        raise ValidationError(f"The hyperparameter name '{OBJECTIVE_KEY}' is reserved. Remove it{_of(definition)}.")
    total = len(tuned) + len(definition.static) + 1
    if total > MOST_HYPERPARAMETERS:
        raise ValidationError(
            f"There are {total} hyperparameters{_of(definition)}, static, tunable and '{OBJECTIVE_KEY}'; "
            f"at most {MOST_HYPERPARAMETERS} can be. Remove some."
        )


def _hints(definition: Definition, job: TuningJob) -> None:
    if definition.hinted and not job.autotune:
        raise ValidationError(
            f"AutoParameters can be specified{_of(definition)} only with Autotune. Set Autotune to Mode Enabled, "
            "or give each hyperparameter a range."
        )


def _together(job: TuningJob) -> None:
    directions = {each.objective.direction for each in job.definitions if each.objective}
    if len(directions) > 1:
        raise ValidationError("The TuningObjective of all TrainingJobDefinitions must have the same Type.")


def _limits(job: TuningJob) -> None:
    limits = job.limits
    if limits.parallel > MOST_PARALLEL:
        raise ValidationError(f"MaxParallelTrainingJobs must be at most {MOST_PARALLEL}; it is {limits.parallel}.")
    if job.strategy == "Grid":
        return
    if limits.jobs is None:
        raise ValidationError(
            "MaxNumberOfTrainingJobs must be specified in ResourceLimits, unless Strategy is Grid or Autotune is "
            "Enabled."
        )
    if limits.jobs > MOST_JOBS:
        raise ValidationError(f"MaxNumberOfTrainingJobs must be at most {MOST_JOBS:,}; it is {limits.jobs:,}.")


def _strategy(request: Document, job: TuningJob) -> None:
    if job.strategy != "Hyperband" and "StrategyConfig" in request["HyperParameterTuningJobConfig"]:
        raise ValidationError(
            f"StrategyConfig cannot be specified when Strategy is {job.strategy}. "
            "Remove it, or set Strategy to Hyperband."
        )
    if job.strategy == "Hyperband":
        _hyperband(job)
    elif job.strategy == "Grid":
        _grid(job)


def _hyperband(job: TuningJob) -> None:
    if job.early_stopping:
        raise ValidationError(
            "TrainingJobEarlyStoppingType must be Off when Strategy is Hyperband, which stops training jobs itself."
        )
    least, most = (job.resources.least, job.resources.most) if job.resources else (1, None)
    if most is None:
        raise ValidationError(
            "MaxResource cannot be inferred from StaticHyperParameters. Specify MaxResource in "
            f"HyperbandStrategyConfig, or one of {', '.join(EPOCH_KEYS)} as a static hyperparameter."
        )
    if not 1 <= most <= MOST_RESOURCE:
        raise ValidationError(f"MaxResource must be at least 1 and at most {MOST_RESOURCE:,}; it is {most:,}.")
    if least > most:
        raise ValidationError(f"MinResource ({least:,}) must not be greater than MaxResource ({most:,}).")


def _grid(job: TuningJob) -> None:
    for definition in job.definitions:
        others = [each.name for each in definition.ranges if not isinstance(each, CategoricalRange)]
        if others:
            raise ValidationError(
                "Strategy Grid supports only categorical hyperparameters; "
                f"{', '.join(others)}{_of(definition)} {'is' if len(others) == 1 else 'are'} not categorical. "
                "Use CategoricalParameterRanges, or another Strategy."
            )
    if job.combinations > MOST_JOBS:
        raise ValidationError(
            f"The grid has {job.combinations:,.0f} combinations; at most {MOST_JOBS:,} can be tried. "
            "Remove values, or use Strategy Random."
        )
    if job.limits.jobs != job.combinations:
        raise ValidationError(
            f"MaxNumberOfTrainingJobs ({job.limits.jobs}) must equal the number of combinations of the grid "
            f"({job.combinations:.0f}) when Strategy is Grid. Correct it, or leave it out."
        )


def _criteria(job: TuningJob) -> None:
    target = job.criteria.target
    if target is not None and (target != target or abs(target) == float("inf")):
        raise ValidationError(f"TargetObjectiveMetricValue must be a finite number; it is {target}.")


def _repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _of(definition: Definition) -> str:
    return f" in training job definition '{definition.name}'" if definition.name else ""
