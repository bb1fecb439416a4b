"""How an update of an endpoint moves traffic to the new replicas: at once, or in the steps of an update policy.

While it moves, the endpoint's private state has a `SHIFT`: the step, the share of requests that the new replicas get,
until when, what serves them, and in a rolling update whether they have baked. With a BlueGreenUpdatePolicy all replicas
run on both sides throughout, with a RollingUpdatePolicy only those that a side's share needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pilothouse.catalog import endpoint_updates, rolling_updates
from pilothouse.catalog.endpoint_updates import SHIFT
from pilothouse.catalog.hosting import Document
from pilothouse.errors import ValidationError

_BLUE_GREEN, _ROLLING = "BlueGreenUpdatePolicy", "RollingUpdatePolicy"
_SIZES = {"CANARY": ("CanarySize", 0.0), "LINEAR": ("LinearStepSize", 0.1)}
_LARGEST = 0.5
_BAKED = "baked"


def check(deployment: Document, variants: Sequence[Document]) -> None:
    """`ValidationError` for a DeploymentConfig that can't be carried out with these pinned `variants`."""
    if deployment.get("AutoRollbackConfiguration", {}).get("Alarms"):
        raise ValidationError(
            "There are no CloudWatch alarms here to roll back on. Leave AutoRollbackConfiguration out."
        )
    if _BLUE_GREEN in deployment and _ROLLING in deployment:
        raise ValidationError(f"DeploymentConfig has both {_BLUE_GREEN} and {_ROLLING}. Leave one of them out.")
    if _ROLLING in deployment:
        rolling_updates.check(deployment[_ROLLING], variants)
    routing = deployment.get(_BLUE_GREEN, {}).get("TrafficRoutingConfiguration", {})
    if routing.get("Type") in _SIZES:
        _check_size(routing, variants)
    _check_time(deployment, variants)


def shares(state: Document) -> list[float]:
    """The shares of requests that the new replicas of an Updating endpoint get one after another; the last is 1."""
    if not endpoint_updates.is_replacement(state) or endpoint_updates.is_mixed(state):
        return [1.0]
    return _shares(state.get("LastDeploymentConfig") or {}, endpoint_updates.outcome(state)["_variants"])


def termination_wait(state: Document) -> float:
    """How long the old replicas of an Updating endpoint are to serve on once they are replaced, in seconds."""
    if not endpoint_updates.is_replacement(state):
        return 0.0
    return float(_policy(state.get("LastDeploymentConfig") or {}).get("TerminationWaitInSeconds", 0))


def share(state: Document) -> float:
    """What share of the requests the new replicas of an endpoint get now."""
    return float(state[SHIFT]["share"]) if state.get(SHIFT) else 0.0


def begun(state: Document, replicas: Sequence[Document], at: float) -> Document:
    """The `SHIFT` of the next step, which begins at `at` in epoch seconds."""
    step = _next(state)
    return {
        "step": step,
        "share": shares(state)[step],
        "until": at + _wait(state["LastDeploymentConfig"]),
        "variants": endpoint_updates.outcome(state)["_variants"],
        "replicas": list(replicas),
    }


def is_last(state: Document) -> bool:
    """Whether the update ends with the next step."""
    return _next(state) >= len(shares(state)) - 1


def is_late(state: Document, at: float) -> bool:
    """Whether an update has taken longer than it may at `at`, in epoch seconds."""
    limit = _policy(state.get("LastDeploymentConfig") or {}).get("MaximumExecutionTimeoutInSeconds")
    began = state[endpoint_updates.NOTE].get("began")
    return limit is not None and began is not None and at > began + limit


def is_rolling(state: Document) -> bool:
    """Whether an endpoint's replicas are being replaced batch by batch."""
    if not state.get(endpoint_updates.NOTE) or endpoint_updates.is_mixed(state):
        return False
    return endpoint_updates.is_replacement(state) and _ROLLING in (state.get("LastDeploymentConfig") or {})


