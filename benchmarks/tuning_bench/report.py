"""Results as Markdown: best loss so far after some numbers of trials, ranks, and seconds of an ask."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

Line = dict[str, Any]
_MARKS = (5, 10, 20, 40, 80)


def markdown(lines: Sequence[Line]) -> str:
    """A table for each task, one of ranks, and what was measured with what."""
    done = [line for line in lines if "failed" not in line]
    if not done:
        return "There are no results."
    tasks = list(dict.fromkeys(line["task"] for line in done))
    trials = min(len(line["losses"]) for line in done)
    marks = sorted({*(mark for mark in _MARKS if mark < trials), trials})
    sections = [_about(done), *(_task(task, done, marks) for task in tasks), _ranks(done, marks)]
    failures = [f"* {line['task']}, {line['tool']}: {line['failed']}" for line in lines if "failed" in line]
    return "\n\n".join([*sections, *(["### Failed", "\n".join(dict.fromkeys(failures))] if failures else [])])


def _about(lines: Sequence[Line]) -> str:
    versions = {line["tool"]: line["version"] for line in lines}
    machine = lines[-1]["machine"]
    return (
        f"{machine['cores']} cores, {machine['system']}. "
        f"Versions: {', '.join(f'{tool} {found}' for tool, found in versions.items())}. "
        "Mean and, in brackets, standard deviation over the seeds of the best loss so far; the lowest mean is bold."
    )


def _task(task: str, lines: Sequence[Line], marks: Sequence[int]) -> str:
    own = [line for line in lines if line["task"] == task]
    tools = list(dict.fromkeys(line["tool"] for line in own))
    means = {mark: {tool: statistics.fmean(_bests(own, tool, mark)) for tool in tools} for mark in marks}
    rows = []
    for tool in tools:
        cells = [_cell(_bests(own, tool, mark), means[mark][tool] == min(means[mark].values())) for mark in marks]
        seconds = [second for line in own if line["tool"] == tool for second in line["ask_seconds"]]
        rows.append([tool, str(len(_bests(own, tool, 1))), *cells, f"{statistics.fmean(seconds) * 1e3:.0f}"])
    heading = [f"{own[0]['metric']} after", "seeds", *(f"{mark} trials" for mark in marks), "ask, mean, ms"]
    return f"### {task}\n\n{table(heading, rows)}"


def _ranks(lines: Sequence[Line], marks: Sequence[int]) -> str:
    """The mean rank of each tool over the tasks and seeds that all tools have; ties share their mean."""
    tools = list(dict.fromkeys(line["tool"] for line in lines))
    runs: dict[tuple[str, int], dict[str, Line]] = {}
    for line in lines:
        runs.setdefault((line["task"], line["seed"]), {})[line["tool"]] = line
    whole = [run for run in runs.values() if len(run) == len(tools)]
    rows = []
    for tool in tools:
        ranks = [[_rank(tool, {t: min(line["losses"][:m]) for t, line in run.items()}) for run in whole] for m in marks]
        rows.append([tool, *(f"{statistics.fmean(each):.2f}" if each else "–" for each in ranks)])
    return f"### Average rank\n\n{table(['', *(f'{mark} trials' for mark in marks)], rows)}"


def _rank(tool: str, losses: dict[str, float]) -> float:
    own = losses[tool]
    better, equal = (sum(test(loss) for loss in losses.values()) for test in (own.__gt__, own.__eq__))
    return better + (equal + 1) / 2


def _bests(lines: Sequence[Line], tool: str, mark: int) -> list[float]:
    return [min(line["losses"][:mark]) for line in lines if line["tool"] == tool]


def _cell(values: Sequence[float], bold: bool) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    text = f"{statistics.fmean(values):.5g} ({spread:.2g})"
    return f"**{text}**" if bold else text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows as a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])
