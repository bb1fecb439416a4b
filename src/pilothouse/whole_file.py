"""Small files of a job's scratch space, which a process that is killed leaves as they were, or whole."""

from __future__ import annotations

from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Puts `text` at `path`. One writer at a time; if the machine itself crashes, the file may be lost."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text)
    temporary.replace(path)
