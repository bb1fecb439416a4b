"""Data capture: what an endpoint's DataCaptureConfig asks for, and the records and keys that AWS's layout has."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]

_BESIDES = 1 << 10  # bytes that an exchange takes beside its bodies, about
_MODES = {"Input": (True, False), "Output": (False, True), "InputAndOutput": (True, True)}


@dataclass(frozen=True)
class Exchange:
    """One answered request: `at` in epoch seconds, content types as they were sent, None where there was none.

    `id` tells it from all others, however often its record is written.
    """

    endpoint: str
    variant: str
    at: float
    body: bytes
    content_type: str | None
    answer: bytes
    answer_type: str | None
    custom_attributes: str | None = None
    inference_id: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, about."""
        return len(self.body) + len(self.answer) + _BESIDES


@dataclass(frozen=True)
class Capture:
    """A DataCaptureConfig that is switched on. Types in neither `csv_types` nor `json_types` are written as base64."""

    percentage: int
    destination: str
    kms_key: str | None
    with_input: bool
    with_output: bool
    csv_types: frozenset[str]
    json_types: frozenset[str]

    @classmethod
    def of(cls, config: Mapping[str, Any] | None) -> Capture | None:
        """Reads a DataCaptureConfig whose shape has been checked; None if nothing is to be captured."""
        if config is None or not config.get("EnableCapture", True):
            return None
        modes = [_MODES[option["CaptureMode"]] for option in config["CaptureOptions"]]
        headers = config.get("CaptureContentTypeHeader", {})
        return cls(
            percentage=config["InitialSamplingPercentage"],
            destination=config["DestinationS3Uri"],
            kms_key=config.get("KmsKeyId") or None,
            with_input=any(given for given, _ in modes),
            with_output=any(given for _, given in modes),
            csv_types=frozenset(name.lower() for name in headers.get("CsvContentTypes", [])),
            json_types=frozenset(name.lower() for name in headers.get("JsonContentTypes", [])),
        )

    def line(self, exchange: Exchange) -> bytes:
        """The record of an exchange: one line of JSON."""
        data = {}
        if self.with_input:
            data["endpointInput"] = self._side("INPUT", exchange.body, exchange.content_type)
        if self.with_output:
            data["endpointOutput"] = self._side("OUTPUT", exchange.answer, exchange.answer_type)
        event: Document = {"eventId": exchange.id}
        if exchange.custom_attributes is not None:
            event["customAttributes"] = [exchange.custom_attributes]
        if exchange.inference_id is not None:
            event["inferenceId"] = exchange.inference_id
        event["inferenceTime"] = f"{_time(exchange.at):%Y-%m-%dT%H:%M:%SZ}"
        return json.dumps({"captureData": data, "eventMetadata": event, "eventVersion": "0"}).encode() + b"\n"

    def _side(self, mode: str, body: bytes, content_type: str | None) -> Document:
        encoding, data = self._encoded(body, (content_type or "").partition(";")[0].strip().lower())
        observed = {"observedContentType": content_type} if content_type else {}
        return {**observed, "mode": mode, "data": data, "encoding": encoding}

    def _encoded(self, body: bytes, content_type: str) -> tuple[str, str]:
        known = "CSV" if content_type in self.csv_types else "JSON" if content_type in self.json_types else None
        try:
            if known is not None:
                return known, body.decode()
        except UnicodeDecodeError:
            pass  # what is no text can't be told as one
        return "BASE64", base64.b64encode(body).decode()


def folder(exchange: Exchange) -> str:
    """Below a destination, where AWS puts an exchange's record: by endpoint, variant and hour."""
    return f"{exchange.endpoint}/{exchange.variant}/{_time(exchange.at):%Y/%m/%d/%H}"


def file_name(first: Exchange) -> str:
    """The name of the file that begins with the record of `first`: minute, second, millisecond and its id."""
    return f"{_time(first.at):%M-%S}-{int(first.at * 1000) % 1000:03d}-{first.id}.jsonl"


def summary(config: Mapping[str, Any]) -> Document:
    """A DataCaptureConfig as DescribeEndpoint shows it."""
    enabled = config.get("EnableCapture", True)
    return {
        "EnableCapture": enabled,
        "CaptureStatus": "Started" if enabled else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


def _time(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
