"""The real server: start, one home, keys, clients, stop."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from botocore.exceptions import ClientError

pytestmark = pytest.mark.slow

Start = Callable[..., Any]


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pilothouse", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def descendants(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


@pytest.fixture(scope="module")
def front(server_with: Start) -> Any:
    """A server that only answers requests, which is quicker to start; shared, and left as it is."""
    return server_with("--no-worker")


def wait_for(fact: Callable[[], bool], seconds: float = 120) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if fact():
            return True
        time.sleep(0.05)
    return fact()


def test_the_first_start_makes_a_private_home_a_database_and_one_key(start_server: Start) -> None:
    front = start_server("--no-worker")
    mode = {path.name: stat.S_IMODE(path.stat().st_mode) for path in front.home.iterdir()}
    assert stat.S_IMODE(front.home.stat().st_mode) == 0o700
    assert mode["credentials.json"] == 0o600
    assert "pilothouse.sqlite" in mode
    assert len(run_cli("keys", "list", "--home", str(front.home)).stdout.splitlines()) == 1


def test_health_needs_no_signature_and_everything_else_does(front: Any) -> None:
    assert front.healthy()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{front.url}/bucket", timeout=10)
    assert refused.value.code == 403


def test_stdout_is_the_ready_line_and_nothing_else(start_server: Start) -> None:
    server = start_server("--no-worker")
    server.client("sagemaker").list_auto_ml_jobs()
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)
    rest, _ = server.process.communicate(timeout=300)
    assert rest == ""


def test_sigterm_ends_the_server_and_all_its_processes_within_10_seconds_with_exit_code_0(server: Any) -> None:
    assert wait_for(lambda: len(descendants(server.process.pid)) > 0)
    processes = descendants(server.process.pid)
    before = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - before < 10
    assert psutil.wait_procs(processes, timeout=10)[1] == []


def test_ctrl_c_is_a_clean_stop_too(server: Any) -> None:
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(120) == 0
    assert "Traceback" not in server.log.read_text()


def test_kill_9_of_the_server_leaves_no_process_and_the_home_usable(start_server: Start) -> None:
    server = start_server()
    assert wait_for(lambda: len(descendants(server.process.pid)) > 0)
    processes = descendants(server.process.pid)
    key = server.environment()["AWS_ACCESS_KEY_ID"]
    server.kill()
    assert psutil.wait_procs(processes, timeout=120)[1] == []
    again = start_server(home=server.home)
    assert again.environment()["AWS_ACCESS_KEY_ID"] == key
    assert again.healthy()


def test_a_second_server_on_the_same_home_refuses_and_names_the_first(front: Any) -> None:
    done = run_cli("serve", "--port", "0", "--home", str(front.home))
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"process {front.process.pid} at {front.url}" in done.stderr
    assert front.healthy()


def test_two_servers_on_two_homes_run_side_by_side(front: Any, start_server: Start) -> None:
    two = start_server("--no-worker")
    front.client("s3").create_bucket(Bucket="mine")
    assert two.client("s3").list_buckets()["Buckets"] == []


def test_a_key_of_another_home_is_refused(front: Any, start_server: Start) -> None:
    import boto3

    two = start_server("--no-worker")
    foreign = front.environment()
    client = boto3.client(
        "sagemaker",
        endpoint_url=two.url,
        region_name="us-east-1",
        aws_access_key_id=foreign["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=foreign["AWS_SECRET_ACCESS_KEY"],
    )
    with pytest.raises(ClientError) as refused:
        client.list_auto_ml_jobs()
    assert refused.value.response["Error"]["Code"] == "UnrecognizedClientException"


def test_a_revoked_key_stops_working_at_once_and_a_new_one_starts_to(start_server: Start) -> None:
    front = start_server("--no-worker")
    old = front.client("sts")
    old_key = front.environment()["AWS_ACCESS_KEY_ID"]
    assert run_cli("keys", "create", "--home", str(front.home)).returncode == 0
    assert old.get_caller_identity()["Account"] == "000000000000"
    assert run_cli("keys", "revoke", old_key, "--home", str(front.home)).returncode == 0
    with pytest.raises(ClientError):
        old.get_caller_identity()
    assert front.client("sts").get_caller_identity()["Account"] == "000000000000"


def test_what_a_stopped_server_stored_is_there_after_the_next_start(start_server: Start) -> None:
    server = start_server("--no-worker")
    s3 = server.client("s3")
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="a/b", Body=b"content")
    server.stop()
    again = start_server("--no-worker", home=server.home)
    assert again.client("s3").get_object(Bucket="kept", Key="a/b")["Body"].read() == b"content"


def test_the_aws_command_works_with_the_printed_variables(front: Any, aws_for: Any, tmp_path: Path) -> None:
    aws = aws_for(front)
    (tmp_path / "file.csv").write_text("a,b\n1,2\n")
    aws("s3", "mb", "s3://bucket")
    aws("s3", "cp", str(tmp_path / "file.csv"), "s3://bucket/in/file.csv")
    assert "in/file.csv" in aws("s3", "ls", "s3://bucket", "--recursive")
    assert aws("sagemaker", "list-auto-ml-jobs") == {"AutoMLJobSummaries": []}
    assert aws("sts", "get-caller-identity")["Account"] == "000000000000"


def test_the_printed_lines_work_in_a_shell(front: Any, tmp_path: Path) -> None:
    script = (
        f'eval "$(python -m pilothouse env --home {front.home})" && echo "$AWS_ENDPOINT_URL" && aws s3 mb s3://shell'
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "AWS_SESSION_TOKEN": "of another account"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == front.url


def test_without_a_worker_requests_are_answered_and_no_process_is_started(start_server: Start) -> None:
    server = start_server("--no-worker")
    assert server.healthy()
    assert descendants(server.process.pid) == []
    assert server.stop() == 0


def test_a_server_that_listens_everywhere_is_reached_by_loopback(start_server: Start) -> None:
    server = start_server("--no-worker", "--host", "0.0.0.0")
    assert server.url.startswith("http://127.0.0.1:")
    assert server.client("sts").get_caller_identity()["Account"] == "000000000000"


def test_a_port_in_use_is_said_in_one_sentence(front: Any, tmp_path: Path) -> None:
    port = front.url.rpartition(":")[2]
    done = run_cli("serve", "--port", port, "--home", str(tmp_path / "other"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: 127.0.0.1:")
    assert len(done.stderr.splitlines()) == 1


def test_an_attached_server_ends_with_its_opener(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time; from pilothouse.client.embedded import EmbeddedServer\n"
        "with EmbeddedServer(pathlib.Path(sys.argv[1])) as s: print(s.home.running().pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as opener:
        assert opener.stdout is not None
        pid = int(opener.stdout.readline())
        processes = [psutil.Process(pid), *descendants(pid)]
        opener.kill()
        opener.wait(120)
    assert psutil.wait_procs(processes, timeout=120)[1] == []


def test_the_doctor_finds_a_running_server_healthy(front: Any) -> None:
    done = run_cli("doctor", "--home", str(front.home))
    assert done.returncode == 0, done.stdout
    assert front.url in done.stdout
