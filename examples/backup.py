"""Back up a home while its server runs: python backup.py HOME TARGET

The database comes first, as one consistent snapshot; then the objects; then the keys. A row is written after the
objects that it names, and an object after the key that it is encrypted with, so what is copied first finds what it
needs among what is copied later. TARGET must not exist.
"""

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

KEYS = ("credentials.json", "master-keys.json")
UNFINISHED = ("incoming", "uploads")  # folders of a bucket whose files are still being written


def back_up(home: Path, target: Path) -> None:
    os.umask(0o077)
    target.mkdir(parents=True)
    with (
        closing(sqlite3.connect(home / "pilothouse.sqlite")) as source,
        closing(sqlite3.connect(target / "pilothouse.sqlite")) as copy,
    ):
        source.backup(copy)
    for bucket in sorted((home / "objects").glob("*")):  # there is none before the first bucket, nor with a real S3
        if (bucket / "keys").is_dir():
            copy_bucket(bucket, target / "objects" / bucket.name)
    for name in KEYS:
        if (home / name).exists():  # without an encrypted object there are no master keys
            shutil.copy2(home / name, target)


def copy_bucket(bucket: Path, target: Path) -> None:
    for folder, folders, files in os.walk(bucket):
        place = target / Path(folder).relative_to(bucket)
        place.mkdir(parents=True, exist_ok=True)
        if Path(folder).parent == bucket and Path(folder).name in UNFINISHED:
            folders.clear()
            continue
        for name in files:
            try:
                shutil.copy2(Path(folder) / name, place / name)
            except FileNotFoundError:
                pass  # deleted since the folder was read


if __name__ == "__main__":
    back_up(Path(sys.argv[1]), Path(sys.argv[2]))
