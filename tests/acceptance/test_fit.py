"""People without AWS code: `pilothouse fit`, `pilothouse predict`, `from pilothouse import fit`."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from sklearn.datasets import load_breast_cancer, make_regression

from pilothouse import Model, fit
from pilothouse.errors import ConfigurationError, JobFailed

pytestmark = pytest.mark.slow

TARGET = "diagnosis"


def records(start: int, stop: int) -> list[dict[str, Any]]:
    data = load_breast_cancer()
    names = [str(name).replace(" ", "_") for name in data.feature_names]
    return [
        {TARGET: str(data.target_names[label]), **dict(zip(names, values.tolist(), strict=True))}
        for label, values in zip(data.target[start:stop], data.data[start:stop], strict=True)
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pilothouse", *arguments]


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("fit")
    data = write(folder / "cancer.csv", records(0, 400))
    options = ["--target", TARGET, "--max-candidates", "3", "--time", "2m", "--metric", "F1"]
    done = run("fit", str(data), *options, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "cancer-model", done


def test_fit_says_what_it_trained_and_where_the_model_is(fitted: Any) -> None:
    folder, done = fitted
    assert "Completed" in done.stdout
    assert "F1" in done.stdout
    assert f"the best model is in {folder.name}" in done.stdout
    assert (folder / "manifest.json").is_file()


def test_the_model_s_leaderboard_is_ranked_and_complete(fitted: Any) -> None:
    model = Model(fitted[0])
    assert model.problem_type == "BinaryClassification"
    scores = [entry["metrics"]["F1"] for entry in model.leaderboard]
    assert scores == sorted(scores, reverse=True)
    assert {"Accuracy", "AUC", "F1", "LogLoss"} <= set(model.metrics)


def test_predict_writes_a_line_for_each_row_and_is_mostly_right(fitted: Any, tmp_path: Path) -> None:
    truth = records(400, 569)
    shuffled = [dict(reversed(row.items())) for row in truth]
    done = run("predict", str(fitted[0]), str(write(tmp_path / "rows.csv", shuffled)))
    answers = list(csv.DictReader(io.StringIO(done.stdout)))
    assert list(answers[0]) == ["predicted_label", "probability", "probability_benign", "probability_malignant"]
    assert len(answers) == len(truth)
    right = sum(said["predicted_label"] == row[TARGET] for said, row in zip(answers, truth, strict=True))
    assert right / len(truth) > 0.9
    for answer in answers:
        assert float(answer["probability"]) == float(answer[f"probability_{answer['predicted_label']}"])


def test_the_api_predicts_what_the_command_does(fitted: Any, tmp_path: Path) -> None:
    rows = records(400, 420)
    printed = run("predict", str(fitted[0]), str(write(tmp_path / "rows.csv", rows)))
    labels = [row["predicted_label"] for row in csv.DictReader(io.StringIO(printed.stdout))]
    assert Model(fitted[0]).predict(rows) == labels


def test_fit_in_python_takes_a_frame_and_finds_a_regression(tmp_path: Path) -> None:
    import pandas

    x, y = make_regression(n_samples=200, n_features=4, noise=20.0, random_state=0)
    frame = pandas.DataFrame(x, columns=list("abcd")).assign(price=y)
    seen: list[str] = []
    model = fit(
        frame,
        "price",
        time="2m",
        max_candidates=1,
        out=tmp_path / "model",
        progress=lambda now: seen.append(now.job["AutoMLJobStatus"]),
    )
    assert model.problem_type == "Regression"
    assert seen[-1] == "Completed"
    assert model.metrics["R2"] > 0.5
    assert len(model.predict(frame.head(3))) == 3


def test_a_wrong_target_is_one_sentence(tmp_path: Path) -> None:
    data = write(tmp_path / "cancer.csv", records(0, 100))
    done = run("fit", str(data), "--target", "nope", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "Error: Target attribute name nope does not exist in header.\n"
    assert not (tmp_path / "cancer-model").exists()


def test_too_few_rows_and_a_taken_folder_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(JobFailed, match="50"):
        fit(records(0, 40), TARGET, out=tmp_path / "new")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("")
    with pytest.raises(ConfigurationError, match="exists already"):
        fit(records(0, 400), TARGET, out=tmp_path / "taken")


def test_ctrl_c_keeps_what_is_finished_and_leaves_no_process(tmp_path: Path) -> None:
    data = write(tmp_path / "cancer.csv", records(0, 569))
    arguments = command("fit", str(data), "--target", TARGET, "--home", str(tmp_path / "home"))
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "Completed" in line:
                break
        family = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert "the best model is in cancer-model" in rest
    assert psutil.wait_procs(family, timeout=120)[1] == []
    assert Model(tmp_path / "cancer-model").predict(records(0, 2))


def test_the_records_of_a_fit_can_be_served(fitted: Any, start_server: Any, tmp_path: Path) -> None:
    write(tmp_path / "cancer.csv", records(0, 300))
    home = tmp_path / "home"
    fit(tmp_path / "cancer.csv", TARGET, max_candidates=1, out=tmp_path / "model", home=home)
    jobs = start_server(home=home).client("sagemaker").list_auto_ml_jobs()["AutoMLJobSummaries"]
    assert [job["AutoMLJobStatus"] for job in jobs] == ["Completed"]