def is_over(state: Document, at: float) -> bool:
    """Whether the step that an update is in has lasted long enough at `at`, in epoch seconds."""
    shift = _begun(state)
    return not shift or bool(shift.get(_BAKED)) or at >= shift["until"]


def baked(state: Document) -> Document | None:
    """The `SHIFT` of a rolling update when all of its batch answer after their time, and the old replicas may end.

    None if that is noted already, or the next step is what follows.
    """
    shift = _begun(state)
    if not shift or shift.get(_BAKED) or not is_rolling(state) or is_last(state):
        return None
    return {**shift, _BAKED: True}


def fleets(state: Document) -> tuple[float, float]:
    """What shares of the old and of the new replicas are to run in a rolling update.

    Until a batch has baked, what it replaces is still there; afterwards that ends, and the next batch comes. The clock
    alone doesn't say so: a batch that is not well when its time is over replaces nothing.
    """
    done, step, shift = [0.0, *shares(state)], _next(state), _begun(state)
    if shift and (not shift.get(_BAKED) or is_last(state)):
        return 1 - done[step - 1], done[step]
    return 1 - done[step], done[step + 1]


def retreat(state: Document) -> tuple[float, float]:
    """What shares of the old and of the new replicas are to run while a rolling update is taken back by a batch."""
    policy, variants = state["LastDeploymentConfig"][_ROLLING], endpoint_updates.outcome(state)["_variants"]
    return 1 - rolling_updates.stepped_back(share(state), policy, variants), share(state)


def _next(state: Document) -> int:
    shift = _begun(state)
    return int(shift["step"]) + 1 if shift else 0


def _begun(state: Document) -> Document | None:
    """The `SHIFT` of the update that is under way, not one that an earlier update got stuck in."""
    return None if endpoint_updates.is_mixed(state) else state.get(SHIFT)


def _policy(deployment: Document) -> Document:
    found: Document = deployment.get(_ROLLING) or deployment.get(_BLUE_GREEN) or {}
    return found


def _wait(deployment: Document) -> float:
    """How long each step lasts, in seconds."""
    policy = _policy(deployment)
    return float(policy.get("TrafficRoutingConfiguration", policy).get("WaitIntervalInSeconds", 0))


def _check_size(routing: Document, variants: Sequence[Document]) -> None:
    member, smallest = _SIZES[routing["Type"]]
    if member not in routing:
        raise ValidationError(f"A TrafficRoutingConfiguration of type {routing['Type']} needs {member}.")
    share = rolling_updates.asked(routing[member], variants)
    if not smallest <= share <= _LARGEST:
        least = f"at least {smallest:.0%} and " if smallest else ""
        raise ValidationError(
            f"{member} must be {least}at most {_LARGEST:.0%} of the instances; it is {share:.0%}. Change its Value."
        )


def _check_time(deployment: Document, variants: Sequence[Document]) -> None:
    policy = _policy(deployment)
    limit = policy.get("MaximumExecutionTimeoutInSeconds")
    waits = (len(_shares(deployment, variants)) - 1) * _wait(deployment) + policy.get("TerminationWaitInSeconds", 0)
    if limit is not None and waits >= limit:
        raise ValidationError(
            f"MaximumExecutionTimeoutInSeconds ({limit}) must be larger than the {waits:g} seconds that the deployment "
            "waits for. Set it higher, or lower WaitIntervalInSeconds."
        )


def _shares(deployment: Document, variants: Sequence[Document]) -> list[float]:
    if _ROLLING in deployment:
        return rolling_updates.shares(deployment[_ROLLING], variants)
    routing: Mapping[str, Any] = _policy(deployment).get("TrafficRoutingConfiguration", {})
    if routing.get("Type") not in _SIZES:
        return [1.0]
    share = rolling_updates.asked(routing[_SIZES[routing["Type"]][0]], variants)
    if routing["Type"] == "CANARY":
        return [share, 1.0]
    steps = [share]
    while steps[-1] + share < 1 - 1e-9:
        steps.append(steps[-1] + share)
    return [*steps, 1.0]
