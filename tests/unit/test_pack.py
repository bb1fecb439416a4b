"""Archives come out as they went in, and hostile ones don't come out."""

from __future__ import annotations

import io
import os
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pilothouse.contract.pack import pack, unpack
from pilothouse.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "model"
    (root / "members" / "0").mkdir(parents=True)
    (root / "empty").mkdir()
    (root / "manifest.json").write_text('{"version": 1}')
    (root / "members" / "0" / "model.txt").write_bytes(bytes(range(256)) * 5000)
    (root / "run.sh").write_text("exit 0\n")
    (root / "run.sh").chmod(0o755)
    return root


def tar(*members: tuple[tarfile.TarInfo, bytes], compressed: bool = True) -> io.BytesIO:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if compressed else "w") as archive:
        for info, content in members:
            info.size = len(content) if info.isreg() else info.size
            archive.addfile(info, io.BytesIO(content))
    buffer.seek(0)
    return buffer


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


def tree(root: Path) -> dict[str, bytes | None]:
    return {p.relative_to(root).as_posix(): p.read_bytes() if p.is_file() else None for p in root.rglob("*")}


def test_what_is_packed_comes_out_the_same(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "model.tar.gz")
    unpack(tmp_path / "model.tar.gz", tmp_path / "out")
    assert tree(tmp_path / "out") == tree(folder)
    assert os.access(tmp_path / "out" / "run.sh", os.X_OK)
    assert not os.access(tmp_path / "out" / "manifest.json", os.X_OK)


def test_equal_content_gives_equal_bytes(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "first.tar.gz")
    for path in folder.rglob("*"):
        os.utime(path, (1, 1))
    stream = io.BytesIO()
    pack(folder, stream)
    assert (tmp_path / "first.tar.gz").read_bytes() == stream.getvalue()


def test_a_failed_pack_leaves_no_file_behind(folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="neither a regular file"):
        pack(folder, tmp_path / "model.tar.gz")
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_the_bytes_tell_a_plain_tar_from_a_compressed_one(tmp_path: Path) -> None:
    unpack(tar((info("./a/b.txt"), b"hello"), compressed=False), tmp_path / "plain")
    assert (tmp_path / "plain" / "a" / "b.txt").read_bytes() == b"hello"


def test_a_stream_that_cannot_seek_is_unpacked(folder: Path, tmp_path: Path) -> None:
    pack(folder, tmp_path / "model.tar.gz")

    class Trickle(io.RawIOBase):
        source = (tmp_path / "model.tar.gz").open("rb")

        def read(self, size: int = -1) -> bytes:
            return self.source.read(min(size, 7) if size >= 0 else 7)

    unpack(Trickle(), tmp_path / "out")
    assert tree(tmp_path / "out") == tree(folder)


@pytest.mark.parametrize(
    "member",
    [
        info("/tmp/absolute"),
        info("../outside"),
        info("a/../../outside"),
        info("link", tarfile.SYMTYPE, "/etc/passwd"),
        info("hard", tarfile.LNKTYPE, "model.txt"),
        info("device", tarfile.CHRTYPE),
        info("pipe", tarfile.FIFOTYPE),
        info("x" * 300),
    ],
    ids=lambda member: member.name[:20],
)
def test_an_archive_that_reaches_out_is_refused(member: tarfile.TarInfo, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="The archive holds"):
        unpack(tar((member, b"x" if member.isreg() else b"")), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_a_path_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        unpack(tar((info("a"), b"1"), (info("a"), b"2")), tmp_path / "out")


def test_the_caps_hold(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="more than 2 files"):
        unpack(tar(*((info(f"f{i}"), b"") for i in range(3))), tmp_path / "files", max_files=2)
    with pytest.raises(DataError, match="more than 10 bytes"):
        unpack(tar((info("a"), b"x" * 11)), tmp_path / "bytes", max_bytes=10)
    with pytest.raises(DataError, match="times its compressed size"):
        unpack(tar((info("zeros"), b"\0" * (80 << 20))), tmp_path / "ratio")


def test_an_enormous_header_is_refused(tmp_path: Path) -> None:
    member = info("a")
    member.pax_headers = {"comment": "x" * (4 << 20)}
    with pytest.raises(DataError, match="headers"):
        unpack(tar((member, b"")), tmp_path / "out")


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def broken(data: bytes) -> bytes:
    return data[:40] + bytes(200) + data[240:]


@pytest.mark.parametrize("damage", [truncated, broken, lambda _: b"", lambda _: b"not an archive", lambda d: d[:2]])
@pytest.mark.parametrize("compressed", [True, False])
def test_damage_is_a_data_error(damage: Callable[[bytes], bytes], compressed: bool, tmp_path: Path) -> None:
    content = random.Random(1).randbytes(50_000)
    data = tar((info("a"), content), compressed=compressed).getvalue()
    with pytest.raises(DataError):
        unpack(io.BytesIO(damage(data)), tmp_path / "out")
