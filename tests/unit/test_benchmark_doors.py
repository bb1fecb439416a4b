"""The benchmarks of the S3 door and of the API: what they ask two servers, and the verdict on how long those took."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from botocore.credentials import Credentials

pytestmark = pytest.mark.usefixtures("benchmarks_on_path")

OURS, THEIRS = "http://127.0.0.1:1", "http://127.0.0.1:2"


@pytest.fixture
def peers(benchmarks_on_path: None) -> list[Any]:
    """Pilothouse and moto, neither of which is there."""
    from beside_moto.servers import Peer

    return [
        Peer(n, url, Credentials("id", "secret"), "us-east-1") for n, url in (("pilothouse", OURS), ("moto", THEIRS))
    ]


def cells(lines: Sequence[str]) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in lines]


def test_the_s3_door_is_to_move_twice_as_much_in_each_scene(peers: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import s3

    def calls(url: str, requests: Sequence[Any], _: int) -> tuple[list[float], float]:
        lists = "list-type" in requests[0].path
        return [], len(requests) * (1.0 if url == OURS else 1.9 if lists else 2.0)

    monkeypatch.setattr(s3, "calls", calls)
    monkeypatch.setattr(s3, "LARGE", 64)
    head, _, *rows = cells(list(s3.report(s3.side_by_side(peers, {}))))
    assert head == ["scene", "clients", "unit", "pilothouse", "moto", "times", "twice"]
    assert {len(row) for row in rows} == {len(head)}
    assert len(rows) == 5 * len(s3.CLIENTS)
    assert rows[0] == ["put 4 KiB", "1", "objects/s", "1", "0", "2.00", "met"]
    assert [row for row in rows if row[-1] != "met"] == [
        ["list 1,000", clients, "keys/s", "1,000", "526", "1.90", "**missed**"] for clients in ("1", "4")
    ]


def test_puts_alone_ask_for_encryption(peers: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    import s3

    monkeypatch.setattr(s3, "LARGE", 64)
    header = "x-amz-server-side-encryption"
    made = [scene.request(peers[0], 0) for scene in s3.scenes({header: "AES256"})]
    signed = [header in request.headers["Authorization"] for request in made]
    assert [request.method for request in made] == ["PUT", "GET", "GET", "PUT", "GET"]
    assert signed == [True, False, False, True, False]


def test_a_large_object_comes_in_parts_that_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    import s3

    monkeypatch.setattr(s3, "PART", 1 << 10)
    parts = list(s3.parts(s3.size("2KiB") + 100))
    assert [len(part) for part in parts] == [1024, 1024, 100]
    assert len(set(parts)) == 3


@pytest.mark.parametrize(
    ("program", "arguments", "complaint"),
    [("s3", ["--large", "5GB"], "5GB is not like 5GiB"), ("api", ["--jobs", "many"], "invalid int value: 'many'")],
)
def test_arguments_that_cannot_be_are_refused(
    program: str,
    arguments: list[str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    module = importlib.import_module(program)
    monkeypatch.setattr(sys, "argv", [f"{program}.py", *arguments])
    with pytest.raises(SystemExit):
        module.main()
    assert complaint in capsys.readouterr().err


def test_the_api_is_to_answer_as_quickly_in_the_middle_and_at_the_worst(
    peers: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import api

    def calls(url: str, requests: Sequence[Any], clients: int) -> tuple[list[float], float]:
        """Both take as long; but ours, asked for a list by eight, once in a while longer."""
        late = url == OURS and clients == 8 and b"MaxResults" in requests[0].body
        return [0.002] * (len(requests) - late) + [0.005] * late, len(requests) * 0.002

    monkeypatch.setattr(api, "calls", calls)
    head, _, *rows = cells(list(api.report(api.side_by_side(peers, jobs=100))))
    assert {len(row) for row in rows} == {len(head)} == {9}
    assert [row[:2] for row in rows] == [[operation, str(n)] for operation in api.OPERATIONS for n in api.CLIENTS]
    assert [row[-1] for row in rows] == ["met"] * 5 + ["**missed**"]
    assert rows[0][2:8] == ["2.00", "2.00", "500"] * 2


def test_each_job_is_created_once_and_those_described_exist() -> None:
    import api

    asked = api.Asked(jobs=10)
    made = [each["AutoMLJobName"] for _ in range(2) for each in asked.members("CreateAutoMLJobV2", 5)]
    assert len(set(made)) == 10
    assert {each["AutoMLJobName"] for each in asked.members("DescribeAutoMLJobV2", 30)} == set(made)
