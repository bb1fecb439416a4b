"""Routing: which replicas of an endpoint a request may go to, as its row says it."""

from __future__ import annotations

import random
from typing import Any

from pilothouse.catalog import endpoint_updates
from pilothouse.catalog.hosting import Document


def side(state: dict[str, Any], target: str | None = None) -> Document:
    """The variants and replicas that a request goes to: while an update moves traffic, drawn by the new ones' share.

    `target` is the variant that the request names.
    """
    old: Document = {"variants": state["_variants"], "replicas": state.get("_replicas", [])}
    new: Document | None = state.get(endpoint_updates.SHIFT)
    if not new or not _can_answer(new, target):
        return old
    return new if random.random() < new["share"] or not _can_answer(old, target) else old


def living(side: Document, target: str | None = None) -> list[Document]:
    """The replicas of the variant that is to answer: the target, or one drawn by weight among those that live."""
    replicas: dict[str, list[Document]] = {}
    for replica in side["replicas"]:
        replicas.setdefault(replica["variant"], []).append(replica)
    if target is None and replicas:
        weights = {variant["VariantName"]: variant["InitialVariantWeight"] for variant in side["variants"]}
        shares = [weights[name] for name in replicas]
        target = random.choices(list(replicas), shares if any(shares) else None)[0]
    return replicas.get(target or "", [])


def _can_answer(side: Document, target: str | None) -> bool:
    """Whether a side has replicas, and the variant that a request names."""
    return bool(side["replicas"]) and target in (None, *(variant["VariantName"] for variant in side["variants"]))
