"""The Typer of all commands: it refuses words that nothing takes, and an option given twice, unless it may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import CommandFunctionType

from capsbench import __version__
from capsbench.cli.shell.interrupt import Interrupted
from capsbench.errors import Kind, UsageError
from capsbench.planning.request import ONE_LIST


class StrictCommand(TyperCommand):
    """A command that refuses words that nothing takes, and an option given twice, of which the parser would keep the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, words, given = self.make_parser(ctx).parse_args(args=[*args])
        if words and not ctx.allow_extra_args and not ctx.resilient_parsing:
            problem = f"{' '.join(words)}: not expected after {ctx.command_path}"
            has_folder = any(parameter.name == "out" for parameter in self.params)
            remedy = (
                f"a results folder is given by --out {words[0]}" if has_folder else f"see {ctx.command_path} --help"
            )
            raise UsageError(Kind.CONFLICT, problem, expected=remedy)
        for parameter in given if not ctx.resilient_parsing else ():
            if isinstance(parameter, TyperOption) and not parameter.multiple and given.count(parameter) > 1:
                name = max(parameter.opts, key=len).removeprefix("--").replace("-", "_")
                takes_list = str(parameter.metavar or "").endswith(",...")
                remedy = ONE_LIST if takes_list else "give it once"
                raise UsageError(Kind.CONFLICT, "given twice", flag=name, expected=remedy)
        return super().parse_args(ctx, args)


class InterruptedGroup(TyperGroup):
    """Commands that raise Interrupted at Ctrl-C, also while they are chosen and their flags are parsed.

    Typer would return an exit code and print nothing.
    """

    def make_context(self, *arguments: Any, **settings: Any) -> Any:
        with _convert_interrupt():
            return super().make_context(*arguments, **settings)

    def invoke(self, ctx: Any) -> Any:
        with _convert_interrupt():
            return super().invoke(ctx)


@contextmanager
def _convert_interrupt() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted from None


def print_version(asked: bool) -> None:
    """Prints the version and ends the command, if that is asked."""
    if asked:
        print(f"capsbench {__version__}")
        raise typer.Exit


class App(typer.Typer):
    """A Typer whose groups are `InterruptedGroup`, and whose commands are `StrictCommand`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"cls": InterruptedGroup, **settings})

    def command(self, name: str | None = None, **settings: Any) -> Callable[[CommandFunctionType], CommandFunctionType]:
        return super().command(name, **{"cls": StrictCommand, **settings})

    @cached_property
    def made(self) -> Any:
        """All commands with their flags, once they are registered: to make them takes longer than most commands."""
        return typer.main.get_command(self)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """Calls the command that was typed, as a Typer does, which would make all of them anew each time."""
        return self.made(*arguments, **settings)
