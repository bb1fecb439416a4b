"""Free text as sparse n-grams, for linear models: hashed TF-IDF of words, pairs of words, and runs of characters."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.markers import is_missing

Array = npt.NDArray[Any]

WORD_BUCKETS = CHARACTER_BUCKETS = 1 << 18
RUNS = (3, 4)
"""Lengths of the runs of characters."""

MIN_DOCUMENTS = 2
MOST_TERMS = 50_000
"""Of words and of characters each, those that the most documents have."""

MOST_CELLS = 60_000_000
"""Non-zero cells of a data set: 480 MB. Characters, and then words, are left out of data that would have more."""

MAX_CHARACTERS = 5_000
"""Longer texts are judged by their beginning."""

REMEMBERED_LETTERS = 64
"""Longer words are hashed each time anew: they seldom come again, and many of them would fill the memory."""

_CHUNK = 500
_WORD = re.compile(r"\w+")
_MIX = np.uint64(0x9E3779B97F4A7C15)
_TERM_FREQUENCY = np.array([0.0, *(1 + math.log(n) for n in range(1, 2 * len(RUNS) * MAX_CHARACTERS))])


class NgramEncoder:
    """TF-IDF weights of each text, one row of length 1 in the columns of words and one in those of characters.

    `buckets` int64 [t] are the hashes that have a column, in ascending order, words' (below `WORD_BUCKETS`) first.
    `idf` is float32 [t].
    """

    def __init__(self, buckets: Array, idf: Array) -> None:
        self.buckets, self.idf = buckets, idf
        self.words = int(np.searchsorted(buckets, WORD_BUCKETS))
        self._weights = idf.astype(np.float64)
        self._column = np.full(WORD_BUCKETS + CHARACTER_BUCKETS, -1, np.int64)
        self._column[buckets] = np.arange(len(buckets))

    def __len__(self) -> int:
        return len(self.buckets)

    @classmethod
    def fit(cls, texts: Sequence[str], rows: int) -> NgramEncoder | None:
        """Learn from a sample of training texts what terms to keep for a data set of `rows`; None if there are none."""
        documents = np.zeros(WORD_BUCKETS + CHARACTER_BUCKETS, np.int64)
        for start in range(0, len(texts), _CHUNK):
            part = texts[start : start + _CHUNK]
            documents += np.bincount(_counted(*_hashed(part), len(documents))[1], minlength=len(documents))
        kept = [_commonest(documents, 0, WORD_BUCKETS), _commonest(documents, WORD_BUCKETS, len(documents))]
        while kept and sum(documents[terms].sum() for terms in kept) * (rows / max(1, len(texts))) > MOST_CELLS:
            kept.pop()
        buckets = np.concatenate([*kept, np.empty(0, np.int64)]).astype(np.int64)
        idf = np.log((1 + len(texts)) / (1 + documents[buckets])) + 1
        return cls(buckets, idf.astype(np.float32)) if len(buckets) else None

    def encode(self, texts: Sequence[str]) -> Any:
        """float32 CSR [n, t]; a text's row does not depend on which texts came with it."""
        from scipy.sparse import vstack

        parts = [self._encode(texts[start : start + _CHUNK]) for start in range(0, max(1, len(texts)), _CHUNK)]
        return vstack(parts, format="csr") if len(parts) != 1 else parts[0]

    def _encode(self, texts: Sequence[str]) -> Any:
        from scipy.sparse import csr_matrix

        documents, buckets = _hashed(texts)
        columns = self._column[buckets]
        known = columns >= 0
        rows, terms, counts = _counted(documents[known], columns[known], len(self))
        weights = _TERM_FREQUENCY[np.minimum(counts, len(_TERM_FREQUENCY) - 1)] * self._weights[terms]
        block = 2 * rows + (terms >= self.words)
        # Summed in the order of terms, one by one: bincount's sums are the same however many rows there are.
        norms = np.sqrt(np.bincount(block, weights=weights * weights, minlength=2 * len(texts)))
        starts = np.zeros(len(texts) + 1, np.int32)
        np.cumsum(np.bincount(rows, minlength=len(texts)), out=starts[1:])
        content = ((weights / norms[block]).astype(np.float32), terms.astype(np.int32), starts)
        return csr_matrix(content, shape=(len(texts), len(self)))

    def state(self) -> dict[str, Array]:
        """Arrays from which `restore` makes the encoder again."""
        return {"ngram_buckets": self.buckets.astype(np.int32), "ngram_idf": self.idf}

    @classmethod
    def restore(cls, arrays: dict[str, Array]) -> NgramEncoder | None:
        """The encoder that `state` described; None for arrays of a release that had none."""
        if "ngram_buckets" not in arrays:
            return None
        return cls(arrays["ngram_buckets"].astype(np.int64), arrays["ngram_idf"])


