"""What a server checks before it serves."""

from __future__ import annotations

import resource
import socket
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import text

from pilothouse import composition
from pilothouse.cli import main
from pilothouse.cli.doctor import examine
from pilothouse.config import Settings
from pilothouse.credentials import Credentials
from pilothouse.errors import ConfigurationError
from pilothouse.home import Home
from pilothouse.objects.master_keys import MasterKeys
from pilothouse.server import connections, listen, raise_descriptors, refuse_open_door


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_key(tmp_path: Path, host: str) -> None:
    refuse_open_door(host, Credentials(tmp_path / "credentials.json"))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "192.0.2.1"])
def test_an_address_that_others_can_reach_needs_a_key(tmp_path: Path, host: str) -> None:
    credentials = Credentials(tmp_path / "credentials.json")
    with pytest.raises(ConfigurationError, match="pilothouse keys create"):
        refuse_open_door(host, credentials)
    credentials.ensure()
    refuse_open_door(host, credentials)


def test_port_0_picks_a_free_one() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.getsockname()[1] > 0


def test_a_port_in_use_is_refused_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} cannot be listened on"):
            listen("127.0.0.1", port)


def test_an_address_of_another_machine_is_refused_in_words() -> None:
    with pytest.raises(ConfigurationError, match="cannot be listened on"):
        listen("192.0.2.1", 0)


def test_the_doctor_finds_no_fault_with_a_home_that_is_not_there_yet(tmp_path: Path) -> None:
    findings = list(examine(Settings(home=tmp_path / "new", port=0)))
    assert [finding for finding in findings if not finding.good] == []
    assert not (tmp_path / "new").exists()


def test_the_doctor_names_an_open_home_and_an_open_credentials_file(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    credentials = Credentials(home.root / "credentials.json")
    credentials.ensure()
    credentials.path.chmod(0o644)
    home.root.chmod(0o755)
    faults = {
        finding.subject: finding.seen for finding in examine(Settings(home=home.root, port=0)) if not finding.good
    }
    assert set(faults) == {"home", "access keys"}
    assert "0700" in faults["home"]
    assert "0600" in faults["access keys"]


def test_the_doctor_names_master_keys_that_are_lost_damaged_or_open(tmp_path: Path) -> None:
    home, keys = tmp_path / "home", tmp_path / "keys"
    settings = Settings(home=home, master_keys=keys, port=0)

    def faults() -> list[str]:
        return [f.seen for f in examine(settings) if f.subject == "master keys" and not f.good]

    assert "is no folder" in faults()[0]
    keys.mkdir()
    assert faults() == []
    MasterKeys(settings.master_keys_file).newest()
    assert faults() == []
    settings.master_keys_file.chmod(0o644)
    assert "should be 0600" in faults()[0]
    settings.master_keys_file.write_text("{}")
    assert "does not hold master keys" in faults()[0]


def test_the_doctor_tells_a_database_without_tables_from_one_of_a_newer_release(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.create()
    settings = Settings(home=home.root, port=0)

    def seen() -> tuple[str, bool]:
        [finding] = [finding for finding in examine(settings) if finding.subject == "database"]
        return finding.seen, finding.good

    (home.root / "pilothouse.sqlite").touch()
    assert seen() == (f"{settings.database}, without tables yet; `pilothouse serve` makes them", True)
    with closing(composition.store(settings)) as store:
        store.migrate()
        assert seen() == (f"{settings.database}, 0 AutoML jobs in progress", True)
        with store.database.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert seen()[0].startswith("The store is at version 9999")
    assert not seen()[1]


def test_the_doctor_names_a_port_in_use_and_ends_with_exit_code_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["doctor", "--home", str(tmp_path / "home")], env={"PILOTHOUSE_PORT": port})
    assert result.exit_code == 1
    assert "fault" in result.stdout


def test_the_doctor_names_a_server_that_does_not_answer(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.create()
    with home.serving():
        home.announce("http://127.0.0.1:1", "us-east-1", "000000000000")
        faults = [finding.seen for finding in examine(Settings(home=tmp_path)) if not finding.good]
    assert len(faults) == 1
    assert "does not answer" in faults[0]


@pytest.mark.parametrize(
    ("soft", "hard", "raised"),
    [
        (1024, 20_000, 20_000),
        (1024, 1 << 30, 65_536),
        (256, resource.RLIM_INFINITY, 65_536),
        (100_000, 1 << 30, 100_000),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 65_536),
    ],
)
def test_the_limit_of_open_files_is_raised_as_far_as_is_of_use(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised: int
) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: calls.append(limits))
    assert raise_descriptors() == raised
    assert calls == ([(raised, hard)] if 0 < soft < raised else [])


def test_a_limit_of_open_files_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_descriptors() == 256


@pytest.mark.parametrize(("descriptors", "most"), [(1024, 341), (65_536, 4096)])
def test_connections_leave_most_descriptors_to_others(descriptors: int, most: int) -> None:
    assert connections(descriptors) == most
