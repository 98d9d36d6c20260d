"""`capsbench data`: parses, calls, prints; decides nothing."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from capsbench import registry
from capsbench.cli.console import print_line, print_warning
from capsbench.cli.flags.complete import complete_component
from capsbench.cli.flags.options import DataOption, JsonOption
from capsbench.cli.flags.request import parse_flags, parse_options
from capsbench.cli.shell.app import App
from capsbench.errors import EXIT_INTERRUPTED, EXIT_USAGE, Kind, UsageError
from capsbench.planning.request import refuse_misspelt_scheme, spell_flag
from capsbench.presenting.terminal import make_console
from capsbench.sources import locations

if TYPE_CHECKING:
    from capsbench.data.base import Dataset
    from capsbench.data.files import DataFile
    from capsbench.records.cell import Scalar


app = App(
    name="data",
    help="List, download, verify and clean the files of data sets.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

ABOUT = "Data sets: a name, folder:PATH, npz:PATH, csv:PATH or package.module:Class; then their options, such as --resize 32."
Names = Annotated[
    list[str], typer.Argument(help=ABOUT, metavar="NAME...", autocompletion=complete_component("dataset"))
]
OptionalNames = Annotated[
    list[str] | None,
    typer.Argument(
        help=f"{ABOUT} All built-in ones by default.", metavar="NAME...", autocompletion=complete_component("dataset")
    ),
]

# Options of data sets are flags too. They depend on the names, so they are parsed later.
WITH_OPTIONS = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command("list", context_settings=WITH_OPTIONS)
def list_(names: OptionalNames = None, data_dir: DataOption = None, as_json: JsonOption = False) -> None:
    """List the data sets: files present, folder, size, classes, licence and source to cite; of your own images also the splits.

    A data set is damaged if a file has another size than published, a small file has another MD5 sum, or an image of your own has
    no header. `data verify` checks the contents of all files.

    capsbench data list folder:shapes --resize 32
    """
    from capsbench.data.base import data_folder

    folder = data_folder(data_dir)
    chosen, options = _split_options(names or registry.names("dataset"))
    rows = [_describe_dataset(name, _open_dataset(name, options, folder), folder) for name in chosen]
    if as_json:
        print(json.dumps({"folder": str(folder), "datasets": rows}))
        return
    table = Table("data set", "here", "size", f"images; where in {folder}, licence, source", box=None, pad_edge=False)
    for row in rows:
        about = Text("; ".join(text for text in (row["licence"], row["source"]) if text), style="dim")
        where = Text("\n").join(Text(line) for line in (*row["about"], ", ".join(row["where"])) if line)
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
    files = dict.fromkeys(file for name in names for file in _open_dataset(name, {}, folder).files)
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


@app.command(context_settings=WITH_OPTIONS)
def verify(names: Names, data_dir: DataOption = None, as_json: JsonOption = False) -> None:
    """Check files against their published sizes and MD5 sums, and read the data sets. Exit code 2 if a check fails.

    capsbench data verify mnist
    """
    from capsbench.data.base import data_folder

    folder = data_folder(data_dir)
    chosen, options = _split_options(names)
    checks = [check for name in chosen for check in _check_dataset(name, options, folder)]
    if as_json:
        print(json.dumps({"folder": str(folder), "checks": checks}))
    else:
        for check in checks:
            print(f"{'ok   ' if check['ok'] else 'WRONG'} {check['file'] or check['dataset']}: {check['state']}")
    wrong = sum(not check["ok"] for check in checks)
    if wrong:
        print(f"capsbench: data verify: {wrong} of {len(checks)} checks failed in {folder}", file=sys.stderr)
        raise typer.Exit(EXIT_USAGE)


@app.command()
def clean(
    data_dir: DataOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete the files; otherwise they are only listed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the decoded copies of your own images in the data folder, and delete them with --yes.

    The images themselves are left alone. Runs keep the copies that they read; later commands decode the images again.

    capsbench data clean --yes
    """
    from capsbench.data.base import data_folder
    from capsbench.data.own.decoded import clean_decoded

    folder = data_folder(data_dir)
    sizes = clean_decoded(folder, yes=yes)
    if as_json:
        print(
            json.dumps(
                {"folder": str(folder), "deleted": yes, "files": {str(path): size for path, size in sizes.items()}}
            )
        )
        return
    count = (
        f"{len(sizes):,} file{'s' * (len(sizes) != 1)} of decoded images, {decimal(sum(sizes.values()))}, in {folder}"
    )
    if not sizes:
        print_line(f"no decoded images in {folder}")
    elif yes:
        print_line(f"deleted: {count}")
    else:
        print_line(f"{count}; nothing was deleted, {spell_flag('yes')} deletes them")


