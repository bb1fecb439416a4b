"""TLS to PostgreSQL, as the words of libpq in the database's address want it: sslmode and sslrootcert."""

from __future__ import annotations

import ssl
from typing import Any

from sqlalchemy.engine import URL

from pilothouse.errors import ConfigurationError

_UNVERIFIED: dict[str, bool | None] = {"disable": False, "allow": None, "prefer": None, "require": True}
"""What pg8000 calls them: None is TLS where the server has it, and none where not."""

_VERIFIED = ("verify-ca", "verify-full")
_OTHERS = ("unix_sock", "application_name")


def options(url: URL) -> tuple[URL, dict[str, Any]]:
    """The address without its words about TLS, and what pg8000 is to be called with for them.

    As libpq has it `require` encrypts and verifies nothing, `verify-ca` wants a certificate that the authorities in
    `sslrootcert` vouch for (those of the system, unless given), and `verify-full` one in the host's name too.
    `ConfigurationError` for a mode, a file or another option that is not known.
    """
    query = {name: value if isinstance(value, str) else value[-1] for name, value in url.query.items()}
    mode, roots = query.pop("sslmode", "prefer"), query.pop("sslrootcert", None)
    unknown = sorted(set(query) - set(_OTHERS))
    if unknown:
        served = ", ".join([*_OTHERS, "sslmode", "sslrootcert"])
        raise ConfigurationError(f"PILOTHOUSE_DATABASE_URL has {unknown[0]!r}, which is none of its options: {served}.")
    return url.set(query=query), {"ssl_context": _context(mode, roots)}


def _context(mode: str, roots: str | None) -> ssl.SSLContext | bool | None:
    if mode in _UNVERIFIED:
        return _UNVERIFIED[mode]
    if mode not in _VERIFIED:
        known = ", ".join([*_UNVERIFIED, *_VERIFIED])
        raise ConfigurationError(f"The sslmode {mode!r} of PILOTHOUSE_DATABASE_URL is none of {known}.")
    try:
        context = ssl.create_default_context(cafile=roots)
    except OSError as error:
        raise ConfigurationError(f"The sslrootcert {roots!r} cannot be read: {error.strerror or error}.") from error
    context.check_hostname = mode == "verify-full"
    return context
