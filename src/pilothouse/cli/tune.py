"""`pilothouse tune`: tune a script's hyperparameters, without AWS code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pilothouse.errors import ConfigurationError

_SCALES = {"log": "Logarithmic", "reverse": "ReverseLogarithmic", "linear": "Linear"}
_LEAST_SECONDS = 120
_STRATEGIES = ("bayesian", "random", "grid", "hyperband")


@click.command()
@click.argument("script", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--range", "ranges", multiple=True, help="A number to tune: lr=1e-4:1e-1:log, depth=2:8:int, drop=0:0.5.")
@click.option("--choice", "choices", multiple=True, help="One of several texts: optimizer=adam,sgd.")
@click.option("--set", "settings", multiple=True, help="A hyperparameter that stays as it is: epochs=10.")
@click.option(
    "--metric", "metrics", multiple=True, required=True, help="A name and a regex with a group: 'acc=acc: ([0-9.]+)'."
)
@click.option("--maximize", help="The metric that shall be large.")
@click.option("--minimize", help="The metric that shall be small.")
@click.option("--trials", type=click.IntRange(1, 10_000), help="How many trials.  [default: 20; with grid, all]")
@click.option(
    "--parallel", type=click.IntRange(1, 100), help="How many at once.  [default: as many as there are cores]"
)
@click.option("--strategy", type=click.Choice(_STRATEGIES), default="bayesian", show_default=True)
@click.option("--early-stopping", is_flag=True, help="Stop trials that lag behind.")
@click.option("--time", "limit", help="How long it may take: 10m, 1h30m; two minutes at least.")
@click.option("--seed", type=click.IntRange(0), help="The same seed tries the same points.")
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    help="A file or folder that the script finds in the folder SM_CHANNEL_TRAINING.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="A folder for what the best trial wrote into SM_MODEL_DIR."
)
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Keep the job's records in this folder.")
def tune(
    script: Path,
    ranges: tuple[str, ...],
    choices: tuple[str, ...],
    settings: tuple[str, ...],
    metrics: tuple[str, ...],
    maximize: str | None,
    minimize: str | None,
    trials: int | None,
    parallel: int | None,
    strategy: str,
    early_stopping: bool,
    limit: str | None,
    seed: int | None,
    data: Path | None,
    out: Path | None,
    home: Path | None,
) -> None:
    """Run SCRIPT again and again with hyperparameters that a search chooses, and tell which were best.

    The script gets them as --name value and prints its metrics; each run is a process of its own. The requirements.txt
    beside it, if there is one, is installed first. The job runs on a server of its own that ends with it, on a folder
    that goes with it unless --home names one. Ctrl-C ends the tuning early.
    """
    from rich.console import Console

    from pilothouse import duration
    from pilothouse.cli.trials import Trials, best_values, trials_table
    from pilothouse.client.embedded import EmbeddedServer
    from pilothouse.client.training import check_output
    from pilothouse.client.tuning import Tuning, Wish
    from pilothouse.config import Settings

    if (maximize is None) == (minimize is None):
        raise click.UsageError("Name the metric that counts with --maximize or --minimize.")
    wish = Wish(
        script=script,
        ranges=_ranges(ranges, choices),
        metrics=tuple(_pair(metric, "--metric", "name=regex") for metric in metrics),
        objective=maximize or minimize or "",
        maximize=maximize is not None,
        jobs=trials or (None if strategy == "grid" else 20),
        parallel=parallel or min(Settings.given().slots, 100),
        strategy=strategy.capitalize(),
        static=dict(_pair(setting, "--set", "name=value") for setting in settings),
        data=data,
        early_stopping=early_stopping,
        limit=None if limit is None else _limit(duration.seconds(limit)),
        seed=seed,
    )
    if out is not None:
        check_output(out)
    console = Console(highlight=False, soft_wrap=True)
    with EmbeddedServer(home, PILOTHOUSE_SLOTS=str(wish.parallel)) as server:
        tuning = Tuning(server, wish)
        with Trials(console) as board:
            ended = tuning.run(board)
        if out is not None:
            tuning.download(ended, out)
    console.print(trials_table(ended))
    console.print(f"\n{best_values(ended)}")
    if out is not None:
        console.print(f"What the best trial saved is in {out}")


def _limit(seconds: int) -> int:
    if seconds < _LEAST_SECONDS:
        raise ConfigurationError(f"--time is {seconds} s, which is too short. Give the tuning two minutes at least.")
    return seconds


def _ranges(ranges: tuple[str, ...], choices: tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    """ParameterRanges out of the options; `ConfigurationError` for one that cannot be read."""
    found: dict[str, list[dict[str, Any]]] = {}
    for text in ranges:
        member, one = _range(*_pair(text, "--range", "name=low:high"))
        found.setdefault(member, []).append(one)
    for text in choices:
        name, values = _pair(text, "--choice", "name=a,b")
        found.setdefault("CategoricalParameterRanges", []).append({"Name": name, "Values": values.split(",")})
    if not found:
        raise click.UsageError("Name at least one hyperparameter with --range or --choice.")
    return found


def _range(name: str, text: str) -> tuple[str, dict[str, Any]]:
    low, high, *words = [*text.split(":"), ""][: max(2, text.count(":") + 1)]
    kinds, scales = [word for word in words if word == "int"], [word for word in words if word in _SCALES]
    if not high or len(kinds) > 1 or len(scales) > 1 or len(kinds) + len(scales) < len(words):
        raise ConfigurationError(
            f"The range {name}={text} cannot be read. Write low:high, with :int for whole numbers and one of "
            f"{', '.join(f':{scale}' for scale in _SCALES)}, such as {name}=1e-4:1e-1:log."
        )
    one = {"Name": name, "MinValue": low, "MaxValue": high}
    if scales:
        one["ScalingType"] = _SCALES[scales[0]]
    return ("IntegerParameterRanges" if kinds else "ContinuousParameterRanges"), one


def _pair(text: str, option: str, form: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise ConfigurationError(f"{option} {text} cannot be read. Write it as {form}.")
    return name, value
