"""Calls the command that was typed; it ends with an exit code, and at most one line on stderr."""

from __future__ import annotations

import errno
import sys
import traceback
from typing import Annotated

import typer

from capsbench.cli.challenge import challenge
from capsbench.cli.check import check
from capsbench.cli.compare import compare
from capsbench.cli.console import print_anywhere, print_warning
from capsbench.cli.data import app as data_app
from capsbench.cli.kernels import app as kernels_app
from capsbench.cli.list import env, list_
from capsbench.cli.measure import measure
from capsbench.cli.merge import merge
from capsbench.cli.prune import prune
from capsbench.cli.report import report
from capsbench.cli.reproduce import reproduce
from capsbench.cli.run import run
from capsbench.cli.shell.app import App, print_version
from capsbench.cli.shell.completion import answer_shell
from capsbench.cli.shell.interrupt import Interrupted, describe_end, end_in_order
from capsbench.cli.status import status
from capsbench.cli.trained.export import export
from capsbench.cli.trained.predict import predict
from capsbench.cli.trained.show import show
from capsbench.cli.tune import tune
from capsbench.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_MEASURED,
    EXIT_USAGE,
    ExportFailed,
    NothingMeasured,
    OutputFailed,
    ProcessFailed,
    StorageFailed,
    TrainingFailed,
    UsageError,
)
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import discard_output
from capsbench.running.waiting import shorten_waits
from capsbench.sources import describe_error, find_own_line

app = App(
    name="capsbench",
    help="Benchmark capsule networks and their routings against CNNs of equal size: accuracy, robustness, speed, memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def take_flags(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    # Without a docstring, the help is that of `app`.
    pass


app.add_typer(kernels_app)
app.add_typer(data_app)
app.command()(report)
app.command()(compare)
app.command()(check)
app.command()(show)
app.command()(predict)
app.command()(export)
# Options of networks, routings and losses are flags too. They depend on the request, so they are parsed later.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(tune)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(challenge)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(reproduce)
app.command()(measure)
app.command()(merge)
app.command()(status)
app.command()(prune)
app.command("list")(list_)
app.command()(env)


def call_command() -> int:
    """Calls the command that was typed; each kind of error that a user can correct has one line and its own exit code."""
    with print_anywhere():
        return _run_command()


def _run_command() -> int:
    """Returns the exit code of the command that was typed."""
    shorten_waits()
    try:
        with end_in_order(), answer_shell():
            code = app(prog_name="capsbench", standalone_mode=False)
            sys.stdout.flush()
    except UsageError as error:
        code = _print_failure(
            error.describe(spell_flag), EXIT_NOTHING_MEASURED if isinstance(error, NothingMeasured) else EXIT_USAGE
        )
    except StorageFailed as error:
        code = _print_failure(
            f"{error}; earlier records are kept, and the same command continues from them", EXIT_FAILED
        )
    except (Interrupted, KeyboardInterrupt, typer.Abort):  # KeyboardInterrupt if pressed while the command ends
        code = _print_failure(*describe_end())
    except (ExportFailed, OutputFailed, ProcessFailed, TrainingFailed) as error:
        code = _print_failure(error, EXIT_FAILED)
    except typer.TyperException as error:
        # Without arguments Typer has printed the help, and the message is empty.
        code = _print_failure(error.format_message(), EXIT_USAGE) if error.format_message() else EXIT_USAGE
    except BrokenPipeError:
        code = _end_without_reader()
    except SystemExit as ended:  # Typer ends so after what a shell asks of it: completions, and their installation
        code = 0 if ended.code == 0 else _end_without_reader()
    except OSError as error:
        too_long = error.errno == errno.ENAMETOOLONG
        code = (
            _print_failure(f"{str(error.filename)[:40]}...: {error.strerror}", EXIT_USAGE)
            if too_long
            else _print_fault()
        )
    except Exception as error:  # Python would exit with 1, which means a regression
        code = _print_own_fault(error) if find_own_line(error) else _print_fault()
    return code or 0


def _print_own_fault(error: Exception) -> int:
    """Prints an error of a user's own code, which is no fault of capsbench."""
    return _print_failure(f"your own code failed: {describe_error(error)}", EXIT_USAGE)


def _end_without_reader() -> int:
    """Returns the exit code of a command whose reader is gone, such as `head`; Typer exits with 1 then."""
    discard_output(sys.stdout)
    return EXIT_INTERRUPTED


def _print_fault() -> int:
    traceback.print_exc()
    return _print_failure("failed; this is a bug in capsbench, please report it with the lines above", EXIT_FAILED)


def _print_failure(message: object, code: int) -> int:
    print_warning(message)
    return code
