"""A Pilothouse server for the whole test run, to which boto3 and the SageMaker SDK are led by the environment."""

import os
import shlex
import subprocess

import pytest


@pytest.fixture(scope="session", autouse=True)
def pilothouse(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("pilothouse") / "home")
    server = subprocess.Popen(["pilothouse", "serve", "--home", home, "--port", "0"], stdout=subprocess.PIPE)
    try:
        assert b"ready" in server.stdout.readline(), "the server's reason is on stderr"
        exports = subprocess.check_output(["pilothouse", "env", "--home", home], text=True)
        words = [shlex.split(line) for line in exports.splitlines()]
        os.environ.update(word[1].split("=", 1) for word in words if word[0] == "export")
        for word in words:
            if word[0] == "unset":
                os.environ.pop(word[1], None)
        yield
    finally:
        server.terminate()
        server.wait(timeout=30)
