"""What earlier jobs on this host saw candidates cost: a small JSON file in the home."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from pilothouse.problems.tabular.costs import clipped

_FORMAT, _VERSION = "pilothouse-costs", 1
_NEWS = 0.3
"""How much the latest job counts against all before it."""


class HostCosts:
    """Correction factors by algorithm at `path`. A file that is missing, damaged or of nonsense counts as empty.

    Jobs that end at the same time overwrite each other's news, which costs some accuracy and nothing else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def factors(self) -> dict[str, float]:
        """Each algorithm's factor, within trusted bounds."""
        try:
            document = json.loads(self._path.read_text(encoding="utf-8"))
            if (document["format"], document["version"]) != (_FORMAT, _VERSION):
                return {}
            return {str(name): clipped(float(factor)) for name, factor in document["factors"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return {}

    def learn(self, seen: Mapping[str, float]) -> None:
        """Mixes in what a job saw. A file that can't be written is left as it is: the next job only guesses worse."""
        factors = self.factors()
        for name, factor in seen.items():
            old = factors.get(name, factor)
            factors[name] = clipped(old ** (1 - _NEWS) * clipped(factor) ** _NEWS)
        with suppress(OSError):
            self._write({"format": _FORMAT, "version": _VERSION, "factors": factors})

    def _write(self, document: dict[str, object]) -> None:
        descriptor, temporary = tempfile.mkstemp(dir=self._path.parent, prefix=f".{self._path.name}.")
        try:
            with os.fdopen(descriptor, "w") as stream:
                json.dump(document, stream, indent=1)
            Path(temporary).replace(self._path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
