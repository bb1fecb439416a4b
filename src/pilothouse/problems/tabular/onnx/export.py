"""A tabular model archive as one ONNX model that answers as the predictor does."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pilothouse.catalog.metrics import MULTICLASS
from pilothouse.engines.crosses import LARGEST, Crosses
from pilothouse.engines.statistics import TargetStatistics
from pilothouse.problems.base import inside, load_predictor, read_manifest
from pilothouse.problems.staged import is_staged
from pilothouse.problems.tabular.calibration import Calibration
from pilothouse.problems.tabular.onnx import boosters, plain
from pilothouse.problems.tabular.onnx.columns import Columns, columns
from pilothouse.problems.tabular.onnx.graph import CannotExport, Graph
from pilothouse.problems.tabular.onnx.trees import Trees
from pilothouse.problems.tabular.predictor import TabularPredictor
from pilothouse.problems.tabular.voting import listed

_LEAST_PROBABILITY, _LEAST_STACKED, _LEAST_CALIBRATED = 1e-7, 1e-4, 1e-9
"""Where the engines, the second layer and the calibration keep probabilities away from 0."""


def export(directory: Path) -> Any:
    """The ONNX model of an unpacked archive.

    Inputs: one for each column that the model uses, by its name, [n, 1]: texts of a category, or float32 (NaN is
    missing). Outputs: `label` [n] and `probabilities` float32 [n, classes], or `value` float32 [n].
    `CannotExport` names the column or member that stands in the way.
    """
    if is_staged(directory):
        raise CannotExport(
            "A candidate of several containers cannot be exported. Export one of an ENSEMBLING job; "
            "`pilothouse predict` answers from this one."
        )
    for member in listed(read_manifest(directory).get("members")):
        if member["engine"] not in _MAKERS:
            raise CannotExport(
                f"The member {member['path']} is a {member['engine']} model, which cannot be exported. Export another "
                f"candidate, or train with AlgorithmsConfig limited to {', '.join(_MAKERS)}."
            )
    predictor = load_predictor(directory)
    if not isinstance(predictor, TabularPredictor):
        raise CannotExport("Only tabular models can be exported.")
    graph = Graph()
    table = columns(graph, predictor.pipeline)
    voted = _vote(graph, table, directory, predictor)
    if predictor.classes is None:
        graph.output(_flat(graph, graph.single(voted)), "value", "FLOAT", ["n"])
    else:
        _classified(graph, voted, predictor, predictor.classes)
    return graph.model("pilothouse", importlib.metadata.version("pilothouse"))


def _vote(graph: Graph, table: Columns, directory: Path, predictor: TabularPredictor) -> str:
    documents = read_manifest(directory)["members"]
    answers: dict[int, str] = {}
    order = sorted(range(len(documents)), key=lambda i: bool(predictor.members[i].inputs))
    for i in order:
        groups = predictor.members[i].inputs
        own = _extended(graph, table, [[answers[j] for j in group] for group in groups], predictor) if groups else table
        folder = inside(directory, documents[i]["path"])
        answers[i] = _member(graph, own, folder, documents[i], predictor)
    shares = [
        graph.add("Mul", _calibrated(graph, answers[i], one.calibration), graph.constant([one.weight]))
        for i, one in enumerate(predictor.members)
        if one.weight
    ]
    return graph.add("Sum", *shares)


def _calibrated(graph: Graph, probabilities: str, calibration: Calibration | None) -> str:
    if calibration is None:
        return probabilities
    logs = _logs(graph, probabilities, _LEAST_CALIBRATED)
    scores = graph.add("Mul", logs, graph.constant([calibration.scale]))
    return graph.add("Softmax", graph.add("Add", scores, graph.constant(calibration.bias or [0.0])), axis=1)


def _extended(graph: Graph, table: Columns, groups: list[list[str]], predictor: TabularPredictor) -> Columns:
    """The columns and behind them what the groups of the first layer's answers say (see `stack.extended`)."""
    added = [_evidence(graph, _mean(graph, group), len(predictor.classes or [])) for group in groups]
    stacked = [graph.double(graph.single(one)) for one in added]
    numeric = [table.numeric] if table.numeric else []
    return replace(table, numeric=graph.add("Concat", *numeric, *stacked, axis=1))


