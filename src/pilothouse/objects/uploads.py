"""Multipart uploads of a directory store: a hidden folder each, holding what was asked for and the parts so far."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from pilothouse import clock
from pilothouse.errors import S3Error
from pilothouse.names import token
from pilothouse.objects import checksums as sums
from pilothouse.objects.base import Attributes, Body, ChecksumType, Encryption, Part, Upload
from pilothouse.objects.envelope import Envelopes, Place, encryption_of
from pilothouse.objects.refusals import no_such_bucket
from pilothouse.objects.stored import Draft, facts_of, open_content, sync_folder, window, write_synced

_SMALLEST_PART = 5 << 20
_MOST_PARTS = 10_000
_REQUEST = "upload.json"


class Uploads:
    """The uploads in progress of one bucket, under `folder`; drafts are written in `incoming`."""

    def __init__(self, bucket: str, folder: Path, incoming: Path, envelopes: Envelopes) -> None:
        self._bucket, self._folder, self._incoming = bucket, folder, incoming
        self._envelopes = envelopes

    def create(
        self,
        key: str,
        attributes: Attributes,
        algorithm: str | None,
        kind: ChecksumType,
        encryption: Encryption | None,
    ) -> str:
        """Begin one; its id."""
        upload_id = token(32)
        folder = self._incoming / upload_id
        request = {"key": key, "attributes": asdict(attributes), "started": clock.now(), "sum": algorithm, "kind": kind}
        if encryption is not None:
            request["encryption"] = asdict(encryption)
        with self._bucket_there():
            folder.mkdir()
            write_synced(folder / _REQUEST, json.dumps(request).encode())
            folder.rename(self._folder / upload_id)
            sync_folder(self._folder)
        return upload_id

    def find(self, key: str, upload_id: str) -> Upload:
        """The upload of that key and id, or NoSuchUpload."""
        upload = self._load(self._path(upload_id))
        if upload is None or upload.key != key:
            raise _no_such_upload()
        return upload

    def attributes(self, upload_id: str) -> Attributes:
        """What the object is to be."""
        try:
            return Attributes(**self._request(self._path(upload_id))["attributes"])
        except FileNotFoundError:
            raise _no_such_upload() from None

    def all(self) -> list[Upload]:
        """By key and then by time."""
        with self._bucket_there():
            found = [self._load(folder) for folder in self._folder.iterdir()]
        return sorted((u for u in found if u), key=lambda u: (u.key.encode(), u.started_at, u.upload_id))

    def put(self, upload: Upload, number: int, body: Body, expected: Mapping[str, str | None]) -> Part:
        """Store one part."""
        if not 1 <= number <= _MOST_PARTS:
            raise S3Error("InvalidArgument", f"Part number must be an integer between 1 and {_MOST_PARTS}.", 400)
        digests = sums.Digests({*expected, *filter(None, [upload.checksum_algorithm])})
        with self._draft(upload) as draft:
            draft.write(body, digests)
            digests.verify(expected)
            part = Part(number, draft.size, digests.md5, clock.now(), digests.values(), upload.encryption)
            facts = {"etag": part.etag, "at": part.modified_at, "sums": dict(part.checksums)}
            if upload.encryption is not None:
                facts = self._envelopes.close(facts, upload.encryption, draft.segments, _place(upload, number))
            draft.seal(facts)
            try:
                draft.name(self._part(upload, number))
                sync_folder(self._path(upload.upload_id))
            except FileNotFoundError:
                raise _no_such_upload() from None
        return part

    def parts(self, upload: Upload) -> list[Part]:
        """The parts so far, by number."""
        try:
            numbers = sorted(int(path.name) for path in self._path(upload.upload_id).iterdir() if path.name.isdigit())
        except FileNotFoundError:
            raise _no_such_upload() from None
        try:
            return [self._load_part(upload, number) for number in numbers]
        except FileNotFoundError:
            raise _no_such_upload() from None

    def chosen(self, upload: Upload, wanted: Sequence[tuple[int, str]]) -> list[Part]:
        """The parts that the caller names, or what is wrong with them."""
        if not wanted:
            raise S3Error("MalformedXML", "You must specify at least one part.", 400)
        if any(later[0] <= earlier[0] for earlier, later in pairwise(wanted)):
            raise S3Error("InvalidPartOrder", "The list of parts was not in ascending order.", 400)
        stored = {part.number: part for part in self.parts(upload)}
        chosen = [_match(stored, number, etag) for number, etag in wanted]
        if any(part.size < _SMALLEST_PART for part in chosen[:-1]):
            raise S3Error("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed size.", 400)
        return chosen

    def assemble(
        self, draft: Draft, upload: Upload, parts: Sequence[Part], expected: Mapping[str, str | None]
    ) -> dict[str, str]:
        """Append the parts to `draft`; the checksums of the whole. BadDigest if one is not as expected.

        InvalidPart if one has been replaced since it was chosen, NoSuchUpload if they have been removed.
        """
        values = _sums_of_whole(upload, parts)
        sums.verify(values, expected)
        for part in parts:
            path = self._part(upload, part.number)
            try:
                facts, size, descriptor = open_content(path)
            except FileNotFoundError:
                raise _no_such_upload() from None
            with window(descriptor, size):
                if facts["etag"] != part.etag:
                    raise _invalid_part()
                segments = self._envelopes.open(facts, _place(upload, part.number), path)
                draft.append(descriptor, size, segments)
        return values

    def under_older_keys(self) -> int:
        """How many parts of all uploads are encrypted under a master key that is not the newest."""
        count = 0
        for path in self._folder.glob("*/[0-9]*"):
            try:
                count += self._envelopes.is_older(facts_of(path)[0])
            except FileNotFoundError:
                continue  # completed, or aborted
        return count

    def remove(self, upload_id: str) -> None:
        """Drop an upload and its parts; NoSuchUpload if there is none."""
        doomed = self._incoming / token(32)
        try:
            self._path(upload_id).rename(doomed)
            sync_folder(self._folder)
        except FileNotFoundError:
            raise _no_such_upload() from None
        shutil.rmtree(doomed, ignore_errors=True)

    @contextlib.contextmanager
    def _bucket_there(self) -> Iterator[None]:
        """Around what finds the bucket's folders: NoSuchBucket if it has just been deleted."""
        try:
            yield
        except FileNotFoundError:
            raise no_such_bucket(self._bucket) from None

    def _draft(self, upload: Upload) -> Draft:
        with self._bucket_there():
            return Draft(self._incoming, encrypted=upload.encryption is not None)

    def _path(self, upload_id: str) -> Path:
        if not (len(upload_id) == 32 and set(upload_id) <= set("0123456789abcdef")):
            raise _no_such_upload()
        return self._folder / upload_id

    def _part(self, upload: Upload, number: int) -> Path:
        return self._path(upload.upload_id) / f"{number:05}"

    def _load_part(self, upload: Upload, number: int) -> Part:
        facts, size = facts_of(self._part(upload, number))
        return Part(number, size, facts["etag"], facts["at"], facts["sums"], encryption_of(facts))

    def _request(self, folder: Path) -> dict[str, Any]:
        request: dict[str, Any] = json.loads((folder / _REQUEST).read_text())
        return request

    def _load(self, folder: Path) -> Upload | None:
        try:
            request = self._request(folder)
        except FileNotFoundError:
            return None
        asked = request.get("encryption")
        return Upload(
            self._bucket,
            request["key"],
            folder.name,
            request["started"],
            request["sum"],
            request["kind"],
            Encryption(**asked) if asked else None,
        )


def _place(upload: Upload, number: int) -> Place:
    return upload.upload_id, number


def _sums_of_whole(upload: Upload, parts: Sequence[Part]) -> dict[str, str]:
    algorithm = upload.checksum_algorithm
    if algorithm is None:
        return {}
    if upload.checksum_type == "COMPOSITE":
        return {algorithm: sums.composite(algorithm, [part.checksums[algorithm] for part in parts])}
    return {algorithm: sums.of_whole(algorithm, [(part.checksums[algorithm], part.size) for part in parts])}


def _match(stored: Mapping[int, Part], number: int, etag: str) -> Part:
    part = stored.get(number)
    if part is None or part.etag != etag.strip('"'):
        raise _invalid_part()
    return part


def _invalid_part() -> S3Error:
    return S3Error(
        "InvalidPart",
        "One or more of the specified parts could not be found. The part may not have been uploaded, or the "
        "specified entity tag may not match the part's entity tag.",
        400,
    )


def _no_such_upload() -> S3Error:
    return S3Error(
        "NoSuchUpload",
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or "
        "completed.",
        404,
    )
