"""Which objects an input data source means: those under a prefix, or those that a manifest names."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from pilothouse.errors import S3Error, ValidationError
from pilothouse.objects import uri as uris
from pilothouse.objects.base import ObjectInfo, Objects
from pilothouse.objects.uri import S3Uri

_LARGEST_MANIFEST = 4 << 20
_MOST_KEYS = 100_000
_FORM = 'It must be a JSON array: first {"prefix": "s3://bucket/path/"}, then keys relative to that prefix.'


def expand(
    objects: Objects,
    data_type: str,
    uri: str,
    *,
    region: str | None = None,
    role_arn: str | None = None,
    empty: bool = False,
) -> list[ObjectInfo]:
    """The objects of a data source of type S3Prefix or ManifestFile, by key, without folder markers.

    Objects without content are left out unless `empty` asks for them.

    `ValidationError` if there are none, if the manifest is not one, or if an object that it names is missing. `region`
    and `role_arn` only complete the sentence.
    """
    try:
        infos = list(_data(objects, data_type, uri, empty))
    except S3Error as error:
        if not error.refused:
            raise
        infos = []
    if not infos:
        raise ValidationError(_nothing(uri, region, role_arn))
    return infos


def first(
    objects: Objects, data_type: str, uri: str, *, region: str | None = None, role_arn: str | None = None
) -> ObjectInfo:
    """The first of the objects that `expand` gives, with its errors but without looking at the objects after it."""
    return next(each(objects, data_type, uri, region=region, role_arn=role_arn))


def each(
    objects: Objects, data_type: str, uri: str, *, region: str | None = None, role_arn: str | None = None
) -> Iterator[ObjectInfo]:
    """The objects that `expand` gives, each looked at once it is asked for, and its errors once they are met."""
    found = False
    try:
        for info in _data(objects, data_type, uri, False):
            yield info
            found = True
    except S3Error as error:
        if not error.refused:
            raise
        found = False
    if not found:
        raise ValidationError(_nothing(uri, region, role_arn))


def root(objects: Objects, data_type: str, uri: str, infos: Iterable[ObjectInfo]) -> str:
    """The start of the keys of `infos`, which `expand` gave, that is no part of their files' names.

    For a prefix it is the folder that the prefix names or lies in; for a manifest, the manifest's own prefix.
    """
    place = uris.parse(uri)
    if data_type == "ManifestFile":
        return uris.parse(_prefix(_document(objects, place, uri), uri)).key
    folder = f"{place.key.rstrip('/')}/" if place.key else ""
    return folder if all(info.key.startswith(folder) for info in infos) else place.key[: place.key.rfind("/") + 1]


def _data(objects: Objects, data_type: str, uri: str, empty: bool) -> Iterator[ObjectInfo]:
    if data_type not in ("S3Prefix", "ManifestFile"):
        raise ValidationError(f"S3DataType {data_type} is not supported. Use S3Prefix or ManifestFile.")
    place = uris.parse(uri)
    found = objects.walk(place.bucket, place.key) if data_type == "S3Prefix" else _named(objects, place, uri)
    return (info for info in found if not info.key.endswith("/") and (empty or info.size > 0))


def _named(objects: Objects, place: S3Uri, uri: str) -> Iterator[ObjectInfo]:
    addresses = dict.fromkeys(_addresses(_document(objects, place, uri), uri))
    ordered = sorted(addresses, key=lambda address: address.key.encode("utf-8", "surrogatepass"))
    return (_head(objects, address, uri) for address in ordered)


def _document(objects: Objects, place: S3Uri, uri: str) -> Any:
    try:
        with objects.open(place.bucket, place.key, 0, _LARGEST_MANIFEST + 1) as stream:
            text = stream.read()
    except S3Error as error:
        raise ValidationError(f'The manifest "{uri}" cannot be read: {error.message}') from None
    if len(text) > _LARGEST_MANIFEST:
        raise ValidationError(
            f'The manifest "{uri}" is larger than {_LARGEST_MANIFEST >> 20} MiB. Use S3Prefix instead.'
        )
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ValidationError(f'The manifest "{uri}" is not a JSON document. {_FORM}') from None


def _prefix(document: Any, uri: str) -> str:
    if not isinstance(document, list) or not document or not isinstance(document[0], dict):
        raise ValidationError(f'The manifest "{uri}" does not begin with a prefix. {_FORM}')
    prefix = document[0].get("prefix")
    if not isinstance(prefix, str):
        raise ValidationError(f'The manifest "{uri}" names a prefix that is not a string. {_FORM}')
    return prefix


def _addresses(document: Any, uri: str) -> list[S3Uri]:
    prefix, keys = _prefix(document, uri), document[1:]
    if not all(isinstance(key, str) for key in keys):
        raise ValidationError(f'The manifest "{uri}" names a key that is not a string. {_FORM}')
    if len(keys) > _MOST_KEYS:
        raise ValidationError(f'The manifest "{uri}" names more than {_MOST_KEYS} keys. Use S3Prefix instead.')
    return [uris.parse(prefix + key) for key in dict.fromkeys(keys)]


def _head(objects: Objects, address: S3Uri, uri: str) -> ObjectInfo:
    try:
        return objects.head(address.bucket, address.key)
    except S3Error as error:
        raise ValidationError(
            f'The manifest "{uri}" names "{address}", which cannot be read: {error.message}'
        ) from None


def _nothing(uri: str, region: str | None, role_arn: str | None) -> str:
    bucket = uris.parse(uri).bucket
    where = f" in the selected region ({region})" if region else ""
    role = f', and that the role "{role_arn}" has "s3:ListBucket" permissions on bucket "{bucket}"' if role_arn else ""
    return (
        f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the bucket exists'
        f"{where}, that objects exist under that S3 prefix{role}."
    )
