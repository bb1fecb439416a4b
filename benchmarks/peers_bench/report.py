"""Results as Markdown: the main metric, what it cost, and the targets."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from peers_bench.results import Line, Results, Setting, main_value
from peers_bench.scoring import MAIN
from peers_bench.sets import BINARY, MULTICLASS
from peers_bench.targets import verdicts

_MIB = 1 << 20
_METRICS = {
    "binary": ("LogLoss", "AUC", "F1", "Accuracy"),
    "multiclass": ("LogLoss", "AUC", "F1macro", "Accuracy"),
    "regression": ("RMSE", "R2", "MAE"),
}
_ANSWERS = {True: "met", False: "**missed**", None: "unknown"}


def markdown(lines: Sequence[Line]) -> str:
    """All tables, a section for each setting."""
    settings = sorted({Setting.of(line) for line in lines})
    sections = [_section(_title(setting), Results(lines, setting)) for setting in settings]
    return "\n\n".join([_about(lines), *sections]) if lines else "There are no results."


_HOW = (
    "Seconds count from the start of work on the data, imports being done, to a model that can predict "
    "(Pilothouse: from CreateAutoMLJobV2 to Completed). Memory is the peak up to then of the sum of PSS over the "
    "process tree, which shares a page among the processes that have it (Pilothouse: server, job, trials and the "
    "client). Prediction times are medians, in the tool's own process with its models loaded, from a data frame "
    "(Pilothouse: from rows of texts), or over HTTP through boto3 to an endpoint on the same machine. The lowest "
    "value is bold; a failed run ranks last."
)


def _about(lines: Sequence[Line]) -> str:
    last = lines[-1]["machine"]
    versions = {line["tool"]: line["version"] for line in lines if "version" in line}
    memory = last["memory_bytes"] / 2**30
    return (
        f"{last['cores']} cores, {memory:.0f} GiB, {last['system']}. "
        f"Versions: {', '.join(f'{tool} {version}' for tool, version in versions.items())}.\n\n{_HOW}"
    )


def _title(setting: Setting) -> str:
    objective = f", {setting.objective}" if setting.objective else ""
    return f"## {setting.budget} seconds{objective}{f', seed {setting.seed}' if setting.seed else ''}"


def _section(title: str, results: Results) -> str:
    parts = [title, _main_table(results), "### Targets", _targets(results)]
    parts += ["### Time, memory, size", _costs(results)]
    parts += ["### More metrics", _other_ranks(results), _all_metrics(results)]
    failures = [f"* {line['set']}, {line['tool']}: {line['failed']}" for line in results.failures()]
    return "\n\n".join([*parts, *(["### Failed", "\n".join(failures)] if failures else [])])


def _main_table(results: Results) -> str:
    rows = [_main_row(results, name) for name in results.sets]
    rows.append(["average rank", "", *_average_ranks(results, main_value)])
    return _table(["data set", "metric", *results.tools], rows)


def _average_ranks(results: Results, loss: Callable[[Line], float | None]) -> list[str]:
    """A cell a tool; the lowest is bold. Those that did not run on every set say how many sets theirs is over."""
    ranks, everywhere = results.ranks(loss), results.everywhere()
    means = {tool: statistics.fmean(own) for tool, own in ranks.items() if own}
    whole = dict(zip(everywhere, _marked([means.get(tool) for tool in everywhere], "{:.2f}"), strict=True))
    sets = max(len(own) for own in ranks.values())
    part = {tool: f"{mean:.2f} ({len(ranks[tool])} of {sets})" for tool, mean in means.items()}
    return [whole.get(tool, part.get(tool, "–")) for tool in results.tools]


def _main_row(results: Results, name: str) -> list[str]:
    values = results.values(name)
    problem = next((line["problem"] for tool in results.tools if (line := results.line(name, tool))), None)
    return [name, MAIN[problem] if problem else "", *_marked([values.get(tool) for tool in results.tools], "{:.5g}")]


def _marked(values: Sequence[float | None], form: str) -> list[str]:
    """The values as texts, the lowest in bold."""
    lowest = min((value for value in values if value is not None), default=None)
    shown = ["–" if value is None else form.format(value) for value in values]
    return [
        f"**{text}**" if value == lowest and value is not None else text
        for text, value in zip(shown, values, strict=True)
    ]


def _targets(results: Results) -> str:
    rows = [[verdict.target, verdict.found, _ANSWERS[verdict.met]] for verdict in verdicts(results)]
    return _table(["target", "found", ""], rows)


_COSTS: tuple[tuple[str, str, Callable[[Sequence[float]], float], Callable[[float], str]], ...] = (
    ("seconds, median", "seconds", statistics.median, "{:.1f}".format),
    ("overshoot, worst, s", "overshoot", max, "{:+.1f}".format),
    ("peak memory, median, MiB", "peak_memory_bytes", statistics.median, lambda value: f"{value / _MIB:.0f}"),
    ("peak memory, worst, MiB", "peak_memory_bytes", max, lambda value: f"{value / _MIB:.0f}"),
    ("model, median, MiB", "model_bytes", statistics.median, lambda value: f"{value / _MIB:.1f}"),
    ("one row, median, ms", "row_seconds", statistics.median, lambda value: f"{value * 1e3:.2f}"),
    ("one row over HTTP, median, ms", "http_row_seconds", statistics.median, lambda value: f"{value * 1e3:.2f}"),
    ("one row over HTTP, worst, ms", "http_row_seconds", max, lambda value: f"{value * 1e3:.2f}"),
    ("10,000 rows, median, s", "many_seconds", statistics.median, "{:.3f}".format),
    ("10,000 rows, worst, s", "many_seconds", max, "{:.3f}".format),
)
"""A row of the table: its heading, the member of the lines, how the sets are combined, how it is shown."""


def _costs(results: Results) -> str:
    rows = []
    for heading, member, combine, shown in _COSTS:
        held = {tool: [line[member] for line in results.finished(tool) if member in line] for tool in results.tools}
        rows.append([heading, *(shown(combine(held[tool])) if held[tool] else "–" for tool in results.tools)])
    return _table(["", *results.tools], rows)


_OTHERS = (
    ("AUC", -1, ""),
    ("Accuracy", -1, BINARY),
    ("Accuracy", -1, MULTICLASS),
    ("F1", -1, ""),
    ("MAE", 1, ""),
)
"""Metrics by which tools are ranked too, on the sets of a problem, or of any, that have them; the sign makes a loss."""


def _other_ranks(results: Results) -> str:
    """Average ranks by metrics that not every tool was asked to optimise."""
    rows = []
    for metric, sign, problem in _OTHERS:
        loss = _loss(metric, sign, problem)
        sets = max(len(own) for own in results.ranks(loss).values())
        if sets:
            kind = f"{problem} sets".strip()
            rows.append([f"{metric}, {sets} {kind}", *_average_ranks(results, loss)])
    return _table(["average rank by", *results.tools], rows)


def _loss(metric: str, sign: int, problem: str) -> Callable[[Line], float | None]:
    def loss(line: Line) -> float | None:
        value = line["metrics"].get(metric) if problem in ("", line["problem"]) else None
        return None if value is None else sign * value

    return loss


def _all_metrics(results: Results) -> str:
    rows = []
    for name in results.sets:
        for tool in results.tools:
            if line := results.line(name, tool):
                rows.append([name, tool, _metrics(line), _objective(line), f"{line['seconds']:.1f}", line["remark"]])
    return _table(["data set", "tool", "test metrics", "optimised", "seconds", "model"], rows)


def _metrics(line: Line) -> str:
    return ", ".join(f"{name} {line['metrics'][name]:.5g}" for name in _METRICS[line["problem"]])


def _objective(line: Line) -> str:
    objective = line["objective"]
    value = objective["test"]
    return objective["name"] if value is None else f"{objective['name']} {value:.5g}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell).replace('|', '/') for cell in line)} |" for line in lines)
