"""H2O AutoML with its defaults."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import h2o
from h2o.automl import H2OAutoML
from run import Run, single_rows, size

_METRICS = {
    "LogLoss": "logloss",
    "AUC": "AUC",
    "BalancedAccuracy": "mean_per_class_error",
    "RMSE": "RMSE",
    "MSE": "MSE",
    "MAE": "MAE",
}


def main() -> None:
    run = Run.from_arguments()
    metric = run.objective(_METRICS, "RMSE" if run.regression else "LogLoss")
    h2o.init(nthreads=-1, bind_to_localhost=True, ice_root=str(run.folder), log_dir=str(run.folder), verbose=False)
    h2o.no_progress()
    try:
        _run(run, metric)
    finally:
        h2o.cluster().shutdown()


def _run(run: Run, metric: str) -> None:
    run.start()
    kind = {} if run.regression else {run.target: "enum"}
    train = h2o.import_file(str(run.folder / "train.csv"), header=1, sep=",", col_types=kind)
    inputs = [name for name in train.columns if name != run.target]
    automl = H2OAutoML(max_runtime_secs=run.budget, seed=run.seed, sort_metric=metric)
    automl.train(x=inputs, y=run.target, training_frame=train)
    if automl.leader is None:
        raise SystemExit("H2O AutoML finished no model within the budget.")
    run.usable()
    types = {name: str(train.types[name]) for name in inputs}
    test = h2o.import_file(str(run.folder / "test.csv"), header=1, sep=",", col_types=types)
    predicted = _frame(automl.leader.predict(test))
    if run.regression:
        run.valued(predicted["predict"])
    else:
        run.classified(predicted.iloc[:, 1:], train[run.target].levels()[0], predicted["predict"])
    rows, many = run.tests(run.train())
    run.time_rows(lambda frame: _predict(automl.leader, frame, types), single_rows(rows), many)
    saved = Path(h2o.save_model(automl.leader, path=str(run.folder)))
    run.finish(version=version("h2o"), model_bytes=size(saved), remark=str(automl.leader.model_id))


def _predict(model: Any, rows: Any, types: dict[str, str]) -> Any:
    """From rows in pandas to predictions in pandas, over the server, as a Python program would."""
    return _frame(model.predict(h2o.H2OFrame(rows, column_types=types)))


def _frame(frame: Any) -> Any:
    return frame.as_data_frame(use_multi_thread=True)


if __name__ == "__main__":
    main()
