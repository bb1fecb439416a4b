"""`pilothouse keys`, and how the command says errors."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pilothouse.cli import COMMANDS, main
from pilothouse.credentials import AccessKey, Credentials


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def keys(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["keys", *arguments, "--home", str(home)])


def test_a_created_key_is_valid_and_listed(home: Path) -> None:
    lines = dict(line.split("=", 1) for line in keys(home, "create").stdout.splitlines())
    assert Credentials(home / "credentials.json").secret(lines["AWS_ACCESS_KEY_ID"]) == lines["AWS_SECRET_ACCESS_KEY"]
    assert lines["AWS_ACCESS_KEY_ID"] in keys(home, "list").stdout


def test_the_list_shows_no_secret(home: Path) -> None:
    secret = Credentials(home / "credentials.json")
    keys(home, "create")
    assert secret.all()[0].secret not in keys(home, "list").stdout


def test_a_revoked_key_is_gone(home: Path) -> None:
    keys(home, "create")
    keys(home, "create")
    first, second = Credentials(home / "credentials.json").all()
    assert keys(home, "revoke", first.id).exit_code == 0
    assert Credentials(home / "credentials.json").all() == [second]


def test_an_error_is_one_sentence_with_exit_code_1(home: Path) -> None:
    keys(home, "create")
    result = keys(home, "revoke", "PHKAX")
    assert result.exit_code == 1
    assert result.stderr == "Error: There is no access key PHKAX. `pilothouse keys list` shows them.\n"


def test_what_the_system_refuses_is_one_sentence_that_names_the_file(home: Path) -> None:
    result = keys(home, "revoke", "PHKAX")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: The system refused something: No such file or directory ({home}/credentials.lock). "
        "`pilothouse doctor` may show why.\n"
    )


def test_a_reader_of_the_output_that_has_gone_is_no_error_to_speak_of(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: object) -> list[AccessKey]:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(Credentials, "all", gone)
    result = keys(home, "list")
    assert (result.exit_code, result.output) == (1, "")


@pytest.mark.parametrize(
    "command", [["fit", "{file}", "--target", "y"], ["tune", "{file}", "--range", "x=0:1", "--metric", "a=(.)"]]
)
def test_a_setting_that_is_wrong_is_said_in_one_sentence_by_commands_with_a_server_of_their_own(
    command: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_text("x,y\n1,2\n")
    words = [word.format(file=file) for word in command]
    words += ["--maximize", "a"] if command[0] == "tune" else []
    result = CliRunner().invoke(main, words, env={"PILOTHOUSE_SLOTS": "none"})
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: PILOTHOUSE_SLOTS is wrong: ")


def test_a_wrong_option_has_exit_code_2(home: Path) -> None:
    assert keys(home, "list", "--nonsense").exit_code == 2


def test_every_subcommand_explains_itself() -> None:
    for command in COMMANDS:
        result = CliRunner().invoke(main, [command, "--help"])
        assert result.exit_code == 0
        assert result.stdout.startswith("Usage: main " + command)


def test_the_command_starts_without_heavy_libraries() -> None:
    heavy = ("numpy", "boto3", "rich", "pydantic", "sqlalchemy")
    code = f"import sys, pilothouse.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
