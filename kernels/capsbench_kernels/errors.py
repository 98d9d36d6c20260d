"""The errors of arguments, and a warning: their facts are fields, and `str` makes one line of them."""

from __future__ import annotations


class ArgumentError(ValueError):
    """An argument that cannot be.

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


class UnavailableBackend(ArgumentError):
    """A backend that cannot run on the device of the tensors.

    Args:
        backend: its name.
        reason: why not.
        automatic: the backend that ``auto`` would choose there.
    """

    def __init__(self, backend: str, reason: str, automatic: str) -> None:
        super().__init__("backend", automatic, backend)
        self.args = backend, reason, automatic  # what it is made from again in another process
        self.reason = reason

    def __str__(self) -> str:
        return f"backend: {self.value!r} cannot run here: {self.reason}; auto would choose {self.expected!r}"


class ReferenceWarning(UserWarning):
    """``auto`` takes the reference, which holds every vote in memory, on a device that has a fused backend.

    Args:
        backend: the fused backend.
        reason: why it cannot run.
    """

    def __init__(self, backend: str, reason: str) -> None:
        super().__init__(backend, reason)
        self.backend = backend
        self.reason = reason

    def __str__(self) -> str:
        return f"backend: auto takes 'reference', slower and with all votes in memory: {self.backend!r} cannot run: {self.reason}"
