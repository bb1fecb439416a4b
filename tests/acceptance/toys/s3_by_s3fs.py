"""What people do with s3fs, against the S3 that the variables AWS_* name. Fails at the first surprise."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import s3fs

BUCKET = sys.argv[1]
PART = 5 << 20

fs = s3fs.S3FileSystem()
fs.mkdir(BUCKET)
assert BUCKET in fs.ls("")

fs.pipe(f"{BUCKET}/d/ü +1.csv", b"a,b\n1,2\n")
assert fs.cat(f"{BUCKET}/d/ü +1.csv") == b"a,b\n1,2\n"
assert fs.cat_file(f"{BUCKET}/d/ü +1.csv", start=2, end=5) == b"b\n1"
assert fs.info(f"{BUCKET}/d/ü +1.csv")["size"] == 8
assert fs.info(f"{BUCKET}/d")["type"] == "directory"
assert not fs.exists(f"{BUCKET}/none")

with fs.open(f"{BUCKET}/large", "wb", block_size=PART) as target:
    for n in range(12):
        target.write(bytes([n]) * (1 << 20))
with fs.open(f"{BUCKET}/large", "rb") as source:
    source.seek(PART + 1)
    assert source.read(3) == b"\x05\x05\x05"
assert "-" in fs.info(f"{BUCKET}/large")["ETag"]
with fs.open(f"{BUCKET}/large", "ab", block_size=PART) as target:
    target.write(b"end")
assert fs.tail(f"{BUCKET}/large", 4) == b"\x0bend"

fs.touch(f"{BUCKET}/d/empty")
fs.copy(f"{BUCKET}/large", f"{BUCKET}/d/copy")
fs.mv(f"{BUCKET}/d/copy", f"{BUCKET}/e/moved")
assert fs.find(BUCKET) == [f"{BUCKET}/{key}" for key in ("d/empty", "d/ü +1.csv", "e/moved", "large")]
assert fs.glob(f"{BUCKET}/d/*.csv") == [f"{BUCKET}/d/ü +1.csv"]
assert [name for name, _, _ in fs.walk(BUCKET)] == [BUCKET, f"{BUCKET}/d", f"{BUCKET}/e"]
assert fs.du(f"{BUCKET}/d") == 8

fs.put_tags(f"{BUCKET}/large", {"stage": "raw & ready"})
assert fs.get_tags(f"{BUCKET}/large") == {"stage": "raw & ready"}
fs.setxattr(f"{BUCKET}/large", note="1")
assert fs.metadata(f"{BUCKET}/large") == {"note": "1"}
assert fs.cat_file(f"{BUCKET}/large", start=-3) == b"end"

with tempfile.TemporaryDirectory() as folder:
    fs.get(BUCKET, folder, recursive=True)
    assert (Path(folder) / "d" / "ü +1.csv").read_bytes() == b"a,b\n1,2\n"
    fs.put(folder, f"{BUCKET}/back/", recursive=True)
assert fs.du(f"{BUCKET}/back") == fs.du(f"{BUCKET}/d") + fs.du(f"{BUCKET}/e") + fs.du(f"{BUCKET}/large")

try:
    fs.pipe_file(f"{BUCKET}/large", b"x", mode="create")
except FileExistsError:
    pass
else:
    raise AssertionError("an object was replaced")
fs.rm(BUCKET, recursive=True)
assert not fs.exists(BUCKET)
