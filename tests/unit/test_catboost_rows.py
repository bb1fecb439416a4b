"""CatBoost's stored models predict single rows from their file, and that is what the library predicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilothouse import engines
from pilothouse.catalog.metrics import BINARY, MULTICLASS, REGRESSION
from pilothouse.data.features import Features
from pilothouse.engines import catboost as engine
from pilothouse.engines import catboost_file
from pilothouse.engines.base import Model, Task
from pilothouse.engines.catboost import CatBoostModel
from pilothouse.errors import ConfigurationError

TASKS = {
    REGRESSION: Task(REGRESSION, 0, "MSE"),
    BINARY: Task(BINARY, 2, "F1"),
    MULTICLASS: Task(MULTICLASS, 3, "Accuracy"),
    "two of many": Task(MULTICLASS, 2, "Accuracy"),
}


def _features(rows: int, seed: int = 0, levels: int = 7, categories: int = 2) -> Features:
    random = np.random.default_rng(seed)
    numeric = random.normal(size=(rows, 3)).astype(np.float32)
    numeric[:, :2][random.random((rows, 2)) < 0.1] = np.nan
    codes = random.integers(0, levels, (rows, categories), np.int32)
    return Features(numeric, codes, list("abc"), [f"k{i}" for i in range(categories)], [levels] * categories)


def _stored(folder: Path, task: Task, x: Features, **params: object) -> Model:
    signal = np.nan_to_num(x.numeric[:, 0], nan=2.0) * x.numeric[:, 2] + x.categorical.sum(axis=1) % 3
    y = signal.astype(np.float64) if task.regression else np.digitize(signal, [0.5, 1.5][: task.n_classes - 1])
    fitted = engines.engine("catboost").fit(x, y, None, task, {"max_rounds": 40, **params}, rounds=40)
    fitted.save(folder)
    return engines.load(folder, "catboost")


def _alone(model: Model, x: Features) -> np.ndarray:
    return np.concatenate([model.predict(x.take(slice(i, i + 1))) for i in range(len(x))])


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("params", [{}, {"depth": 10, "nan_mode": "Max"}])
def test_a_row_alone_gets_what_the_library_gives_it(
    kind: str, params: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = _stored(tmp_path, TASKS[kind], _features(300), **params), _features(60, seed=1, levels=9)
    many = model.predict(x)
    _alone(model, x.take(slice(0, 1)))
    monkeypatch.setattr(CatBoostModel, "_many", lambda *_: pytest.fail("the library was asked"))
    np.testing.assert_allclose(_alone(model, x), many, rtol=1e-9, atol=0)


@pytest.mark.parametrize("categories", [0, 2])
def test_rows_of_numbers_or_of_categories_alone(categories: int, tmp_path: Path) -> None:
    x = _features(300, categories=categories)
    if categories:
        x = Features(np.empty((300, 0), np.float32), x.categorical, [], x.categorical_names, x.cardinalities)
    y = (x.categorical[:, 0] if categories else x.numeric[:, 2]).astype(np.float64)
    engines.engine("catboost").fit(x, y, None, TASKS[REGRESSION], {}, rounds=20).save(tmp_path)
    model = engines.load(tmp_path, "catboost")
    np.testing.assert_allclose(_alone(model, x), model.predict(x), rtol=1e-9, atol=0)
    assert isinstance(model, CatBoostModel)
    assert model._row is not None


def test_target_statistics_are_left_to_the_library(tmp_path: Path) -> None:
    x = _features(400, levels=80)
    model = _stored(tmp_path, TASKS[REGRESSION], x)
    assert catboost_file.read(tmp_path / "model.cbm") is None
    np.testing.assert_allclose(_alone(model, x.take(slice(0, 9))), model.predict(x)[:9], rtol=1e-12)


def test_where_the_first_row_comes_out_otherwise_the_library_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x = _stored(tmp_path, TASKS[REGRESSION], _features(300)), _features(5, seed=1)
    monkeypatch.setattr(engine.OneRow, "_scores", lambda *_: np.zeros(1))
    np.testing.assert_array_equal(_alone(model, x), model.predict(x))


def test_no_damage_to_a_file_makes_a_row_ask_what_is_not_there(tmp_path: Path) -> None:
    _stored(tmp_path, TASKS[MULTICLASS], _features(300))
    whole = (tmp_path / "model.cbm").read_bytes()
    random = np.random.default_rng(0)
    for _ in range(100):
        damaged = bytearray(whole[: random.integers(len(whole)) if random.random() < 0.2 else None])
        for place in random.integers(0, min(len(damaged), 6000), 12) if damaged else ():
            damaged[place] = random.integers(256)
        (tmp_path / "damaged.cbm").write_bytes(damaged)
        try:
            trees = catboost_file.read(tmp_path / "damaged.cbm")
        except ConfigurationError:
            continue
        assert trees is None or trees.asked.max(initial=0) < len(trees.border) + len(trees.place)


_FIELDS = {
    "splits": (1, 4),
    "sizes": (2, 4),
    "starts": (3, 4),
    "leaves": (8, 0),
    "steps": (10, 2),
    "leaf of a node": (11, 4),
}
"""The numbers of the fields with what trees are made of, and how many bytes a value has; none: how many there are."""


@pytest.mark.parametrize(
    ("policy", "field"),
    [("SymmetricTree", name) for name in ("splits", "sizes", "starts", "leaves")]
    + [("Depthwise", name) for name in ("splits", "sizes", "starts", "steps", "leaf of a node")],
)
@pytest.mark.parametrize("levels", [7, 80])
def test_trees_that_would_read_out_of_bounds_are_refused_before_the_library_reads_them(
    policy: str, field: str, levels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stored(tmp_path, TASKS[REGRESSION], _features(300, levels=levels), grow_policy=policy)
    file = tmp_path / "model.cbm"
    content, (number, size) = bytearray(file.read_bytes()), _FIELDS[field]
    buffer = catboost_file._Buffer(file.read_bytes())
    place, count = buffer.vector(buffer.table(buffer.root, 1), number)
    if not size:
        content[place - 4 : place] = (count - 1).to_bytes(4, "little")
    else:
        last = place + 4 * (count - 1)
        content[last : last + size] = b"\xf0" * (size - 1) + b"\x7f"
    file.write_bytes(content)
    monkeypatch.setattr("catboost.CatBoost", lambda: pytest.fail("the library was asked"))
    with pytest.raises(ConfigurationError, match=r"model\.cbm can't be trusted"):
        engines.load(tmp_path, "catboost")


def test_a_last_tree_without_nodes_is_refused(tmp_path: Path) -> None:
    _stored(tmp_path, TASKS[REGRESSION], _features(300), grow_policy="Depthwise")
    file = tmp_path / "model.cbm"
    content, buffer = bytearray(file.read_bytes()), catboost_file._Buffer(file.read_bytes())
    trees = buffer.table(buffer.root, 1)
    sizes, starts = (buffer.array(trees, field, "<i4").copy() for field in (2, 3))
    sizes[-2:] = sizes[-2] + sizes[-1], 0
    starts[-1] = sizes.sum()
    for field, array in ((2, sizes), (3, starts)):
        place, count = buffer.vector(trees, field)
        content[place : place + 4 * count] = array.tobytes()
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.cbm can't be trusted"):
        catboost_file.read(file)


def test_columns_that_share_their_levels_are_refused(tmp_path: Path) -> None:
    """A file of 60 kB would make questions for as many megabytes."""
    _stored(tmp_path, TASKS[REGRESSION], _features(300))
    file = tmp_path / "model.cbm"
    content, buffer = bytearray(file.read_bytes()), catboost_file._Buffer(file.read_bytes())
    content += b"\0" * (-len(content) % 4)
    field, vector, count = buffer._place(buffer.table(buffer.root, 1), 6), len(content), 2_000
    table = vector + 4 + 4 * count + 8
    columns = table - np.arange(vector + 4, vector + 4 + 4 * count, 4)
    content[field : field + 4] = (vector - field).to_bytes(4, "little")
    for words in ([count], columns, [8 | 12 << 16, 4 | 8 << 16], [8, 0, 4], [count], range(count)):
        content += np.array(words, "<i4").tobytes()
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"model\.cbm can't be trusted"):
        catboost_file.read(file)


@pytest.mark.parametrize(("kind", "field"), [(5, 1), (5, 2), (4, 0), (4, 1)])
def test_columns_out_of_order_are_refused(kind: int, field: int, tmp_path: Path) -> None:
    _stored(tmp_path, TASKS[REGRESSION], _features(300))
    file = tmp_path / "model.cbm"
    content = bytearray(file.read_bytes())
    buffer = catboost_file._Buffer(file.read_bytes())
    columns = buffer.tables(buffer.table(buffer.root, 1), kind)
    place = buffer._place(columns[1], field)
    for column in (2_000_000_000, -1, 0):
        content[place : place + 4] = column.to_bytes(4, "little", signed=True)
        file.write_bytes(content)
        with pytest.raises(ConfigurationError, match=r"model\.cbm can't be trusted"):
            engines.load(tmp_path, "catboost")


def _count(buffer: catboost_file._Buffer, table: int, field: int) -> int:
    return buffer.vector(table, field)[0] - 4


def _offset(buffer: catboost_file._Buffer, table: int, field: int) -> int:
    """Where a table says where one of its fields is."""
    return table - buffer._whole("<i", table) + 4 + 2 * field


@pytest.mark.parametrize(
    ("damage", "levels"), [("leaves of nodes", 7), ("no tables", 80), ("no part", 80), ("of nothing", 80)]
)
def test_what_the_library_would_follow_to_nowhere_is_refused(
    damage: str, levels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = _features(400, levels=levels)
    y = (x.categorical.sum(axis=1) % 5).astype(np.float64)
    engines.engine("catboost").fit(x, y, None, TASKS[REGRESSION], {}, rounds=4).save(tmp_path)
    engines.load(tmp_path, "catboost").predict(x)
    file = tmp_path / "model.cbm"
    content, buffer = bytearray(file.read_bytes()), catboost_file._Buffer(file.read_bytes())
    trees = buffer.table(buffer.root, 1)
    if damage == "leaves of nodes":
        place, value = _count(buffer, trees, 11), 1
    elif damage == "no tables":
        place, value = _count(buffer, buffer.root, 3), 0
    elif damage == "no part":
        place, value = _offset(buffer, buffer.root, 3), 0
    else:
        statistic = buffer.table(buffer.tables(trees, 7)[0], 0)
        place, value = _offset(buffer, statistic, 0), 0
    size = 2 if damage in ("no part", "of nothing") else 4
    content[place : place + size] = value.to_bytes(size, "little")
    file.write_bytes(content)
    monkeypatch.setattr("catboost.CatBoost", lambda: pytest.fail("the library was asked"))
    with pytest.raises(ConfigurationError, match=r"model\.cbm can't be trusted"):
        engines.load(tmp_path, "catboost")


@pytest.mark.parametrize(
    "damage", ["beside", "full", "odd", "short", "class", "no class", "negative class", "kind", "count", "size", "end"]
)
def test_tables_of_statistics_that_lead_beside_them_are_refused(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = _features(400, levels=80)
    y = x.categorical.sum(axis=1) % 3
    engines.engine("catboost").fit(x, y, None, TASKS[MULTICLASS], {}, rounds=4).save(tmp_path)
    engines.load(tmp_path, "catboost").predict(x)
    file = tmp_path / "model.cbm"
    whole = file.read_bytes()
    content, buffer = bytearray(whole), catboost_file._Buffer(whole)
    first = 8 + int.from_bytes(whole[4:8], "little")
    table = next(buffer.followers())
    index, bytes_of_index = table.vector(table.root, 1)
    index += first + 8
    statistics = [buffer.table(one, 0) for one in buffer.tables(buffer.table(buffer.root, 1), 7)]
    chosen = next(place for one in statistics if (place := buffer._place(one, 1)))
    written: dict[str, tuple[int, int, int]] = {
        "beside": (index + 8, 10**9, 4),
        "odd": (index - 4, bytes_of_index - 12, 4),
        "short": (first + 8 + _count(table, table.root, 2), 8, 4),
        "class": (chosen, 3, 4),
        "negative class": (chosen, -1, 4),
        "no class": (first + 8 + table._place(table.root, 4), 0, 4),
        "kind": (_offset(buffer, buffer.table(statistics[0], 0), 1), 8, 2),
        "count": (first, 10**9, 4),
        "size": (first + 4, 10**9, 4),
    }
    if damage in written:
        place, value, size = written[damage]
        content[place : place + size] = value.to_bytes(size, "little", signed=True)
    elif damage == "full":
        for at in range(index, index + bytes_of_index, 12):
            content[at : at + 8] = (1).to_bytes(8, "little")
    else:
        content += b"more"
    file.write_bytes(content)
    monkeypatch.setattr("catboost.CatBoost", lambda: pytest.fail("the library was asked"))
    with pytest.raises(ConfigurationError, match=r"model\.cbm can't be trusted"):
        engines.load(tmp_path, "catboost")


_COUNTS = ["Borders", "Buckets", "BinarizedTargetMeanValue", "Counter"]


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("counts", [*_COUNTS, None])
@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
def test_own_models_with_statistics_of_every_kind_are_loaded(
    counts: str | None, kind: str, policy: str, tmp_path: Path
) -> None:
    x = _features(400, levels=90, categories=3)
    params: dict[str, object] = {"max_ctr_complexity": 3, "grow_policy": policy}
    if counts is not None:
        params |= {"simple_ctr": [counts], "combinations_ctr": [counts]}
    y = x.categorical[:, 0] % 3 + (x.numeric[:, 2] > 0) * (x.categorical[:, 1] % 2)
    y = y.astype(np.float64) if kind == REGRESSION else np.minimum(y, TASKS[kind].n_classes - 1)
    fitted = engines.engine("catboost").fit(x, y, None, TASKS[kind], params, rounds=12)
    fitted.save(tmp_path)
    buffer = catboost_file._Buffer((tmp_path / "model.cbm").read_bytes())
    assert buffer.tables(buffer.table(buffer.root, 1), 7)
    np.testing.assert_array_equal(engines.load(tmp_path, "catboost").predict(x), fitted.predict(x))


def test_a_model_whose_trees_with_statistics_were_cut_off_is_loaded(tmp_path: Path) -> None:
    x = _features(400, levels=80)
    y = x.numeric[:, 2] * 20 + x.categorical.sum(axis=1) % 2
    model = engines.engine("catboost").fit(x, y.astype(np.float64), None, TASKS[REGRESSION], {}, rounds=60)
    for rounds in (60, 9, 2, 1):
        expected, model.rounds = model.predict(x, rounds), rounds
        model.save(tmp_path)
        np.testing.assert_allclose(engines.load(tmp_path, "catboost").predict(x), expected, rtol=1e-9)


def test_members_that_see_the_same_rows_share_a_pool(tmp_path: Path) -> None:
    model, x = _stored(tmp_path, TASKS[BINARY], _features(300)), _features(50)
    model.predict(x)
    assert engine._shared_pool(x) is engine._shared_pool(x)
    before = len(engine._POOLS)
    del x
    assert len(engine._POOLS) == before - 1


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide", "Depthwise"])
def test_a_model_is_stored_with_fewer_rounds_than_it_was_trained_for(policy: str, kind: str, tmp_path: Path) -> None:
    task, x = TASKS[kind], _features(300)
    y = (
        x.numeric[:, 2].astype(np.float64)
        if task.regression
        else np.digitize(x.numeric[:, 2], [0.0, 1.0][: task.n_classes - 1])
    )
    model = engines.engine("catboost").fit(x, y, None, task, {"grow_policy": policy, "max_rounds": 30}, rounds=30)
    expected, model.rounds = model.predict(x, 7), 7
    model.save(tmp_path)
    stored = engines.load(tmp_path, "catboost")
    assert stored.rounds == 7
    np.testing.assert_allclose(stored.predict(x), expected, rtol=1e-9)
    np.testing.assert_allclose(_alone(stored, x.take(slice(0, 20))), expected[:20], rtol=1e-9)
    (tmp_path / "again").mkdir()
    stored.save(tmp_path / "again")
    np.testing.assert_allclose(engines.load(tmp_path / "again", "catboost").predict(x), expected, rtol=1e-9)
