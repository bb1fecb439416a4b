"""Model makers on native libraries: fit, predict, save, load."""

from __future__ import annotations

import importlib
from pathlib import Path

from pilothouse.engines.base import Engine, Model, Task
from pilothouse.engines.crosses import WithCrosses
from pilothouse.engines.statistics import WithStatistics

__all__ = ["ENGINES", "Engine", "Model", "Task", "engine", "load", "reads_sparse", "streams", "warm"]

ENGINES = {
    "lightgbm": "pilothouse.engines.lightgbm:LightGBM",
    "xgboost": "pilothouse.engines.xgboost:XGBoost",
    "catboost": "pilothouse.engines.catboost:CatBoost",
    "randomforest": "pilothouse.engines.forest:RandomForest",
    "extra-trees": "pilothouse.engines.forest:ExtraTrees",
    "linear-learner": "pilothouse.engines.linear:LinearLearner",
    "nn-torch": "pilothouse.engines.nn_torch:NNTorch",
    "fastai": "pilothouse.engines.fastai:FastAI",
    "mlp": "pilothouse.engines.mlp:MLP",
}
"""Where each algorithm's engine is, by the algorithm's name on the wire."""

_LIBRARIES = {
    "lightgbm": "lightgbm",
    "xgboost": "xgboost",
    "catboost": "catboost",
    "randomforest": "sklearn.ensemble",
    "extra-trees": "sklearn.ensemble",
    "linear-learner": "scipy.optimize",
    "nn-torch": "torch",
    "fastai": "fastai.tabular.learner",
    "mlp": "torch",
}

_WITH_STATISTICS = ("lightgbm", "xgboost", "randomforest", "extra-trees", "nn-torch")
"""The engines that get target statistics of categories; CatBoost makes its own."""

_WITH_CROSSES = ("lightgbm", "catboost", "xgboost")
"""The engines that get crosses of numbers where they are asked for them."""

_READ_SPARSE = ("linear-learner",)

_STREAM = ("xgboost", "linear-learner", "nn-torch", "mlp")


def engine(name: str) -> Engine:
    """The engine of an algorithm; `ValueError` for an unknown one."""
    try:
        module, _, attribute = ENGINES[name].partition(":")
    except KeyError:
        raise ValueError(f"there is no engine {name!r}; the engines are {', '.join(ENGINES)}") from None
    made: Engine = getattr(importlib.import_module(module), attribute)()
    made = WithStatistics(made) if name in _WITH_STATISTICS else made
    return WithCrosses(made) if name in _WITH_CROSSES else made


def warm(name: str) -> None:
    """Imports the engine's library, which may take seconds, so that no fit's deadline pays for it."""
    importlib.import_module(_LIBRARIES[name])


def reads_sparse(name: str) -> bool:
    """Whether the engine's models may read the sparse part of features; the others ignore it."""
    return name in _READ_SPARSE


def streams(name: str) -> bool:
    """Whether the engine trains on a `Selection` of rows without all of them in memory."""
    return name in _STREAM


def load(directory: Path, name: str) -> Model:
    """The model that the engine `name` saved in `directory`."""
    return engine(name).load(directory)
