"""`python -m docs.generate`, in the root of the repository, writes docs/reference, and the files that pages show.

With `--check` it only compares: the exit code is 1 if a page on disk is not what would be written, and stderr names it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from docs.generate import families, included, pages, shared

REFERENCE = included.ROOT / "docs/reference"


def wanted() -> dict[Path, str]:
    """The text of every page that is generated, wholly or in part."""
    found = families.load()
    texts = {f"{family.name}.md": pages.page(family) for family in found}
    texts |= {"index.md": shared.index(found), "errors.md": shared.errors()}
    return {REFERENCE / name: text for name, text in texts.items()} | included.pages()


def main(arguments: list[str]) -> int:
    """Write, or compare; the exit code."""
    texts = wanted()
    present = {path: path.read_text() for path in {*texts, *REFERENCE.glob("*.md")} if path.exists()}
    stale = sorted(path for path in texts | present if texts.get(path) != present.get(path))
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.relative_to(included.ROOT)} is not what the code says. Run: make docs", file=sys.stderr)
        return bool(stale)
    REFERENCE.mkdir(exist_ok=True)
    for path in stale:
        if path in texts:
            path.write_text(texts[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
