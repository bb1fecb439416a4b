"""The service models are botocore's, without what is written in them for people."""

from __future__ import annotations

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel

from pilothouse.wire import models

SERVICES = ("sagemaker", "sagemaker-runtime", "s3", "sts", "logs")


def _plain(value: object) -> object:
    """The value without texts called documentation."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items() if name != "documentation" or not isinstance(one, str)}
    return [_plain(one) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", SERVICES)
def test_a_model_says_what_botocores_says(name: str) -> None:
    theirs = ServiceModel(Loader().load_service_model(name, "service-2"), name)
    ours = models.service(name)
    assert ours.operation_names == theirs.operation_names
    assert ours.metadata == theirs.metadata
    for operation in theirs.operation_names:
        assert _plain(ours.operation_model(operation)._operation_model) == _plain(
            theirs.operation_model(operation)._operation_model
        )
    for shape in theirs.shape_names:
        assert ours._shape_resolver._shape_map[shape] == _plain(theirs._shape_resolver._shape_map[shape])


def test_texts_for_people_are_not_kept() -> None:
    model = models.service("sagemaker")
    assert not model.documentation
    assert not any(model.operation_model(name).documentation for name in model.operation_names)


def test_a_service_that_botocore_does_not_have_is_refused() -> None:
    from botocore.exceptions import UnknownServiceError

    with pytest.raises(UnknownServiceError):
        models.service("no-such-service")
