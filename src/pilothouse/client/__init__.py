"""AutoML without AWS code: `fit` trains on a table, and the `Model` that comes back predicts.

from pilothouse import fit

model = fit("customers.csv", "churned", time="10m")
print(model.metrics)
model.predict("new.csv")
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pilothouse import duration
from pilothouse.client.embedded import EmbeddedServer
from pilothouse.client.frames import as_file
from pilothouse.client.model import Model
from pilothouse.client.training import Progress, Training, Wish, check_output

__all__ = ["Model", "Progress", "fit"]


def fit(
    data: Any,
    target: str,
    *,
    time: str | float | None = None,
    metric: str | None = None,
    problem_type: str | None = None,
    max_candidates: int | None = None,
    out: str | Path | None = None,
    home: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Model:
    """Train candidates that predict the column `target` of `data`, and return the best one as a `Model`.

    `data` is the path of a CSV (gzip too) or Parquet file, a DataFrame (pandas, polars), an Arrow table, or a list of
    dictionaries. `time` limits the run: "10m", "1h30m", or seconds. `metric` is what to optimise (F1, AUC, MSE, …),
    and `problem_type` one of BinaryClassification, MulticlassClassification, Regression; what is left out is inferred.
    The model is written to the folder `out`, by default "<name of the file>-model" in the working folder; it must not
    exist yet. The job runs on a server that lives as long as the call, in the folder `home` if its records are to stay.
    `progress` is called about twice a second. Raises `PilothouseError` with a sentence that says what to do.
    """
    limit = None if time is None else duration.seconds(time)
    wish = Wish(target, limit, metric, problem_type, max_candidates)
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pilothouse-fit-")))
        source = as_file(data, scratch)
        folder = check_output(Path(out) if out is not None else default_output(data))
        wish = wish.completed(source)
        server = stack.enter_context(EmbeddedServer(Path(home) if home is not None else None))
        training = Training(server, source, wish)
        training.run(progress or _quietly)
        return training.download(folder)


def default_output(data: Any) -> Path:
    """Where `fit` puts the model of `data` unless told."""
    if not isinstance(data, str | Path):
        return Path("model")
    name = Path(data).name
    for suffix in (".gz", ".csv", ".parquet"):
        name = name.removesuffix(suffix)
    return Path(f"{name}-model")


def _quietly(_progress: Progress) -> None:
    """Nobody watches."""
