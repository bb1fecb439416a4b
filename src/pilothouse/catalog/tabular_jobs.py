"""What a create document of a tabular AutoML job says, whichever of the two operations it came through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CSV = "text/csv;header=present"
PARQUET = "x-application/vnd.amazon+parquet"
CONTENT_TYPES = (CSV, PARQUET)
DEFAULT_VALIDATION_FRACTION = 0.2

Document = dict[str, Any]


@dataclass(frozen=True)
class Channel:
    """One input channel, with the service's defaults filled in."""

    kind: str
    data_type: str
    uri: str
    content_type: str
    gzip: bool

    @classmethod
    def of(cls, document: Document) -> Channel:
        source = document.get("DataSource", {}).get("S3DataSource", {})
        return cls(
            kind=document.get("ChannelType", "training"),
            data_type=source.get("S3DataType", ""),
            uri=source.get("S3Uri", ""),
            content_type=document.get("ContentType", CSV),
            gzip=document.get("CompressionType", "None") == "Gzip",
        )


@dataclass(frozen=True)
class TabularJob:
    """A tabular AutoML job as asked for. None stands for what the request leaves to the service."""

    name: str
    channels: tuple[Channel, ...]
    target: str
    weight: str | None
    problem_type: str | None
    metric: str | None
    mode: str | None
    algorithms: tuple[str, ...] | None
    feature_specification_uri: str | None
    validation_fraction: float | None
    max_candidates: int | None
    max_runtime_per_trial: int | None
    max_runtime: int | None
    definitions_only: bool
    output_path: str
    deploy: Document | None
    role_arn: str

    @classmethod
    def of(cls, request: Document) -> TabularJob:
        """Reads the request of CreateAutoMLJob, or of CreateAutoMLJobV2 with a TabularJobConfig."""
        return _of_v1(request) if is_v1(request) else _of_v2(request)

    @property
    def training(self) -> Channel:
        return next(c for c in self.channels if c.kind == "training")

    @property
    def validation(self) -> Channel | None:
        return next((c for c in self.channels if c.kind == "validation"), None)


def is_v1(request: Document) -> bool:
    """Whether the document is CreateAutoMLJob's rather than CreateAutoMLJobV2's."""
    return "InputDataConfig" in request


def _of_v1(request: Document) -> TabularJob:
    config = request.get("AutoMLJobConfig", {})
    first = request["InputDataConfig"][0]
    return TabularJob(
        channels=tuple(Channel.of(channel) for channel in request["InputDataConfig"]),
        target=first["TargetAttributeName"],
        weight=first.get("SampleWeightAttributeName"),
        problem_type=request.get("ProblemType"),
        mode=config.get("Mode"),
        validation_fraction=config.get("DataSplitConfig", {}).get("ValidationFraction"),
        definitions_only=request.get("GenerateCandidateDefinitionsOnly", False),
        **_generation(config.get("CandidateGenerationConfig", {})),
        **_criteria(config.get("CompletionCriteria", {})),
        **_shared(request),
    )


def _of_v2(request: Document) -> TabularJob:
    config = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    generation = {**config.get("CandidateGenerationConfig", {})}
    generation["FeatureSpecificationS3Uri"] = config.get("FeatureSpecificationS3Uri")
    return TabularJob(
        channels=tuple(Channel.of(channel) for channel in request["AutoMLJobInputDataConfig"]),
        target=config["TargetAttributeName"],
        weight=config.get("SampleWeightAttributeName"),
        problem_type=config.get("ProblemType"),
        mode=config.get("Mode"),
        validation_fraction=request.get("DataSplitConfig", {}).get("ValidationFraction"),
        definitions_only=config.get("GenerateCandidateDefinitionsOnly", False),
        **_generation(generation),
        **_criteria(config.get("CompletionCriteria", {})),
        **_shared(request),
    )


def _generation(config: Document) -> Document:
    algorithms = next((c["AutoMLAlgorithms"] for c in config.get("AlgorithmsConfig", [])), None)
    return {
        "algorithms": tuple(algorithms) if algorithms else None,
        "feature_specification_uri": config.get("FeatureSpecificationS3Uri"),
    }


def _criteria(criteria: Document) -> Document:
    return {
        "max_candidates": criteria.get("MaxCandidates"),
        "max_runtime_per_trial": criteria.get("MaxRuntimePerTrainingJobInSeconds"),
        "max_runtime": criteria.get("MaxAutoMLJobRuntimeInSeconds"),
    }


def _shared(request: Document) -> Document:
    return {
        "name": request["AutoMLJobName"],
        "metric": request.get("AutoMLJobObjective", {}).get("MetricName"),
        "output_path": request["OutputDataConfig"]["S3OutputPath"].rstrip("/"),
        "deploy": request.get("ModelDeployConfig"),
        "role_arn": request["RoleArn"],
    }
