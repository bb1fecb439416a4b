"""The operations served, by service and by the name that AWS gives them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pilothouse.operations import (
    automl,
    candidates,
    endpoint_configs,
    endpoint_updates,
    endpoints,
    identity,
    log_search,
    logs,
    metrics,
    models,
    processing,
    tags,
    training,
    transform,
    tuning,
)
from pilothouse.operations.context import Context

Operation = Callable[[Context, dict[str, Any]], dict[str, Any] | None]
"""Takes a validated request, answers what its output shape says (None where there is none). Runs in a thread."""

SERVED: Mapping[str, Mapping[str, Operation]] = {
    "sagemaker": {
        "AddTags": tags.add_tags,
        "DeleteTags": tags.delete_tags,
        "ListTags": tags.list_tags,
        "CreateAutoMLJob": automl.create_auto_ml_job,
        "CreateAutoMLJobV2": automl.create_auto_ml_job_v2,
        "DescribeAutoMLJob": automl.describe_auto_ml_job,
        "DescribeAutoMLJobV2": automl.describe_auto_ml_job_v2,
        "ListAutoMLJobs": automl.list_auto_ml_jobs,
        "StopAutoMLJob": automl.stop_auto_ml_job,
        "ListCandidatesForAutoMLJob": candidates.list_candidates_for_auto_ml_job,
        "DescribeProcessingJob": processing.describe_processing_job,
        "ListProcessingJobs": processing.list_processing_jobs,
        "CreateTransformJob": transform.create_transform_job,
        "DescribeTransformJob": transform.describe_transform_job,
        "ListTransformJobs": transform.list_transform_jobs,
        "StopTransformJob": transform.stop_transform_job,
        "CreateTrainingJob": training.create_training_job,
        "DescribeTrainingJob": training.describe_training_job,
        "ListTrainingJobs": training.list_training_jobs,
        "StopTrainingJob": training.stop_training_job,
        "DeleteTrainingJob": training.delete_training_job,
        "CreateHyperParameterTuningJob": tuning.create_hyper_parameter_tuning_job,
        "DescribeHyperParameterTuningJob": tuning.describe_hyper_parameter_tuning_job,
        "ListHyperParameterTuningJobs": tuning.list_hyper_parameter_tuning_jobs,
        "ListTrainingJobsForHyperParameterTuningJob": tuning.list_training_jobs_for_hyper_parameter_tuning_job,
        "StopHyperParameterTuningJob": tuning.stop_hyper_parameter_tuning_job,
        "DeleteHyperParameterTuningJob": tuning.delete_hyper_parameter_tuning_job,
        "CreateModel": models.create_model,
        "DescribeModel": models.describe_model,
        "ListModels": models.list_models,
        "DeleteModel": models.delete_model,
        "CreateEndpointConfig": endpoint_configs.create_endpoint_config,
        "DescribeEndpointConfig": endpoint_configs.describe_endpoint_config,
        "ListEndpointConfigs": endpoint_configs.list_endpoint_configs,
        "DeleteEndpointConfig": endpoint_configs.delete_endpoint_config,
        "CreateEndpoint": endpoints.create_endpoint,
        "DescribeEndpoint": endpoints.describe_endpoint,
        "ListEndpoints": endpoints.list_endpoints,
        "UpdateEndpoint": endpoint_updates.update_endpoint,
        "UpdateEndpointWeightsAndCapacities": endpoint_updates.update_endpoint_weights_and_capacities,
        "DeleteEndpoint": endpoints.delete_endpoint,
    },
    "logs": {
        "DescribeLogGroups": log_search.describe_log_groups,
        "DescribeLogStreams": logs.describe_log_streams,
        "FilterLogEvents": log_search.filter_log_events,
        "GetLogEvents": logs.get_log_events,
    },
    "cloudwatch": {
        "GetMetricData": metrics.get_metric_data,
        "GetMetricStatistics": metrics.get_metric_statistics,
    },
    "sts": {
        "GetCallerIdentity": identity.get_caller_identity,
    },
    "iam": {
        "GetRole": identity.get_role,
        "SimulatePrincipalPolicy": identity.simulate_principal_policy,
    },
}
