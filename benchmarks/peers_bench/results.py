"""Lines of results, looked up by budget, set and tool."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peers_bench.scoring import MAIN
from peers_bench.tools import TOOLS

Line = dict[str, Any]

OURS = "pilothouse"
AUTOGLUON = tuple(name for name in TOOLS if name.startswith("autogluon-"))
SINGLE = ("catboost", "lightgbm")


def main_value(line: Line) -> float:
    """The line's log loss, or RMSE for a regression: lower is better."""
    return float(line["metrics"][MAIN[line["problem"]]])


@dataclass(frozen=True, order=True)
class Setting:
    """What runs must have in common to be compared. `objective` is "" where each tool had its usual one."""

    budget: int
    objective: str
    seed: int

    @classmethod
    def of(cls, line: Line) -> Setting:
        return cls(line["budget"], line["wanted_objective"] or "", line["seed"])


class Results:
    """The latest line of each tool on each set at one setting; lines with `failed` have nothing measured."""

    def __init__(self, lines: Sequence[Line], setting: Setting) -> None:
        self._lines = {(line["set"], line["tool"]): line for line in lines if Setting.of(line) == setting}

    @property
    def sets(self) -> list[str]:
        """In the alphabet's order."""
        return sorted({name for name, _ in self._lines})

    @property
    def tools(self) -> list[str]:
        """Those with a line, in the order of `TOOLS`."""
        present = {tool for _, tool in self._lines}
        return [tool for tool in TOOLS if tool in present]

    def line(self, name: str, tool: str) -> Line | None:
        """What was measured, or None if there is no line or the run failed."""
        found = self._lines.get((name, tool))
        return None if found is None or "failed" in found else found

    def finished(self, tool: str) -> list[Line]:
        """The tool's lines with results, over all sets."""
        return [line for name in self.sets if (line := self.line(name, tool)) is not None]

    def failures(self) -> list[Line]:
        """The lines without results."""
        return [line for line in self._lines.values() if "failed" in line]

    def values(self, name: str) -> dict[str, float]:
        """The main metric of each tool that finished the set."""
        return {tool: main_value(line) for tool in self.tools if (line := self.line(name, tool)) is not None}

    def best(self, name: str, tools: Sequence[str]) -> Line | None:
        """The best line among `tools` by the main metric on the test rows; None if none has finished."""
        lines = [line for tool in tools if (line := self.line(name, tool)) is not None]
        return min(lines, key=main_value, default=None)

    def everywhere(self) -> list[str]:
        """The tools that ran on every set, failures counted: their average ranks are over the same sets."""
        return [tool for tool in self.tools if all((name, tool) in self._lines for name in self.sets)]

    def average_ranks(self) -> dict[str, float]:
        """Each tool's mean rank by the main metric, over the sets that it ran on."""
        return {tool: sum(own) / len(own) for tool, own in self.ranks(main_value).items() if own}

    def ranks(self, loss: Callable[[Line], float | None]) -> dict[str, list[float]]:
        """Each tool's ranks among those that ran on a set; 1 is the best, a failure last, ties share their mean.

        Sets of a problem for which `loss` is None are left out.
        """
        ranks: dict[str, list[float]] = {tool: [] for tool in self.tools}
        for name in self.sets:
            measured = {tool: loss(line) for tool in self.tools if (line := self.line(name, tool)) is not None}
            if None in measured.values():
                continue
            values = {t: measured.get(t, float("inf")) for t in self.tools if (name, t) in self._lines}
            for tool, value in values.items():
                ranks[tool].append(_rank(value, list(values.values())))
        return ranks


def _rank(value: float, among: Sequence[float]) -> float:
    better, equal = sum(other < value for other in among), sum(other == value for other in among)
    return better + (equal + 1) / 2
