"""Master keys: what the keys of encrypted objects are derived from, kept in one file that only its owner can read.

    {"version": 1, "keys": [{"id": …, "secret": base64 of 32 bytes, "created_at": seconds}, …]}

The last one encrypts; each decrypts what it has encrypted. So a file that was lost and made anew can take in the keys
of a backup.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from pathlib import Path
from typing import NamedTuple

from pilothouse import clock
from pilothouse.errors import S3Error
from pilothouse.names import token
from pilothouse.private_file import locked, write_private

_SIZE = 32


class MasterKey(NamedTuple):
    """A secret of 32 random bytes. `id` is in each object that is encrypted under it."""

    id: str
    secret: bytes
    created_at: float


class MasterKeys:
    """The master keys in the file at `path`, which is read each time: what somebody changes in it counts at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def newest(self) -> MasterKey:
        """The one to encrypt with; made now if there is no file."""
        return (self.all() or self._made())[-1]

    def find(self, identifier: str) -> MasterKey:
        """The one of that id. `S3Error` if it isn't there."""
        for key in self.all():
            if key.id == identifier:
                return key
        raise _unusable(
            f"The object is encrypted under the master key {identifier}, which is not in {self._path}. "
            "Put that file back from a backup."
        )

    def _made(self) -> list[MasterKey]:
        try:
            with locked(self._path):
                return self.all() or [self._make()]
        except OSError as error:
            raise self._unmade(error) from error

    def add(self) -> MasterKey:
        """Makes a further one, which is the newest from now on."""
        try:
            with locked(self._path):
                return self._make(*self.all())
        except OSError as error:
            raise self._unmade(error) from error

    def _unmade(self, error: OSError) -> S3Error:
        return _unusable(f"No master key can be made in {self._path.parent}: {error.strerror}.")

    def _make(self, *others: MasterKey) -> MasterKey:
        made = MasterKey(token(16), os.urandom(_SIZE), clock.now())
        entries = [
            {"id": key.id, "secret": base64.b64encode(key.secret).decode(), "created_at": key.created_at}
            for key in (*others, made)
        ]
        write_private(self._path, json.dumps({"version": 1, "keys": entries}, indent=2) + "\n")
        return made

    def all(self) -> list[MasterKey]:
        """All of them, the newest last; none if there is no file. `S3Error` if it is not one of master keys."""
        try:
            entries = json.loads(self._path.read_text())["keys"]
            keys = [MasterKey(e["id"], base64.b64decode(e["secret"], validate=True), e["created_at"]) for e in entries]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unusable(f"The master keys in {self._path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError, binascii.Error) as error:
            raise _unusable(f"{self._path} does not hold master keys. Put it back from a backup.") from error
        if not keys or any(len(key.secret) != _SIZE for key in keys):
            raise _unusable(f"{self._path} does not hold master keys. Put it back from a backup.")
        return keys


def _unusable(message: str) -> S3Error:
    return S3Error("KMS.NotFoundException", message, 400)
