"""The content of a tabular model archive: a manifest, one feature pipeline, and the members that vote."""

from __future__ import annotations

import importlib.metadata
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pilothouse.problems.base import FORMAT, MANIFEST, VERSION, digest

_LIBRARIES = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost-cpu",
    "catboost": "catboost",
    "randomforest": "scikit-learn",
    "extra-trees": "scikit-learn",
    "linear-learner": "scipy",
}


@dataclass(frozen=True)
class Member:
    """A model in an archive: its folder, the engine that loads it, and its share of the vote (all sum to 1)."""

    path: str
    engine: str
    weight: float


def write_manifest(
    directory: Path, dataset: dict[str, Any], members: list[Member], *, threshold: float | None, objective: str
) -> None:
    """Describes the finished content of `directory` in its manifest.json; `dataset` is the content of dataset.json."""
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "problem": "tabular",
        "problem_type": dataset["problem_type"],
        "target": dataset["target"],
        "classes": dataset["classes"],
        "columns": dataset["columns"],
        "threshold": threshold,
        "objective": objective,
        "members": [asdict(member) for member in members],
        "libraries": _versions([member.engine for member in members]),
        "files": _digests(directory),
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False))


def _digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(directory)): digest(path) for path in files}


def _versions(engines: list[str]) -> dict[str, str]:
    names = ["numpy", *sorted({_LIBRARIES[engine] for engine in engines})]
    return {name: importlib.metadata.version(name) for name in names}
