"""Tabular networks: what they read of a row, and that NumPy predicts what torch trained."""

from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines.base import Array, Task
from pilothouse.engines.nets import threads
from pilothouse.engines.nets.inputs import Inputs
from pilothouse.engines.nets.members import Architecture, Network, unpack
from pilothouse.engines.nets.outcome import Outcome
from pilothouse.engines.nets.snapshots import Snapshots
from pilothouse.engines.nets.table import Table
from pilothouse.engines.nets.training import Settings


def features(numeric: Array, categorical: Array | None = None, cardinalities: tuple[int, ...] = ()) -> Features:
    codes = np.zeros((len(numeric), 0), np.int32) if categorical is None else categorical.astype(np.int32)
    numbers = numeric.astype(np.float32)
    names = [f"n{j}" for j in range(numbers.shape[1])], [f"c{j}" for j in range(codes.shape[1])]
    return Features(numbers, codes, *names, list(cardinalities))


class TestInputs:
    def test_a_missing_number_becomes_the_mean_and_is_indicated(self) -> None:
        x = features(np.array([[1.0], [2.0], [3.0], [6.0], [np.nan]]))
        inputs = Inputs.fit(x)
        numbers = inputs.numbers(x)[:, 0]
        assert numbers[4] == pytest.approx(numbers[:4].mean(), abs=1e-6)
        np.testing.assert_array_equal(inputs.extras(x)[:, 0], [0, 0, 0, 0, 1])

    def test_outliers_stay_within_three(self) -> None:
        x = features(np.concatenate([np.linspace(-1, 1, 50), [1e30, -1e30]]).reshape(-1, 1))
        assert np.abs(Inputs.fit(x).numbers(x)).max() <= 3.0

    def test_a_column_of_zeros_but_for_a_few_is_scaled_by_those(self) -> None:
        x = features(np.array([[0.0]] * 90 + [[5000.0]] * 10))
        numbers = Inputs.fit(x).numbers(x)[:, 0]
        assert numbers[0] == 0.0
        assert 1.0 < numbers[-1] < 3.0

    def test_constant_columns_are_left_out(self) -> None:
        x = features(np.array([[1.0, 7.0], [2.0, 7.0], [3.0, 7.0]]))
        assert Inputs.fit(x).numbers(x).shape == (3, 1)

    def test_few_levels_are_one_hot_and_many_are_embedded(self) -> None:
        x = features(np.zeros((3, 0)), np.array([[0, 11], [1, 0], [2, 5]]), (3, 12))
        inputs = Inputs.fit(x)
        np.testing.assert_array_equal(inputs.extras(x), [[0, 0], [1, 0], [0, 1]])
        np.testing.assert_array_equal(inputs.codes(x), [[11], [0], [5]])


@pytest.mark.parametrize("problem", [(REGRESSION, 0, "MSE"), (BINARY, 2, "F1"), (MULTICLASS, 5, "Accuracy")])
def test_numpy_predicts_what_torch_does(problem: tuple[str, int, str]) -> None:
    import torch

    from pilothouse.engines.nets.training import Learner

    rng = np.random.default_rng(0)
    task = Task(*problem)
    y = rng.normal(size=60) * 40 + 7 if task.regression else rng.integers(0, task.n_classes, 60)
    outcome = Outcome.fit(y, None, task)
    architecture = Architecture(3, 2, (12, 30), outcome.outputs, members=4, width=16, depth=3)
    codes = np.column_stack([rng.integers(0, 12, 60), rng.integers(0, 30, 60)])
    numbers, extras = rng.normal(size=(2, 60, 3)).astype(np.float32)
    rows = Table(numbers, extras[:, :2], codes, outcome.learnt(y), None)
    learner = Learner(architecture, outcome.prior, Settings(batch=16), rows, False, 3)
    for _ in range(3):
        assert learner.epoch(None)
    weights = learner.weights()
    with torch.no_grad():
        theirs = learner.forward(torch.from_numpy(weights), *map(torch.from_numpy, (numbers, extras[:, :2], codes)))
    ours = Network(architecture, unpack(weights, architecture.shapes())).outputs(numbers, extras[:, :2], codes)
    assert ours.shape == (60, 4, outcome.outputs)
    np.testing.assert_allclose(ours, theirs.numpy(), atol=1e-5, rtol=1e-5)


