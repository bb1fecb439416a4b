"""Makes the stored models beside this file: `python tests/data/models/make.py RELEASE`, once for each release.

A file that is there is never made again: later releases must load it as it is, and predict what it predicted.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pilothouse import engines
from pilothouse.contract.pack import pack
from pilothouse.problems.base import load_predictor
from pilothouse.problems.tabular import ensemble, stages, train, tuned, verdict
from pilothouse.problems.tabular.calibration import Calibration
from pilothouse.problems.tabular.dataset import TRAIN, Dataset
from pilothouse.problems.tabular.finished import Finished
from pilothouse.problems.tabular.pipelines.effects import Lessons
from pilothouse.problems.tabular.pipelines.pipeline import DataPipeline, PipelineSpec
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.specification import FeatureSpecification
from pilothouse.problems.tabular.stages import AlgorithmStage, FeatureStage
from pilothouse.problems.tabular.trial import Trial

ROWS = 300
QUICK = {
    "randomforest": {"n_estimators": 8},
    "extra-trees": {"n_estimators": 8},
    "nn-torch": {"max_rounds": 4, "width": 16, "members": 2},
    "fastai": {"max_rounds": 4, "layers": [16]},
    "mlp": {"max_rounds": 4},
}
STAGED = {
    "tuned-xgboost": (
        PipelineSpec("dpp0", "xgboost", "raw", products=True, one_hot=2, frequencies=True, ranks=True),
        "F1",
    ),
    "tuned-linear-learner": (PipelineSpec("dpp1", "linear-learner", "robust", hinges=True, one_hot=3, terms=4), "F1"),
    "tuned-mlp": (PipelineSpec("dpp2", "mlp", "normal", one_hot=2, frequencies=True), "F1"),
    "tuned-effects": (PipelineSpec("dpp4", "linear-learner", "robust", effects=True), "F1"),
    "tuned-values": (PipelineSpec("dpp3", "xgboost", "raw", one_hot=3), "MSE"),
}
"""Candidates in stages: pipelines that have all kinds of blocks between them, and objectives."""

TUNED = {"xgboost": {"max_rounds": 10}, "linear-learner": {"knots": 0}, "mlp": {"max_rounds": 4, "layers": [8]}}
MIXED = {
    "statistics": ("xgboost", {"max_rounds": 10}),
    "products": ("linear-learner", {"products": 20}),
    "leaves": ("catboost", {"max_rounds": 10, "grow_policy": "Lossguide", "max_leaves": 8}),
    "forest": ("extra-trees", {"n_estimators": 4}),
}
"""Members of the ensembles on mixed tables: with statistics of a category, products, trees that aren't symmetric."""

FEEDERS = ["lightgbm", "linear-learner", "nn-torch"]
QUESTIONS = [
    ["0.5", "red", "2024-03-01", "a long road to go"],
    ["-1.25", "blue", "2021-12-31T23:59:59", "short words only"],
    ["", "never seen", "", ""],
    ["1e3", "green", "not a date", "?"],
]

