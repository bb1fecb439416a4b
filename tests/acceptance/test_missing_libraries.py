"""A host without the extra `deep`: jobs train what they can, and say what they left out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from sklearn.datasets import load_breast_cancer

pytestmark = pytest.mark.slow

HIDE = """
import importlib.machinery

find = importlib.machinery.PathFinder.find_spec


def hidden(name, path=None, target=None):
    return None if name.partition(".")[0] in ("torch", "fastai") else find(name, path, target)


importlib.machinery.PathFinder.find_spec = staticmethod(hidden)
"""


@pytest.fixture(scope="module")
def bare(server_with: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server in whose processes torch and fastai cannot be found, with data in its bucket `bare`."""
    hiding = tmp_path_factory.mktemp("hiding")
    (hiding / "sitecustomize.py").write_text(HIDE)
    server = server_with(PYTHONPATH=str(hiding))
    s3 = server.client("s3")
    s3.create_bucket(Bucket="bare")
    frame = load_breast_cancer(as_frame=True).frame.iloc[:, [0, 1, 2, 3, 4, -1]]
    s3.put_object(Bucket="bare", Key="in/data.csv", Body=frame.to_csv(index=False).encode())
    return server


def ended(server: Any, name: str, algorithms: list[str] | None) -> dict[str, Any]:
    """The description of a job for the data, once it is terminal."""
    sagemaker = server.client("sagemaker")
    tabular: dict[str, Any] = {"TargetAttributeName": "target", "CompletionCriteria": {"MaxCandidates": 8}}
    if algorithms is not None:
        tabular["CandidateGenerationConfig"] = {"AlgorithmsConfig": [{"AutoMLAlgorithms": algorithms}]}
        tabular["Mode"] = "ENSEMBLING"
    source = {"S3DataSource": {"S3DataType": "S3Prefix", "S3Uri": "s3://bare/in/"}}
    sagemaker.create_auto_ml_job_v2(
        AutoMLJobName=name,
        AutoMLJobInputDataConfig=[{"ChannelType": "training", "DataSource": source}],
        OutputDataConfig={"S3OutputPath": "s3://bare/out"},
        AutoMLProblemTypeConfig={"TabularJobConfig": tabular},
        RoleArn="arn:aws:iam::000000000000:role/PilothouseRole",
    )
    give_up = time.monotonic() + 300
    while time.monotonic() < give_up:
        job: dict[str, Any] = sagemaker.describe_auto_ml_job_v2(AutoMLJobName=name)
        if job["AutoMLJobStatus"] != "InProgress":
            return job
        time.sleep(0.2)
    raise AssertionError(f"{name} is still {job['AutoMLJobSecondaryStatus']}")


def test_a_job_without_the_libraries_says_what_it_left_out(bare: Any) -> None:
    job = ended(bare, "all", None)
    assert job["AutoMLJobStatus"] == "Completed"
    [reason] = job["PartialFailureReasons"]
    assert "nn-torch and fastai were left out" in reason["PartialFailureMessage"]
    assert "pilothouse[deep]" in reason["PartialFailureMessage"]
    listed = bare.client("sagemaker").list_candidates_for_auto_ml_job(AutoMLJobName="all")["Candidates"]
    assert not [one for one in listed if "nn-torch" in one["CandidateName"] or "fastai" in one["CandidateName"]]


def test_a_job_of_missing_libraries_only_fails_with_the_reason(bare: Any) -> None:
    job = ended(bare, "networks", ["nn-torch"])
    assert job["AutoMLJobStatus"] == "Failed"
    assert "nn-torch was left out" in job["FailureReason"]