def _mean(graph: Graph, values: list[str]) -> str:
    return graph.add("Div", graph.add("Sum", *values), graph.constant([float(len(values))]))


def _evidence(graph: Graph, prediction: str, classes: int) -> str:
    if not classes:
        return prediction
    logs = _logs(graph, prediction, _LEAST_STACKED)
    if classes == 2:
        return graph.add("Sub", _column(graph, logs, 1), _column(graph, logs, 0))
    return graph.add("Sub", logs, graph.add("ReduceMean", logs, axes=[1], keepdims=1))


def _logs(graph: Graph, probabilities: str, least: float) -> str:
    return graph.add("Log", graph.add("Max", probabilities, graph.constant([least])))


def _column(graph: Graph, matrix: str, number: int) -> str:
    return graph.add("Gather", matrix, graph.constant([number], np.int64), axis=1)


def _flat(graph: Graph, column: str) -> str:
    return graph.add("Reshape", column, graph.constant([-1], np.int64))


def _member(graph: Graph, table: Columns, folder: Path, document: dict[str, Any], predictor: TabularPredictor) -> str:
    """A member's answer: float64 [n, 1], or probabilities [n, classes]."""
    engine = document["engine"]
    try:
        return _MAKERS[engine](
            graph, _with_statistics(graph, _with_crosses(graph, table, folder), folder), folder, predictor
        )
    except CannotExport as error:
        raise CannotExport(f"The member {document['path']} ({engine}) cannot be exported. {error.message}") from error


def _with_crosses(graph: Graph, table: Columns, folder: Path) -> Columns:
    """The columns and behind the numbers the differences and ratios that the member's engine made of them."""
    crosses = Crosses.load(folder)
    if crosses is None or table.numeric is None:
        return table
    left, right = (
        graph.add("Gather", table.numeric, graph.constant(columns, np.int64), axis=1)
        for columns in (crosses.left, crosses.right)
    )
    none = graph.add("Equal", right, graph.constant([0.0]))
    ratios = graph.add("Where", none, graph.constant([np.nan]), graph.add("Div", left, right))
    made = graph.add("Concat", graph.add("Sub", left, right), ratios, axis=1)
    for beyond, limit in (("Greater", LARGEST), ("Less", -LARGEST)):
        bound = graph.constant([limit])
        made = graph.add("Where", graph.add(beyond, made, bound), bound, made)
    return replace(table, numeric=graph.add("Concat", table.numeric, graph.double(graph.single(made)), axis=1))


def _with_statistics(graph: Graph, table: Columns, folder: Path) -> Columns:
    """The columns and behind them the target statistics that the member's engine made of categories."""
    statistics = TargetStatistics.load(folder)
    if statistics is None:
        return table
    ends = [*statistics.starts[1:].tolist(), len(statistics.values)]
    parts = [table.numeric] if table.numeric else []
    for column, start, end in zip(statistics.columns.tolist(), statistics.starts.tolist(), ends, strict=True):
        values = graph.constant(statistics.values[start:end].astype(np.float64))
        code = graph.add("Gather", str(table.codes), graph.constant(column, np.int64), axis=1)
        parts.append(graph.add("Gather", values, code, axis=0))
    return replace(table, numeric=graph.add("Concat", *parts, axis=1))


def _matrix(graph: Graph, table: Columns, missing: float = 0.0) -> str:
    """Numbers and then codes as float64 [n, columns]; code 0 becomes `missing`."""
    parts = [table.numeric] if table.numeric else []
    if table.codes:
        codes = graph.double(table.codes)
        if missing != 0.0:
            unknown = graph.add("Equal", table.codes, graph.constant([0], np.int64))
            codes = graph.add("Where", unknown, graph.constant([missing]), codes)
        parts.append(codes)
    return graph.add("Concat", *parts, axis=1)


