"""Updates of an endpoint: what a row that is Updating is to become, as functions of its state.

The operations only note in the private state what was asked for. What comes of it is worked out from the row, which
nobody else changes while it is Updating, so that nothing gets lost between a read and a write.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilothouse.catalog import hosting
from pilothouse.catalog.hosting import Document

NOTE = "_update"
"""The member of the state that says what was asked for; there while the endpoint is Updating."""

SHIFT = "_shift"
"""The member that says what share of the traffic the new replicas get; there while it moves in steps, and where a
rollback has failed."""

_MIXED = "mixed"

WEIGHT, COUNT, CAPTURE = "DesiredWeight", "DesiredInstanceCount", "DataCaptureConfig"
PROPERTIES = (COUNT, WEIGHT, CAPTURE)
"""What RetainAllVariantProperties retains."""

_PENDING = ("VariantName", "DeployedImages", "InstanceType", WEIGHT, COUNT, "DesiredServerlessConfig", "VariantStatus")
_PINNED = {WEIGHT: "InitialVariantWeight", COUNT: "InitialInstanceCount"}


def replacement(config_name: str, pinned: Document, retained: Sequence[str], at: float = 0.0) -> Document:
    """The note of UpdateEndpoint: `pinned` (see `hosting.endpoint_state`), but with the `retained` properties.

    `at` is when it was asked for, in epoch seconds.
    """
    return {"EndpointConfigName": config_name, "pinned": pinned, "retained": list(retained), "began": at}


def adjustment(changes: Mapping[str, Document]) -> Document:
    """The note of UpdateEndpointWeightsAndCapacities: by variant, the members that change."""
    return {"changes": dict(changes)}


def is_replacement(state: Document) -> bool:
    """Whether an Updating endpoint gets another configuration, and so new replicas throughout."""
    return "pinned" in state[NOTE]


def mixed(state: Document) -> Document:
    """The `SHIFT` of an endpoint whose rolling update could not be taken back: both sides serve on by their shares."""
    return {**state[SHIFT], _MIXED: True}


def is_mixed(state: Document) -> bool:
    """Whether replicas of two configurations serve an endpoint until an update replaces all of them."""
    return bool((state.get(SHIFT) or {}).get(_MIXED))


def outcome(state: Document) -> Document:
    """What an Updating endpoint serves once it is updated, as `hosting.endpoint_state` pins it."""
    note, old = state[NOTE], {variant["VariantName"]: variant for variant in state["_variants"]}
    capture, asynchronous = state.get("_capture"), state.get(hosting.ASYNC)
    if is_replacement(state):
        variants, retained = note["pinned"]["_variants"], note["retained"]
        changes = {v["VariantName"]: _retained(old.get(v["VariantName"], {}), v, retained) for v in variants}
        capture = capture if CAPTURE in retained else note["pinned"].get("_capture")
        asynchronous = note["pinned"].get(hosting.ASYNC)
    else:
        variants, changes = state["_variants"], note["changes"]
    pinned = {"_variants": [_changed(v, changes.get(v["VariantName"], {})) for v in variants]}
    besides = {"_capture": capture, hosting.ASYNC: asynchronous}
    return pinned | {name: value for name, value in besides.items() if value}


def variants(state: Document) -> list[Document]:
    """All pinned variants that an endpoint may be served by: now, beside that, and once it is updated."""
    beside = (state.get(SHIFT) or {}).get("variants", [])
    coming = outcome(state)["_variants"] if NOTE in state else []
    return [*state["_variants"], *beside, *coming]


def finished(state: Document, at: float) -> Document:
    """The changes of the state that end an update, at `at` in epoch seconds."""
    after = outcome(state)
    changes = {
        "_capture": None,
        hosting.ASYNC: None,
        **after,
        **hosting.described_variants(after["_variants"], at),
        NOTE: None,
    }
    name = state[NOTE].get("EndpointConfigName")
    return changes | ({"EndpointConfigName": name} if name else {})


def described(state: Document, at: float) -> Document:
    """The members of DescribeEndpoint that say what an Updating endpoint is to become; none for one InService.

    `at` is now, in epoch seconds. While traffic goes to both sides, they also say how many replicas a variant has on
    either.
    """
    shown: Document = {}
    if state.get(SHIFT):
        shown = _each(state, lambda variants: _counted(variants, state.get("_replicas", ())))
    if NOTE not in state:
        return shown
    if is_replacement(state):
        return {**shown, "PendingDeploymentSummary": _pending(state, at)}
    after = hosting.described_variants(outcome(state)["_variants"], 0.0)
    desired = {
        v["VariantName"]: {name: value for name, value in v.items() if name.startswith("Desired")}
        for variants in after.values()
        for v in variants or ()
    }
    return _each(state, lambda variants: [{**v, **desired[v["VariantName"]]} for v in variants])


def _each(state: Document, change: Callable[[list[Document]], list[Document]]) -> Document:
    """The described variants of a state, changed: those of production, and shadows."""
    return {name: change(state[name]) for name in (hosting.VARIANTS, hosting.SHADOWS) if name in state}


def _pending(state: Document, at: float) -> Document:
    """The PendingDeploymentSummary of an endpoint that gets another configuration."""
    note, variants = state[NOTE], outcome(state)["_variants"]
    shift = {} if is_mixed(state) else state.get(SHIFT) or {}
    began = note.get("began", 0.0)
    status = "Creating" if not shift else "Baking" if at < shift["until"] else "Updating"
    types = {v["VariantName"]: {"InstanceType": v["InstanceType"]} for v in variants if "InstanceType" in v}
    summary: Document = {"EndpointConfigName": note["EndpointConfigName"]}
    for name, shown in hosting.described_variants(variants, began).items():
        if shown:
            members = [{**v, **types.get(v["VariantName"], {}), "VariantStatus": [{"Status": status}]} for v in shown]
            pending = [{name: value for name, value in v.items() if name in _PENDING} for v in members]
            summary[name] = _counted(pending, shift.get("replicas", ()))
    return summary | ({"StartTime": began} if began else {})


def _counted(variants: Sequence[Document], replicas: Sequence[Document]) -> list[Document]:
    """Described variants with the number of `replicas` that answer for each."""
    counts = Counter(replica["variant"] for replica in replicas)
    return [{**variant, "CurrentInstanceCount": counts[variant["VariantName"]]} for variant in variants]


def _retained(old: Document, new: Document, properties: Sequence[str]) -> Document:
    members = (_PINNED[name] for name in properties if name in _PINNED)
    return {name: old[name] for name in members if name in old and name in new}


def _changed(variant: Document, changes: Document) -> Document:
    changed: dict[str, Any] = {**variant, **changes}
    if "ServerlessConfig" in changes:
        changed["ServerlessConfig"] = {**variant["ServerlessConfig"], **changes["ServerlessConfig"]}
    return changed
