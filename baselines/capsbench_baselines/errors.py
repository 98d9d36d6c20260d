"""The errors of arguments: their facts are fields, and `str` makes one line of them."""

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


class UnmetParameters(ArgumentError):
    """A number of parameters that no widths of a network meet.

    Args:
        parameters: the number asked for.
        tolerance: how far the number may be off, as a share of what was asked for.
        smallest: the parameters of the smallest network of this form.
        nearest: those of the network that comes nearest to the number.
    """

    def __init__(self, parameters: int, tolerance: float, smallest: int, nearest: int) -> None:
        expected = f"a number that a CNN of this form has within {tolerance:.0%}, from {smallest}, such as {nearest}"
        super().__init__("parameters", expected, parameters)
        self.args = parameters, tolerance, smallest, nearest  # what it is made from again in another process
        self.tolerance = tolerance
        self.smallest = smallest
        self.nearest = nearest
