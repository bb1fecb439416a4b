"""The same trials in the same order make the same models and the same ensemble, in whatever process."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pilothouse.problems.tabular import ensemble, train
from pilothouse.problems.tabular.read import Reading, prepare

ROWS = 500
TRIALS: dict[str, tuple[str, dict[str, Any]]] = {
    "one": ("lightgbm", {"max_rounds": 20, "crosses": 2}),
    "two": ("linear-learner", {"products": 20}),
    "three": ("extra-trees", {"n_estimators": 10, "min_samples_leaf": 20}),
    "four": ("catboost", {"max_rounds": 20}),
    "top": ("xgboost", {"max_rounds": 20}),
}
"""The last is of the second layer."""


def make(folder: Path) -> None:
    """Prepares data, trains the trials and combines them; a row's latency counts as the length of its trial's name."""
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=ROWS), rng.normal(size=ROWS), rng.integers(0, 40, ROWS)
    score = a * b + (c % 3) + rng.normal(size=ROWS)
    columns = {name: [f"{value:.4f}" for value in values] for name, values in (("a", a), ("b", b))}
    columns |= {"c": [f"c{code}" for code in c], "y": np.digitize(score, [0.0, 1.5]).astype(str).tolist()}
    prepare(pa.table(columns), None, Reading("y", problem_type="MulticlassClassification"), folder / "dataset")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "one_row_latency", lambda archive, _row: len(archive.parent.name) / 1000)
        for name, (algorithm, params) in TRIALS.items():
            inputs = [str(folder / other) for other in TRIALS if other != "top"] if name == "top" else []
            trial = {"name": name, "algorithm": algorithm, "params": params, "folds": 3, "seed": 7, "metric": "F1macro"}
            (folder / name).mkdir()
            (folder / name / "trial.json").write_text(json.dumps({**trial, "inputs": inputs}))
            train.train(str(folder / name), str(folder / "dataset"))
        (folder / "all").mkdir()
        result = ensemble.combine(folder / "all", folder / "dataset", [folder / name for name in TRIALS], "F1macro")
    (folder / "all" / "members.json").write_text(json.dumps(result["members"]))


def digests(folder: Path) -> dict[str, str]:
    """Of the weights, of all predictions, and of what archives hold but CatBoost's files, which tell the time."""
    paths = [*folder.glob("*/*.npy"), folder / "all" / "members.json", *folder.glob("*/model/**/*")]
    files = [path for path in paths if path.is_file() and path.suffix != ".cbm"]
    return {str(path.relative_to(folder)): hashlib.sha256(timeless(path)).hexdigest() for path in files}


def timeless(path: Path) -> bytes:
    """The content of a file; of a manifest what it says but for the digests."""
    if path.name != "manifest.json":
        return path.read_bytes()
    return json.dumps({**json.loads(path.read_text()), "files": None}).encode()


def test_the_same_trials_make_the_same_weights_predictions_and_archives(tmp_path: Path) -> None:
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, __file__, str(tmp_path / seed)], env=environment, check=True)
    first, second = digests(tmp_path / "1"), digests(tmp_path / "2")
    assert {"all/members.json", "all/oof.npy", "top/validation.npy", "all/model/manifest.json"} <= set(first)
    assert len(json.loads((tmp_path / "1" / "all" / "members.json").read_text())) > 1
    assert first == second


if __name__ == "__main__":
    make(Path(sys.argv[1]))
