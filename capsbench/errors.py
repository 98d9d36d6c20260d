"""Errors that a command reports in one line instead of a traceback, and the exit codes of commands."""

from __future__ import annotations

import difflib
import functools
import itertools
import re
import signal
import traceback
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Any

from pydantic import ValidationError

EXIT_REGRESSION, EXIT_USAGE, EXIT_FAILED, EXIT_NOTHING_MEASURED, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
"""Exit codes, in this order: a significant regression or a number that is not reproduced, and only these; a wrong flag, file or
folder; a failed cell, kernel or write, or a fault of capsbench; no record yet; Ctrl-C, or a closed pipe on standard output.
SIGTERM has 143."""


class Kind(StrEnum):
    """The kind of fault of a flag or a file."""

    UNKNOWN = "unknown"  # a name that is not known
    INVALID = "invalid"  # a value of another type, form or range
    CONFLICT = "conflict"  # not possible together with another part of the request
    MISSING = "missing"  # a file, folder, package, device or record that does not exist
    DAMAGED = "damaged"  # a file that is incomplete, changed or of another kind
    INACCESSIBLE = "inaccessible"  # the operating system refuses to read or write it
    BUSY = "busy"  # locked by another process
    UNTRUSTED = "untrusted"  # code that the user did not name or allow
    AMBIGUOUS = "ambiguous"  # a name with several meanings


class InOneLine:
    """An error that says what happened in one line: a notebook shows the user's own lines that led to it, and this line."""

    def _render_traceback_(self) -> list[str]:
        # IPython calls it. Frames of this package say nothing to a user, and there can be a dozen.
        steps = traceback.walk_tb(getattr(self, "__traceback__", None))
        until_us = itertools.takewhile(lambda step: _package_of(step[0]) != "capsbench", steps)
        summary = traceback.StackSummary.extract(step for step in until_us if _package_of(step[0]) != "IPython")
        return [*(text.rstrip() for text in summary.format()), f"{type(self).__name__}: {self}"]


def _package_of(frame: FrameType) -> str:
    """Returns the name of the package whose code a frame runs."""
    return str(frame.f_globals.get("__name__")).partition(".")[0]


class UsageError(InOneLine, ValueError):
    """Raised for a request that cannot be carried out.

    The facts are fields. `str` joins them in one line, with flags by their Python names; `describe` can spell flags as on the
    command line.

    Args:
        kind: the kind of fault.
        problem: the fault, as a phrase; optional for an unknown name or an invalid value.
        flag: the flag's name in Python (``train_size``), or that of a positional argument (``CELL``).
        file: the file or folder at fault.
        value: the value at fault.
        expected: a correct value or a remedy: a phrase, or the values to choose from.

    In ``problem`` and ``expected``, ``{flag:baseline}`` stands for the flag ``baseline``.
    """

    def __init__(
        self,
        kind: Kind,
        problem: str = "",
        *,
        flag: str | None = None,
        file: str | Path | None = None,
        value: object = None,
        expected: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(kind, problem)
        self.kind = kind
        self.problem = problem
        self.flag = flag
        self.file = None if file is None else Path(file)
        self.value = value
        self.expected = expected if expected is None or isinstance(expected, str) else tuple(expected)
        self.suite: str | None = None
        """The suite that sets the flag, if the user did not type it."""

    def describe(self, spell: Callable[[str], str] = str) -> str:
        """Returns one line: the flag or file, its fault, and a correct value or remedy.

        Args:
            spell: converts a flag's Python name to the spelling that the user types.
        """
        subject = [] if self.flag is None else [spell(self.flag)]
        if self.suite is not None and self.flag is not None:
            subject = [f"{spell('suite')} {self.suite}: {self.flag.replace('_', '-')}"]
        if self.file is not None:
            subject.append(str(self.file))
        elif self.value is not None and self.kind not in (Kind.UNKNOWN, Kind.INVALID):
            subject.append(spell_typed(self.value))
        text = _FLAG_IN_TEXT.sub(lambda match: spell(match[1]), self._describe_fault(spell))
        return f"{' '.join(subject)}: {text}" if subject else text

    def _describe_fault(self, spell: Callable[[str], str]) -> str:
        expected = self.expected if isinstance(self.expected, str) else _choose_from(self.expected or ())
        if self.kind is Kind.UNKNOWN:
            return "; ".join(filter(None, (*self._describe_unknown(spell), self.problem)))
        if self.kind is Kind.INVALID:
            wanted = self.problem or f"expected {expected}"
            return wanted if self.value is None else f"{wanted}, got {spell_typed(self.value, repr)}"
        return "; ".join(filter(None, (self.problem, expected)))

    def _describe_unknown(self, spell: Callable[[str], str]) -> tuple[str, str]:
        """Returns two phrases, the unknown name and the known ones; names of flags are spelled."""
        if isinstance(self.expected, str):
            return f"unknown {self.value!r}", self.expected
        value, known = str(self.value), self.expected or ()
        is_flag = value == self.flag  # the unknown name is itself a flag
        if is_flag:
            value, known = spell(value), tuple(spell(flag) for flag in known)
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        choices = "" if is_flag and near else _choose_from(known)  # there are 60 flags
        return f"unknown {value!r}", " ".join(filter(None, (hint, choices)))

    def __str__(self) -> str:
        return self.describe()


_FLAG_IN_TEXT = re.compile(r"\{flag:(\w+)\}")


def spell_typed(value: object, spell: Callable[[object], str] = str) -> str:
    """Returns a value as a user types it: a boolean is yes or no on the command line, in titles and in reports."""
    return ("yes" if value else "no") if isinstance(value, bool) else spell(value)


def _choose_from(values: Sequence[str]) -> str:
    return f"choose from {', '.join(values)}" if values else ""


class ArgumentError(ValueError):
    """Raised for an invalid argument of a component; the facts are fields.

    Args:
        argument: the name of the argument.
        expected: a correct value, as a phrase.
        value: the invalid value, as the message shows it.
    """

    def __init__(self, argument: str, expected: str, value: object) -> None:
        super().__init__(argument, expected, value)
        self.argument = argument
        self.expected = expected
        self.value = value

    def __str__(self) -> str:
        return f"{self.argument}: expected {self.expected}, got {spell_typed(self.value, repr)}"


class NothingMeasured(UsageError):
    """Raised if a folder has no record yet."""


class TrainingFailed(InOneLine, RuntimeError):
    """Raised for a cell without a result, such as one whose loss became infinite; the message is the reason on record."""


class StorageFailed(InOneLine, RuntimeError):
    """Raised for a result that cannot be written, as on a full disk; the run ends, since further cells would fail too."""


class ExportFailed(InOneLine, RuntimeError):
    """Raised for an exported network whose outputs are not those of the network; nothing is written."""


class OutputFailed(InOneLine, RuntimeError):
    """Raised for standard output that cannot be written, as on a full disk."""


class ProcessFailed(InOneLine, RuntimeError):
    """Raised for a process that died, or a function that raised in it.

    Args:
        reason: one line.
        trace: the traceback in that process, if there is one.
    """

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason, trace)
        self.reason = reason
        self.trace = trace

    def __str__(self) -> str:
        return self.reason