def test_numpy_predicts_what_fastai_does_with_its_normalisations_folded_in() -> None:
    import torch
    from fastai.tabular import model as tabular

    from pilothouse.engines.nets.cycle import folded
    from pilothouse.engines.nets.perceptron import Perceptron

    rng = np.random.default_rng(0)
    of = Perceptron(((12, 5), (30, 8)), 3, (20, 10), 4)
    torch.manual_seed(0)
    model = tabular.TabularModel(list(of.embeddings), of.numbers, of.outputs, list(of.hidden), bn_cont=True)
    codes = np.column_stack([rng.integers(0, 12, 60), rng.integers(0, 30, 60)])
    numbers = (rng.normal(size=(60, 3)) * 3 + 1).astype(np.float32)
    rows = torch.from_numpy(codes), torch.from_numpy(numbers)
    model.train()
    with torch.no_grad():
        for _ in range(5):  # the normalisations learn their means and variances
            model(*rows)
        theirs = model.eval()(*rows).numpy()
    ours = of.predict(unpack(folded(model, of), of.shapes()), numbers, codes)
    np.testing.assert_allclose(ours[:, 0, :], theirs, atol=1e-5, rtol=1e-5)


def test_an_untrained_network_predicts_about_the_share_of_each_class() -> None:
    outcome = Outcome.fit(np.array([0, 0, 0, 1]), None, Task(BINARY, 2, "F1"))
    prior = np.tile(outcome.prior, (1, 4, 1))
    np.testing.assert_allclose(outcome.predict(prior), [[0.75, 0.25]])


def test_the_snapshots_of_a_large_network_are_thinned_but_the_last_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilothouse.engines.nets.snapshots._BYTES", 4 * 10)
    snapshots = Snapshots()
    for number in range(1, 41):
        snapshots.add(number, np.full(1, number, np.float32))
    assert snapshots.last == 40
    assert snapshots.at(40)[0] == 40
    assert abs(snapshots.at(20)[0] - 20) <= 8
    assert snapshots.at(1)[0] <= 9


@pytest.mark.parametrize("room", [1, 3, 5, 10])
def test_the_snapshots_of_a_large_network_keep_the_best_and_few_of_any_time(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilothouse.engines.nets.snapshots._BYTES", 4 * room)
    snapshots = Snapshots()
    for number in range(1, 41):
        snapshots.add(number, np.full(1, number, np.float32), min(number, 23))
    kept = {float(snapshots.at(number)[0]) for number in range(1, 41)}
    assert {23.0, 40.0} <= kept
    assert len(kept) <= max(room, 2)
    assert max(abs(snapshots.at(number)[0] - number) for number in range(1, 41)) <= 22


@pytest.mark.parametrize("name", ["mlp", "nn-torch", "fastai"])
def test_a_network_too_large_to_remember_predicts_by_its_best_round(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x = features(rng.normal(size=(400, 5)))
    y = x.numeric[:, 0] + rng.normal(size=400)

    def predicted() -> tuple[int | None, Array]:
        task, params = Task(REGRESSION, 0, "MSE"), {"patience": 3, "dropout": 0.0}
        valid = x.take(slice(300, 400)), y[300:], None
        model = engines.engine(name).fit(x.take(slice(0, 300)), y[:300], None, task, params, valid=valid, seed=1)
        return model.rounds, model.predict(x)

    rounds, remembered = predicted()
    assert rounds is not None
    assert rounds > 1
    monkeypatch.setattr("pilothouse.engines.nets.snapshots._BYTES", 1)
    again, thinned = predicted()
    assert again == rounds
    np.testing.assert_array_equal(thinned, remembered)


def test_batches_grow_with_the_rows() -> None:
    sizes = [Settings().batch_size(rows) for rows in (10, 700, 5_000, 1_000_000)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 32
    assert sizes[-1] == 512


def test_the_blas_has_one_thread_while_anybody_needs_it_so_and_then_as_many_as_before() -> None:
    def counts() -> set[int]:
        return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}

    threads._blas.cache_clear()  # it knows the libraries that were loaded when it was first asked
    with threadpool_limits(2, user_api="blas"):
        before = counts()
        first, second = threads.one_blas_thread(), threads.one_blas_thread()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert counts() == {1}
        second.__exit__(None, None, None)
        assert counts() == before


@pytest.mark.parametrize("kind", [(REGRESSION, 0, "MSE"), (MULTICLASS, 4, "Accuracy")])
def test_many_rows_are_predicted_as_each_alone(kind: tuple[str, int, str]) -> None:
    rng = np.random.default_rng(0)
    outputs = 1 if kind[0] == REGRESSION else 4
    of = Architecture(5, 2, (12,), outputs, members=8, width=128)
    weights = {name: rng.normal(size=shape, scale=0.2) for name, shape in of.shapes().items()}
    numbers, extras = rng.normal(size=(400, 5)).astype(np.float32), rng.random((400, 2)).astype(np.float32)
    codes = rng.integers(0, 12, (400, 1))
    network = Network(of, weights)
    together = network.outputs(numbers, extras, codes)
    alone = [network.outputs(numbers[i : i + 1], extras[i : i + 1], codes[i : i + 1]) for i in range(400)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=0, atol=1e-12)
