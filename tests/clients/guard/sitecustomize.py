"""Loaded by every Python that has this folder on PYTHONPATH: no name but localhost's is resolved, no address but
loopback is connected to. What is tried all the same is refused, and written to the file that OUTSIDE_CALLS names, since
a client may swallow the refusal.
"""

import ipaddress
import os
import sys
from pathlib import Path


def refuse(event, arguments):
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not is_loopback(host):
        with Path(os.environ["OUTSIDE_CALLS"]).open("a") as calls:
            calls.write(f"{event} {host}\n")
        raise OSError(f"There is no route to {host}.")


def is_loopback(host):
    name = host.decode() if isinstance(host, bytes) else host or "localhost"
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


sys.addaudithook(refuse)
