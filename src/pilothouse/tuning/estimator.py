"""The tree-structured Parzen estimator (Bergstra et al. 2011), by Optuna.

Its multivariate sampler is asked through the public method `sample_relative`, with a study made of what is known.
Trials that run count as bad ones (constant liar), so that parallel asks keep apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial, TrialState

from pilothouse.catalog.tuning_ranges import CategoricalRange, IntegerRange, Range
from pilothouse.tuning.ranges import Point, coordinate, value_at

_MOST_CELLS = 256
"""Whole numbers of a range that are taken one by one; a longer range is continuous to the estimator."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def proposed(
    ranges: Sequence[Range], points: Sequence[Point], losses: Sequence[float], pending: Sequence[Point], seed: int
) -> Point:
    """The next point, given points with finite losses and points that are being tried."""
    sides = [Side.of(each) for each in ranges]
    trials = [_trial(i, sides, point, loss) for i, (point, loss) in enumerate(zip(points, losses, strict=True))]
    trials += [_trial(len(trials) + i, sides, point, None) for i, point in enumerate(pending)]
    sampler = TPESampler(seed=seed, n_startup_trials=0)
    study = optuna.create_study(storage=_Known(trials), sampler=sampler, direction="minimize")
    asked = _frozen(len(trials), TrialState.RUNNING, {}, {}, None)
    params = sampler.sample_relative(study, asked, {side.name: side.distribution for side in sides})
    return tuple(side.inside(params[side.name]) for side in sides)


@dataclass(frozen=True)
class Side:
    """One range as Optuna sees it, and how coordinates turn into its parameters and back."""

    each: Range
    distribution: BaseDistribution

    @classmethod
    def of(cls, each: Range) -> Side:
        """The distribution is over values, or over coordinates for what has too many of them."""
        if isinstance(each, CategoricalRange):
            return cls(each, CategoricalDistribution(each.values))
        if isinstance(each, IntegerRange) and each.size <= _MOST_CELLS:
            return cls(each, IntDistribution(each.low, each.high, log=each.scaling == "Logarithmic"))
        return cls(each, FloatDistribution(0.0, 1.0))

    @property
    def name(self) -> str:
        """The hyperparameter's."""
        return self.each.name

    def outside(self, unit: float) -> Any:
        """The parameter at a coordinate."""
        return unit if isinstance(self.distribution, FloatDistribution) else value_at(self.each, unit)

    def inside(self, parameter: Any) -> float:
        """The coordinate of a parameter."""
        is_coordinate = isinstance(self.distribution, FloatDistribution)
        return float(parameter) if is_coordinate else coordinate(self.each, parameter)


def _trial(number: int, sides: Sequence[Side], point: Point, loss: float | None) -> FrozenTrial:
    params = {side.name: side.outside(unit) for side, unit in zip(sides, point, strict=True)}
    distributions = {side.name: side.distribution for side in sides}
    return _frozen(number, TrialState.RUNNING if loss is None else TrialState.COMPLETE, params, distributions, loss)


def _frozen(
    number: int,
    state: TrialState,
    params: dict[str, Any],
    distributions: dict[str, BaseDistribution],
    value: float | None,
) -> FrozenTrial:
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=value,
        datetime_start=None,
        datetime_complete=None,
        params=params,
        distributions=distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )


class _Known(InMemoryStorage):
    """A study of given trials, which costs nothing to make. What a sampler leaves behind in it is of no use."""

    def __init__(self, trials: list[FrozenTrial]) -> None:
        super().__init__()
        self._given = trials

    def get_all_trials(
        self,
        study_id: int,  # noqa: ARG002 (Optuna's own signature)
        deepcopy: bool = True,  # noqa: ARG002
        states: Any = None,
    ) -> list[FrozenTrial]:
        return [trial for trial in self._given if states is None or trial.state in states]

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        pass
