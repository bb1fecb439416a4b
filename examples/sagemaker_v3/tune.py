"""A script of one's own, trained and tuned with the resources of the SageMaker Python SDK, version 3.

eval "$(pilothouse env)"
python examples/sagemaker_v3/tune.py train.csv

train.csv has a header; its first column is the label, 0 or 1. The last line printed is a summary in JSON.
"""

import io
import json
import os
import sys
import tarfile
import time
from pathlib import Path

import boto3
from sagemaker.core.resources import HyperParameterTuningJob, TrainingJob
from sagemaker.core.shapes import (
    AlgorithmSpecification,
    Channel,
    ContinuousParameterRange,
    DataSource,
    HyperParameterAlgorithmSpecification,
    HyperParameterTrainingJobDefinition,
    HyperParameterTuningJobConfig,
    HyperParameterTuningJobObjective,
    MetricDefinition,
    OutputDataConfig,
    ParameterRanges,
    ResourceConfig,
    ResourceLimits,
    S3DataSource,
    StoppingCondition,
)

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
SCRIPT = Path(__file__).parents[1] / "sagemaker_v2" / "train.py"

role = os.environ["PILOTHOUSE_ROLE_ARN"]
bucket, name = "sdk-v3", time.strftime("tune-v3-%m%d-%H%M%S")

archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w:gz") as tar:
    tar.add(SCRIPT, "train.py")
s3 = boto3.client("s3")
s3.create_bucket(Bucket=bucket)
s3.put_object(Bucket=bucket, Key=f"{name}/source.tar.gz", Body=archive.getvalue())
s3.upload_file(sys.argv[1], bucket, f"{name}/train/train.csv")

metrics = [MetricDefinition(name="validation:accuracy", regex="validation accuracy: ([0-9.]+)")]
hyperparameters = {
    "sagemaker_program": "train.py",
    "sagemaker_submit_directory": f"s3://{bucket}/{name}/source.tar.gz",
    "epochs": "5",
}
source = S3DataSource(s3_data_type="S3Prefix", s3_uri=f"s3://{bucket}/{name}/train/")
common = {
    "input_data_config": [Channel(channel_name="train", data_source=DataSource(s3_data_source=source))],
    "output_data_config": OutputDataConfig(s3_output_path=f"s3://{bucket}/output"),
    "resource_config": ResourceConfig(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=10),
    "stopping_condition": StoppingCondition(max_runtime_in_seconds=600),
    "role_arn": role,
}

trained = TrainingJob.create(
    training_job_name=name,
    algorithm_specification=AlgorithmSpecification(
        training_image=IMAGE, training_input_mode="File", metric_definitions=metrics
    ),
    hyper_parameters=hyperparameters,
    **common,
)
trained.wait(poll=1, logs=True)

tuned = HyperParameterTuningJob.create(
    hyper_parameter_tuning_job_name=name,
    hyper_parameter_tuning_job_config=HyperParameterTuningJobConfig(
        strategy="Random",
        random_seed=7,
        hyper_parameter_tuning_job_objective=HyperParameterTuningJobObjective(
            type="Maximize", metric_name="validation:accuracy"
        ),
        resource_limits=ResourceLimits(max_number_of_training_jobs=3, max_parallel_training_jobs=2),
        parameter_ranges=ParameterRanges(
            continuous_parameter_ranges=[
                ContinuousParameterRange(name="lr", min_value="0.001", max_value="1", scaling_type="Logarithmic")
            ]
        ),
    ),
    training_job_definition=HyperParameterTrainingJobDefinition(
        algorithm_specification=HyperParameterAlgorithmSpecification(
            training_image=IMAGE, training_input_mode="File", metric_definitions=metrics
        ),
        static_hyper_parameters=hyperparameters,
        **common,
    ),
)
tuned.wait(poll=1)
trials = {
    trial.training_job_name: trial.final_hyper_parameter_tuning_job_objective_metric.value
    for trial in tuned.get_all_training_jobs()
}
print(trials)

logs = boto3.client("logs")
[stream] = logs.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix=f"{name}/")[
    "logStreams"
]
events = logs.get_log_events(
    logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream["logStreamName"], startFromHead=True
)["events"]
listed = {
    "TrainingJob": [one.training_job_name for one in TrainingJob.get_all(name_contains=name)],
    "HyperParameterTuningJob": [
        one.hyper_parameter_tuning_job_name for one in HyperParameterTuningJob.get_all(name_contains=name)
    ],
}

tuned.delete()
tuned.wait_for_delete(poll=1)

summary = {
    "name": name,
    "trained": trained.training_job_status,
    "metrics": {metric.metric_name: metric.value for metric in trained.final_metric_data_list},
    "tuned": tuned.hyper_parameter_tuning_job_status,
    "trials": trials,
    "best": tuned.best_training_job.training_job_name,
    "listed": listed,
    "log": [event["message"] for event in events],
    "left": [one.hyper_parameter_tuning_job_name for one in HyperParameterTuningJob.get_all(name_contains=name)],
}
print("\n" + json.dumps(summary))  # the SDK leaves the end of its last line open