def _split_options(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """Splits what was typed into names of data sets and their options by name; raises UsageError."""
    start = next((place for place, word in enumerate(words) if word.startswith("--")), len(words))
    if not words[:start]:
        raise UsageError(Kind.MISSING, "no data set is named", flag="NAME", expected="name one before its options")
    return words[:start], parse_options(parse_flags(words[start:]), {})


def _open_dataset(name: str, typed: Mapping[str, str], folder: Path) -> Dataset:
    from capsbench.records.parts import open_dataset

    dataset: Dataset = open_dataset(*_resolve_name(name, typed, folder))
    return dataset


def _resolve_name(name: str, typed: Mapping[str, str], folder: Path) -> tuple[str, dict[str, Scalar]]:
    """Returns the name of a data set and its options, as it is opened by; raises UsageError for an unknown one."""
    known = registry.names("dataset")
    if ":" not in name and name not in known:
        expected = [*known, *(f"{scheme}:PATH" for scheme in locations.SCHEMES)]
        raise UsageError(Kind.UNKNOWN, flag="NAME", value=name, expected=expected)
    refuse_misspelt_scheme("NAME", name)
    for line in registry.about_name("dataset", name):
        print_warning(line)
    registry.trust([name])
    from capsbench.data.own import adopt_request  # NumPy, which a command's help does not need

    adopt_request({"dataset": name}, folder)
    registry.get("dataset", name, flag="NAME")
    if not typed:
        return locations.locate(name), {}
    from capsbench.planning.options import parse_dataset_options  # imports torch

    return locations.locate(name), parse_dataset_options(name, typed)


def _describe_dataset(name: str, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Returns the row of a data set in `list`; ``bytes`` is the size on disk, or that of the download if known."""
    paths = {file: file.find_in(folder) for file in dataset.files}
    here = [path for path in paths.values() if path is not None]
    damaged = {file.path: fault for file, path in paths.items() if path and (fault := file.find_quick_fault(path))}
    damaged |= dataset.find_quick_faults()
    sizes = [file.bytes if path is None or path.is_dir() else path.stat().st_size for file, path in paths.items()]
    return {
        "dataset": name,
        "here": "damaged" if damaged else _describe_share(len(here), len(paths), dataset.path),
        "bytes": None if None in sizes else sum(size for size in sizes if size),
        "where": [str(dataset.path)] if dataset.path else list(dict.fromkeys(map(_find_folder, dataset.files))),
        "files": {file.path: None if path is None else str(path) for file, path in paths.items()},
        "damaged": damaged,
        "classes": dataset.classes,
        "class_names": list(dataset.class_names),
        "image": _find_shape(dataset),
        "images": dict(dataset.image_counts),
        "images_by_class": dataset.count_classes(),
        "about": list(dataset.remarks) or [dataset.describe()],
        "licence": dataset.licence,
        "source": dataset.source,
    }


def _find_shape(dataset: Dataset) -> list[int] | None:
    """Returns channels, height and width; None of images of different sizes, which need a flag to become a data set."""
    try:
        return list(dataset.image)
    except UsageError:
        return None


def _find_folder(file: DataFile) -> str:
    return file.path.rpartition("/")[0] or file.path


def _describe_share(here: int, files: int, path: Path | None) -> str:
    if files == 0:
        return "built in" if path is None else "yes"
    return {0: "no", files: "yes"}.get(here, f"{here} of {files}")


def _check_dataset(name: str, options: Mapping[str, str], folder: Path) -> list[dict[str, Any]]:
    """Checks each file, and if all are intact also that the data set can be read."""
    from capsbench.records.parts import open_dataset
    from capsbench.running.load_data import count_images

    checks: list[dict[str, Any]] = []
    located, chosen = _resolve_name(name, options, folder)
    dataset = open_dataset(located, chosen)
    for file in dataset.files:
        fit, state = file.describe_in(folder)
        checks.append({"dataset": name, "file": file.path, "ok": fit, "state": state})
    if all(check["ok"] for check in checks):
        try:
            counts = count_images(located, folder, options=chosen)
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
