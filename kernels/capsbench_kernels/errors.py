"""Errors of arguments, and a warning. Their facts are fields, and `str` puts them into one line."""

from __future__ import annotations


class ArgumentError(ValueError):
    """An argument with an impossible value.

    Args:
        argument: its name.
        expected: the values allowed, as a phrase.
        value: the value given, as the message shows it.
    """

    def __init__(self, argument: str, expected: str, value: object) -> None:
        super().__init__(argument, expected, value)
        self.argument = argument
        self.expected = expected
        self.value = value

    def __str__(self) -> str:
        return f"{self.argument}: expected {self.expected}, got {self.value!r}"


class UnavailableBackend(ArgumentError):
    """A backend that cannot run on the device of the tensors.

    Args:
        backend: its name.
        reason: the reason why it cannot.
        automatic: the backend that ``auto`` would choose there.
    """

    def __init__(self, backend: str, reason: str, automatic: str) -> None:
        super().__init__("backend", automatic, backend)
        self.args = backend, reason, automatic  # pickling calls the class with these
        self.reason = reason

    def __str__(self) -> str:
        return f"backend: {self.value!r} cannot run here: {self.reason}; auto would choose {self.expected!r}"


class ReferenceWarning(UserWarning):
    """``auto`` takes the reference, which holds every vote in memory, on a device that has a fused backend.

    Args:
        backend: the fused backend.
        reason: the reason why it cannot run.
    """

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, reason)
        self.backend = backend
        self.reason = reason

    def __str__(self) -> str:
        return f"backend: auto takes 'reference', slower and with all votes in memory: {self.backend!r} cannot run: {self.reason}"
