"""Namespaces without bubblewrap: util-linux's unshare and mount, which most systems have.

A program gets process ids and mounts of its own: its folder at /opt/ml, and empty folders in place of what is hidden.
Unlike bubblewrap it leaves the rest of the file system as writable as the server's user finds it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_PROBE_SECONDS = 10
_TOOLS = ("unshare", "mount", "umount")

_SCRIPT = r"""
set -e
base=$1 folder=$2 loopback=$3; shift 3
mount -t proc proc /proc
keep=$base/tmp/keep number=0
mkdir -p "$keep"
hidden= shown=
while [ "$1" != -- ]; do
  case $1 in
    hide) hidden="$hidden $2" ;;
    alone) "$2" -I -S -c "$loopback" ;;
    called) echo "$2" > /proc/sys/kernel/hostname ;;
    hosts) mount --bind "$2" /etc/hosts ;;
    show)
      number=$((number + 1)); mkdir -p "$keep/$number"; mount --rbind "$2" "$keep/$number"; shown="$shown $number:$2"
      ;;
  esac
  shift 2
done
shift
if [ ! -d /opt/ml ]; then
  mkdir -p /opt "$keep/opt"; mount --rbind /opt "$keep/opt"; mount -t tmpfs -o mode=755 none /opt
  for path in "$keep"/opt/*; do
    [ -e "$path" ] || continue
    to=/opt/${path##*/}
    if [ -d "$path" ]; then mkdir "$to"; else : > "$to"; fi
    mount --rbind "$path" "$to"
  done
  umount -l "$keep/opt"; mkdir /opt/ml
fi
mount --rbind "$base" /opt/ml
for path in $hidden; do mount -t tmpfs -o mode=755 none "$path"; done
for pair in $shown; do
  from=/opt/ml/tmp/keep/${pair%%:*} to=${pair#*:}
  mkdir -p "$to"; mount --rbind "$from" "$to"; umount -l "$from"
done
cd "$folder"
if command -v setpriv > /dev/null; then
  set -- setpriv --inh-caps=-all --bounding-set=-all -- "$@"
fi
set +e
exec 3>&2 2> /dev/null  # what the shell says of a program that a signal ended would be added to the program's last line
(exec "$@" 2>&3 3>&-)
exit $?
"""

_LOOPBACK = """
import fcntl, socket, struct
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
with socket.socket() as one:
    fcntl.ioctl(one, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", IFF_UP))
"""  # of a new network, which has it down; not every machine has the command ip


def works() -> str | None:
    """None if programs can be run so, else the reason why not."""
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is not installed"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tmp").mkdir()
        argv = wrapped(["true"], Path(folder), "/opt/ml", hidden=(), shown=(), network=True)
        try:
            done = subprocess.run(argv, capture_output=True, timeout=_PROBE_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
    said = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
    return None if done.returncode == 0 else said[-1][:200]


def wrapped(
    argv: Sequence[str],
    base: Path,
    folder: str,
    *,
    hidden: Sequence[Path],
    shown: Sequence[Path],
    network: bool,
    hostname: str = "",
    table: Path | None = None,
) -> list[str]:
    """The command that runs `argv` with `base` at /opt/ml, `hidden` empty but for what is `shown` again.

    `table` is what it finds at /etc/hosts, and `hostname` what the machine is called there.

    A path with white space can't be hidden or shown; `ValueError` says so.
    """
    for path in (*hidden, *shown):
        if len(str(path).split()) != 1 or ":" in str(path):
            raise ValueError(f"{path} has white space or a colon in its name.")
    user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    words = [word for path in hidden for word in ("hide", str(path))]
    words += [word for path in shown for word in ("show", str(path))]
    words += [] if network else ["alone", sys.executable]
    words += ["called", hostname] if hostname else []
    words += ["hosts", str(table)] if table else []
    return [
        *("unshare", *user, *(["--uts"] if hostname else []), "--mount", "--pid", "--fork", "--kill-child"),
        *([] if network else ["--net"]),
        *("--", "/bin/sh", "-c", _SCRIPT, "sh", str(base), folder, _LOOPBACK, *words, "--", *argv),
    ]
