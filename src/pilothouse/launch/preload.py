"""What a nursery imports before its first fork, so that its children need not."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterable

PRELOAD = (
    "numpy",
    "pyarrow.csv",
    "pyarrow.parquet",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.metrics",
    "lightgbm",
    "xgboost",
    "catboost",
    *(name for name in ("torch", "fastai.tabular.learner") if importlib.util.find_spec(name.partition(".")[0])),
    "safetensors.numpy",
    "sqlalchemy.dialects.sqlite",
    "structlog",
    "uvicorn",
    "starlette.applications",
    "pilothouse.objects.directory",
    "pilothouse.work.main",
    "pilothouse.work.task",
    "pilothouse.automl.job",
    "pilothouse.automl.tasks",
    "pilothouse.automl.tuned.tasks",
    "pilothouse.training.job",
    "pilothouse.training.program",
    "pilothouse.training.algorithms.linear_learner",
    "pilothouse.training.algorithms.xgboost",
    "pilothouse.tuning.job",
    "pilothouse.problems.tabular.read",
    "pilothouse.problems.tabular.train",
    "pilothouse.problems.tabular.tuned",
    "pilothouse.problems.tabular.ensemble",
    "pilothouse.problems.tabular.stages",
    "pilothouse.hosting.replica",
    "pilothouse.hosting.transform.job",
)
"""Modules that job, trial and replica processes use. One that is missing costs time later, nothing else."""

LIGHT = ("pilothouse.training.program",)
"""Modules that light programs use: the processes around training programs."""

SINGLE_THREADED = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
}
"""The environment that keeps the libraries above from starting threads when they are imported: a fork copies none."""


def preload(modules: Iterable[str]) -> list[str]:
    """Imports what can be imported; the names of those that could not."""
    return [module for module in modules if not _imported(module)]


def _imported(module: str) -> bool:
    try:
        importlib.import_module(module)
    except Exception as error:
        sys.stderr.write(f"nursery: not preloaded: {module}: {type(error).__name__}: {error}\n")
        return False
    return True
