"""Pipe mode: a channel's bytes through named pipes while the program runs, anew for each epoch."""

from __future__ import annotations

import errno
import gzip
import itertools
import os
import random
import select
import stat
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

from pilothouse.catalog.training_jobs import Channel
from pilothouse.contract import recordio
from pilothouse.contract.hosts import Host
from pilothouse.errors import DataError, PilothouseError, S3Error, ValidationError
from pilothouse.objects import manifest
from pilothouse.objects.base import CHUNK, ObjectInfo, Objects

_PATIENCE = 0.02
"""Seconds between two looks whether somebody reads."""


class Pipe:
    """The `channel` of one `host`, whose folder of channels is `data`: a pipe `<channel>_<epoch>` after the other.

    Through each go all bytes of the channel's objects, in the order of their keys, or shuffled for each epoch if the
    channel has a seed. The next epoch's pipe is there before this one's is done with; a reader that leaves early is
    done with it. `fault` says why the channel could not be read to its end. `DataError` if it has no objects.

    The program can do to the pipes what it likes: nothing but a pipe in this very folder is ever written to.
    """

    def __init__(self, objects: Objects, channel: Channel, data: Path, host: Host) -> None:
        self._objects, self._channel, self._host = objects, channel, host
        self.fault: str | None = None
        try:
            self._infos = manifest.expand(objects, channel.data_type, channel.uri)
        except (S3Error, ValidationError) as error:
            raise DataError(self._failed(error.message)) from error
        self._closing = threading.Event()
        self._folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        self._make(0)
        self._thread = threading.Thread(target=self._feed, name=f"pipe-{channel.name}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends it, wherever it is."""
        self._closing.set()
        self._thread.join()
        os.close(self._folder)

    def _feed(self) -> None:
        try:
            for epoch in itertools.count():
                self._make(epoch + 1)
                if not self._feed_one(epoch):
                    return
        except (PilothouseError, OSError, EOFError, zlib.error) as error:
            self.fault = self._failed(error.message if isinstance(error, PilothouseError) else str(error))

    def _feed_one(self, epoch: int) -> bool:
        """Whether it was read, to its end or not, so that the next epoch may follow."""
        descriptor = self._opened(epoch)
        if descriptor is None:
            return False
        try:
            with suppress(BrokenPipeError):
                for chunk in self._content(epoch):
                    self._write(descriptor, chunk)
                    if self._closing.is_set():
                        return False
            return True
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                os.unlink(self._name(epoch), dir_fd=self._folder)

    def _opened(self, epoch: int) -> int | None:
        """The pipe, once somebody reads; None if nobody does before the end, or if the pipe is none any more."""
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW
        while not self._closing.wait(_PATIENCE):
            try:
                descriptor = os.open(self._name(epoch), flags, dir_fd=self._folder)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    continue
                return None
            if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
            return None
        return None

    def _write(self, descriptor: int, chunk: bytes) -> None:
        view = memoryview(chunk)
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        while view and not self._closing.is_set():
            try:
                view = view[os.write(descriptor, view) :]
            except BlockingIOError:
                poll.poll(1000 * _PATIENCE)

    def _content(self, epoch: int) -> Iterator[bytes]:
        for info in self._order(epoch):
            with self._objects.open(info.bucket, info.key, etag=info.etag) as stream:
                yield from self._wrapped(info, stream)

    def _order(self, epoch: int) -> Sequence[ObjectInfo]:
        infos = list(self._infos)
        if self._channel.shuffle is not None:
            random.Random(f"{self._channel.shuffle} {epoch}").shuffle(infos)
        return self._host.part(self._channel, infos)

    def _wrapped(self, info: ObjectInfo, stream: BinaryIO) -> Iterator[bytes]:
        if self._channel.compression == "Gzip":
            stream = cast("BinaryIO", gzip.GzipFile(fileobj=stream))
        chunks = iter(lambda: stream.read(CHUNK), b"")
        if self._channel.record_wrapper != "RecordIO":
            yield from chunks
            return
        head, tail = recordio.frame(info.size)
        yield head
        yield from chunks
        yield tail

    def _make(self, epoch: int) -> None:
        with suppress(FileExistsError):
            os.mkfifo(self._name(epoch), 0o600, dir_fd=self._folder)

    def _name(self, epoch: int) -> str:
        return f"{self._channel.name}_{epoch}"

    def _failed(self, why: str) -> str:
        return f"Data download for the channel {self._channel.name} failed: {why}"


class Pipes:
    """The pipes of all `channels` on all hosts, each with its folder of channels, for a block."""

    def __init__(self, objects: Objects, channels: Sequence[Channel], hosts: Sequence[tuple[Host, Path]]) -> None:
        self._objects, self._channels, self._hosts = objects, channels, hosts
        self._pipes: list[Pipe] = []

    @property
    def fault(self) -> str | None:
        """Why a channel could not be read to its end."""
        return next((pipe.fault for pipe in self._pipes if pipe.fault is not None), None)

    def __enter__(self) -> Self:
        try:
            for host, data in self._hosts:
                for channel in filter(host.gets, self._channels):
                    self._pipes.append(Pipe(self._objects, channel, data, host))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
