"""`pilothouse export`: a model in a format that other programs run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from pilothouse.errors import DataError


@click.command()
@click.argument("model", type=click.Path(exists=True, path_type=Path))
@click.option("--format", "target", type=click.Choice(["onnx"]), required=True, help="The format to write.")
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="The file to write.  [default: <MODEL>.onnx]"
)
def export(model: Path, target: str, output: Path | None) -> None:
    """Write MODEL, a model folder or a candidate's model.tar.gz, as one file for other programs.

    An ONNX graph has an input for each column and answers label and probabilities, or value. Columns of text or dates,
    and neural networks, cannot be exported; the error names the one that stands in the way.
    """
    model = model.resolve()  # so that "." has a name
    output = output or model.with_name(f"{model.name.removesuffix('.tar.gz')}.{target}")
    if model.is_dir():
        written = _written(model, output)
    else:
        with tempfile.TemporaryDirectory(prefix="pilothouse-export-") as scratch:
            written = _written(_unpacked(model, Path(scratch)), output)
    click.echo(f"Wrote {output}: inputs {', '.join(written) or 'none'}.")


def _unpacked(archive: Path, folder: Path) -> Path:
    from pilothouse.contract.pack import unpack

    try:
        unpack(archive, folder)
    except DataError as error:
        raise DataError(f"{archive} is neither a model folder nor a model.tar.gz: {error.message}") from error
    return folder


def _written(folder: Path, output: Path) -> list[str]:
    """The names of the graph's inputs."""
    from pilothouse.problems.tabular.onnx.export import export as as_onnx

    graph = as_onnx(folder)
    output.write_bytes(graph.SerializeToString())
    return [one.name for one in graph.graph.input]
