"""Back up a home while its server runs: python backup.py HOME TARGET

The database comes first, as one consistent snapshot; then the objects. A row is written after the objects that it
names, so each object that the snapshot names is there to be copied. TARGET must not exist.
"""

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

UNFINISHED = ("incoming", "uploads")  # folders of a bucket whose files are still being written


def back_up(home: Path, target: Path) -> None:
    os.umask(0o077)
    target.mkdir(parents=True)
    with (
        closing(sqlite3.connect(home / "pilothouse.sqlite")) as source,
        closing(sqlite3.connect(target / "pilothouse.sqlite")) as copy,
    ):
        source.backup(copy)
    shutil.copy2(home / "credentials.json", target)
    for bucket in sorted((home / "objects").iterdir()):
        if (bucket / "keys").is_dir():
            copy_bucket(bucket, target / "objects" / bucket.name)


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
