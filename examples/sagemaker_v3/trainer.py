"""A script of one's own, trained and tuned with the `ModelTrainer` of the SageMaker Python SDK, version 3.

eval "$(pilothouse env)"
python examples/sagemaker_v3/trainer.py train.csv

train.csv has a header; its first column is the label, 0 or 1. The last line printed is a summary in JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

from sagemaker.core.helper.session_helper import Session
from sagemaker.core.parameter import CategoricalParameter, ContinuousParameter
from sagemaker.core.resources import HyperParameterTuningJob
from sagemaker.core.shapes import MetricDefinition
from sagemaker.train import ModelTrainer
from sagemaker.train.configs import Compute, InputData, SourceCode, StoppingCondition
from sagemaker.train.tuner import HyperparameterTuner

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
METRIC, REGEX = "validation:accuracy", "validation accuracy: ([0-9.]+)"

session, name = Session(), time.strftime("trainer-v3-%m%d-%H%M%S")
trainer = ModelTrainer(
    sagemaker_session=session,
    role=os.environ["PILOTHOUSE_ROLE_ARN"],
    base_job_name=name,
    training_image=IMAGE,
    source_code=SourceCode(source_dir=str(Path(__file__).parents[1] / "sagemaker_v2"), entry_script="train.py"),
    compute=Compute(instance_type="ml.m5.large", instance_count=1, volume_size_in_gb=10),
    stopping_condition=StoppingCondition(max_runtime_in_seconds=600),
    hyperparameters={"epochs": 5},
).with_metric_definitions([MetricDefinition(name=METRIC, regex=REGEX)])
trainer.train([InputData(channel_name="train", data_source=sys.argv[1])], wait=False)
trained = trainer._latest_training_job
trained.wait(poll=1, logs=True)  # train() would look every 5 seconds

tuner = HyperparameterTuner(
    trainer,
    objective_metric_name=METRIC,
    metric_definitions=[{"Name": METRIC, "Regex": REGEX}],
    hyperparameter_ranges={
        "lr": ContinuousParameter(0.001, 1.0, scaling_type="Logarithmic"),
        "scale": CategoricalParameter(["none", "standard"]),
    },
    strategy="Random",
    random_seed=7,
    max_jobs=3,
    max_parallel_jobs=2,
)
uploaded = session.upload_data(sys.argv[1], key_prefix=f"{name}/train")
tuner.tune([InputData(channel_name="train", data_source=uploaded)], job_name=name, wait=False)
tuner.latest_tuning_job.wait(poll=1)
tuned = HyperParameterTuningJob.get(name)
trials = {
    trial.training_job_name: trial.final_hyper_parameter_tuning_job_objective_metric.value
    for trial in tuned.get_all_training_jobs()
}

summary = {
    "trained": trained.training_job_status,
    "metrics": {metric.metric_name: metric.value for metric in trained.final_metric_data_list},
    "model": trained.model_artifacts.s3_model_artifacts,
    "tuned": tuned.hyper_parameter_tuning_job_status,
    "trials": trials,
    "best": tuner.best_training_job(),
}
print("\n" + json.dumps(summary))  # the SDK leaves the end of its last line open
