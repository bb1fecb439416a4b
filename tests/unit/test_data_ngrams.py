"""N-grams: what they hold, and that neither the batch nor a save changes them."""

from __future__ import annotations

import mmap
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilothouse.data import ngrams
from pilothouse.data.features import Features, write
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.data.ngrams import NgramEncoder
from pilothouse.data.profile import Column
from pilothouse.data.text import TextEncoder

WORDS = ["road", "long", "short", "go", "only", "Ünicode", "42", "never", "a"]


def _texts(count: int = 300, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, int(rng.integers(0, 9)))) for _ in range(count)]


@pytest.fixture(scope="module")
def encoder() -> NgramEncoder:
    fitted = NgramEncoder.fit(_texts(), 300)
    assert fitted is not None
    return fitted


@pytest.fixture(scope="module")
def pipeline() -> FeaturePipeline:
    columns = [
        Column("t", "text", "", 0.0, 0, 0),
        Column("x", "numeric", "", 0.0, 0, 0),
        Column("u", "text", "", 0, 0, 0),
    ]
    table = pa.table({"t": _texts(), "x": [str(i) for i in range(300)], "u": _texts(seed=1)})
    return FeaturePipeline.fit(table, columns)


def _same(a: object, b: object) -> None:
    for part in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(getattr(a, part), getattr(b, part))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from(_texts(20, 5))), min_size=1, max_size=8))
def test_a_texts_row_is_the_same_alone_and_among_others(encoder: NgramEncoder, texts: list[str]) -> None:
    together = encoder.encode(texts)
    assert together.dtype == np.float32
    assert np.isfinite(together.data).all()
    for i, text in enumerate(texts):
        _same(encoder.encode([text]), together[i])


def test_rows_are_the_same_beyond_a_chunk(encoder: NgramEncoder) -> None:
    texts = _texts(1201, 3)
    together = encoder.encode(texts)
    for i in (0, 499, 500, 1000, 1200):
        _same(encoder.encode([texts[i]]), together[i])


def test_words_and_characters_each_have_length_one(encoder: NgramEncoder) -> None:
    rows = encoder.encode(["long road only", "xq unseenword"])
    squares = np.asarray(rows.power(2)[:, : encoder.words].sum(axis=1)).ravel()
    np.testing.assert_allclose(squares, [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(rows[0].power(2).sum(), 2.0, atol=1e-6)


def test_the_order_of_words_counts_and_their_case_does_not(encoder: NgramEncoder) -> None:
    first, second, loud = (encoder.encode([text]) for text in ("long road", "road long", "LONG ROAD"))
    assert (first != second).nnz > 0
    _same(first, loud)


@pytest.mark.parametrize("text", ["", " ", "NA", "!?", "\ud800", "\x00", "never seen before, 北京", "İ" * 6000])
def test_odd_texts_have_finite_rows(encoder: NgramEncoder, text: str) -> None:
    assert np.isfinite(encoder.encode([text]).data).all()


def test_state_restores_the_encoder(encoder: NgramEncoder) -> None:
    again = NgramEncoder.restore(encoder.state())
    assert again is not None
    _same(again.encode(_texts(40, 9)), encoder.encode(_texts(40, 9)))


def test_texts_without_repeated_terms_have_no_ngrams() -> None:
    assert NgramEncoder.fit(["", "??", "one"], 3) is None
    assert NgramEncoder.fit([], 0) is None


def test_characters_then_words_are_left_out_of_data_that_are_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    few = NgramEncoder.fit(_texts(), 300)
    assert few is not None
    cells = few.encode(_texts()).nnz
    monkeypatch.setattr(ngrams, "MOST_CELLS", cells * 2)
    words = NgramEncoder.fit(_texts(), 1000)
    assert words is not None
    assert len(words) == words.words
    assert NgramEncoder.fit(_texts(), 1_000_000) is None


def test_an_encoder_of_a_release_without_ngrams_has_none() -> None:
    _, arrays = TextEncoder.fit("t", _texts()).state()
    old = {name: array for name, array in arrays.items() if not name.startswith("ngram")}
    assert TextEncoder.restore("t", {}, old).ngrams is None


def test_a_pipelines_table_and_rows_have_the_same_ngrams(pipeline: FeaturePipeline, tmp_path: Path) -> None:
    rows = [[t, "1", u] for t, u in zip(_texts(120, 6), _texts(120, 7), strict=True)]
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(("t", "x", "u"))})
    whole = pipeline.transform(table)
    _same(whole.sparse, pipeline.transform_rows(rows).sparse)
    pipeline.save(tmp_path)
    loaded = FeaturePipeline.load(tmp_path)
    for i in range(5):
        _same(loaded.transform_rows([rows[i]]).sparse, whole.sparse[i])
    loaded.sparse = False
    assert loaded.transform_rows(rows).sparse is None


def test_features_keep_their_sparse_part(pipeline: FeaturePipeline, tmp_path: Path) -> None:
    table = pa.table({"t": _texts(50, 6), "x": ["1"] * 50, "u": _texts(50, 7)})
    features = pipeline.transform(table)
    features.save(tmp_path)
    for mapped in (True, False):
        loaded = Features.load(tmp_path, mapped)
        _same(loaded.sparse, features.sparse)
        _same(loaded.take(np.array([7, 3])).sparse, features.sparse[[7, 3]])
    for part in ("data", "indices", "indptr"):
        array = getattr(Features.load(tmp_path).sparse, part)
        while isinstance(array.base, np.ndarray):
            array = array.base
        assert isinstance(array.base, mmap.mmap)
    write(tmp_path, [features.take(slice(0, 20)), features.take(slice(20, 50))])
    _same(Features.load(tmp_path).sparse, features.sparse)


def test_long_words_are_not_remembered() -> None:
    texts = [f"{i:05}" + letter * 4000 for i in range(300) for letter in "acgt"]
    fitted = TextEncoder.fit("t", _texts())
    assert fitted.ngrams is not None
    tracemalloc.start()
    for start in range(0, len(texts), 100):
        fitted.encode(texts[start : start + 100])
        fitted.ngrams.encode(texts[start : start + 100])
    remembered, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert remembered < 1 << 20
