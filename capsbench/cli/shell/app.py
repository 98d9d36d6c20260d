"""The Typer of all commands: it refuses words that nothing takes, and an option given twice, unless it may be repeated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import CommandFunctionType

from capsbench import __version__
from capsbench.cli.shell.interrupt import Interrupted
from capsbench.errors import Kind, UsageError
from capsbench.planning.request import ONE_LIST


class StrictCommand(TyperCommand):
    """A command that refuses words that nothing takes, and an option given twice, of which the parser would keep the last.

    It also refuses paths that the operating system cannot look up, before anything is run.
    """

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
                takes_list = str(parameter.metavar or "").endswith(",...")
                remedy = ONE_LIST if takes_list else "give it once"
                raise UsageError(Kind.CONFLICT, "given twice", flag=_name_flag(parameter), expected=remedy)
        rest = super().parse_args(ctx, args)
        for parameter in self.params if not ctx.resilient_parsing else ():
            value = ctx.params.get(str(parameter.name))
            for path in value if isinstance(value, (list, tuple)) else [value]:
                if isinstance(path, Path):
                    _look_up(path, _name_flag(parameter))
        return rest


def _name_flag(parameter: Any) -> str:
    """Returns the name of a flag as errors have it, or that of a positional argument."""
    if isinstance(parameter, TyperOption):
        return max(parameter.opts, key=len).removeprefix("--").replace("-", "_")
    return str(parameter.metavar or parameter.name).removesuffix("...").upper()


def _look_up(path: Path, flag: str) -> None:
    """Raises UsageError for a path that is neither found nor known to be missing, such as one whose name is too long.

    `Path.exists` raises an error that names no flag then, wherever a command first asks for the path.
    """
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UsageError(Kind.INACCESSIBLE, str(error.strerror), flag=flag, file=path) from error


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
