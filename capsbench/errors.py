"""The errors that end in one clear line rather than a traceback, and the exit codes of commands."""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import ValidationError

EXIT_REGRESSION, EXIT_USAGE, EXIT_FAILED, EXIT_NOTHING_MEASURED, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
"""What could be shown to be worse, and nothing else; a flag, file or folder that is wrong; cells, kernels, writes or capsbench
itself that failed; nothing on record yet; Ctrl-C, or nobody who reads what is printed."""


class Kind(StrEnum):
    """What is wrong with a flag or a file."""

    UNKNOWN = "unknown"  # a name that stands for nothing
    INVALID = "invalid"  # a value of another type, form or range
    CONFLICT = "conflict"  # it does not go with what else was asked for
    MISSING = "missing"  # a file, a folder, a package, a device or a record that is not there
    DAMAGED = "damaged"  # a file that is not whole, or not what it should be
    INACCESSIBLE = "inaccessible"  # the system does not let it be read or written
    BUSY = "busy"  # another process holds it
    UNTRUSTED = "untrusted"  # code that the user did not name
    AMBIGUOUS = "ambiguous"  # several things are meant by it


class UsageError(ValueError):
    """What was asked for cannot be done.

    The facts are fields; `str` makes one line of them, in which flags have their Python names. The command line spells them its
    own way by `describe`.

    Args:
        kind: what is wrong.
        problem: what is wrong, as a phrase; of an unknown name or an invalid value it may be left out.
        flag: name of the flag as in Python (``train_size``), or of a positional argument (``CELL``).
        file: the file or folder that is wrong.
        value: the value that is wrong.
        expected: what would be right: a phrase, or the values to choose from.

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
        """The suite that says so, where nobody typed the flag."""

    def describe(self, spell: Callable[[str], str] = str) -> str:
        """One line: the flag or file, what is wrong with it, and what would be right.

        Args:
            spell: makes of a flag's Python name what the reader types.
        """
        subject = [] if self.flag is None else [spell(self.flag)]
        if self.suite is not None and self.flag is not None:
            subject = [f"{spell('suite')} {self.suite}: {self.flag.replace('_', '-')}"]
        if self.file is not None:
            subject.append(str(self.file))
        elif self.value is not None and self.kind not in (Kind.UNKNOWN, Kind.INVALID):
            subject.append(str(self.value))
        text = _FLAG_IN_TEXT.sub(lambda found: spell(found[1]), self._phrase(spell))
        return f"{' '.join(subject)}: {text}" if subject else text

    def _phrase(self, spell: Callable[[str], str]) -> str:
        expected = self.expected if isinstance(self.expected, str) else _choose_from(self.expected or ())
        if self.kind is Kind.UNKNOWN:
            return "; ".join(filter(None, (*self._unknown(spell), self.problem)))
        if self.kind is Kind.INVALID:
            wanted = self.problem or f"expected {expected}"
            return wanted if self.value is None else f"{wanted}, got {self.value!r}"
        return "; ".join(filter(None, (self.problem, expected)))

    def _unknown(self, spell: Callable[[str], str]) -> tuple[str, str]:
        """What is not known, and what is; a flag that is not known is spelled, and so are those that are."""
        if isinstance(self.expected, str):
            return f"unknown {self.value!r}", self.expected
        value, known = str(self.value), self.expected or ()
        if value == self.flag:
            value, known = spell(value), tuple(spell(flag) for flag in known)
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else ""
        return f"unknown {value!r}", " ".join(filter(None, (hint, _choose_from(known))))

    def __str__(self) -> str:
        return self.describe()


_FLAG_IN_TEXT = re.compile(r"\{flag:(\w+)\}")


def _choose_from(values: Sequence[str]) -> str:
    return f"choose from {', '.join(values)}" if values else ""


class ArgumentError(ValueError):
    """An argument of a component that cannot be: the message is made of the facts, which are fields.

    Args:
        argument: its name.
        expected: what would be right, as a phrase.
        value: what was given, as it is to be told.
    """

    def __init__(self, argument: str, expected: str, value: object) -> None:
        super().__init__(argument, expected, value)
        self.argument = argument
        self.expected = expected
        self.value = value

    def __str__(self) -> str:
        return f"{self.argument}: expected {self.expected}, got {self.value!r}"


class NothingMeasured(UsageError):
    """There is no record to speak of."""


class TrainingFailed(RuntimeError):
    """A cell that gives no number, such as one whose loss stopped being finite; the message is the reason on record."""


class StorageFailed(RuntimeError):
    """A result that cannot be written, such as on a full disk; no further cell would fare better, so the run ends."""


class ProcessFailed(RuntimeError):
    """A process that died, or a function that raised in it.

    Args:
        reason: one line.
        trace: the traceback in that process, if it raised.
    """

    def __init__(self, reason: str, trace: str = "") -> None:
        super().__init__(reason, trace)
        self.reason = reason
        self.trace = trace

    def __str__(self) -> str:
        return self.reason


def cause_of_death(exit_code: int | None) -> str:
    """Why a process ended, by its exit code, which is below 0 for a signal."""
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        return f"{name}, which is what the system sends when memory runs out" if name == "SIGKILL" else name
    return f"exit code {exit_code}"


FOREIGN = (Exception, SystemExit)
"""What code that is not ours may raise where it is called: its `exit()` ends no command of ours."""

LONGEST_MESSAGE = 2_000
"""Letters of a foreign error's message that are told; it may hold a whole array."""


def message_of(error: BaseException, *, first_line: bool = False) -> str:
    """What a foreign error says, all of it or its first line, in one line; its own `str` may fail."""
    if isinstance(error, SystemExit):
        return "it calls exit()"
    try:
        message = str(error)
    except Exception:
        return "its message cannot be had"
    message = message[:LONGEST_MESSAGE].strip()
    return " ".join((message.partition("\n")[0] if first_line else message).split())


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raises ArgumentError for a value that is not one of those known."""
    if value not in known:
        raise ArgumentError(name, " or ".join(known), value)


def reason_of(error: ValidationError) -> str:
    """What pydantic found wrong first, as the middle of a line."""
    message = error.errors()[0]["msg"]
    return message[0].lower() + message[1:]
