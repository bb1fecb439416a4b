"""LightGBM's text, looked through before the library reads it: the library trusts every number in it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pilothouse.engines.base import Array
from pilothouse.errors import ConfigurationError

_TREE = b"Tree="
_WHOLE_NUMBERS = re.compile(rb"(-?\d{1,9}( -?\d{1,9})*)?")
_NAME = re.compile(rb"[a-z_]+")
_ONE_OUTPUT = (b"regression", b"regression_l1", b"binary")
_MOST_LINES = 22
"""Lines of a tree that the library reads."""

_CATEGORICAL = 1

_Block = dict[bytes, bytes]


def check(path: Path, n_classes: int) -> None:
    """`ConfigurationError` unless a model.txt answers as many numbers as `n_classes` (0: regression) has, and no walk
    through one of its trees leaves the arrays.
    """
    head, *trees = _blocks(path.read_bytes())
    facts = _facts(head)
    _check_outputs(facts, n_classes)
    _check_sizes(facts, trees)
    columns = _whole(facts, b"max_feature_idx", 1)[0] + 1
    for tree in trees:
        _check_tree(_tree_facts(tree), columns)


def _blocks(text: bytes) -> list[bytes]:
    """The head, and each tree from its first line up to the next one's or the end of the trees."""
    if b"\r" in text or b"\0" in text:
        raise _damaged("it has characters that are not LightGBM's")
    text, end, _ = text.partition(b"\nend of trees\n")
    head, *trees = re.split(rb"^(?=Tree=)", text + b"\n", flags=re.MULTILINE)
    if not end or not trees:
        raise _damaged("it has no trees, or no end of them")
    return [head, *trees]


def _facts(block: bytes) -> _Block:
    """The values of a block's lines by their names; no name comes twice, since only one value would be looked at."""
    pairs = [line.partition(b"=")[::2] for line in block.split(b"\n") if b"=" in line]
    facts = dict(pairs)
    if len(facts) < len(pairs) or not all(map(_NAME.fullmatch, facts)):
        raise _damaged("a line comes twice or has no name")
    return facts


def _tree_facts(tree: bytes) -> _Block:
    lines = tree.rstrip(b"\n").split(b"\n")[1:]
    facts = _facts(b"\n".join(lines))
    if not len(facts) == len(lines) <= _MOST_LINES:
        raise _damaged("a tree has lines that are not LightGBM's")
    return facts


def _check_outputs(facts: _Block, n_classes: int) -> None:
    objective, _, settings = facts.get(b"objective", b"").partition(b" ")
    classes, trees = (_whole(facts, name, 1)[0] for name in (b"num_class", b"num_tree_per_iteration"))
    if objective == b"multiclass":
        known, expected = n_classes > 1 and settings == f"num_class:{n_classes}".encode(), n_classes
    else:
        known, expected = objective in _ONE_OUTPUT and n_classes in (0, 2), 1
    if not known or not classes == trees == expected:
        raise _damaged(
            f"model.json has {n_classes} classes, but it has num_class {classes}, num_tree_per_iteration {trees} "
            f"and the objective {facts.get(b'objective', b'').decode(errors='replace')!r}"
        )


def _check_sizes(facts: _Block, trees: list[bytes]) -> None:
    """The library finds the trees by the sizes that the head gives."""
    sizes = facts.get(b"tree_sizes", b"")
    if sizes != b" ".join(str(len(tree)).encode() for tree in trees):
        raise _damaged("tree_sizes are not the sizes of its trees")


def _check_tree(facts: _Block, columns: int) -> None:
    inner = _whole(facts, b"num_leaves", 1)[0] - 1
    if inner < 0 or _whole(facts, b"num_cat", 1)[0] < 0 or facts.get(b"is_linear", b"0") != b"0":
        raise _damaged("a tree has no leaves, or linear ones")
    if len(facts.get(b"leaf_value", b"").split(b" ")) != inner + 1:
        raise _damaged("leaf_value has not one value for each leaf")
    if not inner:
        return
    feature = _whole(facts, b"split_feature", inner)
    if feature.min() < 0 or feature.max() >= columns:
        raise _damaged("split_feature names a feature beyond max_feature_idx")
    places = np.arange(inner)
    for side in (b"left_child", b"right_child"):
        child = _whole(facts, side, inner)
        # A leaf's number is complemented; nodes lie behind their parents.
        if not np.where(child < 0, ~child <= inner, (child > places) & (child < inner)).all():
            raise _damaged(f"{side.decode()} names nodes that are not there")
    _check_categories(facts, inner)


def _check_categories(facts: _Block, inner: int) -> None:
    thresholds = facts.get(b"threshold", b"").split(b" ")
    if len(thresholds) != inner:
        raise _damaged("threshold has not one value for each node")
    sets = _whole(facts, b"num_cat", 1)[0]
    asked = np.flatnonzero(_whole(facts, b"decision_type", inner) & _CATEGORICAL)
    numbers = [int(thresholds[i]) if thresholds[i].isdigit() else -1 for i in asked.tolist()]
    if any(not 0 <= number < sets for number in numbers):
        raise _damaged("threshold names a set of categories that is not there")
    if sets:
        bounds = _whole(facts, b"cat_boundaries", sets + 1)
        words = len(facts.get(b"cat_threshold", b"").split(b" "))
        if bounds[0] != 0 or (np.diff(bounds) < 0).any() or bounds[-1] != words:
            raise _damaged("cat_boundaries are not those of cat_threshold")


def _whole(facts: _Block, name: bytes, count: int) -> Array:
    """The `count` whole numbers of a line."""
    text = facts.get(name, b"")
    if not _WHOLE_NUMBERS.fullmatch(text) or text.count(b" ") != count - 1 or not text:
        raise _damaged(f"{name.decode()} is not {count} whole numbers")
    return np.array(text.split(b" "), dtype="S").astype(np.int64)


def _damaged(what: str) -> ConfigurationError:
    return ConfigurationError(
        f"The model's model.txt can't be trusted: {what}. "
        "The archive is damaged or was not made by Pilothouse. Fetch it again."
    )
