"""Searches to compare, each asked and told one trial at a time."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from tuning_bench.tasks import RANGES

RUNNERS = Path(__file__).resolve().parents[1] / "tuning_runners"
SYNE_TUNE = "syne-tune"

Values = dict[str, str]


class Tool(Protocol):
    """A search that minimises."""

    version: str

    def ask(self) -> tuple[int, Values]:
        """A trial's number and hyperparameters."""

    def tell(self, number: int, loss: float) -> None:
        """What became of it."""

    def close(self) -> None:
        """Ends the processes that it started."""


class Pilothouse:
    """Our search, from the request of a tuning job."""

    def __init__(self, strategy: str, seed: int) -> None:
        import pilothouse
        from pilothouse.catalog.tuning_jobs import TuningJob
        from pilothouse.tuning.search import Search

        request = {
            "HyperParameterTuningJobName": "benchmark",
            "HyperParameterTuningJobConfig": {
                "Strategy": strategy,
                "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
                "ResourceLimits": {"MaxParallelTrainingJobs": 1},
                "ParameterRanges": RANGES,
            },
            "TrainingJobDefinition": {"AlgorithmSpecification": {"TrainingInputMode": "File"}},
        }
        self.version = pilothouse.__version__
        self._search = Search(TuningJob.of(request), seed)

    def ask(self) -> tuple[int, Values]:
        trial = self._search.ask()
        if trial is None:
            raise RuntimeError("The search has nothing left to try.")
        return trial.number, dict(trial.values)

    def tell(self, number: int, loss: float) -> None:
        self._search.tell(number, loss)

    def close(self) -> None:
        pass


class Optuna:
    """One of Optuna's samplers with its default settings."""

    def __init__(self, sampler: str, seed: int) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.version = version("optuna")
        self._study = optuna.create_study(sampler=getattr(optuna.samplers, sampler)(seed=seed))
        self._distributions = {
            **{each["Name"]: self._integer(each) for each in RANGES["IntegerParameterRanges"]},
            **{each["Name"]: self._continuous(each) for each in RANGES["ContinuousParameterRanges"]},
        }

    @staticmethod
    def _integer(each: dict[str, str]) -> Any:
        from optuna.distributions import IntDistribution

        return IntDistribution(int(each["MinValue"]), int(each["MaxValue"]), log=_is_log(each))

    @staticmethod
    def _continuous(each: dict[str, str]) -> Any:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(float(each["MinValue"]), float(each["MaxValue"]), log=_is_log(each))

    def ask(self) -> tuple[int, Values]:
        trial = self._study.ask(self._distributions)
        return trial.number, {name: str(value) for name, value in trial.params.items()}

    def tell(self, number: int, loss: float) -> None:
        self._study.tell(number, loss)

    def close(self) -> None:
        pass


class SyneTune:
    """One of Syne Tune's single-fidelity schedulers, in a process with an environment of its own."""

    def __init__(self, scheduler: str, seed: int, python: Path) -> None:
        command = [str(python), str(RUNNERS / "syne_tune_run.py"), scheduler, str(seed)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version = str(self._answer({"ranges": RANGES})["version"])

    def ask(self) -> tuple[int, Values]:
        answer = self._answer({"ask": True})
        return int(answer["number"]), dict(answer["values"])

    def tell(self, number: int, loss: float) -> None:
        self._answer({"tell": number, "loss": loss})

    def close(self) -> None:
        self._process.communicate(timeout=60)

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"Syne Tune's process ended with exit status {self._process.wait()}.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _is_log(each: dict[str, str]) -> bool:
    return each["ScalingType"] == "Logarithmic"


TOOLS: dict[str, Callable[[int, Callable[[], Path]], Tool]] = {
    "pilothouse": lambda seed, _: Pilothouse("Bayesian", seed),
    "pilothouse-random": lambda seed, _: Pilothouse("Random", seed),
    "optuna-tpe": lambda seed, _: Optuna("TPESampler", seed),
    "optuna-gp": lambda seed, _: Optuna("GPSampler", seed),
    "syne-tune-cqr": lambda seed, python: SyneTune("CQR", seed, python()),
    "syne-tune-bore": lambda seed, python: SyneTune("BORE", seed, python()),
}
"""How each is made from a seed, and from what gives the interpreter of Syne Tune's environment."""
