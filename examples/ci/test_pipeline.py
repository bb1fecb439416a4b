"""A pipeline under test: data goes in, the best candidate is deployed, and the endpoint's answers are good enough."""

import os
import random
import time

import boto3


def rows(count, seed):
    """Lines of two numbers and whether their sum is positive."""
    chance = random.Random(seed)
    pairs = [(chance.uniform(-1, 1), chance.uniform(-1, 1)) for _ in range(count)]
    return [f"{a:.4f},{b:.4f},{'yes' if a + b > 0 else 'no'}" for a, b in pairs]


def test_the_pipeline_trains_and_deploys_a_model_that_predicts():
    s3, sagemaker, runtime = (boto3.client(name) for name in ("s3", "sagemaker", "sagemaker-runtime"))
    s3.create_bucket(Bucket="pipeline")
    s3.put_object(Bucket="pipeline", Key="train/data.csv", Body="\n".join(["a,b,positive", *rows(600, seed=1)]))
    sagemaker.create_auto_ml_job_v2(
        AutoMLJobName="ci",
        AutoMLJobInputDataConfig=[
            {
                "ChannelType": "training",
                "ContentType": "text/csv;header=present",
                "DataSource": {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://pipeline/train/"}},
            }
        ],
        AutoMLProblemTypeConfig={
            "TabularJobConfig": {
                "TargetAttributeName": "positive",
                "CompletionCriteria": {"MaxCandidates": 2, "MaxAutoMLJobRuntimeInSeconds": 300},
            }
        },
        OutputDataConfig={"S3OutputPath": "s3://pipeline/output"},
        ModelDeployConfig={"EndpointName": "ci"},
        RoleArn=os.environ["PILOTHOUSE_ROLE_ARN"],
    )
    while (job := sagemaker.describe_auto_ml_job_v2(AutoMLJobName="ci"))["AutoMLJobStatus"] == "InProgress":
        time.sleep(1)
    assert job["AutoMLJobStatus"] == "Completed", job.get("FailureReason")

    unseen = [line.rsplit(",", 1) for line in rows(50, seed=2)]
    body = "\n".join(features for features, _ in unseen)
    answer = runtime.invoke_endpoint(EndpointName="ci", ContentType="text/csv", Body=body)
    predicted = [line.split(",")[0] for line in answer["Body"].read().decode().split()]
    assert sum(p == label for p, (_, label) in zip(predicted, unseen, strict=True)) >= 45
