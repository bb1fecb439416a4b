"""AutoML tools side by side on the same splits: `python benchmarks/peers.py SETS --budgets 60,240 --out results.jsonl`.

For each data set and tool one run: a process tree in the tool's own virtual environment, which this script makes, with
nothing else running. Each run appends a JSON line to the results: test metrics on a fifth of the rows that no tool is
given, seconds to a usable model, overshoot, peak memory, model size and prediction times. A run that fails is a line
with the reason.

`python benchmarks/peers.py --table results.jsonl` prints them as Markdown, with the targets and whether they are met.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import Any

from peers_bench import report, sets, tree
from peers_bench.environments import Environments
from peers_bench.results import main_value
from peers_bench.running import Line, Runner, machine
from peers_bench.tools import TOOLS

_BUSY = 0.5


def main() -> None:
    options = _parser().parse_args()
    if options.table is not None:
        print(report.markdown(_lines(options.table)))
        return
    if options.data is None:
        raise SystemExit("Name the folder of the data sets with --data: a folder each, with meta.json and the CSV.")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    tree.adopt_orphans()
    try:
        _run(options)
    finally:
        tree.end_descendants()


def _run(options: argparse.Namespace) -> None:
    if machine()["load"] > _BUSY:
        print("Something else is running on this machine; times will not mean much.", file=sys.stderr)
    runner = Runner(
        Environments(options.envs.expanduser(), dict(options.env)), options.objective, options.seed, options.keep
    )
    done = {_key(line) for line in _lines(options.out) if "failed" not in line} if options.resume else set()
    for budget in options.budgets:
        for name in options.sets or sets.available(options.data):
            split = sets.load(options.data / name, options.seed)
            for tool in options.tools:
                if (tool, name, budget, options.objective, options.seed) in done:
                    continue
                line = runner.run(TOOLS[tool], split, budget)
                _append(options.out, line)
                print(_summary(line), file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help="folders of the data directory (all tabular ones)")
    parser.add_argument("--data", type=Path, help="the data directory: a folder each, with meta.json and the CSV")
    parser.add_argument("--budgets", type=_numbers, default=[60, 240], metavar="S,S", help="seconds (60,240)")
    parser.add_argument("--tools", type=_tools, default=list(TOOLS), metavar="T,T", help=f"of {', '.join(TOOLS)} (all)")
    parser.add_argument(
        "--objective", help="what every tool optimises; else log loss or RMSE, and Pilothouse's default"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the tools that take one (0)")
    parser.add_argument("--out", type=Path, default=Path("results.jsonl"), help="where the lines go (results.jsonl)")
    parser.add_argument("--resume", action="store_true", help="leave out what --out has already, but for failures")
    parser.add_argument("--envs", type=Path, default=Path("~/.cache/pilothouse-peers"), help="for the environments")
    parser.add_argument(
        "--env", type=_environment, action="append", default=[], metavar="NAME=DIR", help="use this one"
    )
    parser.add_argument("--keep", type=Path, help="leave each run's folder in this one")
    parser.add_argument("--table", type=Path, metavar="RESULTS", help="print these results, run nothing")
    return parser


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _tools(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in TOOLS]:
        raise argparse.ArgumentTypeError(f"there is no tool {unknown[0]}; choose from {', '.join(TOOLS)}")
    return names


def _environment(text: str) -> tuple[str, Path]:
    name, _, folder = text.partition("=")
    known = {tool.environment for tool in TOOLS.values()}
    if name not in known or not (Path(folder) / "bin" / "python").exists():
        raise argparse.ArgumentTypeError(
            f"give NAME=DIR with a NAME of {', '.join(sorted(known))} and a virtual environment"
        )
    return name, Path(folder)


def _lines(path: Path) -> list[Line]:
    if not path.exists():
        return []
    return [json.loads(text) for text in path.read_text().splitlines() if text.strip()]


def _append(path: Path, line: Line) -> None:
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def _key(line: Line) -> tuple[Any, ...]:
    return line["tool"], line["set"], line["budget"], line["wanted_objective"], line["seed"]


def _summary(line: Line) -> str:
    head = f"{line['set']} {line['budget']} s {line['tool']}: "
    if "failed" in line:
        return f"{head}failed: {line['failed']}"
    return head + f"{main_value(line):.5g} in {line['seconds']:.1f} s, {line['remark']}"


if __name__ == "__main__":
    main()
