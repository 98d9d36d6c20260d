"""`capsbench list`: what there is."""

from __future__ import annotations

import inspect
import json
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from capsbench import registry
from capsbench.cli.console import warn
from capsbench.cli.options import JsonOption
from capsbench.errors import Kind, UsageError
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import make_console
from capsbench.presenting.words import spell_value


def list_(
    kind: Annotated[
        str | None, typer.Argument(help="routing, network, baseline, dataset, loss, measure or suite.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """What there is: routings, networks, baselines, data sets, losses, measures, suites.

    capsbench list network      shows the options as well, each of them a flag that sweeps: --squash sabour,unit
    """
    from capsbench.planning.suites import describe_suite, suite_names

    kinds = [*registry.BUILT_IN, "suite"]
    if kind is not None and kind not in kinds:
        raise UsageError(Kind.UNKNOWN, flag="KIND", value=kind, expected=kinds)
    found: dict[str, dict[str, str]] = {
        each: {name: describe_suite(name) for name in suite_names()}
        if each == "suite"
        else {
            name: (inspect.getdoc(registry.get(each, name)) or "").partition("\n")[0] for name in registry.names(each)
        }
        for each in ([kind] if kind else kinds)
    }
    for each in found.keys() - {"suite"}:
        for line in registry.ignored_entry_points(each).values():
            warn(line)
    if as_json:
        print(json.dumps(found))
        return
    for each, entries in found.items():
        table = Table(title=each, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(no_wrap=True, min_width=16)
        table.add_column()
        for name, text in entries.items():
            table.add_row(f"  {name}", text)
            if kind in ("routing", "network", "baseline", "loss"):
                table.add_row("", Text(" ".join(_option_names(kind, name)) or "(no options)", style="dim"))
        make_console().print(table)


def _option_names(kind: str, name: str) -> list[str]:
    from capsbench.planning.options import read_options

    return [
        f"{spell_flag(option)} {spell_value(default)}"
        for option, default in read_options(registry.get(kind, name)).items()
    ]