def _commonest(documents: Array, start: int, end: int) -> Array:
    """The buckets in start..end of at least `MIN_DOCUMENTS`, at most `MOST_TERMS`, ascending."""
    counts = documents[start:end]
    kept = np.flatnonzero(counts >= MIN_DOCUMENTS)
    if len(kept) > MOST_TERMS:
        kept = np.sort(kept[np.argsort(-counts[kept], kind="stable")[:MOST_TERMS]])
    return np.asarray(kept + start)


def _hashed(texts: Sequence[str]) -> tuple[Array, Array]:
    """(document, bucket) of every occurrence of every term in `texts`."""
    spoken = [[] if is_missing(text) else _WORD.findall(text[:MAX_CHARACTERS].lower()) for text in texts]
    word_documents, words = _words(spoken)
    character_documents, runs = _characters(spoken)
    return np.concatenate([word_documents, character_documents]), np.concatenate([words, runs + WORD_BUCKETS])


def _words(spoken: list[list[str]]) -> tuple[Array, Array]:
    documents = np.repeat(np.arange(len(spoken)), [len(words) for words in spoken])
    hashes = np.array(
        [_remembered(word) if len(word) <= REMEMBERED_LETTERS else _hash(word) for words in spoken for word in words],
        np.uint64,
    )
    pairs = np.flatnonzero(documents[1:] == documents[:-1])
    together = hashes[pairs] * _MIX + hashes[pairs + 1]
    found = np.concatenate([documents, documents[pairs]])
    return found, _bucket(np.concatenate([hashes, together]), WORD_BUCKETS)


def _characters(spoken: list[list[str]]) -> tuple[Array, Array]:
    # A text's characters with a blank at either end of each word; runs may reach over words, never over texts.
    lines = [f" {' '.join(words)} " if words else "" for words in spoken]
    characters = np.frombuffer("".join(lines).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    documents = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    found, hashes = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for length in RUNS:
        size = max(0, len(characters) - length + 1)
        run = np.full(size, length, np.uint64)
        for offset in range(length):
            run = run * _MIX + characters[offset : offset + size]
        inside = documents[:size] == documents[length - 1 : length - 1 + size]
        found.append(documents[:size][inside])
        hashes.append(run[inside])
    return np.concatenate(found), _bucket(np.concatenate(hashes), CHARACTER_BUCKETS)


def _hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


_remembered = lru_cache(maxsize=1 << 17)(_hash)


def _bucket(hashes: Array, buckets: int) -> Array:
    mixed = (hashes ^ (hashes >> np.uint64(29))) * _MIX
    return np.asarray((mixed >> np.uint64(40)).astype(np.int64) % buckets)


def _counted(documents: Array, terms: Array, size: int) -> tuple[Array, Array, Array]:
    """Distinct (document, term) pairs in ascending order, and how often each occurs."""
    keys, counts = np.unique(documents * size + terms, return_counts=True)
    rows, columns = np.divmod(keys, max(size, 1))
    return rows, columns, counts
