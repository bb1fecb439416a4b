"""A data processing pipeline: what is asked of it, how it is learnt, and the matrix it makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pilothouse.data.growing import GrowingArray
from pilothouse.data.selection import Selection
from pilothouse.errors import ConfigurationError
from pilothouse.problems.tabular.pipelines.block import Array, Block, load_arrays, save_arrays
from pilothouse.problems.tabular.pipelines.effects import Effects, Lessons
from pilothouse.problems.tabular.pipelines.levels import Frequencies, OneHot, Ranks
from pilothouse.problems.tabular.pipelines.numbers import Hinges, Products, Raw, Scaled
from pilothouse.problems.tabular.pipelines.terms import Terms

if TYPE_CHECKING:
    from pilothouse.data.features import Features

FORMAT, VERSION = "pilothouse-pipeline", 2
_READ = (1, 2)
SLICE_ROWS = 1 << 16
_FILE = "blocks.json"
_BLOCKS: dict[str, Any] = {
    block.kind: block for block in (Raw, Scaled, Hinges, Products, OneHot, Frequencies, Ranks, Effects, Terms)
}


@dataclass(frozen=True)
class PipelineSpec:
    """What a pipeline does, for which `algorithm`. `name`: dpp0, dpp1 and so on.

    numbers: `raw`, `robust` or `normal` (see `Scaled`), with `hinges` and `products` beside them if asked for.
    one_hot: the most columns for the levels of a category; 0 for none. frequencies: how common the level is, of
    categories with more levels than have columns. ranks: levels as numbers. effects: what the level says of the target,
    of the same categories. terms: dimensions of n-grams; 0 for none.
    """

    name: str
    algorithm: str
    numbers: str
    hinges: bool = False
    products: bool = False
    one_hot: int = 0
    frequencies: bool = False
    ranks: bool = False
    terms: int = 0
    effects: bool = False

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def describe(self) -> str:
        """A sentence for people."""
        numbers = {
            "raw": "numbers as they are, missing ones left out",
            "robust": "numbers centred on the median and scaled by the quartiles",
            "normal": "numbers mapped by rank to a normal distribution",
        }[self.numbers]
        parts = [
            (self.hinges, "hinges at their quantiles"),
            (self.products, "products of pairs"),
            (self.one_hot, f"one column for each of the {self.one_hot} commonest levels of a category"),
            (self.ranks, "levels by rank"),
            (self.frequencies, "the share of levels"),
            (self.effects, "what levels say of the target"),
            (self.terms, f"n-grams of text in {self.terms} dimensions"),
        ]
        return f"{self.name} ({self.algorithm}): " + "; ".join([numbers, *(text for asked, text in parts if asked)])


class DataPipeline:
    """Fitted blocks side by side. A row's values are the same, to the last bit, alone and among others."""

    def __init__(self, spec: PipelineSpec, blocks: list[Block]) -> None:
        self.spec = spec
        self._blocks = blocks
        self.names = [name for block in blocks for name in block.names]

    @classmethod
    def fit(cls, spec: PipelineSpec, x: Features, seed: int = 0, lessons: Lessons | None = None) -> DataPipeline:
        """Learns from the features of the training rows. `lessons`: those with their targets, for effects."""
        return cls(spec, [block for block in _fitted(spec, x, seed, lessons) if block.names])

    @property
    def reads_sparse(self) -> bool:
        """Whether it needs the sparse part of features."""
        return any(isinstance(block, Terms) for block in self._blocks)

    def transform(self, x: Features) -> Array:
        """float32 [n, len(names)]; NaN only where the numbers are raw."""
        return np.concatenate([block.transform(x) for block in self._blocks], axis=1)

    def write(self, x: Features, path: Path) -> None:
        """The matrix of all rows as an .npy file, made slice by slice."""
        with GrowingArray(path) as out:
            for block in Selection(self.read(x)).blocks(SLICE_ROWS):
                out.append(self.transform(block))

    def read(self, x: Features) -> Features:
        """`x` without the sparse part, if this pipeline has no use for it."""
        return x if self.reads_sparse or x.sparse is None else replace(x, sparse=None)

    def save(self, directory: Path) -> None:
        """blocks.json and an .npy file for each array, in `directory`, which is made if need be."""
        directory.mkdir(parents=True, exist_ok=True)
        described = []
        for number, block in enumerate(self._blocks):
            facts, arrays = block.state()
            save_arrays(directory, str(number), arrays)
            described.append({"kind": block.kind, "facts": facts, "arrays": sorted(arrays)})
        document = {"format": FORMAT, "version": VERSION, "spec": self.spec.document(), "blocks": described}
        (directory / _FILE).write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> DataPipeline:
        """What `save` wrote. `ConfigurationError` if another program or a later release wrote it."""
        document = json.loads((directory / _FILE).read_text(encoding="utf-8"))
        if document.get("format") != FORMAT or document.get("version") not in _READ:
            raise ConfigurationError(
                f"The data processing pipeline has format {document.get('format')!r} version "
                f"{document.get('version')!r}; this release reads {FORMAT!r} versions up to {VERSION}. "
                "Use the release of Pilothouse that made the model."
            )
        blocks = [
            _BLOCKS[one["kind"]].restore(one["facts"], load_arrays(directory, str(number), one["arrays"]))
            for number, one in enumerate(document["blocks"])
        ]
        return cls(PipelineSpec(**document["spec"]), blocks)


def _fitted(spec: PipelineSpec, x: Features, seed: int, lessons: Lessons | None) -> Iterator[Block]:
    yield Raw.fit(x) if spec.numbers == "raw" else Scaled.fit(x, spec.numbers)
    if spec.hinges:
        yield Hinges.fit(x, spec.numbers)
    if spec.products:
        yield Products.fit(x)
    if spec.one_hot:
        yield OneHot.fit(x, spec.one_hot)
    if spec.frequencies:
        yield Frequencies.fit(x, spec.one_hot)
    if spec.ranks:
        yield Ranks.fit(x)
    if spec.effects and lessons is not None:
        yield Effects.fit(lessons, spec.one_hot)
    if spec.terms and x.sparse is not None:
        yield Terms.fit(x, spec.terms, seed)
