"""The commands, and the one place where errors become a message and an exit code."""

from __future__ import annotations

import errno
import logging
import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mmadapt.cli.bench import bench
from mmadapt.cli.cache import cache
from mmadapt.cli.check import check
from mmadapt.cli.compare import compare
from mmadapt.cli.evaluate import evaluate
from mmadapt.cli.generate import generate
from mmadapt.cli.new_plugin import new_plugin
from mmadapt.cli.plugins import plugins
from mmadapt.cli.reproduce import reproduce
from mmadapt.cli.schema import schema
from mmadapt.cli.show import show
from mmadapt.cli.train import train
from mmadapt.errors import DEBUG_VARIABLE, MMAdaptError, RecipeError, Stopped
from mmadapt.redact import redacted

INTERRUPTED = 130
_FILE_TROUBLE = {
    errno.EACCES,
    errno.EDQUOT,
    errno.EEXIST,
    errno.EFBIG,
    errno.EIO,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ENOENT,
    errno.ENOSPC,
    errno.ENOTDIR,
    errno.EPERM,
    errno.EROFS,
}


class Guarded(TyperGroup):
    """Prints a user's mistake as one message, without a traceback (`MMADAPT_DEBUG=1` shows it)."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; exit with 2 for a user's mistake and 130 when interrupted."""
        # On a CPU it warns at import of kernels that are not needed.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except MMAdaptError as error:
            if os.environ.get(DEBUG_VARIABLE):
                raise
            mark = "" if isinstance(error, RecipeError | Stopped) else "error: "
            typer.echo(f"{mark}{redacted(str(error))}", err=True)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if error.errno not in _FILE_TROUBLE or os.environ.get(DEBUG_VARIABLE):
                raise
            place = f"{error.filename}: " if error.filename else ""
            typer.echo(f"error: {place}{error.strerror}", err=True)
            raise typer.Exit(MMAdaptError.exit_code) from None


app = typer.Typer(
    name="mmadapt",
    cls=Guarded,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        from mmadapt import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Teach a frozen language model to perceive: any encoder, any LM, one recipe."""


for _command in (
    train,
    evaluate,
    generate,
    check,
    compare,
    reproduce,
    bench,
    cache,
    show,
    schema,
    plugins,
    new_plugin,
):
    app.command()(_command)
