"""The benchmark beside other tools: the split, the scorer, and the verdict on the targets."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.usefixtures("benchmarks_on_path")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """103 rows of three classes, one of which has three rows."""
    where = tmp_path / "pets"
    where.mkdir()
    kinds = ["cat"] * 60 + ["dog"] * 40 + ["newt"] * 3
    with (where / "pets.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "kind"], *([str(i), kind] for i, kind in enumerate(kinds))])
    (where / "meta.json").write_text(json.dumps({"problem": "multiclass", "target": "kind", "files": ["pets.csv"]}))
    return where


def line(tool: str, loss: float, **members: Any) -> dict[str, Any]:
    """A line of results on a binary set at 60 s."""
    measured = {
        "tool": tool,
        "set": "pets",
        "problem": "binary",
        "budget": 60,
        "wanted_objective": None,
        "seed": 0,
        "metrics": {"LogLoss": loss},
        "seconds": 60.0,
        "overshoot": 0.0,
        "peak_memory_bytes": 100,
        "many_seconds": 1.0,
    }
    return measured | members


def verdicts(lines: list[dict[str, Any]]) -> dict[str, bool | None]:
    from peers_bench import results, targets

    found = targets.verdicts(results.Results(lines, results.Setting(60, "", 0)))
    return {one.target.split(" ")[0] + " " + one.target.split(" ")[1]: one.met for one in found}


def test_a_rare_class_of_a_split_is_in_its_training_rows(folder: Path) -> None:
    from peers_bench import sets

    split = sets.load(folder)
    assert Counter(row[1] for row in split.test) == {"cat": 12, "dog": 8}
    assert Counter(row[1] for row in split.train) == {"cat": 48, "dog": 32, "newt": 3}


def test_a_split_is_the_same_for_every_tool_and_loses_no_row(folder: Path) -> None:
    from peers_bench import sets

    split, again = sets.load(folder), sets.load(folder)
    assert (split.train, split.test) == (again.train, again.test)
    assert sorted(int(row[0]) for row in split.train + split.test) == list(range(103))


def test_the_files_for_predictions_do_not_hold_the_target(folder: Path, tmp_path: Path) -> None:
    from peers_bench import sets

    split = sets.load(folder)
    split.write(tmp_path)
    test, many = (list(csv.reader((tmp_path / name).open(newline=""))) for name in ("test.csv", "many.csv"))
    assert test == [["id"], *([row[0]] for row in split.test)]
    assert len(many) == sets.MANY_ROWS + 1


def test_scores_do_not_depend_on_the_order_of_a_tools_classes() -> None:
    from peers_bench.scoring import Predictions, score

    p = np.array([[0.7, 0.3], [0.4, 0.6], [0.2, 0.8]])
    straight = score("binary", ["a", "b", "b"], ["a", "b"], Predictions(None, p, ["a", "b"]))
    turned = score("binary", ["a", "b", "b"], ["a", "b"], Predictions(None, p[:, ::-1], ["b", "a"]))
    assert straight == turned
    assert straight["LogLoss"] == pytest.approx(-np.log([0.7, 0.6, 0.8]).mean())
    assert straight["F1"] == straight["AUC"] == 1.0


def test_labels_of_a_tool_go_before_its_most_probable_classes() -> None:
    from peers_bench.scoring import Predictions, score

    p = np.array([[0.6, 0.4], [0.6, 0.4]])
    found = score("binary", ["a", "b"], ["a", "b"], Predictions(None, p, ["a", "b"], ["a", "b"]))
    assert found["Accuracy"] == 1.0


def test_predictions_of_an_unknown_class_are_refused() -> None:
    from peers_bench.scoring import Predictions, score

    with pytest.raises(ValueError, match="'c', which the data do not have"):
        score("binary", ["a", "b"], ["a", "b"], Predictions(None, np.full((2, 2), 0.5), ["a", "c"]))


def test_targets_are_met_by_better_leaner_and_faster_results() -> None:
    own = line("pilothouse", 0.4, peak_memory_bytes=50, many_seconds=0.1, http_row_seconds=0.005)
    found = verdicts([own, line("autogluon-best", 0.5), line("catboost", 0.45)])
    assert set(found.values()) == {True}


def test_targets_are_missed_by_worse_larger_and_slower_results() -> None:
    own = line("pilothouse", 0.6, overshoot=9.0, peak_memory_bytes=500, many_seconds=2.0, http_row_seconds=0.02)
    found = verdicts([own, line("autogluon-best", 0.5), line("catboost", 0.45)])
    assert set(found.values()) == {False}


def test_no_target_is_met_where_pilothouse_failed() -> None:
    own = line("pilothouse", 0.4, peak_memory_bytes=50, many_seconds=0.1, http_row_seconds=0.005)
    failed = {**own, "set": "plants", "failed": "exit status 1"}
    found = verdicts([own, failed, line("autogluon-best", 0.5), line("catboost", 0.45)])
    assert set(found.values()) == {False}


def test_a_failed_run_ranks_behind_all_others() -> None:
    from peers_bench import results

    lines = [line("pilothouse", 0.4), line("flaml", 0.5), line("h2o", 0.3, failed="no Java")]
    ranks = results.Results(lines, results.Setting(60, "", 0)).average_ranks()
    assert ranks == {"pilothouse": 1.0, "flaml": 2.0, "h2o": 3.0}


def test_a_tool_is_ranked_among_those_that_ran_on_a_set() -> None:
    from peers_bench import results

    lines = [line("pilothouse", 0.3), line("h2o", 0.4), line("flaml", 0.2) | {"set": "other"}]
    lines.append(line("pilothouse", 0.3) | {"set": "other"})
    ranks = results.Results(lines, results.Setting(60, "", 0)).average_ranks()
    assert ranks == {"pilothouse": 1.5, "flaml": 1.0, "h2o": 2.0}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The run of a tool that has been handed labels which pandas would not leave as they are."""
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "benchmarks" / "peers_runners"))
    from run import Run

    task = {"target": "y", "problem": "multiclass", "classes": ["007", "NA", "None", "7", ""], "budget": 60, "seed": 0}
    (tmp_path / "task.json").write_text(json.dumps(task))
    (tmp_path / "train.csv").write_text('x,y,size\n1,None,3\nNone,007,3\n3,NA,4\n4,7,5\n5,"a, b",6\n')
    return Run(tmp_path)


