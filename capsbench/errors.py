"""The errors that end in one clear line rather than a traceback, and the exit codes of commands."""

from collections.abc import Sequence

from pydantic import ValidationError

EXIT_REGRESSION, EXIT_USAGE, EXIT_FAILED, EXIT_NOTHING_MEASURED, EXIT_INTERRUPTED = 1, 2, 3, 4, 130
"""What could be shown to be worse; a flag or file that is wrong; cells, kernels or writes that failed; no record; Ctrl-C."""


class UsageError(ValueError):
    """What was asked cannot be done: the message names the flag or file, what was wrong and what would be right."""


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Raises ValueError, naming the argument, for a value that is not one of those known."""
    if value not in known:
        raise ValueError(f"{name}: expected {' or '.join(known)}, got {value!r}")


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


def reason_of(error: ValidationError) -> str:
    """What pydantic found wrong first, as the middle of a line."""
    message = error.errors()[0]["msg"]
    return message[0].lower() + message[1:]
