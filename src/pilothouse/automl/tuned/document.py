"""The search of a tuned job as a tuning job: a definition for each pipeline, with its algorithm's ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pilothouse.automl.tuned import requests
from pilothouse.automl.tuned.engineering import Ready
from pilothouse.automl.tuned.places import Places
from pilothouse.catalog import images
from pilothouse.catalog.metrics import METRICS
from pilothouse.catalog.tabular_jobs import TabularJob
from pilothouse.catalog.tuning_jobs import Resources, TuningJob
from pilothouse.problems.tabular import ranges
from pilothouse.tuning.ranges import Space
from pilothouse.tuning.search import Before
from pilothouse.tuning.warmstart import Suggested

STEPS = 100
"""The most reports of a trial."""

_LEAST_STEPS = 3
"""The reports that every trial of a multi-fidelity search may make before it can be stopped."""


def tuning_job(
    spec: TabularJob,
    places: Places,
    ready: Sequence[Ready],
    *,
    metric: str,
    problem_type: str,
    candidates: int,
    parallel: int,
    multi_fidelity: bool,
) -> TuningJob:
    """Bayesian; in multi-fidelity Hyperband's rungs stop trials, by what they report."""
    tuning = TuningJob.of(
        {
            "HyperParameterTuningJobName": spec.name,
            "HyperParameterTuningJobConfig": {
                "Strategy": "Bayesian",
                "ResourceLimits": {"MaxNumberOfTrainingJobs": candidates, "MaxParallelTrainingJobs": parallel},
            },
            "TrainingJobDefinitions": [_definition(spec, places, each, metric, problem_type) for each in ready],
        }
    )
    # Nothing is stopped for having had enough: trials end by themselves. A request can't ask for both of these.
    return replace(tuning, resources=Resources(_LEAST_STEPS, STEPS + 1)) if multi_fidelity else tuning


def suggestions(tuning: TuningJob, ready: Sequence[Ready], problem_type: str) -> dict[int, Before]:
    """What each definition tries first: values that do well on most data."""
    found: dict[int, Before] = {}
    for place, (definition, each) in enumerate(zip(tuning.definitions, ready, strict=True)):
        point = Space(definition.ranges).point(ranges.tunable(each.spec.algorithm, problem_type).first)
        if point is not None:
            found[place] = Suggested([point])
    return found


def _definition(spec: TabularJob, places: Places, ready: Ready, metric: str, problem_type: str) -> dict[str, Any]:
    pipeline, algorithm = ready.spec.name, ready.spec.algorithm
    tunable = ranges.tunable(algorithm, problem_type)
    return {
        "DefinitionName": f"{pipeline}-{ranges.SUFFIXES[algorithm]}",
        "TuningObjective": {"Type": METRICS[metric].direction, "MetricName": metric},
        "HyperParameterRanges": tunable.ranges,
        "StaticHyperParameters": {"algorithm": algorithm, "data_processor": pipeline, **tunable.static},
        "AlgorithmSpecification": {"TrainingImage": images.TABULAR_TRAINING, "TrainingInputMode": "File"},
        "InputDataConfig": requests.matrix_channels(places, pipeline),
        "OutputDataConfig": {"S3OutputPath": places.tuning(pipeline, algorithm)},
        **requests.training_resources(spec),
    }
