"""URIs, keys and the file names that stand for them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import S3Error, ValidationError
from pilothouse.objects import keys, uri
from pilothouse.objects.keys import Kind
from pilothouse.objects.uri import S3Uri

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300).filter(
    lambda k: len(k.encode()) <= 1024
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/k", ("b", "k")),
        ("s3://b/k/with%20escape ?#x", ("b", "k/with%20escape ?#x")),
        ("s3://b/", ("b", "")),
        ("s3://b", ("b", "")),
        ("s3://b//k", ("b", "/k")),
        ("https://b.s3.us-east-1.amazonaws.com/k%20a", ("b", "k a")),
        ("https://my.b.s3.amazonaws.com/k", ("my.b", "k")),
        ("https://b.s3-eu-west-1.amazonaws.com/k", ("b", "k")),
        ("https://s3.us-east-1.amazonaws.com/b/k/l", ("b", "k/l")),
        ("https://s3.cn-north-1.amazonaws.com.cn/b/k", ("b", "k")),
    ],
)
def test_a_uri_names_a_bucket_and_a_key(text: str, expected: tuple[str, str]) -> None:
    assert uri.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "b/k", "s3:/b/k", "http://b/k", "https://example.com/k", "s3:///k", "file:///etc/passwd"]
)
def test_what_is_no_s3_uri_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="s3://bucket/key"):
        uri.parse(text)


def test_joining_puts_one_slash_between_the_parts() -> None:
    assert str(S3Uri("b", "out/").join("job", "/model", "m.tar.gz")) == "s3://b/out/job/model/m.tar.gz"
    assert str(S3Uri("b", "").join("job/")) == "s3://b/job/"


def decoded(names: list[str]) -> bytes:
    entries = [keys.entry(name) for name in names]
    assert [entry.kind is Kind.OBJECT for entry in entries] == [False] * (len(entries) - 1) + [True]
    return b"".join(entry.adds for entry in entries)


@given(KEYS)
def test_file_names_give_the_key_back_and_stay_below_their_folder(key: str) -> None:
    names = keys.names(key)
    assert decoded(names) == key.encode()
    assert all(name and len(name) <= 255 and "/" not in name and not name.startswith(".") for name in names)


@given(st.lists(KEYS, min_size=2, max_size=2, unique=True))
def test_no_two_keys_share_a_file_and_no_key_is_anothers_folder(pair: list[str]) -> None:
    one, other = (keys.names(key) for key in pair)
    assert one != other
    assert one != other[: len(one)]


@pytest.mark.parametrize("segment", ["a", "a.b", ".a", "~@+,=-_", "a b", "é", "x" * 247, "x" * 248, "x" * 249])
def test_a_segment_that_stands_for_itself_is_called_what_its_bytes_say(
    segment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    quickly = keys.names(f"{segment}/{segment}")
    monkeypatch.setattr(keys, "_PLAIN", re.compile(rb"(?!)"))
    assert keys.names(f"{segment}/{segment}") == quickly


@pytest.mark.parametrize("key", ["", "\udc80", "é" * 513])
def test_a_key_that_s3_would_not_take_is_refused(key: str) -> None:
    with pytest.raises(S3Error):
        keys.names(key)
