"""Rolling updates: a RollingUpdatePolicy, by which an endpoint's replicas are replaced batch by batch.

A batch of new replicas is started and gets its share of the requests; once it has baked, as many old ones end, and the
next batch follows. So an update needs room for a batch more than the endpoint has, not for twice of it. All sizes are
shares of the instances of the new configuration, alike for all of its variants.
"""

from __future__ import annotations

from collections.abc import Sequence

from pilothouse.catalog.hosting import Document
from pilothouse.errors import ValidationError

_SMALLEST, _LARGEST = 0.05, 0.5
_ALL: Document = {"Type": "CAPACITY_PERCENT", "Value": 100}


def check(policy: Document, variants: Sequence[Document]) -> None:
    """`ValidationError` for a policy that can't be carried out with these pinned `variants`."""
    for member, largest in (("MaximumBatchSize", _LARGEST), ("RollbackMaximumBatchSize", 1.0)):
        share = asked(policy.get(member, _ALL), variants)
        if member in policy and not _SMALLEST <= share <= largest:
            raise ValidationError(
                f"{member} must be at least {_SMALLEST:.0%} and at most {largest:.0%} of the instances; it is "
                f"{share:.0%}. Change its Value."
            )


def shares(policy: Document, variants: Sequence[Document]) -> list[float]:
    """The shares of requests that go to the new replicas, batch by batch.

    The last one, all of them, is there twice, because the last batch bakes before the old replicas end.
    """
    total, size = instances(variants), _batch(policy["MaximumBatchSize"], variants)
    return [*(done / total for done in range(size, total, size)), 1.0, 1.0]


def stepped_back(share: float, policy: Document, variants: Sequence[Document]) -> float:
    """The share of requests that the new replicas keep when one batch of the old ones is back."""
    total = instances(variants)
    back = _batch(policy.get("RollbackMaximumBatchSize", _ALL), variants)
    return max(0, round(share * total) - back) / total


def asked(size: Document, variants: Sequence[Document]) -> float:
    """The share of the instances that a CapacitySize comes to."""
    return float(size["Value"] / (100 if size["Type"] == "CAPACITY_PERCENT" else instances(variants)))


def instances(variants: Sequence[Document]) -> int:
    """How many instances pinned variants ask for; a serverless one counts as one."""
    return sum(int(variant.get("InitialInstanceCount", 1)) for variant in variants)


def _batch(size: Document, variants: Sequence[Document]) -> int:
    """How many instances a CapacitySize comes to: at least one, and never more than it says."""
    return max(1, int(asked(size, variants) * instances(variants) + 1e-9))
