"""All commands, and how they end: with an exit code, and at most a line on stderr."""

from __future__ import annotations

import errno
import os
import sys
import traceback

import typer

from capsbench.cli.app import App
from capsbench.cli.check import check
from capsbench.cli.compare import compare
from capsbench.cli.console import print_anywhere, warn
from capsbench.cli.data import app as data_app
from capsbench.cli.env import env
from capsbench.cli.interrupt import Interrupted, ended_in_order
from capsbench.cli.kernels import app as kernels_app
from capsbench.cli.list import list_
from capsbench.cli.measure import measure
from capsbench.cli.report import report
from capsbench.cli.run import run
from capsbench.cli.show import show
from capsbench.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_NOTHING_MEASURED,
    EXIT_USAGE,
    NothingMeasured,
    OutputFailed,
    ProcessFailed,
    StorageFailed,
    TrainingFailed,
    UsageError,
)
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import discard_output

app = App(
    name="capsbench",
    help="What capsule networks are worth: capsules against CNNs of equal size, on accuracy, speed and memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(kernels_app)
app.add_typer(data_app)
app.command()(report)
app.command()(compare)
app.command()(check)
app.command()(show)
# An option of a network, a routing or a loss is a flag too. Which there are depends on what is run, so it is told later.
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run)
app.command()(measure)
app.command("list")(list_)
app.command()(env)


def call_command() -> int:
    """Calls the command that was typed: errors that a user can mend end in one line and an exit code of their own."""
    with print_anywhere():
        return _call()


def _call() -> int:
    """Calls the command that was typed; returns its exit code."""
    # After each of torch's parallel loops the threads of GNU OpenMP spin for milliseconds, in the way of the vote pass's
    # threads and of other cells. Read when torch is first imported, here and in the processes of the cells.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    try:
        with ended_in_order():
            code = app(standalone_mode=False)
            sys.stdout.flush()
    except UsageError as error:
        code = _fail(
            error.describe(spell_flag), EXIT_NOTHING_MEASURED if isinstance(error, NothingMeasured) else EXIT_USAGE
        )
    except StorageFailed as error:
        code = _fail(f"{error}; what was on record stays, and the same command goes on from there", EXIT_FAILED)
    except (Interrupted, KeyboardInterrupt, typer.Abort):  # the second while the command is left
        code = _fail("interrupted", EXIT_INTERRUPTED)
    except (OutputFailed, ProcessFailed, TrainingFailed) as error:
        code = _fail(error, EXIT_FAILED)
    except typer.TyperException as error:
        # Without arguments the help has been printed, and there is no message.
        code = _fail(error.format_message(), EXIT_USAGE) if error.format_message() else EXIT_USAGE
    except (BrokenPipeError, SystemExit):  # typer leaves with 1 where who read the output is gone, as `head` does
        discard_output(sys.stdout)
        code = EXIT_INTERRUPTED
    except OSError as error:
        too_long = error.errno == errno.ENAMETOOLONG
        code = _fail(f"{str(error.filename)[:40]}...: {error.strerror}", EXIT_USAGE) if too_long else _fault()
    except Exception:  # Python would leave with 1, which says that something became worse
        code = _fault()
    return code or 0


def _fault() -> int:
    traceback.print_exc()
    return _fail("failed; this is a fault of capsbench, please report it with the lines above", EXIT_FAILED)


def _fail(message: object, code: int) -> int:
    warn(message)
    return code
