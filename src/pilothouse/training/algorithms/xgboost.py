"""The built-in XGBoost, as a program under the container contract: AWS's hyperparameters, metrics and files.

Its log has XGBoost's own lines, "[3]\\ttrain-rmse:0.31\\tvalidation-rmse:0.35"; its model is `xgboost-model`, UBJSON.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pilothouse.engines.xgboost_blocks import binned
from pilothouse.errors import DataError
from pilothouse.training.algorithms import container, measures
from pilothouse.training.algorithms.container import Given
from pilothouse.training.algorithms.labelled import Labelled
from pilothouse.training.algorithms.xgboost_parameters import Parameters, parse

MODEL = "xgboost-model"


def main(base: str, threads: int) -> None:
    """Trains on the channels train and, if there is one, validation."""
    container.run(_train, base, threads)


def _train(given: Given) -> None:
    parameters = parse(given.hyperparameters)
    with given.scratch() as scratch:
        parts = given.parts("XGBoost", ("train", "validation"), scratch, weighted=parameters.csv_weights)
        booster = _boosted(parameters, parts, given.threads, scratch)
    booster.set_param({"nthread": 0})
    path = given.folders.model / f"{MODEL}.ubj"
    booster.save_model(path)
    path.rename(given.folders.model / MODEL)


def _boosted(parameters: Parameters, parts: dict[str, Labelled], threads: int, scratch: Path) -> Any:
    import xgboost

    data = _data(parameters, parts, threads, scratch)
    return xgboost.train(
        {**parameters.booster, "nthread": parameters.booster.get("nthread", threads)},
        data["train"],
        parameters.rounds,
        evals=[(matrix, name) for name, matrix in data.items()],
        custom_metric=_custom(parameters),
        callbacks=[_Printer(), *_stopping(parameters, list(parts))],
        verbose_eval=False,
    )


def _data(parameters: Parameters, parts: dict[str, Labelled], threads: int, scratch: Path) -> dict[str, Any]:
    """XGBoost's matrices. Of large parts the bins alone are kept, in files, where trees are grown by bins."""
    import xgboost

    data: dict[str, Any] = {}
    if parameters.by_bins and any(part.is_large for part in parts.values()):
        pages = scratch / "pages"
        pages.mkdir()
        how = {"nthread": threads, "max_bin": parameters.booster.get("max_bin", 256)}
        for name, part in parts.items():
            data[name] = binned(part.blocks, pages, {**how, "ref": data.get("train")})
        return data
    for name, part in parts.items():
        values, labels, weights = part.whole()
        data[name] = xgboost.DMatrix(values, label=labels, weight=weights, nthread=threads)
    return data


def _custom(parameters: Parameters) -> Callable[[Any, Any], list[tuple[str, float]]] | None:
    """The metrics of AWS's list that XGBoost itself lacks."""
    chosen = parameters.custom_metrics
    if not chosen:
        return None
    objective = str(parameters.booster["objective"])

    def measure(predicted: Any, data: Any) -> list[tuple[str, float]]:
        labels, weights = data.get_label(), data.get_weight()
        weights = weights if len(weights) else None
        return [(name, measures.measure(name, labels, np.asarray(predicted), weights, objective)) for name in chosen]

    return measure


def _stopping(parameters: Parameters, parts: list[str]) -> list[Any]:
    import xgboost

    if parameters.patience is None:
        return []
    if "validation" not in parts:
        raise DataError("early_stopping_rounds needs a channel named validation.")
    return [
        xgboost.callback.EarlyStopping(
            rounds=parameters.patience,
            data_name="validation",
            metric_name=parameters.judged,
            maximize=parameters.maximized,
            save_best=True,
        )
    ]


def _Printer() -> Any:  # noqa: N802 - a class that can be made only once XGBoost is imported
    import xgboost

    class Printer(xgboost.callback.TrainingCallback):  # type: ignore[misc]
        """Prints each round as XGBoost does, all digits that matter included."""

        def after_iteration(self, _model: Any, epoch: int, evals_log: dict[str, Any]) -> bool:
            fields = [
                f"{part}-{metric}:{_last(values):.5f}"
                for part, metrics in evals_log.items()
                for metric, values in metrics.items()
            ]
            print("\t".join([f"[{epoch}]", *fields]), flush=True)
            return False

    return Printer()


def _last(values: Any) -> float:
    value = values[-1]
    return float(value[0] if isinstance(value, tuple) else value)
