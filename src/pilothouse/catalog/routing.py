"""Routing: which replicas of an endpoint a request may go to, as its row says it."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pilothouse.catalog import endpoint_updates, hosting
from pilothouse.catalog.hosting import Document


@dataclass(frozen=True)
class Shadow:
    """A shadow variant, and the share of the requests that is copied to it: its weight as a part of the other's."""

    name: str
    share: float
    replicas: list[Document]


def side(state: dict[str, Any], target: str | None = None) -> Document:
    """The variants and replicas that a request goes to: while an update moves traffic, drawn by the new ones' share.

    `target` is the variant that the request names.
    """
    old: Document = {"variants": state["_variants"], "replicas": state.get("_replicas", [])}
    new: Document | None = state.get(endpoint_updates.SHIFT)
    if not new or not _can_answer(new, target):
        return old
    return new if random.random() < new["share"] or not _can_answer(old, target) else old


def production(side: Document) -> dict[str, Document]:
    """The variants of a side that answer requests, by name."""
    return {v["VariantName"]: v for v in side["variants"] if hosting.SHADOW not in v}


def shadow(side: Document) -> Shadow | None:
    """The shadow variant of a side; None if it has none."""
    for variant in side["variants"]:
        if hosting.SHADOW in variant:
            (answering,) = production(side).values()
            weight, whole = variant["InitialVariantWeight"], answering["InitialVariantWeight"]
            share = min(1.0, weight / whole) if whole else float(weight > 0)
            name = variant["VariantName"]
            return Shadow(name, share, [replica for replica in side["replicas"] if replica["variant"] == name])
    return None


def living(side: Document, target: str | None = None) -> list[Document]:
    """The replicas of the variant that is to answer: the target, or one drawn by weight among those that live."""
    variants = production(side)
    replicas: dict[str, list[Document]] = {}
    for replica in side["replicas"]:
        if replica["variant"] in variants:
            replicas.setdefault(replica["variant"], []).append(replica)
    if target is None and (names := _drawn(variants, replicas)):
        shares = [variants[name]["InitialVariantWeight"] for name in names]
        target = random.choices(names, shares if any(shares) else None)[0]
    return replicas.get(target or "", [])


def _drawn(variants: dict[str, Document], living: Iterable[str]) -> list[str]:
    """The names among `living` that are drawn: without those of weight 0, unless all variants have it."""
    if not any(variant["InitialVariantWeight"] for variant in variants.values()):
        return list(living)
    return [name for name in living if variants[name]["InitialVariantWeight"]]


def _can_answer(side: Document, target: str | None) -> bool:
    """Whether a side has replicas that a request may be drawn to; or, for a named variant, has it, and replicas."""
    variants = production(side)
    living = {replica["variant"] for replica in side["replicas"]} & variants.keys()
    return bool(_drawn(variants, living)) if target is None else bool(living) and target in variants
