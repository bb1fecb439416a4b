"""TLS to PostgreSQL as the database's address wants it, against a server with a certificate of the tests' own."""

from __future__ import annotations

import datetime
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text

from pilothouse.errors import ConfigurationError, StoreAway
from pilothouse.store.engine import Database
from tests.conftest import POSTGRES_ACCOUNT, postgresql_programs, running_postgresql


def certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate in `host`'s name that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    where = folder / "server.crt", folder / "server.key"
    where[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    where[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    for path in where:
        path.chmod(0o600)
    return where


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """The port of a PostgreSQL on 127.0.0.1 whose certificate is in the name "localhost", and that."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pgtls", dir="/tmp"))  # where PostgreSQL's account can read, too
    crt, key = certificate(folder, "localhost")
    roots = tmp_path_factory.mktemp("roots") / "roots.pem"
    shutil.copy(crt, roots)
    if os.getuid() == 0:
        for path in (folder, crt, key):
            shutil.chown(path, POSTGRES_ACCOUNT)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = f"listen_addresses=127.0.0.1 -c port={port} -c ssl=on -c ssl_cert_file={crt} -c ssl_key_file={key}"
    try:
        with running_postgresql(programs, settings):
            yield port, roots
    finally:
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "options", "encrypted"),
    [
        ("127.0.0.1", "", True),
        ("127.0.0.1", "?sslmode=disable", False),
        ("127.0.0.1", "?sslmode=require", True),
        ("127.0.0.1", "?sslmode=verify-ca&sslrootcert={roots}", True),
        ("localhost", "?sslmode=verify-full&sslrootcert={roots}", True),
    ],
)
def test_the_mode_of_the_address_is_kept_to(server: tuple[int, Path], host: str, options: str, encrypted: bool) -> None:
    port, roots = server
    database = Database(f"postgresql://{POSTGRES_ACCOUNT}@{host}:{port}/postgres{options.format(roots=roots)}")
    with database.read() as connection:
        found = connection.execute(text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")).scalar_one()
    database.close()
    assert found is encrypted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "options"),
    [
        ("localhost", "?sslmode=verify-full"),
        ("127.0.0.1", "?sslmode=verify-ca"),
        ("127.0.0.1", "?sslmode=verify-full&sslrootcert={roots}"),
    ],
)
def test_a_server_that_nobody_vouches_for_gets_no_metadata(server: tuple[int, Path], host: str, options: str) -> None:
    port, roots = server
    database = Database(f"postgresql://{POSTGRES_ACCOUNT}@{host}:{port}/postgres{options.format(roots=roots)}")
    with pytest.raises(StoreAway, match="certificate verify failed"), database.read():
        raise AssertionError("it was reached")
    database.close()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("?sslmode=required", "'required' .* is none of disable, allow"),
        ("?sslmode=verify-full&sslrootcert=/nowhere/roots.pem", "'/nowhere/roots.pem' cannot be read: No such file"),
        ("?connect_timeout=3", "'connect_timeout', which is none of its options"),
    ],
)
def test_words_that_nobody_knows_are_told(options: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        Database(f"postgresql://postgres@127.0.0.1/postgres{options}")
