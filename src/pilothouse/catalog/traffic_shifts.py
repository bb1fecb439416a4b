"""How an update of an endpoint moves traffic to the new replicas: at once, or in the steps of a BlueGreenUpdatePolicy.

While it moves, the endpoint's private state has a `SHIFT`: the step, the share of requests that the new replicas get,
until when, and what serves them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.catalog import endpoint_updates
from pilothouse.catalog.endpoint_updates import SHIFT
from pilothouse.catalog.hosting import Document
from pilothouse.errors import ValidationError

_SIZES = {"CANARY": ("CanarySize", 0.0), "LINEAR": ("LinearStepSize", 0.1)}
_LARGEST = 0.5


def check(deployment: Document, variants: Sequence[Document]) -> None:
    """`ValidationError` for a DeploymentConfig that can't be carried out with these pinned `variants`."""
    if "RollingUpdatePolicy" in deployment:
        raise ValidationError(
            "RollingUpdatePolicy is not served by this version of Pilothouse. Ask for a BlueGreenUpdatePolicy, or "
            "leave DeploymentConfig out."
        )
    if deployment.get("AutoRollbackConfiguration", {}).get("Alarms"):
        raise ValidationError(
            "There are no CloudWatch alarms here to roll back on. Leave AutoRollbackConfiguration out."
        )
    policy = deployment.get("BlueGreenUpdatePolicy")
    if policy is None:
        return
    routing = policy["TrafficRoutingConfiguration"]
    if routing["Type"] in _SIZES:
        _check_size(routing, variants)
    steps, limit = len(_shares(routing, variants)), policy.get("MaximumExecutionTimeoutInSeconds")
    waits = (steps - 1) * routing["WaitIntervalInSeconds"] + policy.get("TerminationWaitInSeconds", 0)
    if limit is not None and waits >= limit:
        raise ValidationError(
            f"MaximumExecutionTimeoutInSeconds ({limit}) must be larger than the {waits} seconds that the deployment "
            "waits for. Set it higher, or lower WaitIntervalInSeconds."
        )


def shares(state: Document) -> list[float]:
    """The shares of requests that the new replicas of an Updating endpoint get one after another; the last is 1."""
    if not endpoint_updates.is_replacement(state):
        return [1.0]
    return _shares(policy(state).get("TrafficRoutingConfiguration", {}), endpoint_updates.outcome(state)["_variants"])


def policy(state: Document) -> Document:
    """The BlueGreenUpdatePolicy of an endpoint's last update; empty if there is none."""
    found: Document = (state.get("LastDeploymentConfig") or {}).get("BlueGreenUpdatePolicy", {})
    return found


def begun(state: Document, replicas: Sequence[Document], at: float) -> Document:
    """The `SHIFT` of the next step, which begins at `at` in epoch seconds."""
    step = state[SHIFT]["step"] + 1 if state.get(SHIFT) else 0
    return {
        "step": step,
        "share": shares(state)[step],
        "until": at + policy(state)["TrafficRoutingConfiguration"]["WaitIntervalInSeconds"],
        "variants": endpoint_updates.outcome(state)["_variants"],
        "replicas": list(replicas),
    }


def is_last(state: Document) -> bool:
    """Whether all traffic moves with the next step."""
    step = state[SHIFT]["step"] + 1 if state.get(SHIFT) else 0
    return step >= len(shares(state)) - 1


def is_late(state: Document, at: float) -> bool:
    """Whether an update has taken longer than it may at `at`, in epoch seconds."""
    limit, began = policy(state).get("MaximumExecutionTimeoutInSeconds"), state[endpoint_updates.NOTE].get("began")
    return limit is not None and began is not None and at > began + limit


def _check_size(routing: Document, variants: Sequence[Document]) -> None:
    member, smallest = _SIZES[routing["Type"]]
    if member not in routing:
        raise ValidationError(f"A TrafficRoutingConfiguration of type {routing['Type']} needs {member}.")
    share = _share(routing[member], variants)
    if not smallest <= share <= _LARGEST:
        least = f"at least {smallest:.0%} and " if smallest else ""
        raise ValidationError(
            f"{member} must be {least}at most {_LARGEST:.0%} of the instances; it is {share:.0%}. Change its Value."
        )


def _shares(routing: Mapping[str, Any], variants: Sequence[Document]) -> list[float]:
    if routing.get("Type") not in _SIZES:
        return [1.0]
    share = _share(routing[_SIZES[routing["Type"]][0]], variants)
    if routing["Type"] == "CANARY":
        return [share, 1.0]
    steps = [share]
    while steps[-1] + share < 1 - 1e-9:
        steps.append(steps[-1] + share)
    return [*steps, 1.0]


def _share(size: Document, variants: Sequence[Document]) -> float:
    value: int = size["Value"]
    instances: int = sum(variant.get("InitialInstanceCount", 1) for variant in variants)
    return value / (100 if size["Type"] == "CAPACITY_PERCENT" else instances)
