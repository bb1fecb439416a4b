"""Syne Tune behind lines of JSON: `python syne_tune_run.py SCHEDULER SEED`, in its own environment.

In: {"ranges": ParameterRanges}, then {"ask": true} or {"tell": number, "loss": loss}. One line of answer each.
"""

from __future__ import annotations

import contextlib
import json
import sys
from importlib.metadata import version
from typing import Any

from syne_tune import config_space
from syne_tune.optimizer import baselines
from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler


def main() -> None:
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what the library prints is no answer
        scheduler, seed = sys.argv[1], int(sys.argv[2])
        space = read_space(json.loads(sys.stdin.readline())["ranges"])
        search = AskTellScheduler(
            getattr(baselines, scheduler)(space, metric="loss", do_minimize=True, random_seed=seed)
        )
        running: dict[int, Any] = {}
        say(answers, {"version": version("syne-tune")})
        for line in sys.stdin:
            question = json.loads(line)
            if "ask" in question:
                trial = search.ask()
                running[trial.trial_id] = trial
                values = {name: str(value) for name, value in trial.config.items()}
                say(answers, {"number": trial.trial_id, "values": values})
            else:
                search.tell(running.pop(question["tell"]), {"loss": question["loss"]})
                say(answers, {})


def say(answers: Any, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def read_space(ranges: dict[str, Any]) -> dict[str, Any]:
    """The search space of a ParameterRanges document."""
    space: dict[str, Any] = {}
    for each in ranges["IntegerParameterRanges"]:
        kind = config_space.lograndint if each["ScalingType"] == "Logarithmic" else config_space.randint
        space[each["Name"]] = kind(int(each["MinValue"]), int(each["MaxValue"]))
    for each in ranges["ContinuousParameterRanges"]:
        kind = config_space.loguniform if each["ScalingType"] == "Logarithmic" else config_space.uniform
        space[each["Name"]] = kind(float(each["MinValue"]), float(each["MaxValue"]))
    return space


if __name__ == "__main__":
    main()
