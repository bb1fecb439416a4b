"""The inputs of a graph, one for each column of the data, and the features that are made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilothouse.data.categories import CategoryEncoder
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.markers import MISSING
from pilothouse.data.numbers import NumberEncoder
from pilothouse.data.written import WrittenNumberEncoder
from pilothouse.problems.tabular.onnx.graph import CannotExport, Graph

OUTPUTS = ("label", "probabilities", "value")


@dataclass(frozen=True)
class Columns:
    """Names in a graph: float64 [n, p] numbers that a float32 can hold, and int64 [n, q] codes; None: there are none.

    `cardinalities` count the codes of each category.
    """

    numeric: str | None
    codes: str | None
    cardinalities: list[int]


def columns(graph: Graph, pipeline: FeaturePipeline) -> Columns:
    """Adds an input for each column that the pipeline uses; `CannotExport` names one that has no form in ONNX."""
    numbers: list[str] = []
    codes: list[str] = []
    cardinalities: list[int] = []
    for position, encoder in pipeline.encoders:
        name, kind = pipeline.columns[position].name, pipeline.columns[position].type
        if name in OUTPUTS:
            raise CannotExport(f"The column {name!r} is called like an output of the graph. Rename it and train again.")
        if type(encoder) is NumberEncoder:
            numbers.append(_number(graph, name))
        elif type(encoder) is CategoryEncoder:
            codes.append(_code(graph, name, encoder))
            cardinalities.append(encoder.cardinality)
            if encoder.counted:
                numbers.append(_count(graph, codes[-1], encoder))
        elif type(encoder) is WrittenNumberEncoder:
            raise CannotExport(
                f"The column {name!r} holds numbers as people write them, like $1,234 or 12%, which have no form in "
                "ONNX. Make plain numbers of them, such as 1234, and train again."
            )
        else:
            raise CannotExport(
                f"The column {name!r} is read as {kind}, which has no form in ONNX. "
                "Train without it, or make numbers of it beforehand."
            )
    return Columns(_joined(graph, numbers), _joined(graph, codes), cardinalities)


def _joined(graph: Graph, parts: list[str]) -> str | None:
    return graph.add("Concat", *parts, axis=1) if parts else None


def _number(graph: Graph, name: str) -> str:
    """An infinite number is a missing one."""
    value = graph.input(name, "FLOAT")
    finite = graph.add("Where", graph.add("IsInf", value), graph.constant([np.nan], np.float32), value)
    return graph.double(finite)


def _code(graph: Graph, name: str, encoder: CategoryEncoder) -> str:
    spellings = _spellings(encoder.levels)
    return graph.add(
        "LabelEncoder",
        graph.input(name, "STRING"),
        domain="ai.onnx.ml",
        keys_strings=list(spellings),
        values_int64s=list(spellings.values()),
        default_int64=0,
    )


def _spellings(levels: list[str]) -> dict[str, int]:
    """The code of each level by the ways it is commonly written: ONNX can't trim blanks or tell that 3.0 is 3."""
    found = {level: code for code, level in enumerate(levels, 1)}
    for level, code in list(found.items()):
        for other in _others(level):
            found.setdefault(other, code)
    return found


def _others(level: str) -> list[str]:
    if level == "":
        return [
            spelling for marker in sorted(MISSING) for spelling in (marker, marker.upper(), marker.capitalize(), "NaN")
        ]
    if level in ("True", "False"):
        return [level.lower(), level.upper()]
    return [f"{level}.0"] if level.lstrip("+-").isdecimal() and level.isascii() else []


def _count(graph: Graph, code: str, encoder: CategoryEncoder) -> str:
    counts: list[float] = []
    for text in ["", *encoder.levels]:
        counts_of: list[float] = []
        encoder.read(text, counts_of, [])
        counts += counts_of
    counts[0] = 1.0
    return graph.add("Gather", graph.constant(np.array(counts, np.float32)), code, axis=0)
