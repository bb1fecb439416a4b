"""Bucket names and keys, and the file names that stand for keys.

A key is cut at its slashes. Each segment but the last becomes a folder, the last a file, so that the tree mirrors the
keys; every byte outside a small safe set, and a leading dot, is percent-encoded, so that no key can name anything
outside its folder. What tells the entries of one folder apart:

    name          the last segment of a key: an object
    name%         a segment that a slash follows: a folder
    name%+        the first part of a segment that is too long for one file name: a folder, and no slash
    %-            an empty last segment (the key ends in a slash)

An encoded byte is "%" and two hexadecimal digits, so none of the endings can come out of the encoding. A segment is cut
as soon as its encoded form reaches 248 characters, even if nothing follows, so where it is cut depends only on what
comes before; sorting a folder's entries by the bytes they stand for therefore gives the keys in UTF-8 byte order.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from pilothouse.errors import S3Error

_BUCKET = re.compile(r"(?!xn--|sthree-|amzn-s3-demo-)[a-z0-9](?:[a-z0-9-]|\.(?!\.))+[a-z0-9](?<!-s3alias)(?<!--ol-s3)")
_IP = re.compile(r"\d+\.\d+\.\d+\.\d+")
_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=+,@~")
_ENCODED = [chr(byte) if byte in _SAFE else f"%{byte:02X}" for byte in range(256)]
_PLAIN = re.compile(rb"[A-Za-z0-9_=+,@~-][A-Za-z0-9_.=+,@~-]{0,246}")
"""A segment that stands for itself."""

_ESCAPE = re.compile(rb"%([0-9A-F]{2})")
_FULL = 248
_LONGEST_KEY = 1024
_EMPTY = "%-"


class Kind(Enum):
    """What an entry of a folder is."""

    OBJECT = "object"
    FOLDER = "folder"
    CONTINUED = "continued"


class Entry(NamedTuple):
    """A folder's entry: the bytes it adds to the key so far (a folder's end in a slash), and its file name."""

    adds: bytes
    kind: Kind
    name: str


def is_bucket(name: str) -> bool:
    """Whether `name` can be a bucket's, by S3's rules."""
    return 3 <= len(name) <= 63 and _BUCKET.fullmatch(name) is not None and _IP.fullmatch(name) is None


def check_bucket(name: str) -> str:
    """`name` if it can be a bucket's; S3's InvalidBucketName if not."""
    if not is_bucket(name):
        raise S3Error("InvalidBucketName", f'The specified bucket is not valid: "{name}".', 400)
    return name


def check_key(key: str) -> bytes:
    """The UTF-8 bytes of `key` if it can be an object's; S3's error if not."""
    try:
        raw = key.encode()
    except UnicodeEncodeError:
        raise S3Error("InvalidURI", "The object key is not valid UTF-8.", 400) from None
    if not raw:
        raise S3Error("InvalidURI", "The object key is empty.", 400)
    if len(raw) > _LONGEST_KEY:
        raise S3Error("KeyTooLongError", f"Your key is too long: {len(raw)} bytes of at most {_LONGEST_KEY}.", 400)
    return raw


def names(key: str) -> list[str]:
    """The folders and the file that stand for `key`, outermost first."""
    *folders, last = check_key(key).split(b"/")
    path: list[str] = []
    for segment in folders:
        *continued, end = _pieces(segment)
        path += [f"{piece}%+" for piece in continued]
        path.append(f"{end}%")
    *continued, end = _pieces(last)
    return [*path, *(f"{piece}%+" for piece in continued), end or _EMPTY]


def entry(name: str) -> Entry:
    """What the file name `name` stands for."""
    if name == _EMPTY:
        return Entry(b"", Kind.OBJECT, name)
    if name.endswith("%+"):
        return Entry(_decode(name[:-2]), Kind.CONTINUED, name)
    if name.endswith("%"):
        return Entry(_decode(name[:-1]) + b"/", Kind.FOLDER, name)
    return Entry(_decode(name), Kind.OBJECT, name)


def _pieces(segment: bytes) -> list[str]:
    if _PLAIN.fullmatch(segment):
        return [segment.decode()]
    pieces = [""]
    for byte in segment:
        pieces[-1] += "%2E" if byte == 0x2E and not pieces[-1] else _ENCODED[byte]
        if len(pieces[-1]) >= _FULL:
            pieces.append("")
    return pieces


def _decode(text: str) -> bytes:
    raw = text.encode("ascii", "replace")
    return _ESCAPE.sub(lambda found: bytes([int(found[1], 16)]), raw) if b"%" in raw else raw