def _lightgbm(graph: Graph, table: Columns, folder: Path, predictor: TabularPredictor) -> str:
    import lightgbm

    facts = json.loads((folder / "model.json").read_text())
    booster = lightgbm.Booster(model_file=folder / "model.txt")
    trees = boosters.lightgbm(booster, facts["rounds"], _targets(predictor))
    return _boosted(graph, _matrix(graph, table), trees, [0.0], predictor)


def _xgboost(graph: Graph, table: Columns, folder: Path, predictor: TabularPredictor) -> str:
    import xgboost

    booster = xgboost.Booster(model_file=folder / "model.ubj")
    trees, start = boosters.xgboost(booster, booster.num_boosted_rounds(), _targets(predictor))
    return _boosted(graph, _matrix(graph, table, missing=np.nan), trees, start, predictor)


def _catboost(graph: Graph, table: Columns, folder: Path, predictor: TabularPredictor) -> str:
    import catboost

    booster = catboost.CatBoost()
    booster.load_model(str(folder / "model.cbm"))
    rounds = json.loads((folder / "model.json").read_text()).get("rounds", booster.tree_count_)
    trees, start = boosters.catboost(booster, rounds, _targets(predictor), table.cardinalities)
    return _boosted(graph, _matrix(graph, table), trees, start, predictor)


def _forest(graph: Graph, table: Columns, folder: Path, predictor: TabularPredictor) -> str:
    from safetensors.numpy import load_file

    arrays = load_file(folder / "forest.safetensors")
    x = _matrix(graph, table)
    filled = graph.add("Where", graph.add("IsNaN", x), graph.constant(arrays["median"].astype(np.float64)), x)
    mean = plain.forest(graph, filled, arrays)
    return _bounded(graph, mean) if predictor.classes else mean


def _linear(graph: Graph, table: Columns, folder: Path, predictor: TabularPredictor) -> str:
    from safetensors.numpy import load_file

    arrays = load_file(folder / "linear.safetensors")
    scores = plain.linear(graph, str(table.numeric), table.codes, arrays)
    return _probable(graph, scores, arrays["coefficients"].shape[1]) if predictor.classes else scores


def _targets(predictor: TabularPredictor) -> int:
    """The scores of a row that a booster adds up; a problem of many classes may have two."""
    return len(predictor.classes or []) if predictor.problem_type == MULTICLASS else 1


def _boosted(graph: Graph, x: str, trees: Trees, start: list[float], predictor: TabularPredictor) -> str:
    scores = graph.add("Add", trees.write(graph, x), graph.constant(start))
    return _probable(graph, scores, trees.targets) if predictor.classes else scores


def _probable(graph: Graph, scores: str, outputs: int) -> str:
    """Probabilities of log odds [n, 1], or of a score for each class."""
    if outputs > 1:
        return _bounded(graph, graph.add("Softmax", scores, axis=1))
    positive = graph.add("Sigmoid", scores)
    return _bounded(graph, graph.add("Concat", graph.add("Sub", graph.constant([1.0]), positive), positive, axis=1))


def _bounded(graph: Graph, probabilities: str) -> str:
    """No class is impossible (see `engines.base.probabilities`)."""
    possible = graph.add("Max", probabilities, graph.constant([_LEAST_PROBABILITY]))
    total = graph.add("ReduceSum", possible, graph.constant([1], np.int64), keepdims=1)
    return graph.add("Div", possible, total)


def _classified(graph: Graph, voted: str, predictor: TabularPredictor, classes: list[str]) -> None:
    voted = _calibrated(graph, voted, predictor.calibration)
    if predictor.threshold is not None and len(classes) == 2:
        cut = graph.constant([predictor.threshold])
        index = graph.integer(graph.add("GreaterOrEqual", _column(graph, voted, 1), cut))
    else:
        index = graph.add("ArgMax", voted, axis=1, keepdims=1)
    labels = graph.add("Gather", graph.constant(classes, object), index, axis=0)
    graph.output(_flat(graph, labels), "label", "STRING", ["n"])
    graph.output(graph.single(voted), "probabilities", "FLOAT", ["n", len(classes)])


_MAKERS = {
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "catboost": _catboost,
    "randomforest": _forest,
    "extra-trees": _forest,
    "linear-learner": _linear,
}
