"""The Typer of all commands: it refuses an option that is given twice, unless the option may be repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperOption
from typer.models import CommandFunctionType

from capsbench.cli.interrupt import Interrupted
from capsbench.errors import Kind, UsageError
from capsbench.planning.request import ONE_LIST


class OnceCommand(TyperCommand):
    """A command that refuses an option given twice, of which the parser would silently keep the last."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        _, _, given = self.make_parser(ctx).parse_args(args=[*args])
        for parameter in given if not ctx.resilient_parsing else ():
            if isinstance(parameter, TyperOption) and not parameter.multiple and given.count(parameter) > 1:
                name = max(parameter.opts, key=len).removeprefix("--").replace("-", "_")
                takes_list = str(parameter.metavar or "").endswith(",...")
                remedy = ONE_LIST if takes_list else "give it once"
                raise UsageError(Kind.CONFLICT, "given twice", flag=name, expected=remedy)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # Typer would return an exit code and print nothing
            raise Interrupted from None


class App(typer.Typer):
    """A Typer that makes each command a `OnceCommand`."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[[CommandFunctionType], CommandFunctionType]:
        return super().command(name, **{"cls": OnceCommand, **settings})
