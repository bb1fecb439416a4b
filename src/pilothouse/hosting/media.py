"""Media types of requests and answers, and what is refused because of them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from email.message import Message

from pilothouse.contract import recordio
from pilothouse.errors import ConfigurationError, PilothouseError
from pilothouse.objects.encoding import Utf8

CSV, JSON, JSON_LINES, RECORDIO = "text/csv", "application/json", "application/jsonlines", recordio.MEDIA_TYPE
_LARGEST_CELL = 1 << 30
_ALIASES = {"application/x-jsonlines": JSON_LINES, "application/x-ndjson": JSON_LINES, "application/x-json": JSON}


class CodecError(PilothouseError):
    """The request can't be read, or the answer can't be written; `status` is the HTTP status that says so."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def parsed(header: str) -> tuple[str, dict[str, str]]:
    """The name in a Content-Type or one part of an Accept header, and its parameters."""
    message = Message()
    message["content-type"] = header.strip()
    parameters = {str(key).lower(): str(value) for key, value in message.get_params(failobj=[])[1:]}
    name = header.split(";", 1)[0].strip().lower()
    return _ALIASES.get(name, name), parameters


def of_request(content_type: str | None, formats: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The one of `formats` that a request is in (text/csv if it doesn't say), and its parameters; else 415."""
    name, parameters = parsed(content_type or CSV)
    if name not in formats:
        raise CodecError(415, f"Content type '{content_type}' is not supported. Supported: {', '.join(formats)}.")
    return name, parameters


def accepted(accept: str | None, default: str, formats: Sequence[str]) -> str:
    """The one of `formats` that an Accept header asks for: the first one, by its own weights, that is there; else 406.

    A wildcard means `default` where that fits it.
    """
    if accept is None or not accept.strip():
        return default
    wishes = sorted((parsed(part) for part in accept.split(",")), key=lambda wish: -_weight(wish[1]))
    for name, _ in wishes:
        if name == "*/*":
            return default
        wanted = name.removesuffix("*") if name.endswith("/*") else name
        fitting = [one for one in formats if one == name or (wanted != name and one.startswith(wanted))]
        if fitting:
            return default if default in fitting else fitting[0]
    raise CodecError(406, f"Accept type '{accept}' is not supported. Supported: {', '.join(formats)}.")


def default_accept(environment: Mapping[str, str], formats: Sequence[str]) -> str:
    """The format of answers to requests that ask for none; `ConfigurationError` if it is none of `formats`."""
    name = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT", "").strip() or CSV
    try:
        return accepted(name, CSV, formats)
    except CodecError as error:
        raise ConfigurationError(f"SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT: {error.message}") from error


def as_text(body: bytes, parameters: Mapping[str, str]) -> str:
    """A request's text, by its charset; if it says none, as the files are read that models are trained on; else 400."""
    charset = parameters.get("charset")
    try:
        return decoded(body, charset)
    except (UnicodeError, LookupError) as error:
        raise CodecError(400, f"The request is not {charset or 'utf-8'} text: {error}.") from error


def decoded(content: bytes, charset: str | None) -> str:
    """The text that is declared to be in `charset`; `UnicodeError` if it isn't, `LookupError` if there is none such."""
    if charset is None:
        return Utf8()(content, final=True).decode()
    return content.decode("utf-8-sig" if charset.lower() in ("utf-8", "utf8") else charset)


def allow_long_cells() -> None:
    """Lets cells of CSV be as long as requests may be, in all of this process; Python's own limit is 131,072."""
    csv.field_size_limit(_LARGEST_CELL)


def csv_rows(text: str, delimiter: str = ",") -> list[list[str]]:
    """The rows of CSV, empty lines left out; 400 if it is none."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
    try:
        return [row for row in reader if row]
    except csv.Error as error:
        raise CodecError(400, f"The request is not valid CSV: {error} (line {reader.line_num}).") from error


def _weight(parameters: Mapping[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
