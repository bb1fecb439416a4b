"""A trial: honest out-of-fold predictions, a refit on all rows, and an archive that answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix

from pilothouse.data.features import Features
from pilothouse.data.selection import Selection
from pilothouse.errors import JobFailed, TrialTimeout
from pilothouse.problems.evaluate import evaluate
from pilothouse.problems.tabular import bag, stack, threshold
from pilothouse.problems.tabular import train as training
from pilothouse.problems.tabular.bag import Bag, others_choose
from pilothouse.problems.tabular.dataset import TRAIN, VALIDATION, Dataset
from pilothouse.problems.tabular.finished import Finished
from pilothouse.problems.tabular.held_out import HeldOut
from pilothouse.problems.tabular.predictor import TabularPredictor
from pilothouse.problems.tabular.read import Reading, prepare
from pilothouse.problems.tabular.train import train
from pilothouse.problems.tabular.trial import Trial

ROWS = 600


def table(kind: str, rows: int = ROWS, *, shuffled: bool = False) -> pa.Table:
    rng = np.random.default_rng(0)
    a, b, c = rng.normal(size=rows), rng.normal(size=rows), rng.choice(["red", "green", "blue"], rows)
    signal = 2 * a - b + (c == "red") + 0.5 * rng.normal(size=rows)
    y = {
        "Regression": [f"{value * 100:.3f}" for value in signal],
        "BinaryClassification": np.where(signal > 1, "yes", "no").tolist(),
        "MulticlassClassification": np.digitize(signal, [-2, 0, 2]).astype(str).tolist(),
    }[kind]
    if shuffled:
        y = [y[i] for i in rng.permutation(rows)]
    weight = [f"{value:.3f}" for value in rng.random(rows) + 0.5]
    return pa.table({"a": [f"{v:.5f}" for v in a], "b": [f"{v:.5f}" for v in b], "c": c.tolist(), "w": weight, "y": y})


def dataset(folder: Path, kind: str, **kwargs: Any) -> Path:
    shuffled = kwargs.pop("shuffled", False)
    prepare(table(kind, shuffled=shuffled), None, Reading("y", problem_type=kind, **kwargs), folder / "dataset")
    return folder / "dataset"


def run(folder: Path, data: Path, name: str = "trial", **document: Any) -> dict[str, Any]:
    where = folder / name
    where.mkdir()
    facts = json.loads((data / "dataset.json").read_text())
    trial = {"name": name, "algorithm": "lightgbm", "params": {}, "folds": 5, "seed": 1, "threads": 1}
    (where / "trial.json").write_text(json.dumps(trial | {"metric": facts["metric"]} | document))
    train(str(where), str(data))
    return dict(json.loads((where / "result.json").read_text()))


@pytest.mark.parametrize("kind", ["Regression", "BinaryClassification", "MulticlassClassification"])
@pytest.mark.parametrize("algorithm", ["lightgbm", "linear-learner"])
def test_a_trial_writes_all_that_a_candidate_needs(tmp_path: Path, kind: str, algorithm: str) -> None:
    data = dataset(tmp_path, kind)
    result = run(tmp_path, data, algorithm=algorithm)
    prepared = Dataset.load(data)
    assert len(np.load(tmp_path / "trial" / "oof.npy")) == len(prepared.rows(TRAIN))
    assert len(np.load(tmp_path / "trial" / "validation.npy")) == len(prepared.rows(VALIDATION))
    assert set(result["metrics"]) == {"Train", "Validation"}
    assert result["metrics"]["Validation"]["InferenceLatency"] > 0
    low, high = sorted(result["metrics"][part][prepared.metric] for part in ("Train", "Validation"))
    assert low <= result["ranking"] <= high
    assert result["noise"] > 0
    assert result["standing"] == result["ranking"]
    assert (result["threshold"] is None) == (kind != "BinaryClassification")
    prediction = TabularPredictor.load(tmp_path / "trial" / "model").predict([["0.5", "-1", "red", "1"]])
    assert (prediction.values is None) == (kind != "Regression")


def test_the_folds_forests_wait_on_disk_and_are_gone_at_the_end(tmp_path: Path, monkeypatch: Any) -> None:
    data, params = dataset(tmp_path, "MulticlassClassification"), {"n_estimators": 20}
    shelved = run(tmp_path, data, "shelved", algorithm="extra-trees", params=params)
    assert not (tmp_path / "shelved" / "folds").exists()
    monkeypatch.setattr(bag, "_SHELVED", ())
    kept = run(tmp_path, data, "kept", algorithm="extra-trees", params=params)
    for file in ("oof.npy", "validation.npy", "model/members/0/forest.safetensors"):
        assert (tmp_path / "shelved" / file).read_bytes() == (tmp_path / "kept" / file).read_bytes()
    assert shelved["ranking"] == kept["ranking"]


def test_a_forest_whose_refit_has_no_time_ships_the_folds_forests(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(training, "refit", lambda *_: None)
    data = dataset(tmp_path, "Regression")
    result = run(tmp_path, data, algorithm="randomforest", params={"n_estimators": 20}, folds=3)
    assert not result["refitted"]
    assert len(list((tmp_path / "trial" / "model" / "members").iterdir())) == 3
    prediction = TabularPredictor.load(tmp_path / "trial" / "model").predict([["0.5", "-1", "red", "1"]])
    assert np.isfinite(prediction.values).all()


def test_a_refit_that_predicts_no_numbers_ships_the_folds_models(tmp_path: Path, monkeypatch: Any) -> None:
    refit = training.refit

    def diverged(*given: Any) -> Any:
        model = refit(*given)
        model._intercept = np.full_like(model._intercept, np.nan)
        return model

    monkeypatch.setattr(training, "refit", diverged)
    result = run(tmp_path, dataset(tmp_path, "BinaryClassification"), algorithm="linear-learner")
    assert not result["refitted"]
    assert len(list((tmp_path / "trial" / "model" / "members").iterdir())) == 5
    prediction = TabularPredictor.load(tmp_path / "trial" / "model").predict([["0.5", "-1", "red", "1"]])
    assert np.isfinite(prediction.probabilities).all()


def test_an_archive_that_answers_with_no_number_fails_its_candidate(tmp_path: Path) -> None:
    run(tmp_path, dataset(tmp_path, "Regression"), algorithm="linear-learner")
    model = tmp_path / "trial" / "model"
    arrays = load_file(model / "members" / "0" / "linear.safetensors")
    save_file(arrays | {"intercept": arrays["intercept"] * np.nan}, model / "members" / "0" / "linear.safetensors")
    with pytest.raises(JobFailed, match="not finite numbers"):
        training.one_row_latency(model, ["0.5", "-1", "red", "1"])


def test_metrics_are_those_of_the_predictions_that_were_kept(tmp_path: Path) -> None:
    data = dataset(tmp_path, "BinaryClassification", weight="w")
    result = run(tmp_path, data)
    prepared = Dataset.load(data)
    assert prepared.w is not None
    rows = prepared.rows(TRAIN)
    oof = np.load(tmp_path / "trial" / "oof.npy").astype(np.float64)
    judged = ("BinaryClassification", prepared.metric, prepared.y[rows], oof)
    by_fold = threshold.choose_by_fold(*judged, prepared.folds[rows], prepared.w[rows])
    for name, part, file, cut in (
        ("Train", TRAIN, "oof", by_fold),
        ("Validation", VALIDATION, "validation", result["threshold"]),
    ):
        rows = prepared.rows(part)
        kept = np.load(tmp_path / "trial" / f"{file}.npy").astype(np.float64)
        weights = prepared.w[rows]
        again = evaluate("BinaryClassification", prepared.y[rows], kept, weights=weights, threshold=cut)
        for metric, value in again.items():
            assert result["metrics"][name][metric] == pytest.approx(value, abs=1e-5)


def test_a_shuffled_target_scores_at_chance(tmp_path: Path) -> None:
    data = dataset(tmp_path, "BinaryClassification", shuffled=True)
    result = run(tmp_path, data)
    assert result["metrics"]["Train"]["AUC"] == pytest.approx(0.5, abs=0.08)
    assert result["metrics"]["Validation"]["AUC"] == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize("algorithm", ["lightgbm", "xgboost"])
def test_the_unit_of_the_weights_does_not_matter(tmp_path: Path, algorithm: str) -> None:
    given = table("BinaryClassification")
    small = given.set_column(3, "w", pa.array([f"{text}e-6" for text in given["w"].to_pylist()]))
    for name, one in (("given", given), ("small", small)):
        prepare(one, None, Reading("y", weight="w"), tmp_path / f"{name}-data")
        run(tmp_path, tmp_path / f"{name}-data", name, algorithm=algorithm, params={"max_rounds": 50}, folds=2)
    oof = [np.load(tmp_path / name / "oof.npy") for name in ("given", "small")]
    np.testing.assert_allclose(oof[1], oof[0], atol=1e-3)


def test_the_other_folds_choose_a_folds_rounds() -> None:
    assert others_choose([10, 20, 60]) == [40, 35, 15]
    assert others_choose([None, None]) == [None, None]
    assert others_choose([7]) == [7]


def test_a_refit_has_more_rounds_by_the_root_of_the_growth_in_rows() -> None:
    bag = Bag([], [90, 110], [None, None], np.zeros(80), np.arange(80) % 2, [])
    assert bag.refit_rounds(160) == 200
    assert bag.refit_rounds(40) == 100
    assert Bag([], [None, None], [None, None], bag.oof, bag.numbers, []).refit_rounds(160) is None


def test_of_capped_rows_a_refit_has_more_rounds_only_as_far_as_it_learns_from_more() -> None:
    bag = Bag([], [90, 110], [None, None], np.zeros(80), np.arange(80) % 2, [])
    assert bag.refit_rounds(160, most=40) == 100
    assert bag.refit_rounds(160, most=10) == 100
    assert bag.refit_rounds(250, most=160) == 200
    split = HeldOut([], [90], [90], np.zeros(10), np.zeros(10), [], learnt=40)
    assert (split.refit_rounds(160), split.refit_rounds(160, most=40)) == (180, 90)


@pytest.mark.parametrize("cap", [{}, {"max_rows": 150}])
def test_a_capped_refit_has_the_rounds_of_its_folds(tmp_path: Path, cap: dict[str, int]) -> None:
    data = dataset(tmp_path, "Regression")
    result = run(tmp_path, data, params={"max_rounds": 20, "patience": 100, **cap}, folds=2)
    mean = round(sum(result["fold_rounds"]) / 2)
    assert (result["rounds"] == mean) if cap else (result["rounds"] > mean)


@pytest.mark.parametrize(
    ("document", "members"),
    [
        ({}, 6),
        ({"folds": 3}, 1),
        ({"algorithm": "extra-trees", "params": {"n_estimators": 20}}, 1),
    ],
    ids=["small", "few folds", "a forest"],
)
def test_the_folds_models_vote_beside_the_refit_where_they_are_small(
    tmp_path: Path, document: dict[str, Any], members: int
) -> None:
    result = run(tmp_path, dataset(tmp_path, "BinaryClassification"), **document)
    assert result["refitted"]
    listed = json.loads((tmp_path / "trial" / "model" / "manifest.json").read_text())["members"]
    assert [member["weight"] for member in listed] == [pytest.approx(1 / members)] * members


def test_a_large_refit_ships_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_LARGEST_IN_BAG", 100)
    run(tmp_path, dataset(tmp_path, "BinaryClassification"))
    assert len(json.loads((tmp_path / "trial" / "model" / "manifest.json").read_text())["members"]) == 1


@pytest.mark.parametrize("ending", [TrialTimeout("late"), None], ids=["no time for a refit", "a refit cut short"])
def test_the_folds_models_are_shipped_where_time_is_too_short_for_a_refit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: Exception | None
) -> None:
    def refit(*_arguments: object) -> None:
        if ending is not None:
            raise ending

    monkeypatch.setattr(training, "refit", refit)
    data = dataset(tmp_path, "Regression")
    result = run(tmp_path, data)
    assert not result["refitted"]
    model = tmp_path / "trial" / "model"
    members = json.loads((model / "manifest.json").read_text())["members"]
    assert [member["weight"] for member in members] == [pytest.approx(1 / result["folds"])] * result["folds"]
    prepared = Dataset.load(data)
    shipped = TabularPredictor.load(model).vote(prepared.features.take(prepared.rows(VALIDATION)))
    np.testing.assert_allclose(shipped, np.load(tmp_path / "trial" / "validation.npy"), rtol=1e-6)


def test_rows_with_copies_are_also_predicted_by_a_model_that_saw_one_but_not_measured_by_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=400).round(6)
    y = rng.choice(["a", "b", "c"], size=400)
    texts, labels = [*map(str, x), *map(str, x[:150])], [*y, *y[:150]]
    table = pa.table({"x": texts, "y": labels})
    data = tmp_path / "copies"
    prepare(table, None, Reading("y", "MulticlassClassification", min_rows=100), data)
    result = run(tmp_path, data, algorithm="extra-trees")
    prepared = Dataset.load(data)
    assert prepared.groups is not None
    rows = prepared.rows(TRAIN)
    oof, familiar = (np.load(tmp_path / "trial" / f"{name}.npy") for name in ("oof", "familiar"))
    _, place, sizes = np.unique(prepared.groups[rows], return_inverse=True, return_counts=True)
    copied = sizes[place] > 1
    np.testing.assert_array_equal(oof[~copied], familiar[~copied])
    right = familiar.argmax(axis=1) == prepared.y[rows]
    assert right[copied].mean() > 0.95
    assert result["metrics"]["Train"]["Accuracy"] < 0.45

    fed = [Finished.load(tmp_path / "trial")]
    honest, as_met = stack.stacked(prepared, fed).features.numeric, stack.as_met(prepared, fed)
    changed = np.flatnonzero((honest != as_met.numeric).any(axis=1))
    assert set(changed) <= set(rows[copied])
    assert len(changed) > 0.7 * copied.sum()
    run(tmp_path, data, "top", algorithm="extra-trees", inputs=[str(tmp_path / "trial")])
    second_oof, second_familiar = (np.load(tmp_path / "top" / f"{name}.npy") for name in ("oof", "familiar"))
    np.testing.assert_array_equal(second_oof[~copied], second_familiar[~copied])
    assert (second_oof[copied] != second_familiar[copied]).any(axis=1).mean() > 0.7


def test_the_same_seed_gives_the_same_candidate(tmp_path: Path) -> None:
    data = dataset(tmp_path, "MulticlassClassification")
    first, second = run(tmp_path, data, "first"), run(tmp_path, data, "second")
    assert first["rounds"] == second["rounds"]
    np.testing.assert_array_equal(np.load(tmp_path / "first/oof.npy"), np.load(tmp_path / "second/oof.npy"))
    files = [json.loads((tmp_path / n / "model/manifest.json").read_text())["files"] for n in ("first", "second")]
    assert files[0] == files[1]


def test_fewer_folds_than_the_job_has_are_dealt_anew(tmp_path: Path) -> None:
    result = run(tmp_path, dataset(tmp_path, "BinaryClassification"), folds=3)
    assert len(result["fold_rounds"]) == 3
    assert result["metrics"]["Train"]["AUC"] > 0.8


def test_a_deadline_ends_boosting_early_with_a_whole_candidate(tmp_path: Path) -> None:
    data = dataset(tmp_path, "Regression")
    endless = {"max_rounds": 10_000_000, "patience": 10_000_000, "num_leaves": 100, "min_data_in_leaf": 1}
    result = run(tmp_path, data, params=endless, deadline_seconds=8)
    assert all(0 < rounds < 10_000_000 for rounds in (result["rounds"], *result["fold_rounds"]))


def test_a_trial_without_time_is_stopped_with_a_reason(tmp_path: Path) -> None:
    data = dataset(tmp_path, "Regression")
    with pytest.raises(TrialTimeout, match="after finishing 0 of 5 folds"):
        run(tmp_path, data, deadline_seconds=0)
    failure = json.loads((tmp_path / "trial" / "failure.json").read_text())
    assert failure["status"] == "Stopped"
    assert "time limit" in failure["reason"]


def test_a_broken_trial_is_failed_with_a_reason(tmp_path: Path) -> None:
    data = dataset(tmp_path, "Regression")
    with pytest.raises(Exception, match="num_leaves"):
        run(tmp_path, data, params={"num_leaves": -5})
    assert json.loads((tmp_path / "trial" / "failure.json").read_text())["status"] == "Failed"
    assert not (tmp_path / "trial" / "result.json").exists()


def test_a_class_with_one_row_does_not_break_a_fold(tmp_path: Path) -> None:
    given = table("MulticlassClassification")
    labels = given["y"].to_pylist()
    labels[3] = "once"
    prepare(given.set_column(4, "y", pa.array(labels)), None, Reading("y"), tmp_path / "dataset")
    result = run(tmp_path, tmp_path / "dataset")
    assert np.isfinite(result["metrics"]["Train"]["LogLoss"])


def test_a_refit_on_many_validation_rows_reads_them_block_by_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = table("Regression")
    data = prepare(given.slice(0, 100), given.slice(100), Reading("y", min_rows=100), tmp_path / "dataset")
    monkeypatch.setattr("pilothouse.data.selection.LARGE_CELLS", 200 * data.features.columns)
    for algorithm, kind in (("xgboost", Selection), ("lightgbm", Features)):
        trial = Trial("a", algorithm, {}, 5, 0, "MSE")
        assert type(bag.taken(data, None, trial)[0]) is kind


def test_only_linear_models_are_given_the_sparse_features(tmp_path: Path) -> None:
    plain = Dataset.load(dataset(tmp_path, "Regression"))
    data = replace(plain, features=replace(plain.features, sparse=csr_matrix((len(plain), 3), dtype=np.float32)))
    assert bag.as_read(data, "lightgbm").features.sparse is None
    assert bag.as_read(data, "linear-learner") is data
    assert bag.as_read(plain, "lightgbm") is plain


def test_validation_rows_are_in_the_refit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = Dataset.load(dataset(tmp_path, "Regression"))
    seen: list[int] = []
    engine = training.engines.engine("lightgbm")
    fit = type(engine).fit
    monkeypatch.setattr(
        type(engine), "fit", lambda self, x, *args, **kw: seen.append(len(x)) or fit(self, x, *args, **kw)
    )
    run(tmp_path, data.directory)
    assert seen[-1] == len(data)
    assert all(rows < len(data.rows(TRAIN)) for rows in seen[:-1])
