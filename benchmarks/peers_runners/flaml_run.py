"""FLAML with its defaults."""

from __future__ import annotations

import pickle  # only to see how large FLAML's own way of keeping a model makes it
from importlib.metadata import version

from flaml import AutoML
from run import Run, single_rows

_METRICS = {
    "LogLoss": "log_loss",
    "AUC": "roc_auc",
    "F1": "f1",
    "Accuracy": "accuracy",
    "F1macro": "macro_f1",
    "RMSE": "rmse",
    "MSE": "mse",
    "MAE": "mae",
    "R2": "r2",
}


def main() -> None:
    run = Run.from_arguments()
    metric = run.objective(_METRICS, "RMSE" if run.regression else "LogLoss")
    run.start()
    train = run.train()
    x, y = train.drop(columns=[run.target]), train[run.target]
    automl = AutoML()
    task = "regression" if run.regression else "classification"
    automl.fit(X_train=x, y_train=y, task=task, metric=metric, time_budget=run.budget, seed=run.seed)
    run.usable()
    test, many = run.tests(train)
    if run.regression:
        run.valued(automl.predict(test))
        run.time_rows(automl.predict, single_rows(test), many)
    else:
        run.classified(automl.predict_proba(test), automl.classes_, automl.predict(test))
        run.time_rows(automl.predict_proba, single_rows(test), many)
    run.finish(version=version("flaml"), model_bytes=len(pickle.dumps(automl)), remark=str(automl.best_estimator))


if __name__ == "__main__":
    main()
