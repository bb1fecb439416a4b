"""Trees for ONNX's TreeEnsemble: collected node by node, written as one operator."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pilothouse.problems.tabular.onnx.graph import Graph

LEQ, LT, GT, MEMBER = 0, 1, 3, 6
"""How a node asks: at most, below or above its split, or in its set. Yes leads to the first child."""

_SUM = 1


@dataclass(frozen=True)
class Leaf:
    """Adds `value` to the sum of `target`."""

    value: float
    target: int = 0


@dataclass(frozen=True)
class Fork:
    """A question about a feature. `missing` says whether NaN means yes; `members` are the set of MEMBER."""

    feature: int
    mode: int
    split: float
    missing: bool
    yes: Fork | Leaf
    no: Fork | Leaf
    members: tuple[int, ...] = ()


@dataclass
class Trees:
    """The arrays of the operator. `add` takes whole trees; `write` puts their sums [n, targets] into a graph."""

    targets: int
    roots: list[int] = field(default_factory=list)
    features: list[int] = field(default_factory=list)
    modes: list[int] = field(default_factory=list)
    splits: list[float] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    children: list[list[int]] = field(default_factory=lambda: [[], []])
    leaf_children: list[list[int]] = field(default_factory=lambda: [[], []])
    leaf_targets: list[int] = field(default_factory=list)
    leaf_values: list[float] = field(default_factory=list)
    members: list[float] = field(default_factory=list)

    def add(self, tree: Fork | Leaf) -> None:
        """Adds a tree. Depth is no matter: it is walked with a list, and children follow their parents."""
        root = tree if isinstance(tree, Fork) else Fork(0, LEQ, 0.0, True, tree, tree)
        self.roots.append(self._place(root))
        open_ = [(root, self.roots[-1])]
        while open_:
            fork, at = open_.pop()
            for side, child in enumerate((fork.yes, fork.no)):
                self.leaf_children[side][at] = int(isinstance(child, Leaf))
                if isinstance(child, Leaf):
                    self.children[side][at] = len(self.leaf_values)
                    self.leaf_values.append(child.value)
                    self.leaf_targets.append(child.target)
                else:
                    self.children[side][at] = self._place(child)
                    open_.append((child, self.children[side][at]))

    def write(self, graph: Graph, x: str) -> str:
        """Adds the operator on the float64 [n, features] `x`; the name of its float64 [n, targets]."""
        sets: dict[str, Any] = {}
        if MEMBER in self.modes:
            self._order_sets()
            sets["membership_values"] = graph.tensor(np.array(self.members, np.float64))
        return graph.add(
            "TreeEnsemble",
            x,
            domain="ai.onnx.ml",
            n_targets=self.targets,
            aggregate_function=_SUM,
            post_transform=0,
            tree_roots=self.roots,
            nodes_featureids=self.features,
            nodes_modes=graph.tensor(np.array(self.modes, np.uint8)),
            nodes_splits=graph.tensor(np.array(self.splits, np.float64)),
            nodes_missing_value_tracks_true=self.missing,
            nodes_truenodeids=self.children[0],
            nodes_falsenodeids=self.children[1],
            nodes_trueleafs=self.leaf_children[0],
            nodes_falseleafs=self.leaf_children[1],
            leaf_targetids=self.leaf_targets,
            leaf_weights=graph.tensor(np.array(self.leaf_values, np.float64)),
            **sets,
        )

    def _place(self, fork: Fork) -> int:
        self.features.append(fork.feature)
        self.modes.append(fork.mode)
        self.splits.append(fork.split)
        self.missing.append(int(fork.missing))
        self._sets.append(fork.members)
        for side in (0, 1):
            self.children[side].append(0)
            self.leaf_children[side].append(0)
        return len(self.features) - 1

    _sets: list[tuple[int, ...]] = field(default_factory=list)

    def _order_sets(self) -> None:
        """The sets of all MEMBER nodes in the nodes' order, each ended by NaN."""
        self.members = []
        for mode, members in zip(self.modes, self._sets, strict=True):
            if mode == MEMBER:
                self.members += [*map(float, members), math.nan]
