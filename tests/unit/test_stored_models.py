"""Models that earlier releases wrote: this one loads them and predicts what they predicted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pilothouse.contract.pack import unpack
from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import load_predictor

MODELS = Path(__file__).parent.parent / "data" / "models"
STORED = sorted(path.relative_to(MODELS) for path in MODELS.glob("*/*.tar.gz"))


@pytest.mark.parametrize("stored", STORED, ids=str)
def test_a_stored_model_predicts_what_it_predicted(stored: Path, tmp_path: Path) -> None:
    unpack(MODELS / stored, tmp_path)
    expected = json.loads((MODELS / str(stored).replace(".tar.gz", ".json")).read_text())
    prediction = load_predictor(tmp_path).predict(expected["questions"])
    assert prediction.labels == expected["labels"]
    np.testing.assert_allclose(prediction.probabilities, expected["probabilities"], atol=1e-6)


def test_a_model_is_stored_for_every_engine_of_the_first_release() -> None:
    engines = ("catboost", "ensemble", "extra-trees", "lightgbm", "linear-learner", "randomforest", "xgboost")
    assert [path.name for path in STORED if path.parent.name == "0.1.0"] == [f"{name}.tar.gz" for name in engines]


@pytest.mark.parametrize("change", ["bytes", "missing", "unlisted"])
def test_a_model_whose_files_are_not_those_of_its_manifest_is_refused(change: str, tmp_path: Path) -> None:
    unpack(MODELS / "0.1.0" / "lightgbm.tar.gz", tmp_path)
    file = next((tmp_path / "members").rglob("model.txt"))
    if change == "bytes":
        file.write_bytes(file.read_bytes().replace(b"leaf_value=", b"leaf_value= ", 1))
    elif change == "missing":
        file.unlink()
    else:
        manifest = json.loads((tmp_path / "manifest.json").read_text())
        (tmp_path / "manifest.json").write_text(json.dumps({**manifest, "files": {}}))
    with pytest.raises(ConfigurationError):
        load_predictor(tmp_path)
