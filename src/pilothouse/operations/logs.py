"""Logs of jobs and endpoints, as CloudWatch Logs shows them: DescribeLogStreams, GetLogEvents.

`log_search` has the operations that go across streams.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from pilothouse.errors import ResourceNotFound, ValidationError
from pilothouse.operations.context import Context
from pilothouse.store.logs import LogEvent, LogStream, StreamOrder
from pilothouse.store.resource import Cursor
from pilothouse.wire import paging

_MOST_STREAMS = 50
MOST_EVENTS = 10_000
MOST_BYTES = 1 << 20
_BATCH = 1000  # events that are read at a time: each may have 32 KiB
_EVENT_BYTES = 26  # what AWS counts for an event beside its message
_GROUP_ARN = re.compile(r"arn:[^:]*:logs:[^:]*:\d{12}:log-group:([^:]+)")
_TOKEN = re.compile(r"([fb])/(\d{1,18})")


def describe_log_streams(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """DescribeLogStreams: by name unless asked to go by the last event."""
    group, prefix = group_of(request), request.get("logStreamNamePrefix")
    order = _order(request)

    def streams(after: Cursor | None, limit: int) -> list[LogStream]:
        descending = request.get("descending", False)
        return context.store.logs.streams(group, prefix, limit, after, order=order, descending=descending)

    page, token = paging.walk(
        streams,
        lambda stream: stream.cursor(order),
        paging_members(request),
        numeric=order == "last_event",
        default_limit=_MOST_STREAMS,
    )
    if not page and not context.store.logs.streams(group, limit=1):
        raise ResourceNotFound("The specified log group does not exist.")
    return {"logStreams": [_stream(context, group, stream) for stream in page], "nextToken": token}


def get_log_events(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """GetLogEvents: the newest events, or from the head; always both tokens, the same again at either end."""
    group, name = group_of(request), request["logStreamName"]
    check_stream(context, group, name)
    direction, seq = _place(request)
    nearest = list(_fitting(_events(context, request, group, name), request.get("limit", MOST_EVENTS)))
    events = nearest if direction == "f" else nearest[::-1]
    return {"events": [described(event) for event in events], **_tokens(events, direction, seq)}


def group_of(request: dict[str, Any]) -> str:
    """The group that a request names, by its name or by its ARN."""
    name, identifier = request.get("logGroupName"), request.get("logGroupIdentifier")
    if (name is None) == (identifier is None):
        raise ValidationError("Name the log group by exactly one of logGroupName and logGroupIdentifier.")
    return str(name or name_of(identifier or ""))


def name_of(identifier: str) -> str:
    """The group that an identifier names, which is a name or an ARN."""
    arn = _GROUP_ARN.fullmatch(identifier)
    return arn[1] if arn else identifier


def check_stream(context: Context, group: str, name: str) -> None:
    """`ResourceNotFound` if the group has no stream of that name."""
    if not any(stream.name == name for stream in context.store.logs.streams(group, name)):
        raise ResourceNotFound("The specified log stream does not exist.")


def _order(request: dict[str, Any]) -> StreamOrder:
    if request.get("orderBy") != "LastEventTime":
        return "name"
    if "logStreamNamePrefix" in request:
        raise ValidationError("Cannot order by LastEventTime with a logStreamNamePrefix. Leave one of them out.")
    return "last_event"


def paging_members(request: dict[str, Any]) -> dict[str, Any]:
    """The request as `paging` reads it: Logs spells its paging members in its own way."""
    renamed = {"nextToken": "NextToken", "limit": "MaxResults"}
    return {renamed.get(name, name): value for name, value in request.items()}


def _stream(context: Context, group: str, stream: LogStream) -> dict[str, Any]:
    settings = context.settings
    return {
        "logStreamName": stream.name,
        "arn": f"arn:aws:logs:{settings.region}:{settings.account_id}:log-group:{group}:log-stream:{stream.name}",
        "creationTime": milliseconds(stream.created_at),
        "firstEventTimestamp": milliseconds(stream.first_event_at),
        "lastEventTimestamp": milliseconds(stream.last_event_at),
        "lastIngestionTime": milliseconds(stream.last_event_at),
        "storedBytes": 0,
    }


def described(event: LogEvent) -> dict[str, Any]:
    """An event as both operations that read some tell it."""
    at = milliseconds(event.timestamp)
    return {"timestamp": at, "ingestionTime": at, "message": event.message}


def size(event: LogEvent) -> int:
    """What AWS counts for an event, in bytes."""
    return len(event.message.encode()) + _EVENT_BYTES


def _place(request: dict[str, Any]) -> tuple[str, int | None]:
    """Where to read on: forward behind an event, or backward before one; None is the head, or the tail."""
    token = request.get("nextToken")
    if token is None:
        return ("f" if request.get("startFromHead") else "b"), None
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise ValidationError("The specified nextToken is invalid. Send one that GetLogEvents gave for this stream.")
    return match[1], int(match[2])


def _events(context: Context, request: dict[str, Any], group: str, name: str) -> Iterator[LogEvent]:
    """The events of a stream, the nearest to where the reader stands first; some are read at a time."""
    direction, seq = _place(request)
    count = min(_BATCH, request.get("limit", _BATCH))
    while True:
        batch = context.store.logs.events(
            group,
            name,
            after_seq=seq if direction == "f" else None,
            before_seq=seq if direction == "b" else None,
            start=_seconds(request.get("startTime")),
            end=_seconds(request.get("endTime")),
            limit=count,
            from_head=direction == "f",
        )
        yield from batch if direction == "f" else reversed(batch)
        if len(batch) < count:
            return
        seq = batch[-1].seq if direction == "f" else batch[0].seq


def _fitting(events: Iterator[LogEvent], limit: int) -> Iterator[LogEvent]:
    """As many of `events` as AWS puts into an answer."""
    total = 0
    for count, event in enumerate(islice(events, limit)):
        total += size(event)
        if total > MOST_BYTES and count:
            return
        yield event


def _tokens(events: list[LogEvent], direction: str, seq: int | None) -> dict[str, str]:
    """The ways on from here. At an end of the stream the token that led here comes again, as in AWS."""
    if events:
        first, last = events[0].seq, events[-1].seq
    elif direction == "f":
        first, last = (seq or 0) + 1, seq or 0
    else:
        first, last = seq or 0, max((seq or 0) - 1, 0)
    return {"nextForwardToken": f"f/{last}", "nextBackwardToken": f"b/{first}"}


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def milliseconds(seconds: float | None) -> int | None:
    """A time as Logs tells it."""
    return None if seconds is None else round(seconds * 1000)
