"""The algorithms of each training mode, by their names on the wire, and which of them this host can train."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

ENSEMBLING = (
    "lightgbm",
    "catboost",
    "xgboost",
    "randomforest",
    "extra-trees",
    "linear-learner",
    "nn-torch",
    "fastai",
)
HYPERPARAMETER_TUNING = ("xgboost", "linear-learner", "mlp")

ENSEMBLING_MODE, TUNING_MODE, AUTO = "ENSEMBLING", "HYPERPARAMETER_TUNING", "AUTO"
BY_MODE = {ENSEMBLING_MODE: ENSEMBLING, TUNING_MODE: HYPERPARAMETER_TUNING}

DEFAULT_MAX_CANDIDATES = {ENSEMBLING_MODE: 10, TUNING_MODE: 100}
MOST_CANDIDATES_IN_TIME = 250
"""The default of an ensembling job with a time limit: its time is to decide."""

_OPTIONAL = {"nn-torch": "torch", "fastai": "fastai", "mlp": "torch"}
"""The libraries that only the extra `deep` installs."""


def max_candidates(asked: int | None, seconds: int | None, mode: str = ENSEMBLING_MODE) -> int:
    """How many candidates a job may have that asks for `asked` and is to end within `seconds`."""
    by_time = mode == ENSEMBLING_MODE and seconds is not None
    return asked or (MOST_CANDIDATES_IN_TIME if by_time else DEFAULT_MAX_CANDIDATES[mode])


def trained(asked: Sequence[str] | None, mode: str = ENSEMBLING_MODE) -> tuple[str, ...]:
    """Those of the algorithms `asked` for (None: of all of the mode) whose libraries this host has. Imports none."""
    return tuple(name for name in asked or BY_MODE[mode] if _is_installed(name))


def left_out(asked: Sequence[str] | None, mode: str = ENSEMBLING_MODE) -> str | None:
    """A sentence on the algorithms that `trained` leaves out, for the one who asked; None if there are none."""
    kept = trained(asked, mode)
    missing = [name for name in asked or BY_MODE[mode] if name not in kept]
    if not missing:
        return None
    verb, libraries = ("was", "library is") if len(missing) == 1 else ("were", "libraries are")
    return (
        f"{' and '.join(missing)} {verb} left out, since the {libraries} not installed. "
        "Install the extra deep where Pilothouse works: pip install 'pilothouse[deep]'."
    )


def _is_installed(name: str) -> bool:
    return name not in _OPTIONAL or importlib.util.find_spec(_OPTIONAL[name]) is not None
