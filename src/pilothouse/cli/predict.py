"""`pilothouse predict`: answers from a model folder, without a server."""

from __future__ import annotations

import sys
from pathlib import Path

import click


@click.command()
@click.argument("model", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("rows", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path))
def predict(model: Path, rows: Path) -> None:
    """Predict each row of the CSV or Parquet file ROWS (- for stdin) with the model in the folder MODEL.

    MODEL is an unpacked model.tar.gz, or holds a folder for each archive of a candidate of several containers.
    The first line of ROWS names the columns, in any order; columns that the model does not know are left out.
    Writes CSV to stdout: predicted_label, probability and one probability for each class, or prediction.
    """
    from pilothouse.client.model import Model

    source = sys.stdin if str(rows) == "-" else rows
    Model(model).write_predictions(source, sys.stdout)
