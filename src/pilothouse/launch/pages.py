"""The pages that imports leave behind: of libraries, read once, and of the heap, free again."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path

_MADV_DONTNEED = 4
_SMAPS = Path("/proc/self/smaps")


def let_go() -> int:
    """Unmaps what this process has read of files that it can't write to; the bytes that were mapped.

    Free heap goes back too, where the C library can do that.

    Imports read tens of megabytes of the libraries, most of it once. What is needed again comes back page by page from
    the kernel's cache. Nothing is unmapped where the kernel doesn't tell what is.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
    madvise = libc.madvise
    madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return sum(size for start, length, size in list(_clean()) if not madvise(start, length, _MADV_DONTNEED))


def _clean() -> Iterator[tuple[int, int, int]]:
    """Start, length and resident bytes of each mapping of a file that is read-only, with no page of its own.

    A library's relocated data are read-only too, and theirs alone: they can't be read from the file again. In memory
    they count as anonymous, else as swap, which the kernel tells last of these.
    """
    try:
        lines = _SMAPS.read_text(errors="replace").splitlines()
    except OSError:
        return
    start = length = resident = 0
    eligible = False
    own = True
    for line in lines:
        name, *words = line.split()
        if not name.endswith(":"):
            first, end = (int(address, 16) for address in name.split("-"))
            start, length = first, end - first
            eligible = words[0] in ("r-xp", "r--p") and len(words) > 4 and words[4].startswith("/")
            own = True
        elif name == "Rss:":
            resident = int(words[0]) << 10
        elif name == "Anonymous:":
            own = words[0] != "0"
        elif name == "Swap:" and eligible and not own and words[0] == "0" and resident:
            yield start, length, resident
