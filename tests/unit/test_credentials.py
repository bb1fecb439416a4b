"""The credentials file: private, re-read when it changes, never half-written."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from pilothouse.credentials import Credentials, generate
from pilothouse.errors import ConfigurationError
from pilothouse.private_file import write_private


@pytest.fixture
def credentials(tmp_path: Path) -> Credentials:
    return Credentials(tmp_path / "credentials.json")


def test_the_first_key_is_made_once(credentials: Credentials) -> None:
    assert credentials.ensure() == credentials.ensure()
    assert len(credentials.all()) == 1


def test_only_the_owner_can_read_the_file(credentials: Credentials) -> None:
    credentials.ensure()
    assert stat.S_IMODE(credentials.path.stat().st_mode) == 0o600


def test_a_key_has_the_form_that_aws_clients_accept() -> None:
    key = generate()
    assert len(key.id) == 20
    assert key.id.isalnum()
    assert key.id.isupper()
    assert len(key.secret) == 40


def test_two_generated_keys_differ() -> None:
    assert generate().secret != generate().secret


def test_an_unknown_id_has_no_secret(credentials: Credentials) -> None:
    credentials.ensure()
    assert credentials.secret("PHKAAAAAAAAAAAAAAAAA") is None


def test_a_file_that_does_not_exist_validates_nobody(credentials: Credentials) -> None:
    assert credentials.all() == []
    assert credentials.secret("anything") is None


def test_a_key_made_elsewhere_is_valid_at_once(credentials: Credentials) -> None:
    credentials.ensure()
    reader = Credentials(credentials.path)
    key = credentials.create()
    assert reader.secret(key.id) == key.secret


def test_a_key_revoked_elsewhere_is_invalid_at_once(credentials: Credentials) -> None:
    first = credentials.ensure()
    credentials.create()
    reader = Credentials(credentials.path)
    assert reader.secret(first.id) == first.secret
    credentials.revoke(first.id)
    assert reader.secret(first.id) is None


def test_the_only_key_cannot_be_revoked(credentials: Credentials) -> None:
    key = credentials.ensure()
    with pytest.raises(ConfigurationError, match="only access key"):
        credentials.revoke(key.id)
    assert credentials.secret(key.id) == key.secret


def test_revoking_an_unknown_key_says_where_the_known_ones_are_shown(credentials: Credentials) -> None:
    credentials.ensure()
    with pytest.raises(ConfigurationError, match="pilothouse keys list"):
        credentials.revoke("PHKAAAAAAAAAAAAAAAAA")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"keys": [{"id": "x"}]}', '{"keys": 3}'])
def test_a_malformed_file_validates_nobody_and_is_named(credentials: Credentials, content: str) -> None:
    credentials.path.write_text(content)
    assert credentials.secret("x") is None
    with pytest.raises(ConfigurationError, match=r"credentials\.json"):
        credentials.all()


def test_keys_made_at_the_same_time_are_all_kept(credentials: Credentials) -> None:
    threads = [threading.Thread(target=Credentials(credentials.path).create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({key.id for key in credentials.all()}) == 8


def test_a_failed_write_leaves_the_old_content_and_no_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_private(path, "old")

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="disk full"):
        write_private(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
