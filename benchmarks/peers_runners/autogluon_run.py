"""AutoGluon: the preset that the task names, told to optimise the metric of the comparison."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from autogluon.tabular import TabularPredictor
from run import Run, single_rows, size

_METRICS = {
    "LogLoss": "log_loss",
    "AUC": "roc_auc",
    "F1": "f1",
    "Accuracy": "accuracy",
    "BalancedAccuracy": "balanced_accuracy",
    "Precision": "precision",
    "Recall": "recall",
    "F1macro": "f1_macro",
    "PrecisionMacro": "precision_macro",
    "RecallMacro": "recall_macro",
    "RMSE": "root_mean_squared_error",
    "MSE": "mean_squared_error",
    "MAE": "mean_absolute_error",
    "R2": "r2",
}


def main() -> None:
    run = Run.from_arguments()
    metric = run.objective(_METRICS, "RMSE" if run.regression else "LogLoss")
    run.start()
    train = run.train()
    path = str(run.folder / "model")
    predictor = TabularPredictor(label=run.target, problem_type=run.problem, eval_metric=metric, path=path)
    predictor.fit(train, time_limit=run.budget, presets=run.task["preset"])
    run.usable()
    test, many = run.tests(train)
    predictor.persist()
    predict = predictor.predict if run.regression else predictor.predict_proba
    _predict(run, predictor, test)
    run.time_rows(predict, single_rows(test), many)
    deployed = run.folder / "deployed"
    predictor.clone_for_deployment(str(deployed))
    run.finish(version=version("autogluon.tabular"), model_bytes=size(deployed), remark=predictor.model_best)


def _predict(run: Run, predictor: Any, test: Any) -> None:
    if run.regression:
        run.valued(predictor.predict(test))
        return
    probabilities = predictor.predict_proba(test)
    run.classified(probabilities, probabilities.columns, predictor.predict(test))


if __name__ == "__main__":
    main()
