"""An AutoML job with the resources of the SageMaker Python SDK, version 3: create, wait, deploy, invoke, clean up.

eval "$(pilothouse env)"
python examples/sagemaker_v3/automl.py train.csv price score.csv

score.csv holds rows without a header and without the target. The last line printed is a summary in JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

import boto3
from sagemaker.core.resources import AutoMLJob, AutoMLJobV2, Endpoint, EndpointConfig, Model
from sagemaker.core.shapes import (
    AutoMLChannel,
    AutoMLDataSource,
    AutoMLJobChannel,
    AutoMLJobCompletionCriteria,
    AutoMLJobObjective,
    AutoMLOutputDataConfig,
    AutoMLProblemTypeConfig,
    AutoMLS3DataSource,
    ContainerDefinition,
    ProductionVariant,
    TabularJobConfig,
    Tag,
)

train, target, score = sys.argv[1:]
role = os.environ["PILOTHOUSE_ROLE_ARN"]
bucket, name = "sdk-v3", time.strftime("sdk-v3-%m%d-%H%M%S")

s3 = boto3.client("s3")
s3.create_bucket(Bucket=bucket)
s3.upload_file(train, bucket, f"{name}/train.csv")

source = AutoMLS3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{bucket}/{name}/train.csv")
job = AutoMLJobV2.create(
    auto_ml_job_name=name,
    auto_ml_job_input_data_config=[
        AutoMLJobChannel(
            channel_type="training",
            content_type="text/csv;header=present",
            data_source=AutoMLDataSource(s3_data_source=source),
        )
    ],
    auto_ml_problem_type_config=AutoMLProblemTypeConfig(
        tabular_job_config=TabularJobConfig(
            target_attribute_name=target,
            problem_type="Regression",
            mode="ENSEMBLING",
            completion_criteria=AutoMLJobCompletionCriteria(max_candidates=2),
        )
    ),
    auto_ml_job_objective=AutoMLJobObjective(metric_name="RMSE"),
    output_data_config=AutoMLOutputDataConfig(s3_output_path=f"s3://{bucket}/output"),
    role_arn=role,
    tags=[Tag(key="team", value="prices")],
)
proposal = AutoMLJob.create(  # the API's first version; this job trains nothing
    auto_ml_job_name=name.replace("sdk", "proposal"),
    input_data_config=[
        AutoMLChannel(data_source=AutoMLDataSource(s3_data_source=source), target_attribute_name=target)
    ],
    generate_candidate_definitions_only=True,
    output_data_config=AutoMLOutputDataConfig(s3_output_path=f"s3://{bucket}/output"),
    role_arn=role,
)
proposal.wait(poll=1)
job.wait(poll=1)
job = AutoMLJobV2.get(auto_ml_job_name=name)  # as another session would

# Only the resource of the API's first version lists candidates and jobs; it describes jobs of either version.
first_version = AutoMLJob.get(auto_ml_job_name=name)
candidates = list(first_version.get_all_candidates(sort_by="FinalObjectiveMetricValue", sort_order="Ascending"))
for candidate in candidates:
    print(candidate.candidate_name, candidate.final_auto_ml_job_objective_metric.value)

[container] = job.best_candidate.inference_containers
model = Model.create(
    model_name=name,
    containers=[
        ContainerDefinition(
            image=container.image,
            model_data_url=container.model_data_url,
            environment=container.environment,
        )
    ],
    execution_role_arn=role,
)
config = EndpointConfig.create(
    endpoint_config_name=name,
    production_variants=[
        ProductionVariant(variant_name="main", model_name=name, initial_instance_count=1, instance_type="ml.m5.large")
    ],
)
endpoint = Endpoint.create(endpoint_name=name, endpoint_config_name=name)
endpoint.wait_for_status("InService", poll=1)
answer = endpoint.invoke(body=Path(score).read_text(), content_type="text/csv", accept="text/csv")
answers = answer.body.read().decode().splitlines()
print(answers)

# Every list knows what was made.
listed = {
    "AutoMLJob": [one.auto_ml_job_name for one in AutoMLJob.get_all(name_contains=name)],
    "Model": [one.model_name for one in Model.get_all(name_contains=name)],
    "EndpointConfig": [one.endpoint_config_name for one in EndpointConfig.get_all(name_contains=name)],
    "Endpoint": [one.endpoint_name for one in Endpoint.get_all(name_contains=name)],
}

endpoint.delete()
endpoint.wait_for_delete(poll=1)
config.delete()
model.delete()

summary = {
    "name": name,
    "job": job.auto_ml_job_status,
    "candidates": [candidate.candidate_name for candidate in candidates],
    "best": job.best_candidate.candidate_name,
    "first_version": [first_version.auto_ml_job_status, first_version.input_data_config[0].target_attribute_name],
    "proposal": [proposal.auto_ml_job_status, proposal.resolved_attributes.problem_type],
    "variant": answer.invoked_production_variant,
    "answers": answers,
    "listed": listed,
    "left": [one.endpoint_name for one in Endpoint.get_all(name_contains=name)],
}
print("\n" + json.dumps(summary))  # the SDK leaves the end of its last line open
