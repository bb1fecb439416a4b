"""CatBoost's defaults with native categories and early stopping on a fifth of the rows, ended by the budget."""

from __future__ import annotations

import time
from importlib.metadata import version
from typing import Any

from catboost import CatBoost, Pool
from run import Run, single_rows, size
from single import STOP_AFTER, fifth, targets

_LOSSES = {"binary": "Logloss", "multiclass": "MultiClass", "regression": "RMSE"}
_METRICS = {
    "AUC": "AUC",
    "F1": "F1",
    "Accuracy": "Accuracy",
    "Precision": "Precision",
    "Recall": "Recall",
    "F1macro": "TotalF1:average=Macro",
    "RMSE": "RMSE",
    "MSE": "RMSE",
    "MAE": "MAE",
    "R2": "R2",
}


class _Deadline:
    """Ends the training when the budget is spent."""

    def __init__(self, run: Run) -> None:
        self._ends: float = run.answer["started"] + run.budget

    def after_iteration(self, _info: Any) -> bool:
        return time.monotonic() < self._ends


def main() -> None:
    run = Run.from_arguments()
    loss = _LOSSES[run.problem]
    metric = run.objective(_METRICS | {"LogLoss": loss}, "RMSE" if run.regression else "LogLoss")
    run.start()
    train = run.train()
    inputs = train.drop(columns=[run.target])
    categorical = list(inputs.select_dtypes(exclude=["number", "bool"]).columns)
    y = targets(run, train[run.target].to_numpy(object))
    fit_rows, stop_rows = fifth(len(train), run.seed)

    def pool(frame: Any, labels: Any = None) -> Pool:
        texts = {name: frame[name].fillna("").astype(str) for name in categorical}
        return Pool(frame.assign(**texts), labels, cat_features=categorical)

    def predict(frame: Any) -> Any:
        return model.predict(pool(frame), prediction_type="RawFormulaVal" if run.regression else "Probability")

    classes = {"classes_count": len(run.classes)} if run.problem == "multiclass" else {}
    model = CatBoost(
        {"loss_function": loss, "eval_metric": metric, "random_seed": run.seed, "allow_writing_files": False, **classes}
    )
    model.fit(
        pool(inputs.iloc[fit_rows], y[fit_rows]),
        eval_set=pool(inputs.iloc[stop_rows], y[stop_rows]),
        early_stopping_rounds=STOP_AFTER,
        callbacks=[_Deadline(run)],
        verbose=False,
    )
    run.usable()
    test, many = run.tests(train)
    if run.regression:
        run.valued(predict(test))
    else:
        run.classified(predict(test), run.classes)
    run.time_rows(predict, single_rows(test), many)
    saved = run.folder / "model.cbm"
    model.save_model(str(saved))
    run.finish(version=version("catboost"), model_bytes=size(saved), remark=f"{model.tree_count_} trees")


if __name__ == "__main__":
    main()
