"""A script of one's own, trained and tuned with the SageMaker Python SDK, version 2.

eval "$(pilothouse env)"
python examples/sagemaker_v2/tune.py train.csv

train.csv has a header; its first column is the label, 0 or 1. The last line printed is a summary in JSON.
"""

import json
import sys
from pathlib import Path

from sagemaker import Session
from sagemaker.sklearn import SKLearn
from sagemaker.tuner import CategoricalParameter, ContinuousParameter, HyperparameterTuner

session = Session()
inputs = {"train": session.upload_data(sys.argv[1], key_prefix="sdk-v2/tune")}
metrics = [{"Name": "validation:accuracy", "Regex": "validation accuracy: ([0-9.]+)"}]

estimator = SKLearn(
    entry_point="train.py",
    source_dir=str(Path(__file__).parent),
    framework_version="1.2-1",
    instance_type="ml.m5.large",
    hyperparameters={"epochs": 5},
    metric_definitions=metrics,
    base_job_name="sdk-v2-train",
    sagemaker_session=session,
)
estimator.fit(inputs)  # waits, and prints what the script prints
trained = estimator.latest_training_job.describe()

tuner = HyperparameterTuner(
    estimator,
    objective_metric_name="validation:accuracy",
    metric_definitions=metrics,
    hyperparameter_ranges={
        "lr": ContinuousParameter(0.001, 1.0, scaling_type="Logarithmic"),
        "scale": CategoricalParameter(["none", "standard"]),
    },
    strategy="Random",
    random_seed=7,
    max_jobs=4,
    max_parallel_jobs=2,
    base_tuning_job_name="sdk-v2-tune",
)
tuner.fit(inputs)  # waits
print(tuner.best_training_job())
trials = tuner.analytics().dataframe()
print(trials[["TrainingJobName", "lr", "scale", "FinalObjectiveValue"]])

attached = HyperparameterTuner.attach(tuner.latest_tuning_job.name, sagemaker_session=session)
best = attached.best_estimator()

summary = {
    "trained": trained["TrainingJobStatus"],
    "metrics": {metric["MetricName"]: metric["Value"] for metric in trained["FinalMetricDataList"]},
    "model": estimator.model_data,
    "tuned": tuner.describe()["HyperParameterTuningJobStatus"],
    "trials": json.loads(trials.to_json(orient="records")),
    "best": tuner.best_training_job(),
    "attached": attached.best_training_job(),
    "best_hyperparameters": best.hyperparameters(),
    "best_model": best.model_data,
}
print(json.dumps(summary))
