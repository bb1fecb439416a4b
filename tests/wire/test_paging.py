"""Pages: filters, sorts and tokens of every List operation, over the real store."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import ValidationError
from pilothouse.store.store import Store
from pilothouse.wire import paging

SORTS = {"Name": "name", "CreationTime": "created", "Status": "status"}
STATUSES = ["Completed", "Failed", "InProgress"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Twelve jobs, four of each status, and one endpoint."""
    home: Path = tmp_path_factory.mktemp("store")
    store = Store(f"sqlite:///{home / 'db.sqlite'}", region="us-east-1", account="000000000000")
    store.migrate()
    for number in range(12):
        store.insert("automl-job", f"job-{(number * 7) % 12:02}", {}, status=STATUSES[number % 3])
    store.insert("endpoint", "endpoint", {})
    yield store
    store.close()


def page(store: Store, **request: Any) -> tuple[list[str], str | None]:
    rows, token = paging.page(
        store, "automl-job", request, sorts=SORTS, default_sort="Name", default_order="Descending", default_limit=5
    )
    return [row.name for row in rows], token


def walk(store: Store, **request: Any) -> list[str]:
    names, token = page(store, **request)
    while token:
        more, token = page(store, **request, NextToken=token)
        assert more
        names += more
    return names


NAMES = [f"job-{number:02}" for number in range(12)]


def test_defaults_hold_without_a_word(store: Store) -> None:
    names, token = page(store)
    assert names == NAMES[::-1][:5]
    assert token
    assert walk(store) == NAMES[::-1]


@pytest.mark.parametrize("size", [1, 2, 5, 11, 12, 100])
@pytest.mark.parametrize("by", SORTS)
@pytest.mark.parametrize("order", ["Ascending", "Descending"])
def test_every_page_size_walks_through_the_same_list(store: Store, size: int, by: str, order: str) -> None:
    whole, token = page(store, SortBy=by, SortOrder=order, MaxResults=100)
    assert token is None
    assert sorted(whole) == NAMES
    assert walk(store, SortBy=by, SortOrder=order, MaxResults=size) == whole


def test_filters_hold_on_every_page(store: Store) -> None:
    failed = walk(store, StatusEquals="Failed", MaxResults=1)
    assert len(failed) == 4
    assert walk(store, NameContains="B-1", MaxResults=1) in ([], ["job-11", "job-10"])
    assert walk(store, NameContains="b-1", MaxResults=1) == ["job-11", "job-10"]


def test_times_bound_what_is_listed(store: Store) -> None:
    created = sorted(row.created_at for row in store.find("automl-job"))
    assert walk(store, CreationTimeAfter=created[-1] + 1) == []
    assert walk(store, CreationTimeBefore=created[0] - 1, LastModifiedTimeBefore=created[0] - 1) == []
    assert len(walk(store, CreationTimeAfter=created[0] - 1, LastModifiedTimeAfter=created[0] - 1)) == 12


def test_a_page_goes_on_where_it_ended_whatever_was_added(store: Store) -> None:
    first, token = page(store, SortOrder="Ascending", MaxResults=6)
    store.insert("automl-job", "job-00-inserted", {})
    try:
        rest, _ = page(store, SortOrder="Ascending", MaxResults=100, NextToken=token)
    finally:
        store.delete("automl-job", "job-00-inserted")
    assert first + rest == NAMES


def test_a_token_serves_only_the_request_that_it_came_from(store: Store) -> None:
    _, token = page(store, StatusEquals="Failed", MaxResults=1)
    for other in ({"StatusEquals": "Completed"}, {}, {"StatusEquals": "Failed", "SortOrder": "Ascending"}):
        with pytest.raises(ValidationError, match="NextToken"):
            page(store, **other, NextToken=token)
    with pytest.raises(ValidationError, match="NextToken"):
        paging.page(store, "endpoint", {"StatusEquals": "Failed", "NextToken": token}, sorts=SORTS, default_sort="Name")
    assert page(store, StatusEquals="Failed", MaxResults=100, NextToken=token)[1] is None


def forged(place: list[Any], store: Store) -> str:
    _, token = page(store, MaxResults=1)
    asked = json.loads(base64.urlsafe_b64decode(token or ""))[0]
    return base64.urlsafe_b64encode(json.dumps([asked, *place]).encode()).decode()


@pytest.mark.parametrize(
    "place",
    [[], ["a"], [1.0, 1], ["a", "b"], ["a", 1, 2], [None, None], [{}, 1], ["\ud800", 1], ["\0", 1], ["a", 10**30]],
)
def test_a_forged_token_is_invalid(store: Store, place: list[Any]) -> None:
    with pytest.raises(ValidationError, match="NextToken"):
        page(store, NextToken=forged(place, store))


def itself(item: int) -> tuple[int]:
    return (item,)


@given(token=st.text(min_size=1) | st.binary(min_size=1).map(lambda b: base64.urlsafe_b64encode(b).decode()))
def test_no_token_brings_a_list_down(token: str) -> None:
    with pytest.raises(ValidationError, match="NextToken"):
        paging.slice([1, 2, 3], {"NextToken": token}, itself)


@given(items=st.sets(st.integers()), size=st.integers(1, 7), descending=st.booleans())
def test_slices_walk_through_all_items(items: set[int], size: int, descending: bool) -> None:
    seen, token = paging.slice(items, {"MaxResults": size}, itself, descending=descending)
    while token:
        more, token = paging.slice(items, {"MaxResults": size, "NextToken": token}, itself, descending=descending)
        seen += more
    assert seen == sorted(items, reverse=descending)


@given(
    items=st.sets(st.integers(0, 50), min_size=3),
    come=st.sets(st.integers(0, 50)),
    go=st.sets(st.integers(0, 50)),
    descending=st.booleans(),
)
def test_a_slice_goes_on_where_it_ended_whatever_came_or_went(
    items: set[int], come: set[int], go: set[int], descending: bool
) -> None:
    first, token = paging.slice(items, {"MaxResults": 2}, itself, descending=descending)
    rest, _ = paging.slice((items | come) - go, {"MaxResults": 100, "NextToken": token}, itself, descending=descending)
    seen = first + rest
    assert seen == sorted(set(seen), reverse=descending)
    assert items - go <= set(seen)


def test_the_token_of_a_slice_is_bound_to_its_request() -> None:
    _, token = paging.slice([1, 2], {"MaxResults": 1, "StatusEquals": "Failed"}, itself)
    with pytest.raises(ValidationError, match="NextToken"):
        paging.slice([1, 2], {"MaxResults": 1, "NextToken": token}, itself)


@pytest.mark.parametrize("place", [[], ["a"], [1, 2], [None], [{}]])
def test_a_forged_place_in_a_slice_is_invalid(place: list[Any]) -> None:
    _, token = paging.slice([1, 2], {"MaxResults": 1}, itself)
    asked = json.loads(base64.urlsafe_b64decode(token or ""))[0]
    made = base64.urlsafe_b64encode(json.dumps([asked, *place]).encode()).decode()
    with pytest.raises(ValidationError, match="NextToken"):
        paging.slice([1, 2], {"NextToken": made}, itself)
