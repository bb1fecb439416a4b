"""Searches side by side: `python benchmarks/tuning.py --trials 40 --seeds 5 --out tuning.jsonl`.

XGBoost with nine hyperparameters on data that scikit-learn ships or makes, one trial after another. Ours, Bayesian and
random, beside Optuna's samplers and Syne Tune's schedulers with their default settings; Syne Tune in a virtual
environment that this script makes. Optuna's Gaussian process needs torch here. Each run appends a JSON line: all losses
in order and the seconds of each ask. A run that fails is a line with the reason.

`python benchmarks/tuning.py --stopping` instead compares what early stopping saves: the same random points of XGBoost,
whose rounds are its epochs, trained to the end, with the median rule, and with Hyperband.

`python benchmarks/tuning.py --table tuning.jsonl` prints the best loss so far by number of trials as Markdown.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from peers_bench.environments import Environments
from peers_bench.running import machine
from tuning_bench import report, stopping
from tuning_bench.tasks import TASKS, Task
from tuning_bench.tools import SYNE_TUNE, TOOLS, Tool

Line = dict[str, Any]


def main() -> None:
    options = _parser().parse_args()
    if options.table is None:
        (_stopping if options.stopping else _run)(options)
    lines = _lines(options.table or options.out)
    print(stopping.markdown(lines) if any("policy" in line for line in lines) else report.markdown(lines))


def _run(options: argparse.Namespace) -> None:
    environments = Environments(options.envs.expanduser(), {})
    done = {_key(line) for line in _lines(options.out) if "failed" not in line} if options.resume else set()
    for task in options.tasks:
        for seed in range(options.seeds):
            for tool in options.tools:
                head = {"task": task, "tool": tool, "seed": seed, "trials": options.trials}
                if _key(head) in done:
                    continue
                line = {**head, "metric": TASKS[task].metric, "machine": machine()}
                try:
                    search = TOOLS[tool](seed, lambda: environments.python(SYNE_TUNE))
                    line |= _searched(search, TASKS[task], options.trials)
                except Exception as error:
                    line["failed"] = f"{type(error).__name__}: {error}"
                _append(options.out, line)
                print(_summary(line), file=sys.stderr, flush=True)


def _stopping(options: argparse.Namespace) -> None:
    for task in options.tasks:
        for seed in range(options.seeds):
            for line in stopping.compared(TASKS[task], seed, options.trials):
                _append(options.out, {**line, "machine": machine()})


def _searched(search: Tool, task: Task, trials: int) -> Line:
    losses, seconds = [], []
    try:
        for _ in range(trials):
            begun = time.perf_counter()
            number, values = search.ask()
            seconds.append(time.perf_counter() - begun)
            losses.append(task.loss(values))
            search.tell(number, losses[-1])
    finally:
        search.close()
    return {"version": search.version, "losses": losses, "ask_seconds": seconds}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=40, help="of each run (40)")
    parser.add_argument("--seeds", type=int, default=5, help="runs of each tool on each task (5)")
    parser.add_argument("--tasks", type=_names(TASKS), default=list(TASKS), help=f"of {', '.join(TASKS)} (all)")
    parser.add_argument("--tools", type=_names(TOOLS), default=list(TOOLS), help=f"of {', '.join(TOOLS)} (all)")
    parser.add_argument("--out", type=Path, default=Path("tuning.jsonl"), help="where the lines go (tuning.jsonl)")
    parser.add_argument("--stopping", action="store_true", help="compare early stopping; wants an --out of its own")
    parser.add_argument("--resume", action="store_true", help="leave out what --out has already, but for failures")
    parser.add_argument("--envs", type=Path, default=Path("~/.cache/pilothouse-peers"), help="for the environment")
    parser.add_argument("--table", type=Path, metavar="RESULTS", help="print these results, run nothing")
    return parser


def _names(known: dict[str, Any]) -> Any:
    def names(text: str) -> list[str]:
        chosen = text.split(",")
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"there is no {unknown[0]}; choose from {', '.join(known)}")
        return chosen

    return names


def _lines(path: Path) -> list[Line]:
    return [json.loads(text) for text in path.read_text().splitlines() if text.strip()] if path.exists() else []


def _append(path: Path, line: Line) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _key(line: Line) -> tuple[Any, ...]:
    return line["task"], line["tool"], line["seed"], line["trials"]


def _summary(line: Line) -> str:
    head = f"{line['task']} seed {line['seed']} {line['tool']}: "
    return head + (f"failed: {line['failed']}" if "failed" in line else f"{min(line['losses']):.5g}")


if __name__ == "__main__":
    main()
