"""The hyperparameters of the built-in XGBoost, which arrive as strings, by AWS's names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pilothouse.catalog.built_in_training import MAXIMIZED, XGBOOST_METRICS
from pilothouse.errors import DataError
from pilothouse.training.algorithms import measures
from pilothouse.training.algorithms.container import chosen, is_machinery, real, whole

_OBJECTIVES = (
    "reg:squarederror", "reg:linear", "reg:logistic", "reg:squaredlogerror", "reg:pseudohubererror",
    "reg:absoluteerror", "reg:gamma", "reg:tweedie",
    "binary:logistic", "binary:logitraw", "binary:hinge", "count:poisson", "multi:softmax",
    "multi:softprob", "rank:pairwise", "rank:ndcg", "rank:map", "survival:cox", "survival:aft",
)  # fmt: skip
_MOST_ROUNDS = 1_000_000
_USUAL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Parameters:
    """What XGBoost is called with: `booster` parameters by its own names, and what is not for the booster.

    `judged`: the metric that early stopping goes by, as XGBoost calls it; None for the one that it evaluates unasked.
    """

    booster: dict[str, Any]
    rounds: int
    patience: int | None
    csv_weights: bool
    custom_metrics: tuple[str, ...]
    judged: str | None

    @property
    def maximized(self) -> bool | None:
        """Whether more of that metric is better; None if it is for XGBoost to say."""
        return None if self.judged is None else self.judged.partition("@")[0] in MAXIMIZED

    @property
    def by_bins(self) -> bool:
        """Whether trees are grown by bins of the values, so that the values themselves are not needed again."""
        usual = {"booster": ("gbtree", "dart"), "tree_method": ("auto", "hist"), "process_type": ("default",)}
        return "updater" not in self.booster and all(
            self.booster.get(name, choices[0]) in choices for name, choices in usual.items()
        )


_INTEGERS = {
    "num_class": (2, 1_000_000), "max_depth": (0, 10_000), "max_leaves": (0, 1_000_000), "max_bin": (2, 65_535),
    "num_parallel_tree": (1, 10_000), "seed": (-(2**31), 2**31 - 1), "nthread": (1, 4096), "verbosity": (0, 3),
    "refresh_leaf": (0, 1), "lambdarank_num_pair_per_sample": (1, 10_000), "one_drop": (0, 1),
    "max_cat_to_onehot": (1, 65_535), "max_cat_threshold": (1, 65_535),
}  # fmt: skip
_FLOATS: dict[str, tuple[float | None, float | None]] = {
    "eta": (0, 1), "gamma": (0, None), "min_child_weight": (0, None), "max_delta_step": (0, None), "subsample": (0, 1),
    "colsample_bytree": (0, 1), "colsample_bylevel": (0, 1), "colsample_bynode": (0, 1), "lambda": (0, None),
    "alpha": (0, None), "lambda_bias": (0, 1), "scale_pos_weight": (0, None), "base_score": (None, None),
    "tweedie_variance_power": (1, 2), "rate_drop": (0, 1), "skip_drop": (0, 1), "huber_slope": (0, None),
    "aft_loss_distribution_scale": (0, None),
}  # fmt: skip
_CHOICES = {
    "booster": ("gbtree", "gblinear", "dart"), "tree_method": ("auto", "exact", "approx", "hist"),
    "grow_policy": ("depthwise", "lossguide"), "objective": _OBJECTIVES, "sample_type": ("uniform", "weighted"),
    "normalize_type": ("tree", "forest"), "process_type": ("default", "update"), "sampling_method": ("uniform",),
    "aft_loss_distribution": ("normal", "logistic", "extreme"),
}  # fmt: skip
_TEXTS = ("updater", "monotone_constraints", "interaction_constraints")
_IGNORED = (
    "dsplit", "use_dask_gpu_training", "save_model_on_termination", "deterministic_histogram",
    "single_precision_histogram", "sketch_eps",
)  # fmt: skip
_SYNONYMS = {
    "learning_rate": "eta", "min_split_loss": "gamma", "reg_lambda": "lambda", "reg_alpha": "alpha",
    "num_rounds": "num_round", "num_boost_round": "num_round", "n_estimators": "num_round", "random_state": "seed",
}  # fmt: skip
_NOT_SERVED = ("_kfold", "_num_cv_round", "external_memory")


def parse(given: Mapping[str, str]) -> Parameters:
    """Reads hyperparameters, given as text. `DataError` names the first value that cannot be used."""
    values = {_SYNONYMS.get(name, name): value for name, value in given.items() if not is_machinery(name)}
    rounds = whole("num_round", values.pop("num_round", None), 1, _MOST_ROUNDS)
    patience = values.pop("early_stopping_rounds", None)
    weights = values.pop("csv_weights", "0")
    metrics = [name.strip() for name in values.pop("eval_metric", "").strip("[]").replace('"', "").split(",")]
    booster = {name: value for name, text in values.items() for value in [_value(name, text)] if value is not None}
    booster.setdefault("objective", "reg:squarederror")
    if booster["objective"] == "reg:linear":
        booster["objective"] = "reg:squarederror"
    _classes(booster)
    metrics = [name for name in metrics if name]
    objective = given.get("_tuning_objective_metric", "").partition(":")[2]
    tuned = [objective] if objective in XGBOOST_METRICS else []
    metrics += [name for name in tuned if name not in metrics]
    _known(metrics)
    custom = tuple(name for name in metrics if name in measures.NAMES)
    own = [name for name in metrics if name not in custom]
    if metrics:
        booster["eval_metric"] = own
        booster["disable_default_eval_metric"] = not own
    judged = [None, *metrics, *tuned][-1]
    return Parameters(
        booster,
        rounds,
        None if patience is None else whole("early_stopping_rounds", patience, 1, _MOST_ROUNDS),
        weights == "1",
        custom,
        None if judged is None else _shown(judged),
    )


def _value(name: str, text: str) -> Any:
    if name in _IGNORED:
        return None
    if name in _NOT_SERVED:
        raise DataError(f"The hyperparameter {name} is not served by this version of Pilothouse. Leave it out.")
    if name in _INTEGERS:
        return whole(name, text, *_INTEGERS[name])
    if name in _FLOATS:
        return real(name, text, *_FLOATS[name])
    if name in _CHOICES:
        return chosen(name, text, _CHOICES[name])
    if name in _TEXTS:
        return text
    raise DataError(
        f"Extraneous hyperparameter found: {name}. It is none of the built-in XGBoost's; correct or remove it."
    )


def _classes(booster: dict[str, Any]) -> None:
    if booster["objective"].startswith("multi:") and "num_class" not in booster:
        raise DataError(f"The objective {booster['objective']} needs the hyperparameter num_class.")
    if not booster["objective"].startswith("multi:"):
        booster.pop("num_class", None)


def _shown(metric: str) -> str:
    """A metric as XGBoost's results have it: a threshold of `error` as a float, and none if it is the usual one."""
    name, _, threshold = metric.partition("@")
    if name != "error" or not threshold:
        return metric
    number = real("eval_metric error@", threshold, 0, 1)
    return name if number == _USUAL_THRESHOLD else f"{name}@{number:g}"


def _known(metrics: list[str]) -> None:
    for name in metrics:
        if name.partition("@")[0] not in XGBOOST_METRICS:
            raise DataError(f"Hyperparameter eval_metric: {name!r} is not one of {', '.join(XGBOOST_METRICS)}.")
