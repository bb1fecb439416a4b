"""Which algorithms a host can train, and what is said of the others."""

from __future__ import annotations

import sys

import pytest

from pilothouse import engines
from pilothouse.catalog import algorithms


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("torch", "fastai"):
        monkeypatch.setitem(sys.modules, library, None)


def test_every_algorithm_that_is_served_has_an_engine() -> None:
    assert {name for names in algorithms.BY_MODE.values() for name in names} == set(engines.ENGINES)


def test_all_algorithms_are_trained_where_their_libraries_are_installed() -> None:
    assert algorithms.trained(None) == algorithms.ENSEMBLING
    assert algorithms.left_out(None) is None


@pytest.mark.usefixtures("no_torch")
class TestWithoutTorch:
    def test_the_other_algorithms_are_trained(self) -> None:
        assert set(algorithms.ENSEMBLING) - set(algorithms.trained(None)) == {"nn-torch", "fastai"}
        assert algorithms.trained(("lightgbm", "nn-torch")) == ("lightgbm",)

    def test_the_sentence_names_what_is_left_out_and_the_extra(self) -> None:
        sentence = algorithms.left_out(None)
        assert sentence is not None
        assert "nn-torch and fastai were left out" in sentence
        assert "pilothouse[deep]" in sentence

    def test_the_other_mode_leaves_out_the_perceptron(self) -> None:
        assert algorithms.trained(None, "HYPERPARAMETER_TUNING") == ("xgboost", "linear-learner")
        assert "mlp was left out" in (algorithms.left_out(None, "HYPERPARAMETER_TUNING") or "")

    def test_nothing_is_said_of_algorithms_that_nobody_asked_for(self) -> None:
        assert algorithms.left_out(("lightgbm", "catboost")) is None
        one = algorithms.left_out(("lightgbm", "nn-torch"))
        assert one is not None
        assert one.startswith("nn-torch was left out, since the library is not installed.")
