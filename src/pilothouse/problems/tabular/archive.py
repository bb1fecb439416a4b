"""The content of a tabular model archive: a manifest, one feature pipeline, and the members that vote."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pilothouse.engines.base import Model
from pilothouse.problems.base import FIRST_VERSION, FORMAT, MANIFEST, SECOND_VERSION, VERSION, digest
from pilothouse.problems.tabular.calibration import Calibration
from pilothouse.problems.tabular.dataset import Dataset
from pilothouse.problems.tabular.verdict import Verdict

_LIBRARIES = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost-cpu",
    "catboost": "catboost",
    "randomforest": "scikit-learn",
    "extra-trees": "scikit-learn",
    "linear-learner": "scipy",
    "nn-torch": "torch",
    "fastai": "fastai",
    "mlp": "torch",
}

Inputs = list[list[int]]
"""What feeds a member of the second layer: for each added feature the numbers of the members whose mean it is."""


@dataclass(frozen=True)
class Member:
    """A model in an archive: its folder, the engine that loads it, and its share of the vote (all sum to 1).

    A member of the second layer has `inputs`. One of the first has a share of 0 if it only feeds others. A member may
    have a `calibration` of its own, by which it votes; what it feeds to others is as it is.
    """

    path: str
    engine: str
    weight: float
    inputs: Inputs | None = None
    calibration: dict[str, Any] | None = None

    def document(self) -> dict[str, Any]:
        """The member as it is in the manifest."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Assembly:
    """The content of an archive while it is put together; `finish` puts it in place at once."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._partial = target.with_name(target.name + ".partial")
        shutil.rmtree(self._partial, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._members: list[Member] = []
        self._placed: dict[Path, list[int]] = {}

    def add(self, model: Model, engine: str, weight: float, inputs: Inputs | None = None) -> None:
        """Saves a fitted model as a member."""
        model.save(self._place(engine, weight, inputs))

    def add_trial(
        self,
        model: Path,
        weight: float = 0.0,
        feeders: Sequence[Path] = (),
        calibration: Calibration | None = None,
    ) -> list[int]:
        """Copies the members that vote in the archive folder `model` of a finished trial, once; gives their numbers.

        They share `weight` as they do there, and each votes by `calibration`. `feeders`: the archive folders of the
        trials that feed it.
        """
        voting = None if calibration is None else calibration.document()
        if model not in self._placed:
            fed = [self.add_trial(feeder) for feeder in feeders] or None
            members = json.loads((model / MANIFEST).read_text(encoding="utf-8"))["members"]
            own = [member for member in members if member["weight"] > 0]
            first = len(self._members)
            for member in own:
                folder = self._place(member["engine"], member["weight"] * weight, fed, voting)
                shutil.copytree(model / member["path"], folder, dirs_exist_ok=True)
            self._placed[model] = list(range(first, first + len(own)))
        elif weight:
            self._weigh(model, weight, voting)
        return self._placed[model]

    def finish(self, data: Dataset, reached: Verdict, objective: str) -> Path:
        """Adds the pipeline of `data` and the manifest, with what was reached; the folder with it all."""
        shutil.copytree(data.directory / "pipeline", self._partial / "pipeline")
        return self.close(
            lambda folder, members: write_manifest(
                folder,
                data.facts,
                members,
                threshold=reached.threshold,
                objective=objective,
                metrics=reached.metrics,
                calibration=None if reached.calibration is None else reached.calibration.document(),
            )
        )

    def close(self, describe: Callable[[Path, list[Member]], None]) -> Path:
        """Lets `describe` write the manifest of the content and its members; the folder with it all."""
        describe(self._partial, self._members)
        self._partial.rename(self._target)
        return self._target

    def _place(
        self, engine: str, weight: float, inputs: Inputs | None, calibration: dict[str, Any] | None = None
    ) -> Path:
        path = f"members/{len(self._members)}"
        self._members.append(Member(path, engine, weight, inputs, calibration))
        folder = self._partial / path
        folder.mkdir(parents=True)
        return folder

    def _weigh(self, model: Path, weight: float, calibration: dict[str, Any] | None) -> None:
        """Lets members vote that were placed as mere inputs."""
        shares = [m["weight"] for m in json.loads((model / MANIFEST).read_text())["members"] if m["weight"] > 0]
        for number, share in zip(self._placed[model], shares, strict=True):
            old = self._members[number]
            self._members[number] = replace(old, weight=old.weight + share * weight, calibration=calibration)


def write_manifest(
    directory: Path,
    dataset: dict[str, Any],
    members: list[Member],
    *,
    threshold: float | None,
    objective: str,
    metrics: dict[str, dict[str, float]],
    calibration: dict[str, Any] | None = None,
) -> None:
    """Describes the finished content of `directory` in its manifest.json; `dataset` is the content of dataset.json.

    `metrics` are the model's, by Set.

    The version is the lowest whose readers answer as this model does: one that knows no second layer and no
    calibration must not read a model that has them (the second version), nor one that knows no members' calibrations a
    model that has those (the third).
    """
    version = FIRST_VERSION
    if calibration is not None or any(member.inputs for member in members):
        version = SECOND_VERSION
    if any(member.calibration for member in members):
        version = VERSION
    manifest = {
        "format": FORMAT,
        "version": version,
        "problem": "tabular",
        "problem_type": dataset["problem_type"],
        "target": dataset["target"],
        "classes": dataset["classes"],
        "columns": dataset["columns"],
        "column_types": column_types(dataset),
        "threshold": threshold,
        **({} if calibration is None else {"calibration": calibration}),
        "objective": objective,
        "metrics": metrics,
        "members": [member.document() for member in members],
        "libraries": versions([member.engine for member in members]),
        "files": digests(directory),
    }
    (directory / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False))


def column_types(dataset: dict[str, Any]) -> list[str]:
    """How each of the columns in dataset.json was read, in their order."""
    return [column["type"] for column in dataset["profile"]]


def digests(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file in a folder but the manifest, by its path."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {str(path.relative_to(directory)): digest(path) for path in files}


def versions(engines: list[str]) -> dict[str, str]:
    """The versions of the libraries behind these engines."""
    names = ["numpy", *sorted({_LIBRARIES[engine] for engine in engines})]
    return {name: importlib.metadata.version(name) for name in names}