MIXED_QUESTIONS = [
    ["shop 7", "$1,234.50", "1.5,-2,0.25,0,1,1", "1.5"],
    ["shop 49", "12", "-1", "-1"],
    ["never seen", "", "", ""],
    ["shop 0", "€99", "0.5,x,2", "1e3"],
]


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    x = rng.normal(size=ROWS)
    color = rng.choice(["red", "green", "blue"], ROWS)
    day = [f"20{20 + i % 5}-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(ROWS)]
    words = ["long", "short", "road", "words", "go", "only", "a", "to"]
    text = [" ".join(rng.choice(words, 6)) + f" {i}" for i in range(ROWS)]
    y = np.where(x + (color == "red") > 0.3, "yes", "no")
    return pa.table({"x": [f"{v:.4f}" for v in x], "color": color, "day": day, "text": text, "y": y})


def dated() -> pa.Table:
    """The same with a number to cross and a date that lies days after the other."""
    first, rng = table(), np.random.default_rng(1)
    z = [f"{v:.3f}" for v in rng.uniform(1, 5, ROWS)]
    due = [f"20{20 + i % 5}-{1 + i % 12:02}-{1 + i % 28:02} 06:00" for i in range(1, ROWS + 1)]
    return first.add_column(3, "due", pa.array(due)).add_column(4, "z", pa.array(z))


def numbers() -> pa.Table:
    """The same with numbers to predict."""
    first, rng = table(), np.random.default_rng(2)
    value = np.array(first["x"].to_pylist(), dtype=float) * 2 + rng.normal(scale=0.1, size=ROWS)
    return first.set_column(4, "y", pa.array([f"{v:.4f}" for v in value]))


def mixed(target: str) -> tuple[pa.Table, dict[str, str]]:
    """A table whose columns are read in ways that the others' are not, and the type that is asked for one of them. The
    `target` is one of three classes, or values.
    """
    rng = np.random.default_rng(3)
    shop, paid, series = rng.integers(0, 50, ROWS), rng.uniform(0, 3000, ROWS), rng.normal(size=(ROWS, 6)).round(2)
    pull = (shop % 7) / 2 + paid / 1000 * series[:, 0]
    classes = np.array(["low", "mid", "high"])[np.digitize(pull, [1, 3])]
    columns = {
        "shop": [f"shop {n}" for n in shop],
        "paid": [f"${v:,.2f}" for v in paid],
        "series": [",".join(map(str, row)) for row in series.tolist()],
        "first": [str(v) for v in series[:, 0].tolist()],
        "y": [f"{v:.3f}" for v in pull] if target == "values" else classes,
    }
    return pa.table(columns), {"series": "sequence"}


def make_mixed(work: Path, target: str) -> Path:
    """Trains an ensemble on such a table; its archive's folder."""
    table, types = mixed(target)
    folder = work / target
    folder.mkdir()
    reading = Reading("y", min_rows=100, folds=3, specification=FeatureSpecification(types=types))
    data = prepare(table, None, reading, folder / "dataset")
    for name, (algorithm, params) in MIXED.items():
        (folder / name).mkdir()
        result = train.run(train.Trial(name, algorithm, params, 3, 0, data.metric), data, folder / name)
        train.write_json(folder / name / train.RESULT, result)
    voters = [(Finished.load(folder / name), 1 / len(MIXED)) for name in MIXED]
    folds = np.asarray(data.folds[data.rows(TRAIN)])
    reached = verdict.reach(data, data.metric, voters[0][0].oof, voters[0][0].validation, folds)
    return ensemble.compose(folder / "model", voters, data, reached, data.metric)


def stage(folder: Path, data: Dataset, spec: PipelineSpec, metric: str) -> dict[str, Any]:
    """Makes a candidate's stages in `folder`; what they answer to the questions."""
    rows = data.rows(TRAIN)
    fitted = DataPipeline.fit(spec, data.features.take(rows), 0, Lessons.of(data, rows))
    first = stages.save_features(folder / "features", data, fitted)
    fitted.write(data.features, folder / "matrix.npy")
    trial = Trial(spec.name, spec.algorithm, TUNED[spec.algorithm], 3, 0, metric)
    tuned.run(trial, tuned.on_matrix(data, folder / "matrix.npy"), folder, first)
    (folder / "model").rename(folder / "algorithm")
    if data.classes:
        stages.save_labels(folder / "labels", data.classes)
    matrix = FeatureStage.load(first).transform(QUESTIONS)
    predicted = AlgorithmStage.load(folder / "algorithm").predict(matrix)
    cells = [[None if np.isnan(cell) else float(cell) for cell in row] for row in matrix]
    return {"questions": QUESTIONS, "matrix": cells, "predicted": predicted.tolist(), "classes": data.classes}


def make_staged(work: Path, target: Path, data: Dataset) -> None:
    """Stores the candidates in stages: a folder for each, with an archive for each container."""
    values = prepare(numbers(), None, Reading("y", min_rows=100, folds=3), work / "numbers")
    for name, (spec, metric) in STAGED.items():
        if (target / name).exists():
            continue
        (work / name).mkdir()
        document = stage(work / name, values if metric == "MSE" else data, spec, metric)
        (target / name).mkdir()
        for part in ("features", "algorithm", "labels"):
            if (work / name / part).exists():
                pack(work / name / part, target / name / f"{part}.tar.gz")
        (target / name / "expected.json").write_text(json.dumps(document, indent=1) + "\n")


def main(release: str) -> None:
    target = Path(__file__).parent / release
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        data = prepare(table(), None, Reading("y", min_rows=100, folds=3), work / "dataset")
        names = sorted(engines.ENGINES)
        for name in names:
            params = {"max_rounds": 30} if name in ("lightgbm", "xgboost", "catboost") else QUICK.get(name, {})
            (work / name).mkdir()
            result = train.run(train.Trial(name, name, params, 3, 0, "F1"), data, work / name)
            train.write_json(work / name / train.RESULT, result)
        (work / "ensemble").mkdir()
        ensemble.combine(work / "ensemble", work / "dataset", [work / name for name in names], "F1")
        (work / "stacked").mkdir()
        stacked = train.Trial("stacked", "lightgbm", {"max_rounds": 10}, 3, 0, "F1")
        train.run(replace(stacked, inputs=[str(work / name) for name in FEEDERS]), data, work / "stacked")
        voters = [(Finished.load(work / name), 0.5) for name in ("lightgbm", "extra-trees")]
        voters[0] = (replace(voters[0][0], applied=Calibration(1.3, [0.1, -0.1])), 0.5)
        folds = np.asarray(data.folds[data.rows(TRAIN)])
        reached = verdict.reach(data, "F1", voters[1][0].oof, voters[1][0].validation, folds)
        (work / "calibrated").mkdir()
        ensemble.compose(work / "calibrated" / "model", voters, data, reached, "F1")
        (work / "crossed").mkdir()
        crossing = train.Trial("crossed", "lightgbm", {"max_rounds": 10, "crosses": 2}, 3, 0, "F1")
        train.run(
            crossing, prepare(dated(), None, Reading("y", min_rows=100, folds=3), work / "dated"), work / "crossed"
        )
        for name in [*names, "ensemble", "stacked", "calibrated", "crossed", "values", "classes"]:
            if (target / f"{name}.tar.gz").exists():
                continue
            questions = QUESTIONS
            if name == "crossed":
                questions = [[*q[:3], "2024-03-03", "2.5", *q[3:]] for q in QUESTIONS]
            elif name in ("values", "classes"):
                make_mixed(work, name)
                questions = MIXED_QUESTIONS
            pack(work / name / "model", target / f"{name}.tar.gz")
            prediction = load_predictor(work / name / "model").predict(questions)
            if prediction.values is None:
                answers = {"labels": prediction.labels, "probabilities": np.asarray(prediction.probabilities).tolist()}
            else:
                answers = {"values": prediction.values.tolist()}
            document = {"questions": questions, **answers}
            (target / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
        make_staged(work, target, data)


if __name__ == "__main__":
    main(sys.argv[1])
