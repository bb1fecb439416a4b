"""Access keys: who may call, kept in one file that only its owner can read."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from pilothouse.clock import now
from pilothouse.errors import ConfigurationError
from pilothouse.private_file import locked, write_private

_PREFIX = "PHKA"  # as long as AWS's own AKIA…, and never mistaken for one by a secret scanner


@dataclass(frozen=True)
class AccessKey:
    """One key pair. `id` is public and travels with every request, `secret` (40 characters) never does."""

    id: str
    secret: str
    created_at: float


def generate() -> AccessKey:
    """A new random key pair: 80 random bits of id, 240 of secret, both free of shell metacharacters."""
    identifier = _PREFIX + base64.b32encode(secrets.token_bytes(10)).decode()
    return AccessKey(identifier, secrets.token_urlsafe(30), now())


class Credentials:
    """The access keys in the file at `path`.

    `secret` looks at the file's state on each call and reads it again once it has changed, so that a revoked key stops
    working with the next request, in every process that uses the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._guard = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._secrets: dict[str, str] = {}

    def secret(self, access_key_id: str) -> str | None:
        """The secret of a valid key, else None. A file that is missing or unreadable validates nobody."""
        try:
            status = self.path.stat()
            seen = (status.st_mtime_ns, status.st_ino, status.st_size)
            with self._guard:
                if seen != self._seen:
                    self._secrets = {key.id: key.secret for key in self.all()}
                    self._seen = seen
                return self._secrets.get(access_key_id)
        except (OSError, ConfigurationError):
            return None

    def all(self) -> list[AccessKey]:
        """All valid keys, oldest first; none when the file doesn't exist. `ConfigurationError` if it is malformed."""
        try:
            document = json.loads(self.path.read_text())
            return [AccessKey(**entry) for entry in document["keys"]]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ConfigurationError(f"The access keys in {self.path} cannot be read: {error.strerror}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{self.path} is not a credentials file. Move it away, and the next `pilothouse serve` makes a new one."
            ) from error

    def ensure(self) -> AccessKey:
        """The oldest key; made now if there is none."""
        with locked(self.path):
            keys = self.all()
            if not keys:
                keys = [generate()]
                self._write(keys)
            return keys[0]

    def create(self) -> AccessKey:
        """A further valid key."""
        with locked(self.path):
            key = generate()
            self._write([*self.all(), key])
            return key

    def revoke(self, access_key_id: str) -> None:
        """End a key's validity, at once. `ConfigurationError` if there is no such key or no other one."""
        with locked(self.path):
            keys = self.all()
            rest = [key for key in keys if key.id != access_key_id]
            if len(rest) == len(keys):
                raise ConfigurationError(f"There is no access key {access_key_id}. `pilothouse keys list` shows them.")
            if not rest:
                raise ConfigurationError("This is the only access key. Make another first: `pilothouse keys create`.")
            self._write(rest)

    def _write(self, keys: Iterable[AccessKey]) -> None:
        document = {"version": 1, "keys": [asdict(key) for key in keys]}
        write_private(self.path, json.dumps(document, indent=2) + "\n")
