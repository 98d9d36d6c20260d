"""`capsbench list` and `capsbench env`, what there is: the components, and this machine. They parse, call and print."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from capsbench import registry
from capsbench.cli.console import print_line, print_warning
from capsbench.cli.flags.complete import complete_choice
from capsbench.cli.flags.options import DataOption, JsonOption
from capsbench.errors import Kind, UsageError
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import make_console
from capsbench.presenting.words import spell_value

SUITE, ROW = OF_SUITES = ("suite", "row")
"""The kinds that are no components: suites, and the published rows that they reproduce."""

KINDS = (*registry.BUILT_IN, *OF_SUITES)


def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help=f"One of {', '.join(KINDS)}; all if none is given.", autocompletion=complete_choice(KINDS)),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List routings, networks, baselines, data sets, losses, measures, trackers, suites and rows; of one kind also the options.

    An option is a flag of `run`, and a comma list of its values is a sweep: --squash sabour,unit

    capsbench list network

    capsbench list row
    """
    if kind is not None and kind not in KINDS:
        raise UsageError(Kind.UNKNOWN, flag="KIND", value=kind, expected=KINDS)
    entries = {name: _describe_entries(name) for name in ([kind] if kind else KINDS)}
    for name in entries.keys() - {*OF_SUITES}:
        for line in registry.ignored_entry_points(name).values():
            print_warning(line)
    if as_json:
        print(json.dumps(entries))
        return
    for title, descriptions in entries.items():
        table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None)
        table.add_column(no_wrap=True, min_width=16)
        table.add_column()
        for name, text in (descriptions | _describe_patterns(title)).items():
            table.add_row(f"  {name}", text)
            if kind in ("routing", "network", "baseline", "loss") and name in descriptions:
                table.add_row("", Text(" ".join(_option_names(kind, name)) or "(no options)", style="dim"))
        make_console().print(table)


def _describe_entries(kind: str) -> dict[str, str]:
    """Returns name -> description, in one line, of all components of a kind, of all suites, or of their published rows."""
    from capsbench.planning.suites import describe_suite, suite_names
    from capsbench.planning.suites.rows import list_rows

    if kind == ROW:
        return {name: text for suite in suite_names() for name, text in list_rows(suite).items()}
    if kind == SUITE:
        return {name: describe_suite(name) for name in suite_names()}
    return {name: _describe_component(registry.get(kind, name)) for name in registry.names(kind)}


def _describe_patterns(kind: str) -> dict[str, str]:
    """Returns what stands for names that cannot be listed: of libraries, of a user's own files and code."""
    if kind not in registry.BUILT_IN:
        return {"FILE.toml": "Your own, in a TOML file."} if kind == SUITE else {}
    schemes = {
        name: _read_description(registry.SCHEMES[kind][name.partition(":")[0]]) for name in registry.name_schemes(kind)
    }
    return schemes | {"module:Class": f"Your own: {registry.describe_own(kind)}."}


def _describe_component(component: object) -> str:
    return _shorten(inspect.getdoc(component))


def _read_description(path: str) -> str:
    """Returns the description of a class or function by its path, from its source: libraries for images take long to import."""
    module, _, name = path.partition(":")
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return ""
    body = ast.parse(Path(found.origin).read_text(encoding="utf-8")).body
    nodes = (node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name)
    return _shorten(ast.get_docstring(next(nodes)))


def _shorten(text: str | None) -> str:
    return (text or "").partition("\n")[0].replace("`", "")


def _option_names(kind: str, name: str) -> list[str]:
    from capsbench.planning.options import read_options

    return [
        f"{spell_flag(option)} {spell_value(default)}"
        for option, default in read_options(registry.get(kind, name)).items()
    ]


def env(as_json: JsonOption = False, data_dir: DataOption = None) -> None:
    """Show this machine and its software as in every record, and the implementation of the vote pass."""
    import torch

    from capsbench.data.base import data_folder
    from capsbench.records.software.provenance import provenance
    from capsbench_kernels import choose_backend

    device = "cuda" if torch.cuda.is_available() else "cpu"
    facts = {**provenance(), "vote pass": choose_backend("auto", device), "data folder": str(data_folder(data_dir))}
    if as_json:
        print(json.dumps(facts))
        return
    for name, value in facts.items():
        print_line(f"{name:14} {'-' if value is None else value}")
