"""A trained model in a folder, ready to predict."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pilothouse.client.frames import Rows, as_file, batches
from pilothouse.errors import DataError

if TYPE_CHECKING:
    from pilothouse.problems.base import Predictor

LEADERBOARD = "leaderboard.json"


class Model:
    """The model in the folder `path`, as `fit` wrote it or as a candidate's model.tar.gz unpacks.

    A candidate of several containers has several archives: unpack each in a folder of its own below `path`.

    `leaderboard` lists the candidates of its job, best first, with their metrics; it is empty in an unpacked archive.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._predictor = _predictor(self.path)
        self.leaderboard: list[dict[str, Any]] = self._read_leaderboard()

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r})"

    @property
    def columns(self) -> list[str]:
        """The columns that it predicts from."""
        return list(self._predictor.columns)

    @property
    def problem_type(self) -> str:
        """BinaryClassification, MulticlassClassification or Regression."""
        return str(self._predictor.problem_type)

    @property
    def classes(self) -> list[str] | None:
        """The labels, in the order of the probabilities; None for regression."""
        return self._predictor.classes

    @property
    def metrics(self) -> dict[str, float]:
        """Its own metrics, measured on rows that it was not trained on."""
        return dict(self.leaderboard[0]["metrics"]) if self.leaderboard else {}

    def predict(self, data: Any) -> list[Any]:
        """A label (text) or a value (float) for each row of `data`, which may be all that `fit` takes."""
        return [row[0] for batch in self._over(data) for row in self._answers(batch)]

    def predict_proba(self, data: Any) -> list[dict[str, float]]:
        """For each row the probability of each class. `DataError` for regression."""
        if self.classes is None:
            raise DataError("A regression model predicts values, not probabilities. Use predict.")
        answers = (row for batch in self._over(data) for row in self._answers(batch))
        return [dict(zip(self.classes, row[2:], strict=True)) for row in answers]

    def write_predictions(self, source: Path | IO[str], target: IO[str]) -> int:
        """Predict the rows of a file and write them as CSV with a header; returns how many rows there were.

        Columns: predicted_label, probability (of that label) and probability_<class> for each class, or prediction.
        """
        writer = csv.writer(target, lineterminator="\n")
        rest = batches(source, self.columns)
        batch = next(rest, [])  # raises before anything is written if the columns are not right
        writer.writerow(self._titles())
        count = 0
        while batch:
            writer.writerows(self._answers(batch))
            count += len(batch)
            batch = next(rest, [])
        return count

    def _over(self, data: Any) -> Iterator[Rows]:
        with tempfile.TemporaryDirectory(prefix="pilothouse-predict-") as scratch:
            yield from batches(as_file(data, Path(scratch)), self.columns)

    def _titles(self) -> list[str]:
        if self.classes is None:
            return ["prediction"]
        return ["predicted_label", "probability", *(f"probability_{label}" for label in self.classes)]

    def _answers(self, batch: Rows) -> list[list[Any]]:
        """A row as `_titles` names its fields, for each row of `batch`."""
        prediction = self._predictor.predict(batch)
        if prediction.values is not None:
            return [[value] for value in prediction.values.tolist()]
        labels, classes = prediction.labels or [], self.classes or []
        probabilities = [] if prediction.probabilities is None else prediction.probabilities.tolist()
        return [[label, row[classes.index(label)], *row] for label, row in zip(labels, probabilities, strict=True)]

    def _read_leaderboard(self) -> list[dict[str, Any]]:
        try:
            entries: list[dict[str, Any]] = json.loads((self.path / LEADERBOARD).read_text())
        except FileNotFoundError:
            return []
        return entries


def _predictor(folder: Path) -> Predictor:
    from pilothouse.catalog.pipelines import PREDICTOR
    from pilothouse.problems import staged

    if (folder / "manifest.json").is_file():
        role, model = staged.load(folder)
        if role != PREDICTOR:
            raise DataError(
                f"{folder} is one stage of a candidate, its {role}. Unpack the archives of all its containers into "
                "folders beside it, and name the folder that holds them."
            )
        predictor: Predictor = model
        return predictor
    if staged.is_staged(folder):
        return staged.load_staged(folder)
    raise DataError(f"{folder} is not a model folder: it has no manifest.json. `pilothouse fit` makes one.")
