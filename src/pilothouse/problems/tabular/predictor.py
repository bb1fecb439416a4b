"""The tabular predictor: a feature pipeline and the members whose votes are averaged."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pilothouse import engines
from pilothouse.catalog.metrics import REGRESSION
from pilothouse.data.features import Features
from pilothouse.data.featurise import FeaturePipeline
from pilothouse.engines.base import Model
from pilothouse.engines.nets.threads import one_blas_thread
from pilothouse.errors import ConfigurationError
from pilothouse.problems.base import InputError, Prediction, inside, read_manifest
from pilothouse.problems.evaluate import labels
from pilothouse.problems.tabular import voting
from pilothouse.problems.tabular.calibration import Calibration
from pilothouse.problems.tabular.voting import Voter

LEAST_BATCH, MOST_BATCH = 2048, 8192
"""Rows that are featurised and predicted at a time: a core's share of them, within these bounds. Many at a time are
quicker, fewer need less memory."""


@dataclass(frozen=True)
class TabularPredictor:
    """Answers rows of texts in the order of `columns` (the training columns without target and weight).

    A binary row is positive (class 1) when its probability is at least `threshold`; in multiclass the most probable
    class wins. Both go by the calibrated probabilities where there is a `calibration`.
    """

    columns: list[str]
    problem_type: str
    classes: list[str] | None
    threshold: float | None
    pipeline: FeaturePipeline
    members: list[Voter]
    calibration: Calibration | None = None

    @classmethod
    def load(cls, directory: Path) -> TabularPredictor:
        """The predictor for an unpacked model archive."""
        manifest = read_manifest(directory)
        members = voting.listed(manifest.get("members"))
        classes = len(manifest["classes"] or [])
        zipped = zip(voting.shares(members), members, voting.feeds(members), strict=True)
        voters = [
            Voter(share, load_member(directory, member), inputs, calibration_of(member, classes))
            for share, member, inputs in zipped
        ]
        pipeline = FeaturePipeline.load(directory / "pipeline")
        pipeline.sparse &= any(getattr(voter.model, "reads_sparse", False) for voter in voters)
        return cls(
            manifest["columns"],
            manifest["problem_type"],
            manifest["classes"],
            manifest["threshold"],
            pipeline,
            voters,
            calibration_of(manifest, classes),
        )

    def predict(self, rows: Sequence[Sequence[Any]]) -> Prediction:
        """Predict rows; `InputError` if there are none, or one has not as many values as there are columns."""
        check_rows(rows, self.columns)
        if len(rows) == 1:
            return self._answer(self._vote_on(rows))
        with one_blas_thread():
            return self._answer(self._vote_on(rows) if len(rows) <= LEAST_BATCH else self._vote_in_batches(rows))

    def _vote_in_batches(self, rows: Sequence[Sequence[Any]]) -> npt.NDArray[np.float64]:
        cores = len(os.sched_getaffinity(0))
        size = min(max(-(-len(rows) // cores), LEAST_BATCH), MOST_BATCH)
        batches = [rows[start : start + size] for start in range(0, len(rows), size)]
        # The libraries let go of the interpreter while they predict; on a busy machine the threads just take turns.
        with ThreadPoolExecutor(cores, thread_name_prefix="predict") as pool:
            return np.concatenate(list(pool.map(self._vote_on, batches)))

    def _vote_on(self, rows: Sequence[Sequence[Any]]) -> npt.NDArray[np.float64]:
        return self.vote(self.pipeline.transform_rows(rows))

    def vote(self, features: Features) -> npt.NDArray[np.float64]:
        """The weighted mean of the members' predictions, calibrated: values [n], or probabilities [n, classes]."""
        voted = voting.vote(self.members, features)
        return voted if self.calibration is None else self.calibration(voted)

    def _answer(self, voted: npt.NDArray[np.float64]) -> Prediction:
        if self.problem_type == REGRESSION or self.classes is None:
            return Prediction(values=voted)
        texts = self.classes
        return Prediction(labels=[texts[i] for i in labels(voted, self.threshold).tolist()], probabilities=voted)


def check_rows(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> None:
    """`InputError` if there are no rows, or one has not as many values as there are `columns`."""
    if not rows:
        raise InputError("Received no rows. Send at least one row of values, without header and target.")
    for row in rows:
        if len(row) != len(columns):
            raise InputError(
                "Received data of unknown size. "
                f"Expected number of columns is {len(columns)}. "
                f"Number of columns in the received data is {len(row)}."
            )


def calibration_of(document: dict[str, Any], classes: int) -> Calibration | None:
    """The calibration of so many classes of a manifest or of a member; `ConfigurationError` if it can't be applied."""
    try:
        return Calibration.load(document.get("calibration"), classes)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigurationError(
            f"The model's manifest has the calibration {document.get('calibration')!r}, which this release "
            "can't apply. Fetch the archive again."
        ) from error


def load_member(directory: Path, member: dict[str, Any]) -> Model:
    """The model of one of a manifest's members."""
    path, engine = inside(directory, member["path"]), member["engine"]
    if engine not in engines.ENGINES:
        raise ConfigurationError(
            f"The model's manifest names the engine {engine!r}; this release has {', '.join(engines.ENGINES)}."
        )
    return engines.load(path, engine)
