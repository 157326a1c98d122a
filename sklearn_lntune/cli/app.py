"""All commands as one application."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from sklearn_lntune.cli.compare import compare
from sklearn_lntune.cli.errors import DEBUG, OneLineErrors
from sklearn_lntune.cli.evaluate import evaluate
from sklearn_lntune.cli.export import export
from sklearn_lntune.cli.info import info
from sklearn_lntune.cli.predict import predict
from sklearn_lntune.cli.search import search
from sklearn_lntune.cli.serve import serve
from sklearn_lntune.cli.train import train

app = typer.Typer(
    cls=OneLineErrors,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, predict, evaluate, compare, search, info, export, serve):
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(version("sklearn-lntune"))
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
    # `OneLineErrors` takes it out of the arguments, wherever it stands; here for the help.
    debug: Annotated[bool, typer.Option(DEBUG, help="Show the traceback of an error.")] = False,
) -> None:
    """Text classifiers that train only the LayerNorms of a frozen transformer, and a head.

    Example:

        sklearn-lntune train tickets.csv --text message --label queue -o tickets.zip
    """
