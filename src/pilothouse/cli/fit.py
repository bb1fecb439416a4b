"""`pilothouse fit`: train on a file, without AWS code."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("data", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--target", required=True, help="The column to predict.")
@click.option(
    "--time", "limit", help="How long it may take: 90s, 10m, 1h30m.  [default: until all candidates are trained]"
)
@click.option("--metric", help="What to optimise: F1, Accuracy, AUC, MSE, R2, …  [default: by the kind of problem]")
@click.option(
    "--problem-type", help="BinaryClassification, MulticlassClassification or Regression.  [default: inferred]"
)
@click.option(
    "--max-candidates",
    type=click.IntRange(1, 750),
    help="How many candidates to train at most.  [default: 10; with --time 250]",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder for the model.  [default: <name of the file>-model]"
)
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Keep the job's records in this folder.")
def fit(
    data: Path,
    target: str,
    limit: str | None,
    metric: str | None,
    problem_type: str | None,
    max_candidates: int | None,
    out: Path | None,
    home: Path | None,
) -> None:
    """Train on the CSV or Parquet file DATA and keep the best model in a folder.

    The job runs on a server of its own that ends with it, on a folder that goes with it unless --home names one.
    Ctrl-C ends the training early and keeps what is finished.
    """
    from rich.console import Console

    import pilothouse.client
    from pilothouse.cli.board import Board, metrics_table

    console = Console(highlight=False, soft_wrap=True)
    with Board(console) as board:
        model = pilothouse.client.fit(
            data,
            target,
            time=limit,
            metric=metric,
            problem_type=problem_type,
            max_candidates=max_candidates,
            out=out,
            home=home,
            progress=board,
        )
    console.print(metrics_table(model.leaderboard))
    console.print(f"\n{model.problem_type}; the best model is in {model.path}")
    console.print(f"Next: pilothouse predict {model.path} rows.csv > predictions.csv")
