"""`capsbench data`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from capsbench import registry
from capsbench.cli.console import print_warning
from capsbench.cli.flags.options import DataOption, JsonOption
from capsbench.cli.shell.app import App
from capsbench.errors import EXIT_INTERRUPTED, EXIT_USAGE, Kind, UsageError
from capsbench.planning.request import spell_flag
from capsbench.presenting.terminal import make_console

if TYPE_CHECKING:
    from capsbench.data.base import Dataset
    from capsbench.data.files import DataFile


app = App(
    name="data",
    help="List, download and verify the files of data sets.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

Names = Annotated[list[str], typer.Argument(help="Data sets, by name or package.module:Class.", metavar="NAME...")]


@app.command("list")
def list_(data_dir: DataOption = None, as_json: JsonOption = False) -> None:
    """List the data sets: files present, folder, size, licence and source to cite.

    A data set is damaged if a file has another size than published, or a small file has another MD5 sum. `data verify` checks
    the contents of all files.
    """
    from capsbench.data.base import data_folder

    folder = data_folder(data_dir)
    rows = [_describe_dataset(name, _get_dataset(name), folder) for name in registry.names("dataset")]
    if as_json:
        print(json.dumps({"folder": str(folder), "datasets": rows}))
        return
    table = Table("data set", "here", "size", f"where in {folder}, licence, source", box=None, pad_edge=False)
    for row in rows:
        about = Text("; ".join(text for text in (row["licence"], row["source"]) if text), style="dim")
        where = Text(", ".join(row["where"]))
        size = decimal(row["bytes"]) if row["bytes"] else ""
        table.add_row(row["dataset"], row["here"], size, Text("\n").join(filter(None, (where, about))))
    make_console().print(table)


@app.command()
def get(names: Names, data_dir: DataOption = None, as_json: JsonOption = False) -> None:
    """Download missing and damaged files. An interrupted download continues.

    capsbench data get mnist affnist
    """
    from capsbench.data.base import data_folder

    folder = data_folder(data_dir)
    # Each file once, since data sets share some. Files without a URL last: they raise an error.
    files = dict.fromkeys(file for name in names for file in _get_dataset(name).files)
    done: list[dict[str, str]] = []
    try:
        with _make_bars() as bars:
            for file in sorted(files, key=lambda file: file.url is None):
                fit, state = file.describe_in(folder)
                done.append({"file": file.path, "state": state if fit else _download_file(file, folder, bars)})
                if not as_json:
                    print(f"{file.path}: {done[-1]['state']}")
    except KeyboardInterrupt:
        print("interrupted; the same command continues the download", file=sys.stderr)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if as_json:
        print(json.dumps({"folder": str(folder), "files": done}))
    elif not files:
        print(f"{', '.join(names)}: needs no files")


@app.command()
def verify(names: Names, data_dir: DataOption = None, as_json: JsonOption = False) -> None:
    """Check files against their published sizes and MD5 sums, and read the data sets. Exit code 2 if a check fails.

    capsbench data verify mnist
    """
    from capsbench.data.base import data_folder

    folder = data_folder(data_dir)
    checks = [check for name in names for check in _check_dataset(name, folder)]
    if as_json:
        print(json.dumps({"folder": str(folder), "checks": checks}))
    else:
        for check in checks:
            print(f"{'ok   ' if check['ok'] else 'WRONG'} {check['file'] or check['dataset']}: {check['state']}")
    wrong = sum(not check["ok"] for check in checks)
    if wrong:
        print(f"capsbench: data verify: {wrong} of {len(checks)} checks failed in {folder}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE)


def _get_dataset(name: str) -> type[Dataset]:
    known = registry.names("dataset")
    if ":" not in name and name not in known:
        raise UsageError(Kind.UNKNOWN, flag="NAME", value=name, expected=known)
    for line in registry.about_name("dataset", name):
        print_warning(line)
    registry.trust([name])
    dataset: type[Dataset] = registry.get("dataset", name, flag="NAME")
    return dataset


def _describe_dataset(name: str, dataset: type[Dataset], folder: Path) -> dict[str, Any]:
    """Returns the row of a data set in `list`; ``bytes`` is the size on disk, or that of the download if known."""
    paths = {file: file.find_in(folder) for file in dataset.files}
    here = [path for path in paths.values() if path is not None]
    damaged = {file.path: fault for file, path in paths.items() if path and (fault := file.find_quick_fault(path))}
    sizes = [file.bytes if path is None or path.is_dir() else path.stat().st_size for file, path in paths.items()]
    return {
        "dataset": name,
        "here": "damaged" if damaged else _describe_share(len(here), len(paths)),
        "bytes": None if None in sizes else sum(size for size in sizes if size),
        "where": list(dict.fromkeys(file.path.rpartition("/")[0] or file.path for file in dataset.files)),
        "files": {file.path: None if path is None else str(path) for file, path in paths.items()},
        "damaged": damaged,
        "licence": dataset.licence,
        "source": dataset.source,
    }


def _describe_share(here: int, files: int) -> str:
    if files == 0:
        return "built in"
    return {0: "no", files: "yes"}.get(here, f"{here} of {files}")


def _check_dataset(name: str, folder: Path) -> list[dict[str, Any]]:
    """Checks each file, and if all are intact also that the data set can be read."""
    from capsbench.running.load_data import count_images

    checks: list[dict[str, Any]] = []
    dataset = _get_dataset(name)
    for file in dataset.files:
        fit, state = file.describe_in(folder)
        checks.append({"dataset": name, "file": file.path, "ok": fit, "state": state})
    if all(check["ok"] for check in checks):
        try:
            counts = count_images(name, folder)
            fit, state = True, "read, " + ", ".join(f"{count} {part}" for part, count in counts.items())
        except UsageError as error:
            fit, state = False, error.describe(spell_flag)
        checks.append({"dataset": name, "file": None, "ok": fit, "state": state})
    return checks


def _download_file(file: DataFile, folder: Path, bars: Progress) -> str:
    from capsbench.data.download import download_file

    if bars.disable:
        print(f"downloading {file.url}", file=sys.stderr, flush=True)
    bar = bars.add_task(file.path, total=file.bytes)
    download_file(file, folder, lambda here, total: bars.update(bar, completed=here, total=total))
    bars.remove_task(bar)
    return "downloaded"


def _make_bars() -> Progress:
    console = make_console(stderr=True)
    columns = (
        BarColumn(bar_width=20),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    return Progress(
        TextColumn("{task.description}"), *columns, console=console, transient=True, disable=not console.is_terminal
    )
