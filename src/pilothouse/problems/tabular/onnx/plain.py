"""Forests and linear models, which Pilothouse keeps as arrays, as parts of a graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.problems.tabular.onnx.graph import Graph
from pilothouse.problems.tabular.onnx.trees import LEQ, Leaf, Trees

Arrays = dict[str, npt.NDArray[Any]]


def forest(graph: Graph, x: str, arrays: Arrays) -> str:
    """The mean of the trees' leaves: float64 [n, outputs]. `x` is float64 [n, columns] without a missing value."""
    values, trees = arrays["value"].astype(np.float64), len(arrays["root"])
    outputs = values.shape[1]
    if outputs <= 2:
        total = _trees(arrays, values[:, -1]).write(graph, x)
        last = graph.add("Div", total, graph.constant([float(trees)]))
        return (
            last if outputs == 1 else graph.add("Concat", graph.add("Sub", graph.constant([1.0]), last), last, axis=1)
        )
    # A leaf adds to one target only, so each tree is a target and says which row of the table of values it means.
    rows = graph.integer(_trees(arrays, None).write(graph, x))
    chosen = graph.add("Gather", graph.constant(values), rows, axis=0)
    return graph.add("ReduceMean", chosen, axes=[1], keepdims=0)


def _trees(arrays: Arrays, values: npt.NDArray[Any] | None) -> Trees:
    """All trees on one target that adds `values`; without them each on its own, with leaves that say their row."""
    feature, child, root = arrays["feature"], arrays["child"].astype(np.int64), arrays["root"].astype(np.int64)
    inner = feature >= 0
    number = np.where(inner, np.cumsum(inner) - 1, np.cumsum(~inner) - 1)
    tree = np.searchsorted(root, np.flatnonzero(~inner), side="right") - 1
    rows = child[~inner]
    yes, no = child[inner], child[inner] + 1
    found = Trees(
        1 if values is not None else len(root),
        features=feature[inner].tolist(),
        modes=[LEQ] * int(inner.sum()),
        splits=arrays["cut"][inner].astype(np.float64).tolist(),
        missing=[0] * int(inner.sum()),
        children=[number[yes].tolist(), number[no].tolist()],
        leaf_children=[(~inner[yes]).astype(int).tolist(), (~inner[no]).astype(int).tolist()],
        leaf_targets=([0] * len(rows) if values is not None else tree.tolist()),
        leaf_values=(rows.astype(np.float64) if values is None else values[rows]).tolist(),
    )
    for i, at in enumerate(root):
        if inner[at]:
            found.roots.append(int(number[at]))
        else:  # a tree that is a mere leaf
            leaf = Leaf(found.leaf_values[number[at]], i if values is None else 0)
            found.add(leaf)
    return found


def linear(graph: Graph, numeric: str, codes: str | None, arrays: Arrays) -> str:
    """The scores: float64 [n, outputs], of float64 [n, p] numbers and int64 [n, q] codes (None if there are none)."""
    coefficients, numbers, indicated = arrays["coefficients"], len(arrays["mean"]), arrays["indicated"]
    levels, bent, multiplied = arrays["levels"].tolist(), len(arrays.get("bent", ())), len(arrays.get("left", ()))
    plain = numbers + len(indicated)
    width = plain + sum(levels)
    total, columns = graph.constant(arrays["intercept"]), []
    if numbers:
        standard, missing = _standardised(graph, numeric, arrays)
        total = graph.add("Add", graph.add("MatMul", standard, graph.constant(coefficients[:numbers])), total)
        columns.append(standard)
        if len(indicated):
            flags = graph.double(graph.add("Gather", missing, graph.constant(indicated, np.int64), axis=1))
            own = graph.constant(coefficients[numbers:plain])
            total = graph.add("Add", graph.add("MatMul", flags, own), total)
            columns.append(flags)
        if bent:
            bends = graph.constant(coefficients[width : width + bent])
            total = graph.add("Add", graph.add("MatMul", _hinges(graph, standard, arrays), bends), total)
    for j, count in enumerate(levels):
        table = np.concatenate([coefficients[plain : plain + count], np.zeros((1, coefficients.shape[1]))])
        code = graph.add("Gather", str(codes), graph.constant(j, np.int64), axis=1)
        known = graph.add("Min", code, graph.constant([count], np.int64))
        total = graph.add("Add", graph.add("Gather", graph.constant(table), known, axis=0), total)
        if multiplied:
            columns.append(graph.add("Gather", graph.constant(np.eye(count + 1)[:, :count]), known, axis=0))
        plain += count
    if multiplied:
        own = graph.constant(coefficients[width + bent :])
        total = graph.add("Add", graph.add("MatMul", _products(graph, columns, arrays), own), total)
    return total


def _products(graph: Graph, columns: list[str], arrays: Arrays) -> str:
    beside = graph.add("Concat", *columns, axis=1) if len(columns) > 1 else columns[0]
    left, right = (
        graph.add("Gather", beside, graph.constant(arrays[name], np.int64), axis=1) for name in ("left", "right")
    )
    return graph.add("Div", graph.add("Mul", left, right), graph.constant(arrays["sizes"]))


def _hinges(graph: Graph, standard: str, arrays: Arrays) -> str:
    own = graph.add("Gather", standard, graph.constant(arrays["bent"], np.int64), axis=1)
    above = graph.add("Max", graph.add("Sub", own, graph.constant(arrays["knots"])), graph.constant([0.0]))
    return graph.add("Div", above, graph.constant(arrays["spans"]))


def _standardised(graph: Graph, numeric: str, arrays: Arrays) -> tuple[str, str]:
    mean = graph.constant(arrays["mean"])
    missing = graph.add("IsNaN", numeric)
    known = graph.add("Where", missing, mean, numeric)
    clipped = graph.add("Min", graph.add("Max", known, graph.constant(arrays["low"])), graph.constant(arrays["high"]))
    standard = graph.add("Div", graph.add("Sub", clipped, mean), graph.constant(arrays["scale"]))
    return graph.add("Where", missing, graph.constant([0.0]), standard), missing
