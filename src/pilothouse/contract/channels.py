"""A channel's objects as files, and checkpoints between a folder and S3."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pilothouse import names
from pilothouse.catalog.training_jobs import Channel
from pilothouse.contract.hosts import ALONE, Host
from pilothouse.errors import DataError, S3Error, ValidationError
from pilothouse.objects import manifest, transfer, uri
from pilothouse.objects.base import ObjectInfo, Objects

_LONGEST_NAME = 255


def fetch(
    objects: Objects, channel: Channel, folder: Path, go_on: Callable[[], None], host: Host = ALONE
) -> list[Path]:
    """Copies a channel's objects into `folder`, named by their keys below the prefix; their paths in it.

    Nothing else is in it then, whatever was. If the channel is ShardedByS3Key, a `host` among several gets its part of
    the objects, which are in the order of their keys. `go_on` is called between files, and may raise.

    `DataError` if an object can't be read or can't be a file.
    """
    paths = _fetched(objects, channel, folder, go_on, host)
    _keep_only(folder, paths)
    return paths


def _fetched(objects: Objects, channel: Channel, folder: Path, go_on: Callable[[], None], host: Host) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        infos = manifest.expand(objects, channel.data_type, channel.uri, empty=True)
        root = manifest.root(objects, channel.data_type, channel.uri, infos)
        paths = []
        for info in host.part(channel, infos):
            go_on()
            paths.append(relative(info, root))
            _copy(objects, info, folder / paths[-1])
        return paths
    except (S3Error, ValidationError) as error:
        raise DataError(f"Data download for the channel {channel.name} failed: {error.message}") from error


def share(
    objects: Objects,
    channel: Channel,
    folder: Path,
    common: Path,
    go_on: Callable[[], None],
    host: Host = ALONE,
) -> None:
    """As `fetch`, by way of the folder `common`, so that many programs have the channel on disk one time.

    Its files, which are read-only, are linked into `folder`. An object that is replaced meanwhile comes anew; who has
    the old one keeps it.
    """
    held = common / names.digest(f"{channel.data_type} {channel.uri}", 32)
    held.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with held.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        paths = _fetched(objects, channel, held, go_on, host)
        for path in paths:
            (held / path).chmod(0o444)
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            os.link(held / path, target)
    _keep_only(folder, paths)


def relative(info: ObjectInfo, root: str) -> Path:
    """The path of an object's file; `DataError` if its key can't be one, or would leave the folder."""
    name = info.key.removeprefix(root)
    parts = PurePosixPath(name).parts
    bad = not parts or name.startswith("/") or "//" in name or ".." in parts or "\0" in name
    if bad or name != str(PurePosixPath(name)) or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise DataError(f'The object "{info.uri}" cannot be a file of its channel. Rename it.')
    return Path(*parts)


def _copy(objects: Objects, info: ObjectInfo, path: Path) -> None:
    if path.is_file() and path.stat().st_size == info.size and path.stat().st_mtime == info.modified_at:
        return
    try:
        transfer.download(objects, info.uri, path)
        os.utime(path, (info.modified_at, info.modified_at))
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(
            f'The object "{info.uri}" cannot be a file: another object\'s name is a folder of it. Rename one of them.'
        ) from error


def _keep_only(folder: Path, paths: Iterable[Path]) -> None:
    """Takes out of `folder` what is none of `paths`: half a file of a killed process, or what a program left there."""
    kept = {folder / path for path in paths}
    for parent, folders, files in os.walk(folder, topdown=False):
        for path in (Path(parent, name) for name in files):
            if path not in kept:
                path.unlink()
        for path in (Path(parent, name) for name in folders):
            with suppress(OSError):  # something is in it
                path.rmdir()


class Checkpoints:
    """A folder of checkpoints, and the S3 URI that it is kept under. What comes from there is at `beside` until it is
    whole: the program sees no half of a file, and nobody takes one for a checkpoint.
    """

    def __init__(self, objects: Objects, address: str, folder: Path, beside: Path) -> None:
        self._objects = objects
        self._place = uri.parse(address)
        self._folder, self._beside = folder, beside
        self._sent: dict[Path, tuple[int, int]] = {}

    def restore(self) -> None:
        """Brings what is in S3 into the folder, where it is not there already.

        What is there and was written since is newer than what an earlier process brought to S3, and is to follow.
        """
        root = f"{self._place.key.rstrip('/')}/" if self._place.key else ""
        for info in self._objects.walk(self._place.bucket, root):
            if info.key.endswith("/"):
                continue
            path = self._folder / relative(info, root)
            if not path.exists():
                transfer.download(self._objects, info.uri, self._beside)
                os.utime(self._beside, (info.modified_at, info.modified_at))  # it is no newer than what is in S3
                path.parent.mkdir(parents=True, exist_ok=True)
                self._beside.rename(path)
            elif path.stat().st_mtime > info.modified_at:
                continue
            self._sent[path] = _stamp(path)

    def push(self) -> int:
        """Brings what is new or has changed in the folder to S3; how many files that were.

        The program goes on meanwhile, and links that it makes are not followed.
        """
        count = 0
        for parent, _, files, descriptor in os.fwalk(self._folder):
            for name in files:
                count += self._send(Path(parent, name), descriptor)
        return count

    def _send(self, path: Path, folder: int) -> bool:
        try:
            file = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError:  # gone by now, or a link
            return False
        with os.fdopen(file, "rb") as stream:
            status = os.fstat(file)
            stamp = status.st_size, status.st_mtime_ns
            if not stat.S_ISREG(status.st_mode) or self._sent.get(path) == stamp:
                return False
            address = self._place.join(path.relative_to(self._folder).as_posix())
            self._objects.put(address.bucket, address.key, stream)
            self._sent[path] = stamp
        return True


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
