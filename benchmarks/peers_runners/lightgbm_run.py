"""LightGBM's defaults with native categories and early stopping on a fifth of the rows, ended by the budget."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
from run import Run, single_rows, size
from single import STOP_AFTER, fifth, targets

_LOSSES = {"binary": "binary", "multiclass": "multiclass", "regression": "l2"}
_METRICS = {"AUC": "auc", "RMSE": "rmse", "MSE": "l2", "MAE": "l1"}
_LOG_LOSSES = {"binary": "binary_logloss", "multiclass": "multi_logloss", "regression": "l2"}
_MOST_ROUNDS = 10_000


class _Deadline:
    """Ends the training at its best round when the budget is spent."""

    order = 0
    before_iteration = False

    def __init__(self, run: Run) -> None:
        self._ends = run.answer["started"] + run.budget
        self._best: tuple[float, int, list[Any]] | None = None

    def __call__(self, env: Any) -> None:
        _, _, value, higher_is_better = env.evaluation_result_list[0][:4]
        loss = -value if higher_is_better else value
        if self._best is None or loss < self._best[0]:
            self._best = (loss, env.iteration, env.evaluation_result_list)
        if time.monotonic() >= self._ends:
            raise lightgbm.callback.EarlyStopException(self._best[1], self._best[2])


def main() -> None:
    run = Run.from_arguments()
    names = _METRICS | {"LogLoss": _LOG_LOSSES[run.problem]}
    metric = run.objective(names, "RMSE" if run.regression else "LogLoss")
    run.start()
    train = run.train()
    inputs = train.drop(columns=[run.target])
    levels = {n: sorted(inputs[n].dropna().unique()) for n in inputs.select_dtypes(exclude=["number", "bool"]).columns}
    y = targets(run, train[run.target].to_numpy(object))
    fit_rows, stop_rows = fifth(len(train), run.seed)

    def features(frame: Any) -> Any:
        coded = frame.assign(**{name: pd.Categorical(frame[name], categories=of) for name, of in levels.items()})
        return coded.set_axis([f"column_{i}" for i in range(coded.shape[1])], axis=1)

    def predict(frame: Any) -> Any:
        return model.predict(features(frame))

    x = features(inputs)
    data = lightgbm.Dataset(x.iloc[fit_rows], y[fit_rows])
    classes = {"num_class": len(run.classes)} if run.problem == "multiclass" else {}
    model = lightgbm.train(
        {"objective": _LOSSES[run.problem], "metric": metric, "seed": run.seed, "verbosity": -1, **classes},
        data,
        num_boost_round=_MOST_ROUNDS,
        valid_sets=[lightgbm.Dataset(x.iloc[stop_rows], y[stop_rows], reference=data)],
        callbacks=[_Deadline(run), lightgbm.early_stopping(STOP_AFTER, verbose=False)],
    )
    run.usable()
    test, many = run.tests(train)
    if run.regression:
        run.valued(predict(test))
    else:
        run.classified(_by_class(predict(test)), run.classes)
    run.time_rows(predict, single_rows(test), many)
    saved = run.folder / "model.txt"
    model.save_model(saved)
    run.finish(version=version("lightgbm"), model_bytes=size(saved), remark=f"{model.best_iteration} rounds")


def _by_class(predicted: Any) -> Any:
    return predicted if predicted.ndim == 2 else np.column_stack([1 - predicted, predicted])


if __name__ == "__main__":
    main()
