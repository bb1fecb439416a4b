"""Many rows through a forest by scikit-learn's compiled walk, in less than half the time that NumPy takes.

scikit-learn has no public way to make a tree from arrays. So nothing depends on this: a forest that cannot be walked
so, or whose first rows come out otherwise than by its own walk, is walked in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pilothouse.engines.base import Array


def total(arrays: dict[str, Array], x: Array) -> Array | None:
    """float64 [n, outputs]: what rows, float32 without NaN, get from all trees of a forest's `arrays` together.

    None where it can't be had. A tree is made, walked and forgotten: compiled ones take three times the memory of
    the arrays.
    """
    root, child, value = arrays["root"].tolist(), arrays["child"], arrays["value"]
    if x.shape[1] != len(arrays["median"]):
        return None
    found = np.zeros((len(x), value.shape[1]))
    try:
        for first, end in zip(root, [*root[1:], len(child)], strict=True):
            leaves = _tree(arrays, first, end).apply(x) + first
            found += value.take(child.take(leaves), axis=0)
    except (ImportError, AttributeError, TypeError, ValueError, KeyError):
        return None
    return found


def _tree(arrays: dict[str, Array], first: int, end: int) -> Any:
    """`ValueError` for a tree whose nodes lead out of it, which compiled code would follow anywhere."""
    from sklearn.tree._tree import NODE_DTYPE, Tree

    feature = arrays["feature"][first:end].astype(np.int64)
    leaf = feature < 0
    child = np.where(leaf, -1, arrays["child"][first:end].astype(np.int64) - first)
    inner = np.flatnonzero(~leaf)
    if not ((child[inner] > inner) & (child[inner] < end - first - 1)).all():
        raise ValueError("a tree leads out of itself")
    nodes = np.zeros(end - first, NODE_DTYPE)
    nodes["left_child"] = child
    nodes["right_child"] = np.where(leaf, -1, child + 1)
    nodes["feature"] = np.where(leaf, -2, feature)
    nodes["threshold"] = arrays["cut"][first:end]
    tree = Tree(len(arrays["median"]), np.array([1], np.intp), 1)
    values = np.zeros((len(nodes), 1, 1))
    tree.__setstate__({"max_depth": 1, "node_count": len(nodes), "nodes": nodes, "values": values})
    return tree
