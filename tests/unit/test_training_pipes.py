"""Pipe mode: every epoch brings all of a channel's bytes, and a program can do no harm with the pipes."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilothouse.catalog.training_jobs import Channel
from pilothouse.contract import recordio
from pilothouse.contract.hosts import ALONE, Host, hosts
from pilothouse.contract.pipes import Pipe, Pipes
from pilothouse.errors import DataError
from pilothouse.objects.directory import DirectoryObjects

CHANNEL = Channel("train", "s3://data/p/", "S3Prefix", None, "Pipe", "FullyReplicated", "None", "None")
LARGE = bytes(range(256)) * 4000


@pytest.fixture
def objects(tmp_path: Path) -> DirectoryObjects:
    objects = DirectoryObjects(tmp_path / "objects")
    objects.create_bucket("data")
    for key, body in (("a", b"first\n"), ("b", LARGE), ("c/d", b"last\n")):
        objects.put("data", f"p/{key}", body)
    return objects


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def pipe(objects: DirectoryObjects, data: Path) -> Iterator[Pipe]:
    with closing(Pipe(objects, CHANNEL, data, ALONE)) as pipe:
        yield pipe


def read(objects: DirectoryObjects, data: Path, channel: Channel, epochs: int = 1, host: Host = ALONE) -> list[bytes]:
    with closing(Pipe(objects, channel, data, host)):
        return [(data / f"train_{epoch}").read_bytes() for epoch in range(epochs)]


def until_there_is_a_fault(pipe: Pipe) -> str:
    give_up = time.monotonic() + 60
    while pipe.fault is None and time.monotonic() < give_up:
        time.sleep(0.01)
    return pipe.fault or ""


def test_every_epoch_brings_all_bytes_in_the_order_of_the_keys(objects: DirectoryObjects, data: Path) -> None:
    assert read(objects, data, CHANNEL, 3) == [b"first\n" + LARGE + b"last\n"] * 3


def test_the_next_pipe_is_there_before_the_last_is_gone(pipe: Pipe, data: Path) -> None:
    with (data / "train_0").open("rb") as stream:
        stream.read(10)
        assert sorted(path.name for path in data.iterdir()) == ["train_0", "train_1"]


def test_who_leaves_early_may_begin_the_next_epoch(pipe: Pipe, data: Path) -> None:
    with (data / "train_0").open("rb") as stream:
        assert stream.read(6) == b"first\n"
    assert (data / "train_1").read_bytes().endswith(b"last\n")


def test_it_ends_with_a_reader_that_reads_no_more_and_without_one(objects: DirectoryObjects, data: Path) -> None:
    with closing(Pipe(objects, CHANNEL, data, ALONE)):
        pass
    with closing(Pipe(objects, CHANNEL, data, ALONE)):
        stream = (data / "train_0").open("rb")
        stream.read(1)
    stream.close()


def test_shards_are_shuffled_across_hosts_from_epoch_to_epoch(objects: DirectoryObjects, data: Path) -> None:
    for number in range(8):
        objects.put("data", f"q/{number}", str(number).encode())
    channel = replace(CHANNEL, uri="s3://data/q/", distribution="ShardedByS3Key")
    one, two = (read(objects, data, channel, 2, host) for host in hosts(2, "arn"))
    assert (one, two) == ([b"0246"] * 2, [b"1357"] * 2)
    one, two = (read(objects, data, replace(channel, shuffle=7), 3, host) for host in hosts(2, "arn"))
    for first, second in zip(one, two, strict=True):
        assert sorted(first + second) == sorted(b"01234567")
        assert len(first) == len(second)
    assert len({*one}) > 1


def test_gzip_is_taken_off_and_damaged_gzip_is_told(objects: DirectoryObjects, data: Path) -> None:
    objects.put("data", "z/a", gzip.compress(b"plain"))
    channel = replace(CHANNEL, uri="s3://data/z/", compression="Gzip")
    assert read(objects, data, channel) == [b"plain"]
    objects.put("data", "z/b", b"no gzip")
    with closing(Pipe(objects, channel, data, ALONE)) as pipe:
        (data / "train_0").read_bytes()
        assert "Data download for the channel train failed: Not a gzipped file" in until_there_is_a_fault(pipe)


def test_objects_are_wrapped_as_records(objects: DirectoryObjects, data: Path) -> None:
    table = recordio.Table(np.arange(6, dtype=np.float32).reshape(2, 3))
    framed = recordio.write(table)
    half = len(framed) // 2
    for key, body in (("a", framed[8:half]), ("b", framed[half + 8 :])):  # two rows, as many bytes each
        objects.put("data", f"r/{key}", body)
    [body] = read(objects, data, replace(CHANNEL, uri="s3://data/r/", record_wrapper="RecordIO"))
    np.testing.assert_array_equal(recordio.read(body).features, table.features)


def test_an_object_that_is_replaced_meanwhile_is_told(objects: DirectoryObjects, pipe: Pipe, data: Path) -> None:
    objects.put("data", "p/c/d", b"other\n")
    (data / "train_0").read_bytes()
    assert "the channel train failed" in until_there_is_a_fault(pipe)


@pytest.mark.parametrize("instead", ["file", "link", "folder", "nothing"])
def test_nothing_but_a_pipe_is_written_to(objects: DirectoryObjects, data: Path, tmp_path: Path, instead: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    os.mkfifo(tmp_path / "foreign")
    reader = os.open(tmp_path / "foreign", os.O_RDONLY | os.O_NONBLOCK)
    with closing(Pipe(objects, CHANNEL, data, ALONE)) as pipe:
        (data / "train_0").unlink()
        if instead == "file":
            (data / "train_0").hardlink_to(outside)
        elif instead == "link":
            (data / "train_0").symlink_to(tmp_path / "foreign")
        elif instead == "folder":
            (data / "train_0").mkdir()
        pipe._thread.join(60)
        assert not pipe._thread.is_alive()
    assert outside.read_text() == "kept"
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_a_channel_without_objects_is_told_and_leaves_no_pipe_open(objects: DirectoryObjects, data: Path) -> None:
    channels = [CHANNEL, replace(CHANNEL, name="none", uri="s3://data/none/")]
    with (
        pytest.raises(DataError, match="channel none failed: No S3 objects found"),
        Pipes(objects, channels, [(ALONE, data)]),
    ):
        pass
