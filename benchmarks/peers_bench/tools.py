"""The tools side by side: which program runs each, with what setting, in which environment."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUNNERS = ROOT / "benchmarks" / "peers_runners"

TORCH = ["torch==2.13.0"]
_CATBOOST = "catboost==1.2.10"

ENVIRONMENTS: dict[str, list[list[str]]] = {
    "pilothouse": [TORCH, ["--editable", f"{ROOT}[deep]"]],
    "autogluon": [TORCH, ["autogluon.tabular[all]==1.6.3"]],
    "flaml": [["flaml[automl]==2.7.0", _CATBOOST]],
    "h2o": [["h2o==3.46.0.12", "numpy", "pandas", "pyarrow", "polars"]],
    "boosters": [[_CATBOOST, "lightgbm==4.7.0", "numpy", "pandas", "scikit-learn"]],
    "syne-tune": [["syne-tune==0.16.0", "huggingface_hub"]],
    "moto": [["moto[server]==5.2.5"]],
}
"""What each environment holds: one `pip install` after another, each a list of requirements."""


def _lacks_java() -> str | None:
    return (
        None
        if shutil.which("java")
        else "H2O needs Java: put `java` on PATH (Debian: apt install default-jre-headless)."
    )


def _lacks_nothing() -> str | None:
    return None


@dataclass(frozen=True)
class Tool:
    """`lacks` says why the tool cannot run on this machine, or None. `preset` is what the runner is told."""

    name: str
    runner: str
    environment: str
    preset: str = ""
    lacks: Callable[[], str | None] = _lacks_nothing

    @property
    def program(self) -> Path:
        """The script that runs the tool."""
        return RUNNERS / f"{self.runner}.py"


_AUTOGLUON = ("medium", "good", "high", "best")

TOOLS: dict[str, Tool] = {
    tool.name: tool
    for tool in (
        Tool("pilothouse", "pilothouse_run", "pilothouse"),
        *(Tool(f"autogluon-{p}", "autogluon_run", "autogluon", f"{p}_quality") for p in _AUTOGLUON),
        Tool("flaml", "flaml_run", "flaml"),
        Tool("h2o", "h2o_run", "h2o", lacks=_lacks_java),
        Tool("catboost", "catboost_run", "boosters"),
        Tool("lightgbm", "lightgbm_run", "boosters"),
    )
}
