"""Objects in a directory: the embedded object store.

    <root>/<bucket>/keys/…          one file an object; keys.py says how keys become names, stored.py what is in a file
    <root>/<bucket>/uploads/<id>/…  multipart uploads in progress
    <root>/<bucket>/incoming/…      files being written; a crash leaves them here, and `sweep` removes them

A bucket exists as long as its `keys` folder does. Many processes may use one root at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pilothouse import clock
from pilothouse.errors import S3Error
from pilothouse.names import token
from pilothouse.objects import checksums as sums
from pilothouse.objects import keys, transfer, tree
from pilothouse.objects.base import (
    Attributes,
    Body,
    Bucket,
    ChecksumType,
    Chosen,
    Listing,
    ObjectInfo,
    Part,
    PartList,
    Upload,
    UploadList,
)
from pilothouse.objects.refusals import bucket_exists_already, no_such_bucket, no_such_key, precondition_failed
from pilothouse.objects.stored import DamagedError, Draft, facts_of, open_content, sync_folder, window, write_synced
from pilothouse.objects.uploads import Uploads

_DEFAULT_TYPE = "binary/octet-stream"
_ATTEMPTS = 100
_ABOUT = "bucket.json"


class DirectoryObjects:
    """`Objects` under one directory, which is made when first needed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def keyed(self, kms_key: str | None) -> DirectoryObjects:  # noqa: ARG002
        return self

    def create_bucket(self, bucket: str) -> None:
        home = self._root / keys.check_bucket(bucket)
        with self._changing_buckets():
            if self.bucket_exists(bucket):
                raise bucket_exists_already()
            shutil.rmtree(home, ignore_errors=True)
            for folder in (home, home / "incoming", home / "uploads"):
                folder.mkdir()
            write_synced(home / _ABOUT, json.dumps({"created": clock.now()}).encode())
            (home / "keys").mkdir()
            sync_folder(home)
            sync_folder(self._root)

    def delete_bucket(self, bucket: str) -> None:
        root = self._keys(bucket)
        with self._changing_buckets():
            tree.prune(root)
            if not tree.remove_if_empty(root):
                raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty.", 409)
            doomed = self._root / f".{token(32)}"
            root.parent.rename(doomed)
            sync_folder(self._root)
        shutil.rmtree(doomed, ignore_errors=True)

    def bucket_exists(self, bucket: str) -> bool:
        return keys.is_bucket(bucket) and (self._root / bucket / "keys").is_dir()

    def buckets(self) -> list[Bucket]:
        found = sorted(path for path in self._root.glob("*/keys") if not path.parent.name.startswith("."))
        return [Bucket(path.parent.name, _created(path)) for path in found]

    def put(
        self,
        bucket: str,
        key: str,
        body: Body,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksums: Mapping[str, str | None] | None = None,
        headers: Mapping[str, str] | None = None,
        replace: bool = True,
    ) -> ObjectInfo:
        expected = checksums if checksums is not None else {}
        digests = sums.Digests(expected)
        keys.check_key(key)
        with self._draft(bucket) as draft:
            draft.write(body, digests)
            digests.verify(expected)
            facts = _facts(Attributes(content_type, metadata or {}, headers or {}), digests.md5, digests.values())
            draft.seal(facts)
            self._publish(draft, bucket, key, replace)
            return _info(bucket, key, facts, draft.size)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        path = self._object(bucket, key)
        try:
            return _info(bucket, key, *facts_of(path))
        except FileNotFoundError:
            raise no_such_key(key) from None

    def open(
        self, bucket: str, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> BinaryIO:
        path = self._object(bucket, key)
        try:
            facts, size, descriptor = open_content(path)
        except FileNotFoundError:
            raise no_such_key(key) from None
        stream = window(descriptor, size, start, length)
        if etag is not None and facts["etag"] != etag:
            stream.close()
            raise precondition_failed()
        return stream

    def read(self, bucket: str, key: str) -> bytes:
        with self.open(bucket, key) as stream:
            return stream.read()

    def delete(self, bucket: str, key: str) -> None:
        path, root = self._object(bucket, key), self._keys(bucket)
        try:
            path.unlink()
        except FileNotFoundError:
            return
        folder = path.parent
        with contextlib.suppress(FileNotFoundError):  # another delete has emptied and removed it: just as gone
            sync_folder(folder)
        while folder != root and tree.remove_if_empty(folder):
            folder = folder.parent

    def list(
        self, bucket: str, prefix: str = "", *, after: str = "", delimiter: str = "", limit: int = 1000
    ) -> Listing:
        walk = tree.Walk(self._keys(bucket), _raw(prefix), _raw(after))
        objects: list[ObjectInfo] = []
        prefixes: list[str] = []
        last = after
        for found in walk if limit > 0 else ():
            rolled = _rolled(found.key, len(_raw(prefix)), _raw(delimiter))
            if rolled is not None:
                walk.skip(rolled)
                if rolled <= _raw(after):
                    continue
            if len(objects) + len(prefixes) == limit:
                return Listing(objects, prefixes, last)
            if rolled is not None:
                prefixes.append(last := rolled.decode())
            elif (info := _listed(bucket, found)) is not None:
                objects.append(info)
                last = info.key
        return Listing(objects, prefixes, None)

    def walk(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        for found in tree.Walk(self._keys(bucket), _raw(prefix)):
            if (info := _listed(bucket, found)) is not None:
                yield info

    def create_upload(
        self,
        bucket: str,
        key: str,
        attributes: Attributes | None = None,
        *,
        checksum_algorithm: str | None = None,
        checksum_type: ChecksumType = "COMPOSITE",
    ) -> str:
        keys.check_key(key)
        algorithm = checksum_algorithm if checksum_algorithm and sums.supported(checksum_algorithm) else None
        return self._uploads(bucket).create(key, attributes or Attributes(), algorithm, checksum_type)

    def put_part(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        number: int,
        body: Body,
        *,
        checksums: Mapping[str, str | None] | None = None,
    ) -> Part:
        uploads = self._uploads(bucket)
        return uploads.put(uploads.find(key, upload_id), number, body, checksums if checksums is not None else {})

    def complete(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Chosen],
        *,
        checksums: Mapping[str, str | None] | None = None,
        replace: bool = True,
    ) -> ObjectInfo:
        if (done := self._completed_before(bucket, key, upload_id)) is not None:
            return done
        uploads = self._uploads(bucket)
        upload = uploads.find(key, upload_id)
        chosen = uploads.chosen(upload, parts)
        with self._draft(bucket) as draft:
            values = uploads.assemble(draft, upload, chosen, checksums or {})
            etag = sums.composite_etag(part.etag for part in chosen)
            facts = {**_facts(uploads.attributes(upload_id), etag, values), "upload": upload_id}
            draft.seal(facts)
            self._publish(draft, bucket, key, replace)
        with contextlib.suppress(S3Error):  # another complete of the same upload was first to clear up
            uploads.remove(upload_id)
        return _info(bucket, key, facts, draft.size)

    def abort(self, bucket: str, key: str, upload_id: str) -> None:
        uploads = self._uploads(bucket)
        uploads.remove(uploads.find(key, upload_id).upload_id)

    def parts(self, bucket: str, key: str, upload_id: str) -> PartList:
        uploads = self._uploads(bucket)
        return uploads.parts(uploads.find(key, upload_id))

    def upload_of(self, bucket: str, key: str, upload_id: str) -> Upload:
        return self._uploads(bucket).find(key, upload_id)

    def uploads(self, bucket: str, prefix: str = "") -> UploadList:
        return [upload for upload in self._uploads(bucket).all() if upload.key.startswith(prefix)]

    def download(self, uri: str, path: Path) -> None:
        transfer.download(self, uri, path)

    def upload(self, path: Path, uri: str) -> None:
        transfer.upload(self, path, uri)

    def sweep(self, age: float = 86_400) -> None:
        """Remove what crashes left behind `age` seconds ago or earlier: unfinished files, never objects or uploads."""
        before = time.time() - age
        for path in [*self._root.glob("*/incoming/*"), *self._root.glob(".*")]:
            with contextlib.suppress(FileNotFoundError):
                if path.name == ".lock" or path.stat().st_mtime > before:
                    continue
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()

    def _keys(self, bucket: str) -> Path:
        if not self.bucket_exists(bucket):
            raise no_such_bucket(bucket)
        return self._root / bucket / "keys"

    def _object(self, bucket: str, key: str) -> Path:
        return self._keys(bucket).joinpath(*keys.names(key))

    def _uploads(self, bucket: str) -> Uploads:
        home = self._keys(bucket).parent
        return Uploads(bucket, home / "uploads", home / "incoming")

    def _draft(self, bucket: str) -> Draft:
        folder = self._keys(bucket).parent / "incoming"
        try:
            return Draft(folder)
        except FileNotFoundError:
            raise no_such_bucket(bucket) from None

    def _publish(self, draft: Draft, bucket: str, key: str, replace: bool) -> None:
        for _ in range(_ATTEMPTS):
            target = self._object(bucket, key)
            try:
                return draft.publish(target, replace=replace)
            except FileExistsError:
                raise precondition_failed() from None
            except FileNotFoundError:  # no folder yet, or a delete has just removed it
                _make_folders(self._keys(bucket), target.parent)
        raise S3Error("OperationAborted", "The key's folder keeps being removed by deletes. Please try again.", 409)

    def _completed_before(self, bucket: str, key: str, upload_id: str) -> ObjectInfo | None:
        try:
            facts, size = facts_of(self._object(bucket, key))
        except FileNotFoundError:
            return None
        return _info(bucket, key, facts, size) if facts.get("upload") == upload_id else None

    @contextlib.contextmanager
    def _changing_buckets(self) -> Iterator[None]:
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / ".lock").open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _make_folders(root: Path, target: Path) -> None:
    path = root
    for part in target.relative_to(root).parts:
        path = path / part
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except FileNotFoundError:
            return
        with contextlib.suppress(FileNotFoundError):
            sync_folder(path.parent)


def _facts(attributes: Attributes, etag: str, values: Mapping[str, str]) -> dict[str, Any]:
    return {
        "etag": etag,
        "type": attributes.content_type or _DEFAULT_TYPE,
        "meta": dict(attributes.metadata),
        "headers": dict(attributes.headers),
        "sums": dict(values),
        "at": clock.now(),
    }


def _info(bucket: str, key: str, facts: Mapping[str, Any], size: int) -> ObjectInfo:
    return ObjectInfo(
        bucket, key, size, facts["etag"], facts["at"], facts["type"], facts["meta"], facts["sums"], facts["headers"]
    )


def _listed(bucket: str, found: tree.Found) -> ObjectInfo | None:
    try:
        return _info(bucket, found.key.decode(), *facts_of(found.path))
    except (FileNotFoundError, DamagedError, UnicodeDecodeError):  # deleted meanwhile, or not a file of this store
        return None


def _rolled(key: bytes, start: int, delimiter: bytes) -> bytes | None:
    at = key.find(delimiter, start) if delimiter else -1
    return None if at < 0 else key[: at + len(delimiter)]


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _created(folder: Path) -> float:
    created: float = json.loads((folder.parent / _ABOUT).read_bytes())["created"]
    return created
