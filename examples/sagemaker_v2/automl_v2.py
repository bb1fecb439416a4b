"""The same with CreateAutoMLJobV2: data that lie in S3, chosen algorithms, and an endpoint that the job deploys itself.

In the end the best candidate gets an endpoint that answers in S3, as files of any size need it.

eval "$(pilothouse env)"
python examples/sagemaker_v2/automl_v2.py train.csv price score.csv

The last line printed is a summary in JSON.
"""

import json
import sys
import time
from pathlib import Path

from sagemaker import Session
from sagemaker.async_inference import AsyncInferenceConfig, WaiterConfig
from sagemaker.automl.automlv2 import AutoMLDataChannel, AutoMLTabularConfig, AutoMLV2, LocalAutoMLDataChannel
from sagemaker.deserializers import CSVDeserializer
from sagemaker.exceptions import AsyncInferenceModelError
from sagemaker.model import Model
from sagemaker.predictor import Predictor
from sagemaker.serializers import CSVSerializer

train, target, score = sys.argv[1:]
session = Session()
uri = session.upload_data(train, key_prefix="sdk-v2/prices")

automl = AutoMLV2(
    problem_config=AutoMLTabularConfig(
        target_attribute_name=target,
        problem_type="Regression",
        mode="ENSEMBLING",
        algorithms_config=["lightgbm", "linear-learner"],
        max_candidates=3,
    ),
    job_objective={"MetricName": "RMSE"},
    auto_generate_endpoint_name=True,
    base_job_name="sdk-v2",
    sagemaker_session=session,
)
automl.fit(AutoMLDataChannel(s3_data_type="S3Prefix", s3_uri=uri, channel_type="training"), wait=False)
proposal = AutoMLV2(
    problem_config=AutoMLTabularConfig(target_attribute_name=target, generate_candidate_definitions_only=True),
    base_job_name="proposal",
    sagemaker_session=session,
)
proposal.fit(LocalAutoMLDataChannel(data_type="S3Prefix", path=train), wait=False)  # uploads the file, trains nothing
while (job := automl.describe_auto_ml_job())["AutoMLJobStatus"] == "InProgress":
    print(job["AutoMLJobSecondaryStatus"])
    time.sleep(2)

proposed = session.wait_for_auto_ml_job(proposal.current_job_name, poll=1)
candidates = automl.list_candidates(sort_by="FinalObjectiveMetricValue", sort_order="Ascending")
for candidate in candidates:
    print(candidate["CandidateName"], candidate["FinalAutoMLJobObjectiveMetric"]["Value"])

predictor = Predictor(
    job["ModelDeployResult"]["EndpointName"],
    sagemaker_session=session,
    serializer=CSVSerializer(),
    deserializer=CSVDeserializer(),
)
session.wait_for_endpoint(predictor.endpoint_name, poll=1)
answers = predictor.predict(Path(score).read_text())
print(answers)

attached = AutoMLV2.attach(automl.current_job_name, sagemaker_session=session)
again = attached.deploy(
    1,
    "ml.m5.large",
    serializer=CSVSerializer(),
    deserializer=CSVDeserializer(),
    predictor_cls=Predictor,
    wait=False,
)
session.wait_for_endpoint(again.endpoint_name, poll=1)
answered_again = again.predict(Path(score).read_text())

container = candidates[0]["InferenceContainers"][0]
same = Model(
    container["Image"],
    container["ModelDataUrl"],
    env=container["Environment"],
    predictor_cls=Predictor,
    sagemaker_session=session,
)
later = same.deploy(
    1,
    "ml.m5.large",
    serializer=CSVSerializer(),
    deserializer=CSVDeserializer(),
    async_inference_config=AsyncInferenceConfig(),
    wait=False,
)
session.wait_for_endpoint(later.endpoint_name, poll=1)
waiter = WaiterConfig(max_attempts=20, delay=1)  # a thread of the SDK's uses them up, though the answer is there
response = later.predict_async(input_path=session.upload_data(score, key_prefix="sdk-v2/score"))
answered_later = [later.predict(Path(score).read_text(), waiter_config=waiter), response.get_result(waiter)]
print(answered_later)
try:
    failure = str(later.predict("1\n", waiter_config=waiter))
except AsyncInferenceModelError as error:
    failure = str(error)
later.delete_model()
later.delete_endpoint()

for one in (predictor, again):
    one.delete_model()
    one.delete_endpoint()

summary = {
    "job": job["AutoMLJobStatus"],
    "candidates": [candidate["CandidateName"] for candidate in candidates],
    "best": automl.best_candidate()["CandidateName"],
    "answers": answers,
    "answered_again": answered_again,
    "answered_later": answered_later,
    "failure": failure,
    "problem": attached.problem_config.to_request_dict(),
    "proposed": proposed["AutoMLJobSecondaryStatus"],
    "channels": [channel.to_request_dict() for channel in attached.inputs],
}
print(json.dumps(summary))
