"""Objects in a directory: the embedded object store.

    <root>/<bucket>/keys/…          one file an object; keys.py says how keys become names, stored.py what is in a file
    <root>/<bucket>/uploads/<id>/…  multipart uploads in progress
    <root>/<bucket>/incoming/…      files being written; a crash leaves them here, and `sweep` removes them

A bucket exists as long as its `keys` folder does. Many processes may use one root at once.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from pilothouse import clock
from pilothouse.errors import S3Error
from pilothouse.names import token
from pilothouse.objects import checksums as sums
from pilothouse.objects import defaults, facts, freeing, keys, transfer, tree
from pilothouse.objects.base import (
    Attributes,
    Body,
    Bucket,
    ChecksumType,
    Chosen,
    Encryption,
    Listing,
    ObjectInfo,
    Part,
    PartList,
    Upload,
    UploadList,
    by_kms,
)
from pilothouse.objects.ciphertext import Plaintext
from pilothouse.objects.envelope import Envelopes, encryption_of
from pilothouse.objects.master_keys import MasterKeys
from pilothouse.objects.refusals import bucket_exists_already, no_such_bucket, no_such_key, precondition_failed
from pilothouse.objects.stored import Draft, facts_of, open_content, sync_folder, window, write_synced
from pilothouse.objects.uploads import Uploads

_ATTEMPTS = 100
_ABOUT = "bucket.json"
_LOCK = "lock"
_MASTER_KEYS = "master-keys.json"


class DirectoryObjects:
    """`Objects` under one directory, which is made when first needed. Without `master_keys` that file is beside it."""

    def __init__(self, root: Path, master_keys: Path | None = None) -> None:
        self._root = root
        self._envelopes = Envelopes(MasterKeys(master_keys or root.with_name(_MASTER_KEYS)))
        self._encryption: Encryption | None = None

    def keyed(self, kms_key: str | None) -> DirectoryObjects:
        return self.encrypting(by_kms(kms_key))

    def encrypting(self, encryption: Encryption | None) -> DirectoryObjects:
        view = copy.copy(self)
        view._encryption = encryption
        return view

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
        with self._changing_buckets():
            root = self._keys(bucket)
            tree.prune(root)
            if not tree.remove_if_empty(root):
                raise S3Error("BucketNotEmpty", "The bucket you tried to delete is not empty.", 409)
            doomed = self._root / f".{token(32)}"
            root.parent.rename(doomed)
            sync_folder(self._root)
        shutil.rmtree(doomed, ignore_errors=True)

    def bucket_exists(self, bucket: str) -> bool:
        return keys.is_bucket(bucket) and os.path.isdir(f"{self._root}/{bucket}/keys")  # noqa: PTH112 (made on each call)

    def buckets(self) -> list[Bucket]:
        found = sorted(path for path in self._root.glob("*/keys") if not path.parent.name.startswith("."))
        made = ((path.parent.name, _created(path)) for path in found)
        return [Bucket(name, created) for name, created in made if created is not None]

    def bucket_encryption(self, bucket: str) -> Encryption | None:
        return defaults.read(str(self._keys(bucket).parent))

    def set_bucket_encryption(self, bucket: str, encryption: Encryption | None) -> None:
        try:
            defaults.write(self._keys(bucket).parent, encryption)
        except FileNotFoundError:
            raise no_such_bucket(bucket) from None

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
        tags: Mapping[str, str] | None = None,
        replace: bool = True,
        if_match: str | None = None,
    ) -> ObjectInfo:
        expected = checksums if checksums is not None else {}
        digests = sums.Digests(expected)
        target = self._object(bucket, key)
        encryption = self._encryption or defaults.read(self._home(bucket))
        with self._draft(bucket, encryption) as draft:
            draft.write(body, digests)
            digests.verify(expected)
            what = Attributes(content_type, metadata or {}, headers or {}, tags or {})
            known = facts.of_new(what, digests.md5, digests.values())
            known = self._sealed(draft, known, encryption, bucket, key)
            self._publish(draft, bucket, key, target, replace, if_match)
            return facts.info(bucket, key, known, draft.size)

    def head(self, bucket: str, key: str) -> ObjectInfo:
        return facts.info(bucket, key, *self._known(bucket, key))

    def open(
        self, bucket: str, key: str, start: int = 0, length: int | None = None, *, etag: str | None = None
    ) -> BinaryIO:
        path = self._object(bucket, key)
        known, size, descriptor = self._opened(path, key)
        try:
            if etag is not None and known["etag"] != etag:
                raise precondition_failed("If-Match")
            segments = self._envelopes.open(known, (bucket, key), path)
        except BaseException:
            os.close(descriptor)
            raise
        plain = None if segments is None else Plaintext(descriptor, segments, Path(path).name)
        return window(descriptor, size, start, length, plain)

    def read(self, bucket: str, key: str) -> bytes:
        with self.open(bucket, key) as stream:
            return stream.read()

    def delete(self, bucket: str, key: str, *, if_match: str | None = None) -> None:
        path, root = Path(self._object(bucket, key)), self._keys(bucket)
        try:
            with self._writing(bucket, alone=if_match is not None):
                facts.check_match(path, key, if_match)
                with freeing.removing(path):
                    path.unlink()
        except FileNotFoundError:
            return
        folder = path.parent
        _sync(folder)
        while folder != root and tree.remove_if_empty(folder):
            folder = folder.parent

    def tags(self, bucket: str, key: str) -> dict[str, str]:
        tags: dict[str, str] = self._known(bucket, key)[0].get("tags", {})
        return tags

    def set_tags(self, bucket: str, key: str, tags: Mapping[str, str]) -> None:
        self._resealed(bucket, key, lambda known: {**known, "tags": dict(tags)})

    def rewrap(self, bucket: str, key: str) -> bool:
        """Puts an object's data keys under the newest master key; whether they were under an older one."""
        return self._resealed(bucket, key, lambda known: known if self._envelopes.is_older(known) else None)

    def parts_under_older_keys(self, bucket: str) -> int:
        """How many parts of unfinished uploads are encrypted under a master key that is not the newest."""
        return self._uploads(bucket).under_older_keys()

    def _resealed(self, bucket: str, key: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> bool:
        """Gives an object other facts around the same content; whether `change` has made some."""
        path = self._object(bucket, key)
        for _ in range(_ATTEMPTS):
            known, size, descriptor = self._opened(path, key)
            with window(descriptor, size):
                changed = change(known)
                if changed is None:
                    return False
                with self._draft(bucket) as draft:
                    draft.append(descriptor, size, self._envelopes.open(known, (bucket, key), path))
                    self._sealed(draft, changed, encryption_of(known), bucket, key)
                    with self._writing(bucket, alone=True):
                        if not _is_still(path, descriptor):
                            continue
                        draft.name(path)
            _sync(_folder(path))
            return True
        raise S3Error("OperationAborted", "The object is being replaced all the time. Please try again.", 409)

    def made_of(self, bucket: str, key: str) -> PartList:
        return facts.parts(self._known(bucket, key)[0])

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
            elif (info := facts.listed(bucket, found)) is not None:
                objects.append(info)
                last = info.key
        return Listing(objects, prefixes, None)

    def walk(self, bucket: str, prefix: str = "") -> Iterator[ObjectInfo]:
        for found in tree.Walk(self._keys(bucket), _raw(prefix)):
            if (info := facts.listed(bucket, found)) is not None:
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
        what, encryption = attributes or Attributes(), self._encryption or self.bucket_encryption(bucket)
        return self._uploads(bucket).create(key, what, checksum_algorithm, checksum_type, encryption)

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
        if_match: str | None = None,
    ) -> ObjectInfo:
        try:
            return self._completed(bucket, key, upload_id, parts, checksums or {}, replace, if_match)
        except S3Error as error:
            if error.code == "NoSuchUpload" and (done := self._completed_before(bucket, key, upload_id)):
                return done  # another complete of the same upload was faster
            raise

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

    def _home(self, bucket: str) -> str:
        """The folder of a bucket that has been seen to exist."""
        return f"{self._root}/{bucket}"

    def _check(self, bucket: str) -> None:
        if not self.bucket_exists(bucket):
            raise no_such_bucket(bucket)

    def _keys(self, bucket: str) -> Path:
        self._check(bucket)
        return Path(f"{self._home(bucket)}/keys")

    def _object(self, bucket: str, key: str) -> str:
        """The path of an object's file; text, as a `Path` costs more than a call of the kernel."""
        self._check(bucket)
        return f"{self._home(bucket)}/keys/{'/'.join(keys.names(key))}"

    def _uploads(self, bucket: str) -> Uploads:
        home = self._keys(bucket).parent
        return Uploads(bucket, home / "uploads", home / "incoming", self._envelopes)

    def _draft(self, bucket: str, encryption: Encryption | None = None) -> Draft:
        try:
            return Draft(f"{self._home(bucket)}/incoming", encrypted=encryption is not None)
        except FileNotFoundError:
            raise no_such_bucket(bucket) from None

    def _sealed(
        self, draft: Draft, known: dict[str, Any], encryption: Encryption | None, bucket: str, key: str
    ) -> dict[str, Any]:
        """The facts that `draft` was sealed with: `known`, and the envelope if it is encrypted."""
        if encryption is not None:
            known = self._envelopes.close(known, encryption, draft.segments, (bucket, key))
        draft.seal(known)
        return known

    def _known(self, bucket: str, key: str) -> tuple[dict[str, Any], int]:
        """What is known of an object, and its size."""
        try:
            return facts_of(self._object(bucket, key))
        except FileNotFoundError:
            raise no_such_key(key) from None

    def _opened(self, path: str, key: str) -> tuple[dict[str, Any], int, int]:
        try:
            return open_content(path)
        except FileNotFoundError:
            raise no_such_key(key) from None

    def _publish(self, draft: Draft, bucket: str, key: str, target: str, replace: bool, if_match: str | None) -> None:
        for _ in range(_ATTEMPTS):
            try:
                with self._writing(bucket, alone=if_match is not None):
                    facts.check_match(target, key, if_match)
                    draft.name(target, replace=replace)
            except FileExistsError:
                raise precondition_failed("If-None-Match") from None
            except FileNotFoundError:  # no folder yet, or a delete has just removed it
                _make_folders(self._keys(bucket), Path(_folder(target)))
            else:
                return _sync(_folder(target))
        raise S3Error("OperationAborted", "The key's folder keeps being removed by deletes. Please try again.", 409)

    def _completed(
        self,
        bucket: str,
        key: str,
        upload_id: str,
        parts: Sequence[Chosen],
        checksums: Mapping[str, str | None],
        replace: bool,
        if_match: str | None,
    ) -> ObjectInfo:
        uploads = self._uploads(bucket)
        if (done := self._completed_before(bucket, key, upload_id)) is not None:
            with contextlib.suppress(S3Error):  # it is there still if that complete was killed
                uploads.remove(upload_id)
            return done
        upload = uploads.find(key, upload_id)
        chosen = uploads.chosen(upload, parts)
        with self._draft(bucket) as draft:
            values = uploads.assemble(draft, upload, chosen, checksums)
            etag = sums.composite_etag(part.etag for part in chosen)
            known = facts.of_new(uploads.attributes(upload_id), etag, values)
            known |= facts.of_completed(upload_id, chosen, upload.checksum_algorithm)
            known = self._sealed(draft, known, upload.encryption, bucket, key)
            self._publish(draft, bucket, key, self._object(bucket, key), replace, if_match)
        with contextlib.suppress(S3Error):  # another complete of the same upload was first to clear up
            uploads.remove(upload_id)
        return facts.info(bucket, key, known, draft.size)

    def _completed_before(self, bucket: str, key: str, upload_id: str) -> ObjectInfo | None:
        try:
            known, size = facts_of(self._object(bucket, key))
        except FileNotFoundError:
            return None
        return facts.info(bucket, key, known, size) if known.get("upload") == upload_id else None

    @contextlib.contextmanager
    def _writing(self, bucket: str, *, alone: bool) -> Iterator[None]:
        """While a name is given or taken; `alone` keeps the others out meanwhile, who let each other in."""
        try:
            lock = os.open(f"{self._home(bucket)}/{_LOCK}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:
            raise no_such_bucket(bucket) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            yield
        finally:
            os.close(lock)

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
        _sync(path.parent)


def _sync(folder: Path | str) -> None:
    """Bring a folder's entries to the disk, unless a delete has emptied and removed it: they are just as gone."""
    with contextlib.suppress(FileNotFoundError):
        sync_folder(folder)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _is_still(path: str, descriptor: int) -> bool:
    """Whether the file of that name is the open one."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))  # noqa: PTH116
    except FileNotFoundError:
        return False


def _rolled(key: bytes, start: int, delimiter: bytes) -> bytes | None:
    at = key.find(delimiter, start) if delimiter else -1
    return None if at < 0 else key[: at + len(delimiter)]


def _raw(text: str) -> bytes:
    return text.encode(errors="surrogatepass")


def _created(folder: Path) -> float | None:
    """When the bucket with that folder of keys was made; None if it has just been deleted."""
    try:
        created: float = json.loads((folder.parent / _ABOUT).read_bytes())["created"]
    except FileNotFoundError:
        return None
    return created
