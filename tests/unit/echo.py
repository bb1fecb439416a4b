"""A pretended model server on a Unix socket, which answers with what it got."""

from __future__ import annotations

import socketserver
import threading
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import Any


class Echo(BaseHTTPRequestHandler):
    """Answers with its server's name and the body it got; a body "status NNN" is answered with that status."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if body == b"die":
            self.close_connection = True
            return
        status = int(body.split()[1]) if body.startswith(b"status") else 200
        words = [self.server.name, self.headers["content-type"], self.headers["accept"]]
        target = self.headers["x-amzn-sagemaker-target-container-hostname"]
        answer = " ".join([*map(str, words), *([target] if target else []), ""]).encode() + body
        self.send_response(status)
        self.send_header("content-length", str(len(answer)))
        self.send_header("content-type", "text/csv; charset=utf-8")
        self.end_headers()
        self.wfile.write(answer)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None: ...


class Server(socketserver.ThreadingUnixStreamServer):
    request_queue_size = 128  # as many as model servers let wait; of more than five a busy machine would refuse some
    daemon_threads = True


class Replica(AbstractContextManager["Replica"]):
    def __init__(self, folder: Path, variant: str, index: int = 0) -> None:
        self.address = {"variant": variant, "index": index, "socket": str(folder / f"{variant}{index}.sock")}
        self.server = Server(self.address["socket"], Echo)
        self.server.handle_error = lambda *_: None
        self.server.name = f"{variant}/{index}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.server.shutdown()
        self.server.server_close()
