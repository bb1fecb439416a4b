"""The envelope of an encrypted object, among what is known of it: the data keys of its content, encrypted themselves.

    {"algorithm": …, "kms_key": …, "bucket_key": …, "sizes": plain bytes of each segment,
     "master": id, "salt": base64, "keys": base64}

The data keys are encrypted, by AES-256-GCM, with a key that HKDF-SHA256 (RFC 5869) makes of the master key, of a random
salt and of what names the KMS key. So this key is used once, and the nonce may be the same for all. What else is known
of the object, and where it is, is authenticated with them: the facts of another object do not open the envelope.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pilothouse.objects.base import Encryption
from pilothouse.objects.ciphertext import KEY, Segment
from pilothouse.objects.master_keys import MasterKey, MasterKeys
from pilothouse.objects.refusals import DamagedError

Place = Sequence[str | int]
"""What tells a stored file from all others, wherever the folder of the buckets is: bucket and key, for an object."""

ENVELOPE = "encryption"
"""Its name among the facts."""

_SALT = 32
_NONCE = bytes(12)


class Envelopes:
    """Closes and opens envelopes with the master keys of a store."""

    def __init__(self, masters: MasterKeys) -> None:
        self._masters = masters

    def close(
        self, facts: Mapping[str, Any], encryption: Encryption, segments: Sequence[Segment], place: Place
    ) -> dict[str, Any]:
        """`facts` with the envelope of a content that was encrypted as `segments`."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        master, salt = self._masters.newest(), os.urandom(_SALT)
        envelope = {
            "algorithm": encryption.algorithm,
            "kms_key": encryption.kms_key,
            "bucket_key": encryption.bucket_key,
            "sizes": [segment.size for segment in segments],
            "master": master.id,
            "salt": base64.b64encode(salt).decode(),
        }
        closed = {**facts, ENVELOPE: envelope}
        keys = b"".join(segment.key for segment in segments)
        sealed = AESGCM(_key(master, salt, envelope)).encrypt(_NONCE, keys, _about(closed, place))
        envelope["keys"] = base64.b64encode(sealed).decode()
        return closed

    def is_older(self, facts: Mapping[str, Any]) -> bool:
        """Whether these facts have an envelope under a master key that is not the newest."""
        envelope = facts.get(ENVELOPE)
        return envelope is not None and envelope.get("master") != self._masters.newest().id

    def open(self, facts: Mapping[str, Any], place: Place, path: Path | str) -> list[Segment] | None:
        """The segments of a content that has these facts, None of one that is not encrypted.

        `DamagedError` if the facts are not those that it was closed with; KMS.NotFoundException without its master key.
        """
        envelope = facts.get(ENVELOPE)
        if envelope is None:
            return None
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            master, salt = self._masters.find(envelope["master"]), base64.b64decode(envelope["salt"])
            rest = {name: value for name, value in envelope.items() if name != "keys"}
            cipher = AESGCM(_key(master, salt, envelope))
            about = _about({**facts, ENVELOPE: rest}, place)
            keys = cipher.decrypt(_NONCE, base64.b64decode(envelope["keys"]), about)
        except (InvalidTag, KeyError, TypeError, ValueError, binascii.Error):
            raise DamagedError(Path(path).name) from None
        return [Segment(size, keys[n * KEY : (n + 1) * KEY]) for n, size in enumerate(envelope["sizes"])]


def encryption_of(facts: Mapping[str, Any]) -> Encryption | None:
    """How an object with these facts is encrypted."""
    envelope = facts.get(ENVELOPE)
    if envelope is None:
        return None
    return Encryption(envelope["algorithm"], envelope["kms_key"], envelope["bucket_key"])


def _key(master: MasterKey, salt: bytes, envelope: Mapping[str, Any]) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    info = f"pilothouse {envelope['algorithm']} {envelope['kms_key'] or ''}".encode()
    return HKDF(SHA256(), KEY, salt, info).derive(master.secret)


def _about(facts: Mapping[str, Any], place: Place) -> bytes:
    return json.dumps([list(place), facts], separators=(",", ":"), sort_keys=True).encode()
