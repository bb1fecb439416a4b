"""What the built-in algorithms share as programs under the contract: what they are given, and how they fail."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilothouse.catalog.training_jobs import decoded
from pilothouse.contract.opt_ml import OptMl
from pilothouse.errors import DataError, PilothouseError
from pilothouse.training.algorithms.files import LIBSVM
from pilothouse.training.algorithms.labelled import Labelled, read


@dataclass(frozen=True)
class Given:
    """What a program is given: its folders, its hyperparameters as text, and how many threads it should use."""

    folders: OptMl
    hyperparameters: dict[str, str]
    threads: int

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what has no room in memory, while the block lasts."""
        self.folders.temporary.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="rows-", dir=self.folders.temporary) as folder:
            yield Path(folder)

    def parts(
        self, algorithm: str, names: tuple[str, ...], scratch: Path, *, weighted: bool = False, usual: str = LIBSVM[0]
    ) -> dict[str, Labelled]:
        """The channels of these `names` that there are, all as wide as the widest, kept in the folder `scratch`.

        Those without a ContentType have the `usual` one. `DataError` without train.
        """
        channels = _document(self.folders, "inputdataconfig")
        if "train" not in channels:
            raise DataError(f"The built-in {algorithm} needs a channel named train.")
        parts = {
            name: read(self.folders.channel(name), channels[name].get("ContentType"), scratch, weighted, usual=usual)
            for name in names
            if name in channels
        }
        width = max(part.width for part in parts.values())
        return {name: part.widened(width) for name, part in parts.items()}


def run(train: Callable[[Given], None], base: str, threads: int) -> None:
    """Calls `train`. What goes wrong goes into the failure file and into the log, and ends the process with code 1."""
    folders = OptMl(Path(base))
    try:
        hyperparameters = {name: plain(value) for name, value in _document(folders, "hyperparameters").items()}
        train(Given(folders, hyperparameters, threads))
    except PilothouseError as error:
        _fail(folders, error.message)
    except (ValueError, MemoryError) as error:  # XGBoost's own errors are ValueErrors
        _fail(folders, f"{type(error).__name__}: {_first_line(error)}")


def plain(value: str) -> str:
    """The text of a hyperparameter, without the quotes that SDK v2 puts around strings."""
    found = decoded(value)
    return found if isinstance(found, str) else value


def is_machinery(name: str) -> bool:
    """Whether a hyperparameter is meant for SageMaker rather than for the algorithm."""
    return name.startswith(("sagemaker_", "_tuning_"))


def whole(name: str, text: str | None, low: float, high: float) -> int:
    """A hyperparameter that is a whole number within bounds; `DataError` if it isn't, or is missing."""
    if text is None:
        raise DataError(f"The required hyperparameter {name} is missing.")
    number = real(name, text, low, high)
    if number != int(number):
        raise DataError(f"Hyperparameter {name}: {text!r} is not a whole number.")
    return int(number)


def real(name: str, text: str, low: float | None, high: float | None) -> float:
    """A hyperparameter that is a number within bounds, ends included; `DataError` if it isn't."""
    try:
        number = float(text)
    except ValueError:
        raise DataError(f"Hyperparameter {name}: {text!r} is not a number.") from None
    if not ((low is None or number >= low) and (high is None or number <= high)):
        most = high if high is not None else "infinity"
        raise DataError(f"Hyperparameter {name}: {text} is not between {low} and {most}.")
    return number


def chosen(name: str, text: str, choices: tuple[str, ...]) -> str:
    """A hyperparameter that is one of `choices`; `DataError` if it isn't."""
    if text not in choices:
        raise DataError(f"Hyperparameter {name}: {text!r} is not one of {', '.join(choices)}.")
    return text


def _document(folders: OptMl, name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folders.config / f"{name}.json").read_text())
    return document


def _first_line(error: Exception) -> str:
    """What XGBoost says, without its stack trace and the place in its source."""
    text = str(error).strip().splitlines() or [""]
    return text[0].partition("] ")[2].rpartition(": ")[2] or text[0] if text[0].startswith("[") else text[0]


def _fail(folders: OptMl, message: str) -> None:
    folders.output.mkdir(parents=True, exist_ok=True)
    (folders.output / "failure").write_text(message)
    print(message, flush=True)
    raise SystemExit(1)
