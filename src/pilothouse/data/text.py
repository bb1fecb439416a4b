"""Free text as numbers: a few statistics of the writing, and hashed TF-IDF reduced by truncated SVD."""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse.data.markers import is_missing
from pilothouse.data.ngrams import REMEMBERED_LETTERS, NgramEncoder
from pilothouse.errors import ConfigurationError

BUCKETS = 1 << 14
DIMENSIONS = 32
FIT_ROWS = 20_000
MAX_CHARACTERS = 10_000
"""Longer texts are judged by their beginning."""

STATISTICS = ("characters", "words", "word_length", "digits", "capitals", "punctuation")

_WORD = re.compile(r"\w+")
_TOPIC = re.compile(r":topic\d+$")
_PUNCTUATION = re.compile(r"[^\w\s]")


def bucket(word: str) -> int:
    """The hash bucket of a word; the same in every process and release."""
    return zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS


_remembered = lru_cache(maxsize=1 << 17)(bucket)


def term_counts(text: str) -> Counter[int]:
    """How often each bucket's words occur in `text`, whatever their case."""
    words = _WORD.findall(text[:MAX_CHARACTERS].lower())
    longest = max(map(len, words), default=0)
    return Counter(map(_remembered if longest <= REMEMBERED_LETTERS else bucket, words))


def statistics(text: str) -> tuple[float, ...]:
    """The `STATISTICS` of a text: two counts, a mean, and three shares of all characters; NaN where missing."""
    if is_missing(text):
        return (math.nan,) * len(STATISTICS)
    text = text[:MAX_CHARACTERS]
    words = _WORD.findall(text)
    size = len(text)
    return (
        size,
        len(words),
        sum(map(len, words)) / max(1, len(words)),
        sum(map(str.isdigit, text)) / size,
        sum(map(str.isupper, text)) / size,
        len(_PUNCTUATION.findall(text)) / size,
    )


def is_topic(name: str) -> bool:
    """Whether a numeric feature is a topic coordinate of some text column."""
    return _TOPIC.search(name) is not None


class TextEncoder:
    """Statistics, then `components.shape[1]` topic coordinates, for each text; and its n-grams, which stay sparse.

    `idf` is float32 [BUCKETS] (0 for terms never seen), `components` float32 [BUCKETS, d].
    """

    def __init__(
        self,
        column: str,
        idf: npt.NDArray[np.float32],
        components: npt.NDArray[np.float32],
        ngrams: NgramEncoder | None = None,
    ) -> None:
        self.names = [f"{column}:{part}" for part in (*STATISTICS, *(f"topic{i}" for i in range(components.shape[1])))]
        self.cardinality: int | None = None
        self.idf = idf
        self.components = components
        self.ngrams = ngrams
        self._idf_of: list[float] = idf.tolist()

    @classmethod
    def fit(cls, column: str, texts: Sequence[str], seed: int = 0, rows: int | None = None) -> TextEncoder:
        """Learn term weights and topics from training texts, of which there are `rows` in all (the caller samples them;
        see `FIT_ROWS`)."""
        documents = np.zeros(BUCKETS, np.int64)
        for text in texts:
            documents[list(term_counts(text))] += 1
        idf = np.where(documents > 0, np.log((1 + len(texts)) / (1 + documents)) + 1, 0).astype(np.float32)
        encoder = cls(column, idf, np.zeros((BUCKETS, 0), np.float32))
        topics = _topics(encoder.weights(texts), int((documents > 0).sum()), seed)
        return cls(column, idf, topics, NgramEncoder.fit(texts, rows or len(texts)))

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.float32], None]:
        """The numbers of each text, in the order of `names`."""
        numbers = np.array([statistics(text) for text in texts], np.float32).reshape(-1, len(STATISTICS))
        return np.hstack([numbers, self.weights(texts) @ self.components]), None

    def weights(self, texts: Sequence[str]) -> Any:
        """The TF-IDF weights of each text: a sparse float32 matrix [n, BUCKETS] with rows of length 1 (or 0)."""
        from scipy.sparse import csr_matrix

        starts, columns, values = [0], list[int](), list[float]()
        for text in texts:
            for index, value in self._document(text):
                columns.append(index)
                values.append(value)
            starts.append(len(columns))
        content = (np.array(values, np.float32), np.array(columns, np.int32), np.array(starts, np.int64))
        return csr_matrix(content, shape=(len(texts), BUCKETS))

    def _document(self, text: str) -> Iterator[tuple[int, float]]:
        # Summed term by term in Python: a text's numbers must not depend on which texts came with it.
        idf = self._idf_of
        weighted = [(index, (1 + math.log(n)) * idf[index]) for index, n in term_counts(text).items() if idf[index]]
        norm = math.sqrt(sum(value * value for _, value in weighted))
        return ((index, value / norm) for index, value in weighted)

    def state(self) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
        """What `restore` needs: JSON and arrays. Only buckets that occurred are kept."""
        used = np.flatnonzero(self.idf).astype(np.int32)
        own = {"buckets": used, "idf": self.idf[used], "components": self.components[used]}
        return {}, own if self.ngrams is None else own | self.ngrams.state()

    @classmethod
    def restore(cls, column: str, _state: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> TextEncoder:
        """The encoder that `state` described; `ConfigurationError` for topics that no text column has."""
        topics = arrays["components"].shape[1]
        if topics > DIMENSIONS:
            raise ConfigurationError(
                f"The model's text column {column!r} has {topics} topics: the archive is damaged or was not made by "
                "Pilothouse. Fetch it again."
            )
        idf = np.zeros(BUCKETS, np.float32)
        components = np.zeros((BUCKETS, topics), np.float32)
        idf[arrays["buckets"]] = arrays["idf"]
        components[arrays["buckets"]] = arrays["components"]
        return cls(column, idf, components, NgramEncoder.restore(arrays))


def _topics(weights: Any, terms: int, seed: int) -> npt.NDArray[np.float32]:
    from sklearn.decomposition import TruncatedSVD

    dimensions = min(DIMENSIONS, weights.shape[0] - 1, terms - 1)
    if dimensions < 1:
        return np.zeros((BUCKETS, 0), np.float32)
    fitted = TruncatedSVD(dimensions, random_state=seed).fit(weights)
    return np.ascontiguousarray(fitted.components_.T, dtype=np.float32)
