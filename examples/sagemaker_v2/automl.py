"""An AutoML job with the SageMaker Python SDK, version 2: train, compare, deploy, predict, score a file, clean up.

eval "$(pilothouse env)"
python examples/sagemaker_v2/automl.py train.csv diagnosis score.csv

score.csv holds rows without a header and without the target. The last line printed is a summary in JSON.
"""

import json
import sys
from pathlib import Path

from botocore.exceptions import ClientError
from sagemaker import Session
from sagemaker.automl.automl import AutoML
from sagemaker.automl.candidate_estimator import CandidateEstimator
from sagemaker.deserializers import CSVDeserializer
from sagemaker.predictor import Predictor
from sagemaker.s3 import S3Downloader
from sagemaker.serializers import CSVSerializer

train, target, score = sys.argv[1:]
session = Session()

# The role and the bucket come from the SDK's defaults file, which `pilothouse env` names.
automl = AutoML(
    target_attribute_name=target,
    problem_type="BinaryClassification",
    job_objective={"MetricName": "F1"},
    mode="HYPERPARAMETER_TUNING",
    max_candidates=2,
    tags=[{"Key": "team", "Value": "health"}],
    base_job_name="sdk-v2",
    sagemaker_session=session,
)
uri = session.upload_data(train, key_prefix="sdk-v2/cells")
proposal = AutoML(
    target_attribute_name=target,
    generate_candidate_definitions_only=True,
    base_job_name="proposal",
    sagemaker_session=session,
)
proposal.fit(uri, wait=False)  # looks at the data and describes candidates, trains nothing
automl.fit(train)  # uploads the file, waits for the end of the job
resolved = session.wait_for_auto_ml_job(proposal.current_job_name, poll=1)["ResolvedAttributes"]
print(resolved)

candidates = automl.list_candidates(sort_by="FinalObjectiveMetricValue", sort_order="Descending")
for candidate in candidates:
    print(candidate["CandidateName"], candidate["FinalAutoMLJobObjectiveMetric"]["Value"])

best = automl.best_candidate()
estimator = CandidateEstimator(best, sagemaker_session=session)
steps = estimator.get_steps()
try:
    refusal = str(estimator.fit(uri))
except ClientError as error:  # the steps' images are the AutoML job's own
    refusal = error.response["Error"]["Message"]
print(refusal)

keys = ["predicted_label", "probability"]
predictor = automl.deploy(
    initial_instance_count=1,
    instance_type="ml.m5.large",
    predictor_cls=Predictor,
    serializer=CSVSerializer(),
    deserializer=CSVDeserializer(),
    inference_response_keys=keys,
    wait=False,  # the SDK would look every 30 seconds
)
session.wait_for_endpoint(predictor.endpoint_name, poll=1)
rows = Path(score).read_text().splitlines()
answers = predictor.predict("\n".join(rows[:3]))
print(answers)

# In another session the job's name is enough.
attached = AutoML.attach(automl.current_job_name, sagemaker_session=session)
model = attached.create_model(name=f"{automl.current_job_name}-batch", inference_response_keys=keys)
transformer = model.transformer(
    instance_count=1,
    instance_type="ml.m5.large",
    strategy="MultiRecord",
    assemble_with="Line",
    accept="text/csv",
)
uploaded = session.upload_data(score, key_prefix=f"{automl.current_job_name}/score")
transformer.transform(uploaded, content_type="text/csv", split_type="Line")  # prints the job's log
scored = S3Downloader.read_file(f"{transformer.output_path}/{Path(score).name}.out", sagemaker_session=session)

predictor.delete_model()
predictor.delete_endpoint()
transformer.delete_model()

summary = {
    "job": automl.describe_auto_ml_job()["AutoMLJobStatus"],
    "candidates": [candidate["CandidateName"] for candidate in candidates],
    "resolved": resolved["ProblemType"],
    "best": best["CandidateName"],
    "containers": len(best["InferenceContainers"]),
    "steps": [step.type for step in steps],
    "refusal": refusal,
    "answers": answers,
    "scored": scored.splitlines(),
    "tags": attached.tags,
    "attached": attached.best_candidate()["CandidateName"],
}
print(json.dumps(summary))
