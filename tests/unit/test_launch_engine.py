"""What a container engine is told to run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pilothouse.launch.engine import Box, Engine

ENGINE = Engine("podman", "/usr/bin/podman", "4.3.1")


def box(tmp_path: Path) -> Box:
    variables = {"PLAIN": "a=b c", "LINES": "a\nb", "QUOTED": '"a"', "EMPTY": ""}
    return Box("pilothouse-1", "me/image:2", tmp_path / "ml", variables, tmp_path / "variables", 1 << 30, 512, True)


def test_variables_reach_it_whatever_they_hold(tmp_path: Path) -> None:
    made = box(tmp_path)
    made.write()
    assert made.file.read_text() == "PLAIN=a=b c\nEMPTY=\n"
    assert made.file.stat().st_mode & 0o777 == 0o600
    assert made.given() == ["--env-file", str(made.file), "--env", "LINES=a\nb", "--env", 'QUOTED="a"']


def test_the_word_train_or_an_entry_point_of_the_job_comes_last(tmp_path: Path) -> None:
    made = box(tmp_path)
    assert ENGINE.running(made, (), ("train",))[-2:] == ["me/image:2", "train"]
    words = ENGINE.running(made, ("sh", "-c"), ("exit",))
    assert words[-3:] == ["me/image:2", "-c", "exit"]
    assert words[words.index("--entrypoint") + 1] == "sh"


def test_one_of_several_is_called_by_its_name_and_knows_the_others(tmp_path: Path) -> None:
    made = replace(box(tmp_path), hostname="algo-2", addresses={"algo-1": "127.9.9.1", "algo-2": "127.9.9.2"})
    known = ["--add-host", "algo-1:127.9.9.1", "--add-host", "algo-2:127.9.9.2"]
    assert made.named() == ["--hostname", "algo-2", *known]
    assert box(tmp_path).named() == []


@pytest.mark.parametrize(
    ("engine", "option"), [("docker", ["--gpus", "all"]), ("podman", ["--device", "nvidia.com/gpu=all"])]
)
def test_gpus_are_passed_on_as_each_engine_wants_them(tmp_path: Path, engine: str, option: list[str]) -> None:
    by = replace(ENGINE, name=engine)
    words, without = (by.running(replace(box(tmp_path), gpus=gpus), (), ("train",)) for gpus in (True, False))
    place = words.index(option[0])
    assert words[place : place + 2] == option
    assert [*words[:place], *words[place + 2 :]] == without


def test_docker_is_told_of_the_priority_that_podman_hands_down(tmp_path: Path) -> None:
    """Podman without a right to the processor's control group would refuse to run."""
    words = replace(ENGINE, name="docker").running(box(tmp_path), (), ("train",))
    assert words[words.index("--cpu-shares") + 1] == "335"
    assert "--cpu-shares" not in ENGINE.running(box(tmp_path), (), ("train",))


def test_without_a_network_it_has_none(tmp_path: Path) -> None:
    words = ENGINE.running(replace(box(tmp_path), network=False), (), ("train",))
    assert words[words.index("--network") + 1] == "none"


def test_what_a_sealed_one_writes_outside_of_its_folder_comes_to_no_disk(tmp_path: Path) -> None:
    words, without = (ENGINE.running(replace(box(tmp_path), sealed=sealed), (), ("train",)) for sealed in (True, False))
    assert [word for word in words if word not in without] == [
        *("--read-only", "--tmpfs", "/tmp:exec", "--tmpfs", "/var/tmp:exec", "--tmpfs", "/run:exec")
    ]
