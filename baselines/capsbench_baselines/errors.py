"""Errors of arguments. Their facts are fields, and `str` puts them into one line."""

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


class UnmetParameters(ArgumentError):
    """A number of parameters that no widths of a network meet.

    Args:
        parameters: the number requested.
        tolerance: the largest difference allowed, as a share of the number requested.
        smallest: the parameters of the smallest network of this form.
        nearest: the parameters of the network nearest to the number.
    """

    def __init__(self, parameters: int, tolerance: float, smallest: int, nearest: int) -> None:
        expected = f"a number that a CNN of this form has within {tolerance:.0%}, from {smallest}, such as {nearest}"
        super().__init__("parameters", expected, parameters)
        self.args = parameters, tolerance, smallest, nearest  # pickling calls the class with these
        self.tolerance = tolerance
        self.smallest = smallest
        self.nearest = nearest