def test_labels_reach_a_tool_as_they_stand_in_the_file(run: Any) -> None:
    train = run.train()
    assert train["y"].tolist() == ["None", "007", "NA", "7", "a, b"]
    assert train["y"].dtype == object
    assert train["x"].isna().tolist() == [False, True, False, False, False]


def test_what_is_predicted_is_read_when_there_is_a_model(run: Any) -> None:
    train = run.train()
    for name in ("test", "many"):
        (run.folder / f"{name}.csv").write_text("x,size\n7,8\n")
    test, many = run.tests(train.assign(size="large"))
    assert test["x"].tolist() == many["x"].tolist() == [7]
    assert test["size"].tolist() == ["8"]


def table(lines: list[dict[str, Any]]) -> list[list[str]]:
    """The cells of all rows of the report."""
    from peers_bench import report

    machine = {"cores": 2, "memory_bytes": 1 << 30, "system": "Linux"}
    shown = {"machine": machine, "objective": {"name": "F1", "test": None}, "remark": "", "version": "1"}
    return [row.strip("| ").split(" | ") for row in report.markdown([one | shown for one in lines]).splitlines()]


def metrics(loss: float, auc: float, accuracy: float) -> dict[str, Any]:
    return {"metrics": {"LogLoss": loss, "AUC": auc, "F1": 0.5, "Accuracy": accuracy}}


def test_a_rank_over_fewer_sets_says_so_and_is_not_the_first() -> None:
    lines = [line(tool, loss) | metrics(loss, 0.5, 0.5) for tool, loss in (("pilothouse", 0.3), ("flaml", 0.4))]
    lines += [one | {"set": "plants"} for one in lines]
    lines.append(line("h2o", 0.2) | metrics(0.2, 0.5, 0.5))
    rows = table(lines)
    assert next(row[2:] for row in rows if row[0] == "average rank") == ["**1.50**", "2.50", "1.00 (1 of 2)"]
    assert ["first on average rank", "1.50; the first is pilothouse with 1.50", "met"] in rows


def test_tools_are_ranked_by_other_metrics_where_a_set_has_them() -> None:
    prices = {"set": "prices", "problem": "regression"}
    lines = [line("pilothouse", 0.3) | metrics(0.3, 0.9, 0.6), line("flaml", 0.4) | metrics(0.4, 0.8, 0.7)]
    lines += [line("pilothouse", 0) | prices | {"metrics": {"RMSE": 2.0, "R2": 0.1, "MAE": 1.5}}]
    lines += [line("flaml", 0) | prices | {"metrics": {"RMSE": 3.0, "R2": 0.0, "MAE": 1.0}}]
    rows = table(lines)
    assert ["AUC, 1 sets", "**1.00**", "2.00"] in rows
    assert ["Accuracy, 1 binary sets", "2.00", "**1.00**"] in rows
    assert ["MAE, 1 sets", "2.00", "**1.00**"] in rows


def test_the_peers_are_those_of_the_results() -> None:
    from peers_bench.tools import ENVIRONMENTS, ROOT, TOOLS

    results = map(json.loads, (ROOT / "benchmarks" / "results" / "peers.jsonl").read_text().splitlines())
    versions = {one["tool"]: one["version"] for one in results if one["tool"] != "pilothouse"}
    assert len(versions) == len(TOOLS) - 1
    for tool, version in versions.items():
        pinned = [requirement for step in ENVIRONMENTS[TOOLS[tool].environment] for requirement in step]
        library = tool.partition("-")[0]
        assert any(one.startswith(library) and one.endswith(f"=={version}") for one in pinned), tool


def test_a_line_names_the_commit_that_it_was_measured_with(folder: Path, tmp_path: Path) -> None:
    from peers_bench import sets
    from peers_bench.environments import Environments
    from peers_bench.running import Runner
    from peers_bench.tools import ROOT, Tool

    tool = Tool("none", "none_run", "none", lacks=lambda: "it is not there")
    measured = Runner(Environments(tmp_path, {})).run(tool, sets.load(folder), 60)
    assert measured["failed"] == "skipped: it is not there"
    assert measured["commit"] is None or (ROOT / ".git").exists()
    assert "commit" in measured