def cause_of_death(exit_code: int | None) -> str:
    """Describes the end of a process by its exit code, which is below 0 for a signal."""
    if exit_code is not None and exit_code < 0:
        known = {number.value: number.name for number in signal.Signals}  # not all signals have a name
        name = known.get(-exit_code, f"signal {-exit_code}")
        return f"{name}, which the system sends when it runs out of memory" if name == "SIGKILL" else name
    return f"exit code {exit_code}"


class CallInterrupted(InOneLine, KeyboardInterrupt):
    """Raised by a function of the package that Ctrl-C, or the interrupt of a notebook's kernel, has ended in order.

    It ends a script, a loop, or the cells that a notebook has still to run, as every other interrupt does. The exit code of a
    script is 1 then, since Python ends by the signal for KeyboardInterrupt itself alone. A loop of a shell needs
    ``python script.py || break``.

    Args:
        text: what is on record, and how to go on.
        result: what the function would have returned, such as an `Outcome`; None if it had none yet.
    """

    def __init__(self, text: str, result: Any = None) -> None:
        super().__init__(text)
        self.result = result


def end_at_interrupt(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function that raises CallInterrupted where ``function`` is interrupted, or returns what was."""

    @functools.wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        try:
            result = function(*arguments, **options)
        except CallInterrupted:
            raise
        except KeyboardInterrupt:
            raise CallInterrupted("nothing on record is lost; the same call starts again") from None
        if getattr(result, "interrupted", False):
            raise CallInterrupted(result.describe_end(), result)
        return result

    call.__module__ = "capsbench"  # by this name it is found in another process
    return call


FOREIGN = (Exception, SystemExit)
"""Exceptions to catch around foreign code; `SystemExit` is one, so that its `exit()` does not end our command."""

LONGEST_MESSAGE = 2_000
"""The most characters shown of a foreign error's message, which may contain a whole array."""


def message_of(error: BaseException, *, first_line: bool = False) -> str:
    """Returns the message of a foreign error, or its first line, as one line; its own `str` may raise."""
    if isinstance(error, SystemExit):
        return "it calls exit()"
    try:
        message = str(error)
    except Exception:
        return "its message cannot be read"
    message = message[:LONGEST_MESSAGE].strip()
    return " ".join((message.partition("\n")[0] if first_line else message).split())


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raises ArgumentError for a value that is not in ``known``."""
    if value not in known:
        raise ArgumentError(name, " or ".join(known), value)


_WANTED = {"bool": "expected yes or no", "int": "expected a whole number", "float": "expected a number"}
"""The type that pydantic could not read -> what a user may type."""


def reason_of(error: ValidationError) -> str:
    """Returns the first fault that pydantic found, as a phrase."""
    fault = error.errors()[0]
    kind, _, problem = fault["type"].partition("_")
    if kind in _WANTED and problem in ("parsing", "type", "from_float"):
        return _WANTED[kind]
    message = fault["msg"]
    return message[0].lower() + message[1:]
