"""The header of a table: the names of its columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pilothouse.errors import DataError


def check_names(names: Sequence[str], uri: str) -> None:
    """`DataError` unless there are columns and each has a name of its own."""
    if not names:
        raise DataError(f"{uri} has no columns. Give it a target column and columns to learn from.")
    for position, name in enumerate(names, 1):
        if not name.strip():
            raise DataError(
                f"Column {position} of {uri} has no name in the header. Name every column "
                "(with pandas, write the file with index=False)."
            )
    name, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise DataError(f"The header of {uri} has the name {name!r} {count} times. Give each column its own name.")
