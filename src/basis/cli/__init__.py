"""The command line `basis`: thin, it parses, calls the library and prints."""

from __future__ import annotations

import sys

import typer

from basis.cli import colorize, compare, convert, count, data, demo, describe, fit, generate, reproduce, separate, train
from basis.cli.options import complain
from basis.core.errors import BasisError, UsageError

app = typer.Typer(
    help="Separate mixtures into their sources with deep generative priors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(separate.separate)
app.command()(count.count)
app.command()(colorize.colorize)
app.command()(generate.generate)
app.command()(demo.demo)
app.command()(train.train)
app.command()(train.finetune)
app.command()(train.combine)
app.command()(fit.fit)
app.command("import")(convert.convert)
app.command("list")(describe.list_choices)
app.command()(describe.info)
app.command()(data.make_mixtures)
app.command()(data.evaluate)
app.command()(reproduce.reproduce)
app.command()(compare.compare)


def main() -> None:
    """Run the command line; exit with 0, 1 (something failed, the rest is done) or 2 (usage)."""
    try:
        app()
    except UsageError as error:
        complain(error)
        sys.exit(2)
    except (BasisError, OSError) as error:
        complain(error)
        sys.exit(1)
