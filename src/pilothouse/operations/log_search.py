"""Logs across streams, as `aws logs tail` reads them: FilterLogEvents, DescribeLogGroups."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from pilothouse.catalog.log_patterns import pattern
from pilothouse.errors import ResourceNotFound, ValidationError
from pilothouse.operations import logs
from pilothouse.operations.context import Context
from pilothouse.store.logs import Streams
from pilothouse.store.resource import Cursor
from pilothouse.wire import paging

_MOST_GROUPS = 50
_MOST_READ = 50_000
"""Events that one call looks at; as in AWS, a page may then be empty and have a next one."""

_MOST_SECONDS = 5.0
"""How long one call looks at events, which a client's regexes may make slow."""

_HALF_A_MILLISECOND = 0.0005
"""What a time on the wire may have been rounded by."""

_TOKEN = re.compile(r"e/(\d{1,12}(?:\.\d{1,9})?)/(\d{1,18})")


def filter_log_events(
    context: Context, request: dict[str, Any], *, monotonic: Callable[[], float] = time.monotonic
) -> dict[str, Any]:
    """FilterLogEvents: by their time, across the streams of a group, the oldest first unless asked otherwise."""
    streams = _streams(context, request)
    fits = pattern.compiled(request.get("filterPattern", ""))
    limit, after = request.get("limit", logs.MOST_EVENTS), _after(request)
    found: list[dict[str, Any]] = []
    read = size = 0
    give_up: float | None = None
    events = context.store.logs.search(
        streams,
        start=_bound(request.get("startTime"), -_HALF_A_MILLISECOND),
        end=_bound(request.get("endTime"), _HALF_A_MILLISECOND),
        after=after,
        limit=_MOST_READ,
        descending=not request.get("startFromHead", True),
    )
    for stream, event in events:
        # The time begins with the first event: however long the group took to sort, each call gets on.
        give_up = monotonic() + _MOST_SECONDS if give_up is None else give_up
        if fits(event.message):
            size += logs.size(event)
            if found and size > logs.MOST_BYTES:
                return _page(found, after)
            found.append({**logs.described(event), "logStreamName": stream, "eventId": f"{event.seq:056d}"})
        after = Cursor(event.timestamp, event.seq)
        read += 1
        if len(found) == limit or monotonic() >= give_up:
            return _page(found, after)
    return _page(found, after if read == _MOST_READ else None)


def describe_log_groups(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeLogGroups: those that something was logged to, by name."""
    prefix, part = request.get("logGroupNamePrefix", ""), request.get("logGroupNamePattern", "").lower()
    if prefix and part:
        raise ValidationError("logGroupNamePrefix and logGroupNamePattern cannot both be given. Leave one of them out.")
    wanted = [logs.name_of(identifier) for identifier in request.get("logGroupIdentifiers", ())]
    groups = [
        (name, made)
        for name, made in context.store.logs.groups()
        if name.startswith(prefix) and part in name.lower() and (not wanted or name in wanted)
    ]
    page, token = paging.slice(
        groups, logs.paging_members(request), lambda group: (group[0],), default_limit=_MOST_GROUPS
    )
    return {"logGroups": [_group(context, name, made) for name, made in page], "nextToken": token}


def _streams(context: Context, request: dict[str, Any]) -> Streams:
    group, names = logs.group_of(request), request.get("logStreamNames")
    prefix = request.get("logStreamNamePrefix")
    if names and prefix:
        raise ValidationError("logStreamNames and logStreamNamePrefix cannot both be given. Leave one of them out.")
    if not context.store.logs.streams(group, limit=1):
        raise ResourceNotFound("The specified log group does not exist.")
    for name in names or ():
        logs.check_stream(context, group, name)
    return Streams(group, tuple(names or ()), prefix or "")


def _after(request: dict[str, Any]) -> Cursor | None:
    token = request.get("nextToken")
    if token is None:
        return None
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise ValidationError("The specified nextToken is invalid. Send one that FilterLogEvents gave for this search.")
    return Cursor(float(match[1]), int(match[2]))


def _page(events: list[dict[str, Any]], after: Cursor | None) -> dict[str, Any]:
    token = None if after is None else f"e/{after[0]!r}/{after[1]}"
    return {"events": events, "searchedLogStreams": [], "nextToken": token}


def _bound(milliseconds: int | None, slack: float) -> float | None:
    return None if milliseconds is None else milliseconds / 1000 + slack


def _group(context: Context, name: str, made: float) -> dict[str, Any]:
    settings = context.settings
    arn = f"arn:aws:logs:{settings.region}:{settings.account_id}:log-group:{name}"
    return {
        "logGroupName": name,
        "creationTime": logs.milliseconds(made),
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "logGroupClass": "STANDARD",
        "storedBytes": 0,
    }
