"""Rows as the API shows them: `{**request, **state}`, and the two projections of one AutoML job."""

from __future__ import annotations

from typing import Any

from pilothouse.catalog import tabular_jobs
from pilothouse.catalog.tabular_jobs import Document, TabularJob
from pilothouse.store.store import Resource, Store

_V1_CHANNEL_ONLY = ("TargetAttributeName", "SampleWeightAttributeName")
_UNFILTERED = {"InputFilter": "$", "OutputFilter": "$", "JoinSource": "None"}
_TOP_LEVEL_IN_V2 = ("SecurityConfig", "DataSplitConfig")


def merged(row: Resource) -> Document:
    """The request and what was learnt since, in one document; the stored request stays untouched."""
    return {**row.request, **learnt(row)}


def learnt(row: Resource) -> Document:
    """What is known without the request, which a summary tells no more of than the name: reading it costs most."""
    return {**row.state, "CreationTime": row.created_at, "LastModifiedTime": row.modified_at}


def auto_ml_job_v1(store: Store, row: Resource) -> Document:
    """The row as DescribeAutoMLJob answers."""
    document = _shared(store, row)
    if tabular_jobs.is_v1(row.request):
        document["InputDataConfig"] = [_with_defaults(c) for c in row.request["InputDataConfig"]]
        document.setdefault("GenerateCandidateDefinitionsOnly", False)
        return document
    return {**document, **_v1_from_v2(row.request)}


def auto_ml_job_v2(store: Store, row: Resource) -> Document:
    """The row as DescribeAutoMLJobV2 answers."""
    document = _shared(store, row)
    if tabular_jobs.is_v1(row.request):
        document.update(_v2_from_v1(row.request))
    channels = document["AutoMLJobInputDataConfig"]
    document["AutoMLJobInputDataConfig"] = [_with_defaults(channel) for channel in channels]
    document["AutoMLProblemTypeConfigName"] = "Tabular"
    resolved = document.get("ResolvedAttributes")
    if resolved:
        document["ResolvedAttributes"] = _resolved_v2(resolved)
    return document


def auto_ml_job_summary(row: Resource) -> Document:
    """The row as ListAutoMLJobs shows it."""
    return {**learnt(row), "AutoMLJobName": row.name, "AutoMLJobArn": row.arn, "AutoMLJobStatus": row.status}


def candidate(row: Resource) -> Document:
    """A candidate's row as an AutoMLCandidate."""
    return {**merged(row), "CandidateName": row.name, "CandidateStatus": row.status}


def processing_job(row: Resource) -> Document:
    """The row as DescribeProcessingJob answers."""
    return {**merged(row), "ProcessingJobArn": row.arn, "ProcessingJobStatus": row.status}


def transform_job(row: Resource) -> Document:
    """The row as DescribeTransformJob answers, with the service's defaults."""
    document = {**merged(row), "TransformJobArn": row.arn, "TransformJobStatus": row.status}
    document["TransformInput"] = {"CompressionType": "None", "SplitType": "None", **row.request["TransformInput"]}
    document["TransformOutput"] = {"AssembleWith": "None", "KmsKeyId": "", **row.request["TransformOutput"]}
    document["DataProcessing"] = {**_UNFILTERED, **row.request.get("DataProcessing", {})}
    return document


def _shared(store: Store, row: Resource) -> Document:
    document = merged(row)
    document.pop("Tags", None)
    document.update(AutoMLJobArn=row.arn, AutoMLJobStatus=row.status)
    best = store.get("candidate", row.state["_best"]) if row.state.get("_best") else None
    if best is not None:
        document["BestCandidate"] = candidate(best)
    return document


def _with_defaults(channel: Document) -> Document:
    defaults = {"CompressionType": "None", "ContentType": tabular_jobs.CSV, "ChannelType": "training"}
    return {**defaults, **channel}


def _present(**members: Any) -> Document:
    return {name: value for name, value in members.items() if value not in (None, {})}


def _v1_from_v2(request: Document) -> Document:
    config = request["AutoMLProblemTypeConfig"]["TabularJobConfig"]
    job = TabularJob.of(request)
    extra = _present(TargetAttributeName=job.target, SampleWeightAttributeName=job.weight)
    generation = {
        **config.get("CandidateGenerationConfig", {}),
        **_present(FeatureSpecificationS3Uri=job.feature_specification_uri),
    }
    job_config = _present(
        CompletionCriteria=config.get("CompletionCriteria"),
        SecurityConfig=request.get("SecurityConfig"),
        CandidateGenerationConfig=generation,
        DataSplitConfig=request.get("DataSplitConfig"),
        Mode=job.mode,
    )
    return {
        "InputDataConfig": [{**_with_defaults(c), **extra} for c in request["AutoMLJobInputDataConfig"]],
        "GenerateCandidateDefinitionsOnly": job.definitions_only,
        **_present(ProblemType=job.problem_type, AutoMLJobConfig=job_config),
    }


def _v2_from_v1(request: Document) -> Document:
    config = request.get("AutoMLJobConfig", {})
    generation = config.get("CandidateGenerationConfig", {})
    job = TabularJob.of(request)
    tabular = _present(
        CandidateGenerationConfig=_present(AlgorithmsConfig=generation.get("AlgorithmsConfig")),
        CompletionCriteria=config.get("CompletionCriteria"),
        FeatureSpecificationS3Uri=job.feature_specification_uri,
        Mode=job.mode,
        GenerateCandidateDefinitionsOnly=job.definitions_only,
        ProblemType=job.problem_type,
        TargetAttributeName=job.target,
        SampleWeightAttributeName=job.weight,
    )
    channels = [{k: v for k, v in c.items() if k not in _V1_CHANNEL_ONLY} for c in request["InputDataConfig"]]
    return {
        "AutoMLJobInputDataConfig": channels,
        "AutoMLProblemTypeConfig": {"TabularJobConfig": tabular},
        **{name: config[name] for name in _TOP_LEVEL_IN_V2 if name in config},
    }


def _resolved_v2(resolved: Document) -> Document:
    problem_type = {"TabularResolvedAttributes": {"ProblemType": resolved["ProblemType"]}}
    kept = {k: v for k, v in resolved.items() if k != "ProblemType"}
    return {**kept, "AutoMLProblemTypeResolvedAttributes": problem_type}
